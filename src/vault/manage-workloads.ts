// Workloads and their tokens: created, listed, revoked. A secret is returned once, by the call that creates it, and stored as a hash.
import { importJWK, type JWK } from 'jose';
import { Networks } from '../access/networks.ts';
import type { WorkloadPermission } from '../access/operations.ts';
import type { Caller } from '../access/principals.ts';
import { fail } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import type { SecretValue } from '../base/secret-value.ts';
import type { Lookup, WriteAccess } from '../cell/access.ts';
import type { TokenRow } from '../cell/tokens.ts';
import type { Workload, WorkloadRow } from '../cell/workloads.ts';
import { faultOfKeys } from '../crypto/public-key.ts';
import { hashToken, mintToken, type TokenType } from '../crypto/token.ts';
import { type Page, pageFrom } from './describe-credential.ts';
import type { TenantJob } from './tenant-job.ts';

export interface IssuedToken {
  readonly token: SecretValue;
  readonly publicId: string;
  readonly expiresAtMs: number;
}

export interface NewToken {
  readonly type: TokenType;
  readonly subjectId: string;
  readonly expiresAtMs: number;
  /** Absent: all permissions of its subject. */
  readonly permissions?: readonly WorkloadPermission[] | undefined;
  /** The id of the client secret or key that it was exchanged for. */
  readonly origin?: string;
}

/** Mints, hashes and stores a token of `subjectId`. */
export function issueToken(
  job: TenantJob,
  access: WriteAccess,
  { type, subjectId, expiresAtMs, permissions, origin }: NewToken,
): IssuedToken {
  const { publicId, token } = mintToken(type);
  const now = job.platform.clock.now();
  job.core.tokens.insert(access, {
    public_id: publicId,
    type,
    hash: token.reveal((bytes) => hashToken(job.platform.root.subkey('token-pepper'), bytes)),
    subject_id: subjectId,
    permissions: permissions === undefined ? null : JSON.stringify(permissions),
    created_at: now,
    expires_at: expiresAtMs,
    origin: origin ?? null,
  });
  return { token, publicId, expiresAtMs };
}

const clientSecretOf = (workload: Pick<Workload, 'id' | 'expires_at'>): NewToken => ({
  type: 'cs',
  subjectId: workload.id,
  expiresAtMs: workload.expires_at,
});

export interface CreateWorkloadInput {
  readonly name: string;
  readonly environment: string;
  readonly patterns: readonly string[];
  readonly permissions: readonly WorkloadPermission[];
  readonly networks: readonly string[];
  /** JSON Web Key Set; if given, the workload authenticates with private_key_jwt and gets no client secret. */
  readonly jwks: string | undefined;
  readonly ttlMs: number;
}

export interface CreatedWorkload {
  readonly row: Workload;
  readonly clientSecret: IssuedToken | undefined;
}

/** @throws conflict | not_found when the environment does not exist | invalid_request */
export function createWorkload(job: TenantJob, caller: Caller, input: CreateWorkloadInput): CreatedWorkload {
  return job.door.enter(
    caller,
    'workload.create',
    (lookup) => ({
      resource: { type: 'Workload', tenant: job.tenant.id, environment: input.environment },
      target: { type: 'workload', name: input.name, environment: input.environment },
      subject: job.credentials.findEnvironment(lookup, input.environment),
    }),
    (access) => {
      Networks.parse([...input.networks], '/networks');
      if (input.jwks !== undefined) checkKeys(input.jwks);
      if (job.workloads.find(access, input.name) !== undefined)
        fail('conflict', 'a workload with this name exists already', { pointer: '/name' });
      const now = job.platform.clock.now();
      const row: Workload = {
        id: newId('workload', job.platform.entropy),
        name: input.name,
        environment: input.environment,
        patterns: JSON.stringify(input.patterns),
        permissions: JSON.stringify(input.permissions),
        networks: JSON.stringify(input.networks),
        jwks: input.jwks ?? null,
        revision: 1,
        created_at: now,
        created_by: access.principalId,
        expires_at: now + input.ttlMs,
        revoked_at: null,
      };
      job.workloads.insert(access, row);
      const clientSecret = input.jwks === undefined ? issueToken(job, access, clientSecretOf(row)) : undefined;
      return { row, clientSecret };
    },
  );
}

/** SECURITY: with a weak key, an attacker could forge signatures of the workload. @throws invalid_request naming the member */
function checkKeys(jwks: string): void {
  const fault = faultOfKeys((JSON.parse(jwks) as { keys: object[] }).keys);
  if (fault !== undefined) fail('invalid_request', fault.rule, { pointer: ['/jwks/keys', ...fault.path].join('/') });
}

/** Checks that each key can be imported (for example that its point is on its curve). Call before the job: it awaits. @throws invalid_request */
export async function tryKeys(keys: readonly JWK[]): Promise<void> {
  if (faultOfKeys(keys) !== undefined) return; // the use case reports the fault, after it has authorized the caller
  for (const [index, key] of keys.entries()) {
    try {
      await importJWK(key, key.alg ?? ALGORITHM_OF[key.crv ?? ''] ?? 'PS256');
    } catch {
      fail('invalid_request', 'a key must be a valid key of its type: this one cannot be imported', {
        pointer: `/jwks/keys/${index}`,
      });
    }
  }
}

/** By curve, any that it takes: the key is only tried. An RSA key has none. */
const ALGORITHM_OF: Readonly<Record<string, string>> = { 'P-256': 'ES256', 'P-384': 'ES384', Ed25519: 'EdDSA' };

function workloadTarget(job: TenantJob, lookup: Lookup, idOrName: string) {
  const row = job.workloads.find(lookup, idOrName);
  return {
    resource: {
      type: 'Workload' as const,
      tenant: job.tenant.id,
      ...(row === undefined ? {} : { environment: row.environment }),
    },
    target: { type: 'workload', ...(row === undefined ? {} : { id: row.id, name: row.name, environment: row.environment }) },
    subject: row,
  };
}

export function getWorkload(job: TenantJob, caller: Caller, idOrName: string): { row: WorkloadRow; tokens: TokenRow[] } {
  return job.door.enter(
    caller,
    'workload.list',
    (lookup) => workloadTarget(job, lookup, idOrName),
    (access, row) => ({ row, tokens: job.core.tokens.listBySubject(access, row.id) }),
  );
}

export function listWorkloads(job: TenantJob, caller: Caller, after: string, maxRows: number): Page<WorkloadRow> {
  return job.door.enter(
    caller,
    'workload.list',
    () => ({ resource: { type: 'Workload', tenant: job.tenant.id }, target: { type: 'workloads' }, subject: true as const }),
    (access, _subject, details) => {
      const page = pageFrom(
        maxRows,
        (rows) => job.workloads.list(access, after, rows),
        ({ name, id }) => `${name}\n${id}`,
      );
      details.count = page.rows.length;
      return page;
    },
  );
}

/** Revokes a workload and all its tokens in one batch (AZ-13). Idempotent. */
export function revokeWorkload(job: TenantJob, caller: Caller, idOrName: string): WorkloadRow {
  return job.door.enter(
    caller,
    'workload.revoke',
    (lookup) => workloadTarget(job, lookup, idOrName),
    (access, row, details) => {
      const now = job.platform.clock.now();
      details.count = job.core.tokens.revokeAllOf(access, row.id, now);
      job.core.audit.publishNow();
      return row.revoked_at === null ? job.workloads.revoke(access, row, now) : row;
    },
  );
}

/** Creates a further client secret, to replace the old one without an interruption. @throws conflict for private_key_jwt workloads */
export function createClientSecret(job: TenantJob, caller: Caller, idOrName: string): { row: WorkloadRow; secret: IssuedToken } {
  return job.door.enter(
    caller,
    'workload.secret.create',
    (lookup) => workloadTarget(job, lookup, idOrName),
    (access, row, details) => {
      requireLive(job, row);
      if (row.jwks !== null)
        fail('conflict', 'this workload authenticates with a key (private_key_jwt) and has no client secret');
      const secret = issueToken(job, access, clientSecretOf(row));
      details.token = secret.publicId;
      return { row, secret };
    },
  );
}

export interface CreateTokenInput {
  readonly workload: string;
  readonly permissions: readonly WorkloadPermission[] | undefined;
  readonly ttlMs: number;
}

/** Creates a direct token, for a program that cannot exchange credentials. @throws not_found | invalid_request */
export function createDirectToken(job: TenantJob, caller: Caller, input: CreateTokenInput): IssuedToken {
  return job.door.enter(
    caller,
    'token.create',
    (lookup) => workloadTarget(job, lookup, input.workload),
    (access, row, details) => {
      requireLive(job, row);
      const own = JSON.parse(row.permissions) as WorkloadPermission[];
      if (input.permissions?.some((permission) => !own.includes(permission)) === true) {
        fail('invalid_request', 'a token must not have a permission that its workload does not have', {
          pointer: '/permissions',
        });
      }
      const expiresAtMs = Math.min(job.platform.clock.now() + input.ttlMs, row.expires_at);
      const issued = issueToken(job, access, {
        type: 'wlk',
        subjectId: row.id,
        expiresAtMs,
        permissions: input.permissions,
      });
      details.token = issued.publicId;
      return issued;
    },
  );
}

/** Revokes a token at once; for a client secret, also every access token exchanged for it. @throws not_found */
export function revokeToken(job: TenantJob, caller: Caller, workload: string, publicId: string): TokenRow {
  return job.door.enter(
    caller,
    'token.revoke',
    (lookup) => workloadTarget(job, lookup, workload),
    (access, row, details) => {
      const token = job.core.tokens.find(access, publicId);
      if (token === undefined || token.subject_id !== row.id) fail('not_found', 'no such token');
      details.token = publicId;
      job.core.audit.publishNow();
      const now = job.platform.clock.now();
      const ended = job.core.tokens.revokeAllOf(access, row.id, now, publicId);
      if (token.type === 'cs') details.count = ended;
      return job.core.tokens.revoke(access, publicId, now);
    },
  );
}

function requireLive(job: TenantJob, row: WorkloadRow): void {
  if (row.revoked_at !== null || row.expires_at <= job.platform.clock.now())
    fail('conflict', 'the workload is revoked or expired: create another one');
}
