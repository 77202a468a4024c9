// The open home cell: the team, the list of tenants, and the log of events outside tenants.
// It must never open a tenant's values: it has none of their keys.

import { LRUCache } from 'lru-cache';
import { Denials } from '../access/denials.ts';
import { ROLES, type Role } from '../access/operations.ts';
import type { UserIdentity } from '../access/principals.ts';
import { isInForce } from '../base/clock.ts';
import { LIMITS } from '../base/limits.ts';
import type { Lookup } from '../cell/access.ts';
import type { TenantRow } from '../cell/tenants.ts';
import { equalBytes, hashToken, parseToken, type TokenType } from '../crypto/token.ts';
import { CellHandle } from './cell-handle.ts';
import type { FoundDamage } from './damage-book.ts';
import { HomeJob, type HomeVaultOptions, type HomeView } from './home-job.ts';
import { closeCell, type Platform } from './open-cell.ts';
import { keyWorkDueAt, tendKeys } from './rotate-keys.ts';

/** The common members of events of refused authentications. */
export const REFUSED = { action: 'authentication', actor: { type: 'anonymous', id: 'unknown' }, outcome: 'denied' } as const;
/** Compared when the token id is unknown. */
const NO_HASH = new Uint8Array(32);
const USER_TOKEN_TYPES: ReadonlySet<TokenType> = new Set(['usr', 'boot', 'enr']);

export class HomeVault extends CellHandle<HomeView, HomeJob> {
  readonly platform: Platform;
  readonly #job: HomeJob;
  /** Active tenants by name and id; cleared whenever a tenant's state changes. */
  readonly routes = new LRUCache<string, TenantRow>({ max: LIMITS.tenantRouteCacheEntries });
  /** Refused tokens and client proofs. */
  readonly rejections: Denials;
  readonly #identities = new LRUCache<string, { identity: UserIdentity; issuedAtMs: number; expiresAtMs: number }>({
    max: LIMITS.tokenCacheEntries,
  });

  constructor(options: HomeVaultOptions) {
    const job = new HomeJob(options);
    super(job);
    const { platform, core } = job;
    this.#job = job;
    this.platform = platform;
    this.rejections = new Denials({
      clock: platform.clock,
      later: platform.later,
      write: (count) => this.submit((job) => noteRejections(job, count)),
    });
    core.tokens.whenRevoked(() => this.forgetIdentities());
    job.users.whenChanged(() => this.forgetIdentities());
    core.damage.tell = (found) => tellDamage(job, found);
    core.cell.use({
      afterRollback: () => {
        this.forgetIdentities();
        this.routes.clear();
      },
    });
  }

  /** The user of a user, enrolment or bootstrap token, or undefined for every kind of bad one. The edge restricts what the last two may do. */
  identify(text: string): UserIdentity | undefined {
    const now = this.platform.clock.now();
    const known = this.#identities.get(text);
    if (known !== undefined) return isInForce(known.issuedAtMs, known.expiresAtMs, now) ? known.identity : undefined;
    return this.lookup('authentication', (lookup, view) => this.#findIdentity(lookup, view, text, now));
  }

  /** Ids of all users with this name, including offboarded ones; for searches in the log. */
  userIdsNamed(name: string): string[] {
    return this.lookup('audit', (lookup, { users }) => users.idsNamed(lookup, name));
  }

  /** Present names of users by id, including offboarded ones; for readers of the log. */
  userNames(ids: readonly string[]): [id: string, name: string][] {
    return this.lookup('audit', (lookup, { users }) => users.names(lookup, ids));
  }

  /** Drops every cached identity. Runs when a token is revoked or a user changes (X6: effective at once), and after a rollback. */
  forgetIdentities(): void {
    this.#identities.clear();
  }

  /** When the keys of this cell are due: by their age, or because a rotation or destruction is waiting. */
  keysDueAt(): number {
    return this.lookup('scheduler', (lookup) => keyWorkDueAt(this.#job, lookup));
  }

  /** Rotates aged keys, rewraps rows and destroys retired keys. */
  tendKeys(): Promise<void> {
    return tendKeys(this);
  }

  /** Idempotent. */
  close(): void {
    this.rejections.flush();
    this.#job.door.close();
    closeCell(this.#job.core);
  }

  #findIdentity(lookup: Lookup, view: HomeView, text: string, nowMs: number): UserIdentity | undefined {
    const parsed = parseToken(text);
    if (parsed === undefined || !USER_TOKEN_TYPES.has(parsed.type)) return undefined;
    const row = view.core.tokens.find(lookup, parsed.publicId);
    const presented = hashToken(this.platform.root.subkey('token-pepper'), parsed.hashInput);
    const matches = equalBytes(presented, row?.hash ?? NO_HASH);
    if (row === undefined || !matches || row.revoked_at !== null) return undefined;
    if (!isInForce(row.created_at, row.expires_at, nowMs)) return undefined;
    const user = view.users.find(lookup, row.subject_id);
    if (user === undefined || user.row.offboarded_at !== null) return undefined;
    const identity: UserIdentity = {
      id: user.row.id,
      name: user.row.name,
      revision: user.row.revision,
      bootstrap: user.row.bootstrap === 1,
      grants: user.grants.map((grant) => ({ role: asRole(grant.role), tenantId: grant.tenant_id })),
      tokenId: row.public_id,
    };
    this.#identities.set(text, { identity, issuedAtMs: row.created_at, expiresAtMs: row.expires_at });
    return identity;
  }
}

function asRole(text: string): Role {
  const role = ROLES.find((known) => known === text);
  if (role === undefined) throw new RangeError('a stored role must be one of the roles in access/operations.ts');
  return role;
}

function noteRejections(job: HomeJob, count: number): void {
  const request = `flood:${job.core.audit.size}`;
  job.door.note({ ...REFUSED, reason: 'rate_limited', request, target: { type: 'routes' }, details: { count } });
}

function tellDamage(job: HomeJob, { table, id, damage }: FoundDamage): void {
  job.door.note({
    action: 'state.damaged',
    actor: { type: 'system', id: 'integrity' },
    outcome: 'failure',
    reason: damage,
    request: `integrity:${job.core.audit.size}`,
    target: { type: table, ...(id === undefined ? {} : { id }) },
  });
}
