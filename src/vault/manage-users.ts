// The team: users with roles at all or at some tenants, their tokens, and offboarding, which takes effect at once (X1, X4, X6).
import type { Role } from '../access/operations.ts';
import type { Caller, Principal } from '../access/principals.ts';
import { fail } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import type { WriteAccess } from '../cell/access.ts';
import type { TokenRow } from '../cell/tokens.ts';
import type { GrantRow, User, UserRow } from '../cell/users.ts';
import { type Page, pageFrom } from './describe-credential.ts';
import { type HomeJob, installationTarget, userTarget } from './home-job.ts';
import { EVERYWHERE, type IssuedUserToken, issueUserToken } from './set-up.ts';

export interface GrantInput {
  readonly role: Role;
  /** A tenant's name or id; absent: every tenant. */
  readonly tenant: string | undefined;
}

export interface CreateUserInput {
  readonly name: string;
  readonly grants: readonly GrantInput[];
  /** Lifetime of the enrolment token. */
  readonly enrolmentTtlMs: number;
}

export interface UserWithGrants {
  readonly row: UserRow;
  readonly grants: readonly GrantRow[];
}

/**
 * Creates a user and an enrolment token for the caller to pass on; the caller never sees the token that the user gets in exchange.
 * @throws conflict | forbidden when a grant exceeds the caller's own | not_found
 */
export function createUser(
  job: HomeJob,
  caller: Caller,
  input: CreateUserInput,
): UserWithGrants & { enrolment: IssuedUserToken } {
  return job.door.enter(caller, 'user.create', installationTarget('user', input.name), (access, _subject, details, principal) => {
    if (job.users.find(access, input.name) !== undefined)
      fail('conflict', 'a user with this name exists already', { pointer: '/name' });
    refuseMixedAuditor(input.grants);
    const grants = input.grants.map((grant, index) => toGrant(job, access, principal, grant, index));
    refuseRepeated(grants);
    const row: User = {
      id: newId('user', job.platform.entropy),
      name: input.name,
      revision: 1,
      bootstrap: 0,
      created_at: job.platform.clock.now(),
      created_by: access.principalId,
      offboarded_at: null,
    };
    job.users.insert(access, row, grants);
    const enrolment = issueUserToken(job, access, 'enr', row.id, input.enrolmentTtlMs);
    details.role = input.grants.map((grant) => grant.role).join(' ');
    details.token = enrolment.publicId;
    return { row: row as UserRow, grants, enrolment };
  });
}

/** The guardrails deny values and writes to every auditor, so the auditor role would disable any other role. */
function refuseMixedAuditor(grants: readonly GrantInput[]): void {
  const other = grants.findIndex((grant) => grant.role !== 'auditor');
  if (other >= 0 && grants.some((grant) => grant.role === 'auditor')) {
    fail('invalid_request', 'an auditor must not have another role', { pointer: `/grants/${other}/role` });
  }
}

/** Checked with ids, because a tenant can be given by name and by id. */
function refuseRepeated(grants: readonly GrantRow[]): void {
  const keys = grants.map((grant) => `${grant.role}@${grant.tenant_id}`);
  const again = keys.findIndex((key, index) => keys.indexOf(key) < index);
  if (again >= 0) fail('invalid_request', 'a grant must not be listed twice', { pointer: `/grants/${again}` });
}

/** SECURITY: no user grants more than their own rights (AZ-08): only an owner grants owner, only owner and admin may have all tenants. */
function toGrant(job: HomeJob, access: WriteAccess, principal: Principal, grant: GrantInput, index: number): GrantRow {
  if (grant.role === 'workload')
    fail('invalid_request', 'a user must not have the role workload', { pointer: `/grants/${index}/role` });
  if (grant.role === 'owner' && !principal.roles.includes('owner')) fail('forbidden', 'only an owner may create an owner');
  if (grant.tenant === undefined) {
    if (grant.role === 'engineer') {
      fail('invalid_request', 'a grant of the role engineer must name a tenant', { pointer: `/grants/${index}/tenant` });
    }
    return { role: grant.role, tenant_id: EVERYWHERE };
  }
  const tenant = job.tenants.find(access, grant.tenant);
  if (tenant === undefined) fail('not_found', 'no such tenant', { pointer: `/grants/${index}/tenant` });
  return { role: grant.role, tenant_id: tenant.id };
}

export function listUsers(job: HomeJob, caller: Caller, afterId: string, maxRows: number): Page<UserWithGrants> {
  return job.door.enter(caller, 'user.list', installationTarget('users'), (access, _subject, details) => {
    const page = pageFrom(
      maxRows,
      (rows) => job.users.list(access, afterId, rows),
      ({ row }) => row.id,
    );
    details.count = page.rows.length;
    return page;
  });
}

/** Offboards a user and revokes all their tokens at once. Idempotent. @throws conflict for the last owner */
export function offboardUser(job: HomeJob, caller: Caller, idOrName: string): UserWithGrants {
  return job.door.enter(caller, 'user.offboard', userTarget(job, idOrName), (access, user, details, principal) => {
    if (user.row.offboarded_at !== null) return user;
    if (holdsOwner(user) && !principal.roles.includes('owner')) fail('forbidden', 'only an owner may offboard an owner');
    if (ownsInstallation(user) && countOwners(job, access) < 2)
      fail('conflict', 'the last owner cannot be offboarded: create another owner first');
    const now = job.platform.clock.now();
    const { mac: _mac, mac_key_id: _key, ...facts } = user.row;
    const row = { ...facts, offboarded_at: now, revision: facts.revision + 1 };
    job.users.save(access, row, user.grants);
    details.count = job.core.tokens.revokeAllOf(access, row.id, now);
    job.core.audit.publishNow();
    return { row: row as UserRow, grants: user.grants };
  });
}

/** Creates a further token for the caller; for another user it is refused. @throws not_found | forbidden */
export function createUserToken(job: HomeJob, caller: Caller, idOrName: string, ttlMs: number): IssuedUserToken {
  return job.door.enter(caller, 'user.token.create', userTarget(job, idOrName), (access, user, details) => {
    const issued = issueUserToken(job, access, 'usr', user.row.id, ttlMs);
    details.token = issued.publicId;
    return issued;
  });
}

/** Revokes one of the caller's own tokens at once. Idempotent. @throws not_found | forbidden */
export function revokeUserToken(job: HomeJob, caller: Caller, idOrName: string, publicId: string): TokenRow {
  return job.door.enter(caller, 'user.token.revoke', userTarget(job, idOrName), (access, user, details) => {
    const token = job.core.tokens.find(access, publicId);
    if (token === undefined || token.subject_id !== user.row.id) fail('not_found', 'no such token');
    details.token = publicId;
    job.core.audit.publishNow();
    return job.core.tokens.revoke(access, publicId, job.platform.clock.now());
  });
}

function holdsOwner(user: UserWithGrants): boolean {
  return user.grants.some((grant) => grant.role === 'owner');
}

/** SECURITY: an owner of single tenants cannot create an owner of all, so they do not count as one (AZ-08). */
function ownsInstallation(user: UserWithGrants): boolean {
  return user.grants.some((grant) => grant.role === 'owner' && grant.tenant_id === EVERYWHERE);
}

function countOwners(job: HomeJob, access: WriteAccess): number {
  let owners = 0;
  let after = '';
  for (;;) {
    const page = job.users.list(access, after, 500);
    owners += page.filter((user) => user.row.offboarded_at === null && ownsInstallation(user)).length;
    const last = page.at(-1);
    if (last === undefined || page.length < 500) return owners;
    after = last.row.id;
  }
}
