// The home cell, open: the team, the list of tenants and the log of what concerns neither tenant alone.
// It must never open a tenant's values: it has none of their keys.

import { LRUCache } from 'lru-cache';
import type { AuthorizationResource, Authorizer } from '../access/authorizer.ts';
import { Denials } from '../access/denials.ts';
import { Door } from '../access/guard.ts';
import { IdempotentAnswers } from '../access/idempotent-answers.ts';
import { ROLES, type Role } from '../access/operations.ts';
import type { UserIdentity } from '../access/principals.ts';
import { LIMITS } from '../base/limits.ts';
import type { SecretValue } from '../base/secret-value.ts';
import type { Lookup } from '../cell/access.ts';
import type { Sql } from '../cell/sql.ts';
import { type TenantRow, TenantStore } from '../cell/tenants.ts';
import { UserStore } from '../cell/users.ts';
import { equalBytes, hashToken, parseToken, type TokenType } from '../crypto/token.ts';
import type { FoundDamage } from './damage-book.ts';
import { closeCell, type OpenCell, type Opening, openCell, type Surroundings } from './open-cell.ts';

export interface HomeVaultOptions {
  readonly sql: Sql;
  readonly erasureKey: SecretValue;
  readonly around: Surroundings;
  readonly authorizer: Authorizer;
  readonly admit: (principalId: string) => void;
  readonly witnessed?: string | undefined;
  /** What else is known of its cell from outside it. */
  readonly opening?: Omit<Opening, 'witnessed'> | undefined;
}

/** What the log says of whoever proved to be nobody. */
export const REFUSED = { action: 'authentication', actor: { type: 'anonymous', id: 'unknown' }, outcome: 'denied' } as const;
const INSTALLATION: AuthorizationResource = { type: 'Installation' };
const NOBODY = new Uint8Array(32);
const TOKENS_OF_PEOPLE: ReadonlySet<TokenType> = new Set(['usr', 'boot', 'enr']);

export class HomeVault {
  readonly around: Surroundings;
  readonly core: OpenCell;
  readonly door: Door;
  readonly users: UserStore;
  readonly tenants: TenantStore;
  readonly auditResource = INSTALLATION;
  readonly auditOperations = { read: 'installation.audit.read', export: 'installation.audit.read' } as const;
  /** Active tenants by name and id; cleared whenever a tenant's state changes. */
  readonly routes = new LRUCache<string, TenantRow>({ max: LIMITS.openTenantsMax * 2 });
  /** Refused tokens and client proofs. */
  readonly rejections: Denials;
  readonly #identities = new LRUCache<string, { identity: UserIdentity; expiresAtMs: number }>({ max: LIMITS.tokenCacheEntries });

  constructor(options: HomeVaultOptions) {
    const { around, sql } = options;
    this.around = around;
    this.core = openCell({
      kind: 'home',
      sql,
      cellId: around.installationId,
      erasureKey: options.erasureKey,
      around,
      opening: { ...options.opening, witnessed: options.witnessed },
    });
    this.users = new UserStore(this.core.rows);
    this.tenants = new TenantStore(this.core.rows);
    this.door = new Door({
      cell: this.core.cell,
      audit: this.core.audit,
      authorizer: options.authorizer,
      clock: around.clock,
      place: { cellId: around.installationId, demo: false, contained: () => false },
      later: around.later,
      admit: options.admit,
      answers: new IdempotentAnswers(this.core.idempotency, this.core.keyring, around.clock),
    });
    this.rejections = new Denials({
      clock: around.clock,
      later: around.later,
      write: (count) => this.submit(() => this.#noteRejections(count)),
    });
    this.core.tokens.whenRevoked(() => this.forgetIdentities());
    this.users.whenChanged(() => this.forgetIdentities());
    this.core.damage.tell = (found) => this.#tellDamage(found);
    this.core.cell.use({
      afterRollback: () => {
        this.forgetIdentities();
        this.routes.clear();
      },
    });
  }

  submit<T>(useCase: () => T): Promise<T> {
    return this.core.cell.submit(useCase);
  }

  /** The user behind a user, enrolment or bootstrap token (the edge knows what the last two may open), or undefined for every kind of bad one. */
  identify(text: string): UserIdentity | undefined {
    const now = this.around.clock.now();
    const known = this.#identities.get(text);
    if (known !== undefined) return known.expiresAtMs > now ? known.identity : undefined;
    return this.door.lookup('authentication', (lookup) => this.#findIdentity(lookup, text, now));
  }

  /** Ids of users who have, or had, this name; for reading logs. */
  userIdsNamed(name: string): string[] {
    return this.door.lookup('audit', (lookup) => this.users.idsNamed(lookup, name));
  }

  /** Drops every cached identity: by itself when a token or a person loses anything (X6: effective at once); called when a batch was undone. */
  forgetIdentities(): void {
    this.#identities.clear();
  }

  /** Idempotent. */
  close(): void {
    this.rejections.flush();
    this.door.close();
    closeCell(this.core);
  }

  #noteRejections(count: number): void {
    const request = `flood:${this.core.audit.size}`;
    this.door.note({ ...REFUSED, reason: 'rate_limited', request, target: { type: 'routes' }, details: { count } });
  }

  #tellDamage({ table, id, damage }: FoundDamage): void {
    this.door.note({
      action: 'state.damaged',
      actor: { type: 'system', id: 'integrity' },
      outcome: 'failure',
      reason: damage,
      request: `integrity:${this.core.audit.size}`,
      target: { type: table, ...(id === undefined ? {} : { id }) },
    });
  }

  #findIdentity(lookup: Lookup, text: string, nowMs: number): UserIdentity | undefined {
    const parsed = parseToken(text);
    if (parsed === undefined || !TOKENS_OF_PEOPLE.has(parsed.type)) return undefined;
    const row = this.core.tokens.find(lookup, parsed.publicId);
    const presented = hashToken(this.around.root.subkey('token-pepper'), parsed.hashInput);
    const matches = equalBytes(presented, row?.hash ?? NOBODY);
    if (row === undefined || !matches || row.type !== parsed.type || row.revoked_at !== null || row.expires_at <= nowMs)
      return undefined;
    const user = this.users.find(lookup, row.subject_id);
    if (user === undefined || user.row.offboarded_at !== null) return undefined;
    const identity: UserIdentity = {
      id: user.row.id,
      name: user.row.name,
      revision: user.row.revision,
      bootstrap: user.row.bootstrap === 1,
      grants: user.grants.map((grant) => ({ role: asRole(grant.role), tenantId: grant.tenant_id })),
      tokenId: row.public_id,
    };
    this.#identities.set(text, { identity, expiresAtMs: row.expires_at });
    return identity;
  }
}

function asRole(text: string): Role {
  const role = ROLES.find((known) => known === text);
  if (role === undefined) throw new RangeError('a stored role is not in the list');
  return role;
}

export function installationTarget(type = 'installation', name?: string) {
  return () => ({ resource: INSTALLATION, target: { type, ...(name === undefined ? {} : { name }) }, subject: true as const });
}

export function userTarget(home: HomeVault, idOrName: string) {
  return (lookup: Lookup) => {
    const subject = home.users.find(lookup, idOrName);
    return {
      resource: { type: 'Installation' as const },
      target: { type: 'user', ...(subject === undefined ? {} : { id: subject.row.id, name: subject.row.name }) },
      subject,
    };
  };
}
