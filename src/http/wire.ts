// The shapes on the wire: what is accepted and what is answered. Names are snake_case; unknown fields are refused.
import { z } from 'zod';
import { ROLES, WORKLOAD_PERMISSIONS, type WorkloadPermission } from '../access/operations.ts';
import { LIMITS } from '../base/limits.ts';
import { apiKeyValue, basicValue, databaseValue, jsonValue, oauth2Config, oauth2Value } from '../vault/credential-kinds.ts';

const seconds = (maxMs: number, minSeconds = 60) =>
  z
    .int()
    .min(minSeconds)
    .max(maxMs / 1_000);
const cursor = z.string().min(1).max(512);

export const name = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, 'must be a name: lower case letters, digits, . _ -');
export const timestamp = z.iso.datetime({ precision: 3 }).describe('RFC 3339, UTC');
const nullableTime = timestamp.nullable();
export const limit = z.coerce.number().int().min(1).max(LIMITS.pageMaxRows).default(LIMITS.pageDefaultRows);
export const page = z.strictObject({ cursor: cursor.optional(), limit });

const label = z.string().min(1).max(LIMITS.labelMaxChars);
export const labels = z
  .record(z.string().regex(/^[a-zA-Z0-9][a-zA-Z0-9._/-]{0,63}$/, 'must be a label name'), label)
  .refine((value) => Object.keys(value).length <= LIMITS.labelsMaxCount, 'has too many labels');
const description = z.string().max(LIMITS.descriptionMaxChars);

const putCommon = {
  labels: labels.optional(),
  description: description.optional(),
  /** The current version the caller believes in; 0: must not exist. */
  cas: z.int().min(0).optional(),
};
const expiring = { ...putCommon, expires_at: timestamp.optional() };
export const putCredential = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('oauth2'),
    value: oauth2Value,
    config: oauth2Config,
    connector: name.optional(),
    ...putCommon,
  }),
  z.strictObject({ kind: z.literal('api_key'), value: apiKeyValue, ...expiring }),
  z.strictObject({ kind: z.literal('basic'), value: basicValue, ...expiring }),
  z.strictObject({ kind: z.literal('database'), value: databaseValue, ...expiring }),
  z.strictObject({ kind: z.literal('json'), value: jsonValue, ...expiring }),
]);

export const health = z.enum(['ready', 'degraded', 'needs_consent', 'disconnected']);

export const credential = z.object({
  id: z.string(),
  name: z.string(),
  environment: z.string(),
  kind: z.string(),
  connector: z.string().nullable(),
  state: z.enum(['active', 'deleted']),
  health: z.object({ state: health, since: timestamp, cause: z.string().nullable() }),
  version: z.int(),
  previous_version: z.int().nullable(),
  revision: z.int(),
  description: z.string(),
  labels: z.record(z.string(), z.string()),
  config: z.record(z.string(), z.unknown()),
  expires_at: nullableTime,
  refresh_due_at: nullableTime,
  created_at: timestamp,
  created_by: z.string(),
  updated_at: timestamp,
  deleted_at: nullableTime,
  destroy_after_at: nullableTime,
});
export type WireCredential = z.infer<typeof credential>;

export const credentialValue = z.object({
  id: z.string(),
  name: z.string(),
  environment: z.string(),
  kind: z.string(),
  version: z.int(),
  version_created_at: timestamp,
  expires_at: nullableTime,
  value: z
    .record(z.string(), z.unknown())
    .describe('By kind. Of an OAuth grant: access_token, token_type, scope; never the refresh token'),
});
export type WireCredentialValue = z.infer<typeof credentialValue>;

export const version = z.object({
  version: z.int(),
  stages: z.array(z.enum(['current', 'previous', 'pending'])),
  origin: z.enum(['put', 'refresh', 'rotation']),
  expires_at: nullableTime,
  created_at: timestamp,
  created_by: z.string(),
  run: z.string().nullable(),
});
export type WireVersion = z.infer<typeof version>;

export const listOf = <T extends z.ZodType>(item: T) => z.object({ items: z.array(item), next_cursor: z.string().nullable() });
export interface WirePage<T> {
  readonly items: readonly T[];
  readonly next_cursor: string | null;
}

export const listCredentials = z.strictObject({
  cursor: cursor.optional(),
  limit,
  kind: z.enum(['oauth2', 'api_key', 'basic', 'database', 'json']).optional(),
  health: health.optional(),
  /** `name=value`. */
  label: z
    .string()
    .max(400)
    .regex(/^[^=]+=.*$/, 'must be name=value')
    .optional(),
  search: z.string().min(1).max(128).optional(),
  deleted: z.enum(['true', 'false']).default('false'),
});
export const readValue = z.strictObject({
  version: z.coerce.number().int().min(1).max(Number.MAX_SAFE_INTEGER).optional(),
  stage: z.enum(['current', 'previous', 'pending']).optional(),
});
export const patchCredential = z.strictObject({ labels: labels.optional(), description: description.optional() });
export const rollBack = z.strictObject({ version: z.int().min(1).optional() });
export const deleteQuery = z.strictObject({
  recovery_window_days: z.coerce
    .number()
    .int()
    .min(LIMITS.recoveryWindowMinMs / 86_400_000)
    .max(LIMITS.recoveryWindowMaxMs / 86_400_000)
    .optional(),
});
export const empty = z.strictObject({});
export const noQuery = z.strictObject({});

export const run = z.object({
  id: z.string(),
  credential: z.string(),
  kind: z.enum(['refresh', 'rotation']),
  trigger: z.enum(['schedule', 'request', 'read']),
  requested_by: z.string(),
  state: z.enum(['open', 'succeeded', 'failed', 'cancelled']),
  step: z.string(),
  attempts: z.int(),
  outcome: z.string().nullable(),
  cause: z.string().nullable(),
  new_version: z.int().nullable(),
  started_at: timestamp,
  finished_at: nullableTime,
  next_attempt_at: nullableTime,
  steps: z.array(z.object({ step: z.string(), status: z.string(), at: timestamp })).optional(),
});
export type WireRun = z.infer<typeof run>;

export const environment = z.object({ id: z.string(), name: z.string(), created_at: timestamp });
export type WireEnvironment = z.infer<typeof environment>;
export const createEnvironment = z.strictObject({ name });

export const tenant = z.object({ id: z.string(), name: z.string(), state: z.string(), demo: z.boolean(), created_at: timestamp });
export type WireTenant = z.infer<typeof tenant>;
export const createTenant = z.strictObject({
  name,
  environments: z.array(name).min(1).max(16).default(['staging', 'production']),
});

const permission = z.enum(Object.keys(WORKLOAD_PERMISSIONS) as [WorkloadPermission, ...WorkloadPermission[]]);
const pattern = z.string().regex(/^[a-z0-9*][a-z0-9._*-]{0,63}$/, 'must be a name pattern; * matches any run of characters');
const jwk = z
  .looseObject({ kty: z.enum(['OKP', 'EC', 'RSA']) })
  .refine((key) => !('d' in key), { path: ['d'], message: 'must be a public key' });
export const createWorkload = z.strictObject({
  name,
  environment: name,
  patterns: z.array(pattern).min(1).max(LIMITS.patternsMaxCount),
  permissions: z.array(permission).min(1).default(['read']),
  networks: z.array(z.string().min(1).max(64)).max(LIMITS.networksMaxCount).default([]),
  jwks: z.strictObject({ keys: z.array(jwk).min(1).max(8) }).optional(),
  expires_in: seconds(LIMITS.workloadTtlDefaultMs * 3).default(LIMITS.workloadTtlDefaultMs / 1_000),
});
export const workload = z.object({
  id: z.string(),
  name: z.string(),
  environment: z.string(),
  patterns: z.array(z.string()),
  permissions: z.array(permission),
  networks: z.array(z.string()),
  authentication: z.enum(['client_secret', 'private_key_jwt']),
  created_at: timestamp,
  created_by: z.string(),
  expires_at: timestamp,
  revoked_at: nullableTime,
  last_used_at: nullableTime,
});
export type WireWorkload = z.infer<typeof workload>;
export const createdWorkload = z.object({
  workload,
  client_id: z.string(),
  client_secret: z.string().nullable().describe('Shown once'),
});
export type WireCreatedWorkload = z.infer<typeof createdWorkload>;
export const tokenFacts = z.object({
  id: z.string(),
  type: z.string(),
  created_at: timestamp,
  created_by: z.string(),
  expires_at: timestamp,
  revoked_at: nullableTime,
  last_used_at: nullableTime,
});
export const workloadWithTokens = workload.extend({ tokens: z.array(tokenFacts) });
export const createToken = z.strictObject({
  permissions: z.array(permission).min(1).optional(),
  expires_in: seconds(LIMITS.directTokenTtlMaxMs).default(LIMITS.directTokenTtlDefaultMs / 1_000),
});
export const issuedToken = z.object({ id: z.string(), token: z.string().describe('Shown once'), expires_at: timestamp });
export type WireIssuedToken = z.infer<typeof issuedToken>;

/** RFC 6749 section 4.4.2, RFC 7523 section 2.2. */
export const tokenRequest = z.strictObject({
  grant_type: z.literal('client_credentials'),
  client_id: z.string().min(1).max(64).optional(),
  client_secret: z.string().min(1).max(256).optional(),
  client_assertion_type: z.literal('urn:ietf:params:oauth:client-assertion-type:jwt-bearer').optional(),
  client_assertion: z.string().min(1).max(8_192).optional(),
  scope: z.string().max(256).optional(),
});
export const tokenResponse = z.object({ access_token: z.string(), token_type: z.literal('Bearer'), expires_in: z.int() });
export type WireTokenResponse = z.infer<typeof tokenResponse>;

const role = z.enum(ROLES);
const grant = z.strictObject({ role, tenant: name.optional() });
export const setUp = z.strictObject({ name });
export const createUser = z.strictObject({
  name,
  grants: z.array(grant).min(1).max(64),
  expires_in: seconds(LIMITS.userTokenTtlMaxMs).default(LIMITS.userTokenTtlDefaultMs / 1_000),
});
export const createUserToken = z.strictObject({
  expires_in: seconds(LIMITS.userTokenTtlMaxMs).default(LIMITS.userTokenTtlDefaultMs / 1_000),
});
export const user = z.object({
  id: z.string(),
  name: z.string(),
  grants: z.array(z.object({ role: z.string(), tenant: z.string() })),
  created_at: timestamp,
  offboarded_at: nullableTime,
});
export type WireUser = z.infer<typeof user>;
export const createdUser = z.object({ user, token: issuedToken });
export type WireCreatedUser = z.infer<typeof createdUser>;
export const whoAmI = z.object({
  type: z.string(),
  id: z.string(),
  name: z.string(),
  roles: z.array(z.string()),
  tenants: z.array(z.string()).optional(),
  environment: z.string().optional(),
});
export type WireWhoAmI = z.infer<typeof whoAmI>;

export const auditQuery = z.strictObject({
  before: z.coerce.number().int().min(0).optional(),
  from: z.coerce.number().int().min(0).optional(),
  limit,
  action: z.string().max(64).optional(),
  actor: z.string().max(64).optional(),
  outcome: z.enum(['success', 'failure', 'denied']).optional(),
  target: z.string().max(64).optional(),
  environment: name.optional(),
  workflow: z.string().max(128).optional(),
  request: z.string().max(64).optional(),
  since: z.iso.datetime().optional(),
  until: z.iso.datetime().optional(),
});
export const event = z.looseObject({
  index: z.int(),
  at: timestamp,
  action: z.string(),
  outcome: z.string(),
  reason: z.string(),
});
export interface WireEvent {
  readonly index: number;
  readonly at: string;
  readonly action: string;
  readonly actor: { readonly type: string; readonly id: string };
  readonly outcome: string;
  readonly reason: string;
  readonly request: string;
  readonly client_request?: string;
  readonly context?: { readonly workflow?: string; readonly run?: string };
  readonly target: { readonly type: string; readonly id?: string; readonly name?: string; readonly environment?: string };
  readonly details?: Readonly<Record<string, unknown>>;
  readonly origin?: { readonly address: string; readonly userAgent: string };
}
export const events = z.object({ items: z.array(event), next_before: z.int().nullable() });
export const checkpoint = z.object({ size: z.int(), at: timestamp, note: z.string(), verifier_key: z.string() });
export type WireCheckpoint = z.infer<typeof checkpoint>;

export const rotateKeys = z.strictObject({
  purposes: z
    .array(z.enum(['oauth_token', 'api_key', 'mfa_seed', 'backup', 'audit_pii', 'metadata_mac']))
    .min(1)
    .optional(),
});
export const keyProgress = z.object({
  purpose: z.string(),
  to_version: z.int(),
  total: z.int(),
  done: z.int(),
  started_at: timestamp,
  finished_at: nullableTime,
});
export const keys = z.object({
  keys: z.array(
    z.object({
      id: z.string(),
      purpose: z.string(),
      version: z.int(),
      state: z.enum(['active', 'decrypt_only', 'destroyed']),
      wraps: z.int(),
      created_at: timestamp,
      destroy_after_at: nullableTime,
      destroyed_at: nullableTime,
    }),
  ),
  rotations: z.array(keyProgress),
});
export type WireKeys = z.infer<typeof keys>;

export const healthAnswer = z.object({ status: z.enum(['ok', 'sealed', 'not_initialised']), version: z.string() });
