// How people get in: a bootstrap secret for the owner who does not exist yet, an enrolment token for everybody after; each is exchanged once
// for a first token of that person. Nobody else ever holds it.
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

/** As the tenant of a grant: all tenants, and the installation itself. */
export const EVERYWHERE = '*';

/**
 * Makes the bootstrap owner and its secret, once in the life of an installation. Undefined when it was made before.
 * @param keep stores the secret for the operator before the owner is committed: a process that is killed in between makes another secret at
 *   the next start, and no installation has an owner whose secret nobody has. What it throws undoes the owner.
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

/** Whether the bootstrap secret still waits to be exchanged. */
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
 * Turns the bootstrap owner into a named one and spends the bootstrap secret. Works once, whoever races (AN-31).
 * @throws unauthenticated | forbidden unless the caller came with the bootstrap secret
 */
export function setUp(job: HomeJob, caller: Caller, name: string): { user: UserRow; issued: IssuedUserToken } {
  return job.door.enter(caller, 'installation.setup', installationTarget('installation'), (access, _subject, details) => {
    const tokenId = caller.user?.tokenId ?? '';
    const token = job.core.tokens.find(access, tokenId);
    if (token === undefined || token.type !== 'boot' || token.revoked_at !== null) {
      fail('conflict', 'this installation is set up already');
    }
    const { row, grants } = job.users.get(access, token.subject_id);
    const { mac: _mac, mac_key_id: _key, ...facts } = row;
    const named = { ...facts, name, revision: row.revision + 1 };
    job.users.save(access, named, grants);
    job.core.tokens.revoke(access, tokenId, job.platform.clock.now());
    const issued = issueUserToken(job, access, 'usr', row.id, LIMITS.userTokenTtlMaxMs);
    details.token = issued.publicId;
    return { user: named as UserRow, issued };
  });
}

/**
 * Spends the enrolment token of a new person for a first token of theirs. Works once: if somebody else spent it, the person learns that by
 * being refused, and the log says when and from where.
 * @throws conflict when it was spent
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
      fail('conflict', 'this enrolment token is spent');
    job.core.tokens.revoke(access, tokenId, job.platform.clock.now());
    const issued = issueUserToken(job, access, 'usr', row.id, ttlMs);
    details.token = issued.publicId;
    return { user: row, grants, issued };
  });
}
