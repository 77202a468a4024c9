// The first token of a user: the first owner gets it for the bootstrap secret, every other user for an enrolment token; each can be
// exchanged once. No other user ever has the token.
import type { Caller } from '../access/principals.ts';
import { fail } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { SecretValue } from '../base/secret-value.ts';
import type { WriteAccess } from '../cell/access.ts';
import type { GrantRow, User, UserRow } from '../cell/users.ts';
import { hashToken, mintToken } from '../crypto/token.ts';
import { type HomeJob, installationTarget, userTarget } from './home-job.ts';
import type { HomeVault } from './home-vault.ts';

/** As the tenant of a grant: all tenants and the installation. */
export const EVERYWHERE = '*';

/**
 * Creates the bootstrap owner and its secret, once per installation; undefined if they were created before.
 * @param keep stores the secret for the operator before the owner is committed. After a crash in between, the next start creates another
 *   secret, so the secret of a committed owner is always stored. If it throws, the owner is not created.
 */
export async function createBootstrapSecret(
  home: HomeVault,
  keep: (secret: SecretValue) => void = () => {},
): Promise<SecretValue | undefined> {
  return home.submit((job) => {
    if (!job.door.lookup('first-start', (lookup) => job.users.isEmpty(lookup))) return undefined;
    const owner: User = {
      id: newId('user', job.platform.entropy),
      name: 'owner',
      revision: 1,
      bootstrap: 1,
      created_at: job.platform.clock.now(),
      created_by: 'first-start',
      offboarded_at: null,
    };
    const event = {
      action: 'installation.setup',
      actor: { type: 'system', id: 'first-start' },
      reason: 'bootstrap secret made',
      request: 'first-start',
      target: { type: 'user', id: owner.id },
    } as const;
    return job.door.record(event, (access) => {
      job.users.insert(access, owner, [{ role: 'owner', tenant_id: EVERYWHERE }]);
      const { token } = issueUserToken(job, access, 'boot', owner.id, LIMITS.bootstrapSecretTtlMs);
      keep(token);
      job.core.audit.publishNow();
      return token;
    });
  });
}

/** Whether the bootstrap secret is not exchanged yet. */
export function bootstrapPending(home: HomeVault): boolean {
  return home.lookup('status', (access, view) => view.core.tokens.countLive(access, 'boot', home.platform.clock.now()) > 0);
}

export interface IssuedUserToken {
  readonly token: SecretValue;
  readonly publicId: string;
  readonly expiresAtMs: number;
}

export function issueUserToken(
  job: HomeJob,
  access: WriteAccess,
  type: 'usr' | 'boot' | 'enr',
  userId: string,
  ttlMs: number,
): IssuedUserToken {
  const { publicId, token } = mintToken(type);
  const now = job.platform.clock.now();
  job.core.tokens.insert(access, {
    public_id: publicId,
    type,
    hash: token.reveal((bytes) => hashToken(job.platform.root.subkey('token-pepper'), bytes)),
    subject_id: userId,
    permissions: null,
    created_at: now,
    expires_at: now + ttlMs,
  });
  return { token, publicId, expiresAtMs: now + ttlMs };
}

/**
 * Names the bootstrap owner and exchanges the bootstrap secret. Succeeds once, also with concurrent calls (AN-31).
 * @throws unauthenticated | forbidden unless the caller presented the bootstrap secret | conflict when it was exchanged before
 */
export function setUp(job: HomeJob, caller: Caller, name: string): { user: UserRow; issued: IssuedUserToken } {
  return job.door.enter(caller, 'installation.setup', installationTarget('installation'), (access, _subject, details) => {
    const tokenId = caller.user?.tokenId ?? '';
    const token = job.core.tokens.find(access, tokenId);
    if (token === undefined || token.type !== 'boot' || token.revoked_at !== null) {
      fail('conflict', 'this installation is already set up');
    }
    const { row, grants } = job.users.get(access, token.subject_id);
    const { mac: _mac, mac_key_id: _key, ...facts } = row;
    const named = { ...facts, name, revision: row.revision + 1 };
    job.users.save(access, named, grants);
    job.core.tokens.revoke(access, tokenId, job.platform.clock.now());
    job.core.audit.publishNow();
    const issued = issueUserToken(job, access, 'usr', row.id, LIMITS.userTokenTtlMaxMs);
    details.token = issued.publicId;
    return { user: named as UserRow, issued };
  });
}

/**
 * Exchanges the enrolment token of a new user for their first token. Succeeds once: if another person used it, the user is refused, and the
 * log has the time and source of the first use.
 * @throws conflict when it was used before
 */
export function enrol(
  job: HomeJob,
  caller: Caller,
  ttlMs: number,
): { user: UserRow; grants: GrantRow[]; issued: IssuedUserToken } {
  const self = caller.user?.id ?? '';
  return job.door.enter(caller, 'user.enrol', userTarget(job, self), (access, { row, grants }, details) => {
    const tokenId = caller.user?.tokenId ?? '';
    const token = job.core.tokens.find(access, tokenId);
    if (token === undefined || token.type !== 'enr' || token.revoked_at !== null)
      fail('conflict', 'this enrolment token was already used: ask for another one');
    job.core.tokens.revoke(access, tokenId, job.platform.clock.now());
    job.core.audit.publishNow();
    const issued = issueUserToken(job, access, 'usr', row.id, ttlMs);
    details.token = issued.publicId;
    return { user: row, grants, issued };
  });
}
