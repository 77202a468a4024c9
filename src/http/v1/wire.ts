// Wire schemas of all other resources; re-exports the others, so that every schema is imported from here.
import { z } from 'zod';
import { ROLES, WORKLOAD_PERMISSIONS, type WorkloadPermission } from '../../access/operations.ts';
import { LIMITS } from '../../base/limits.ts';
import { digits, instant, limit, name, namePattern, nullableTime, seconds, timestamp } from './wire-parts.ts';

export * from './wire-alerts.ts';
export * from './wire-connections.ts';
export * from './wire-credentials.ts';
export * from './wire-due.ts';
export { empty, listOf, name, page, timestamp, type WirePage } from './wire-parts.ts';
export * from './wire-schedules.ts';

export const environment = z
  .object({
    id: z.string(),
    name: z.string(),
    production: z.boolean().describe('Rotations must have completed elsewhere first'),
    created_at: timestamp,
  })
  .meta({ id: 'Environment' });
export type WireEnvironment = z.infer<typeof environment>;
export const createEnvironment = z.strictObject({
  name,
  production: z
    .boolean()
    .optional()
    .describe('Whether rotations must have completed elsewhere first; default: if the name is production'),
});

export const tenant = z
  .object({ id: z.string(), name: z.string(), state: z.string(), demo: z.boolean(), created_at: timestamp })
  .meta({ id: 'Tenant' });
export type WireTenant = z.infer<typeof tenant>;
export const createTenant = z.strictObject({
  name,
  environments: z.array(name).min(1).max(16).default(['staging', 'production']),
});

const permission = z.enum(Object.keys(WORKLOAD_PERMISSIONS) as [WorkloadPermission, ...WorkloadPermission[]]);
const jwk = z
  .looseObject({ kty: z.enum(['OKP', 'EC', 'RSA']) })
  .refine((key) => !('d' in key), { path: ['d'], message: 'must be absent: send the public key only' })
  .meta({ not: { required: ['d'], properties: { d: {} } } });
export const createWorkload = z.strictObject({
  name,
  environment: name,
  patterns: z.array(namePattern).min(1).max(LIMITS.patternsMaxCount),
  permissions: z.array(permission).min(1).default(['read']),
  networks: z.array(z.string().min(1).max(64)).max(LIMITS.networksMaxCount).default([]),
  jwks: z.strictObject({ keys: z.array(jwk).min(1).max(8) }).optional(),
  expires_in: seconds(LIMITS.workloadTtlDefaultMs * 3).default(LIMITS.workloadTtlDefaultMs / 1_000),
});
export const workload = z
  .object({
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
  })
  .meta({ id: 'Workload' });
export type WireWorkload = z.infer<typeof workload>;
export const createdWorkload = z
  .object({
    workload,
    client_id: z.string(),
    client_secret: z.string().nullable().describe('Shown once'),
  })
  .meta({ id: 'CreatedWorkload' });
export type WireCreatedWorkload = z.infer<typeof createdWorkload>;
export const token = z
  .object({
    id: z.string(),
    type: z.string(),
    created_at: timestamp,
    created_by: z.string(),
    expires_at: timestamp,
    revoked_at: nullableTime,
    last_used_at: nullableTime,
  })
  .meta({ id: 'Token' });
export const workloadWithTokens = workload.extend({ tokens: z.array(token) });
export const createToken = z.strictObject({
  permissions: z.array(permission).min(1).optional(),
  expires_in: seconds(LIMITS.directTokenTtlMaxMs).default(LIMITS.directTokenTtlDefaultMs / 1_000),
});
export const issuedToken = z
  .object({ id: z.string(), token: z.string().describe('Shown once'), expires_at: timestamp })
  .meta({ id: 'IssuedToken' });
export type WireIssuedToken = z.infer<typeof issuedToken>;

/** RFC 6749 section 4.4.2, RFC 7523 section 2.2. */
export const tokenRequest = z
  .strictObject({
    grant_type: z.literal('client_credentials'),
    client_id: z.string().min(1).max(64).optional(),
    client_secret: z.string().min(1).max(256).optional(),
    client_assertion_type: z.literal('urn:ietf:params:oauth:client-assertion-type:jwt-bearer').optional(),
    client_assertion: z.string().min(1).max(8_192).optional(),
    scope: z.string().max(256).optional(),
  })
  .meta({ not: { required: ['client_secret', 'client_assertion'], properties: { client_secret: {}, client_assertion: {} } } });
export const tokenResponse = z
  .object({ access_token: z.string(), token_type: z.literal('Bearer'), expires_in: z.int() })
  .meta({ id: 'AccessToken' });
export type WireTokenResponse = z.infer<typeof tokenResponse>;

/** The roles of users; `workload` is for programs only. */
const role = z.enum(ROLES).exclude(['workload']);
const grant = z.strictObject({ role, tenant: name.optional() });
export const setUp = z.strictObject({ name });
export const createUser = z.strictObject({
  name,
  grants: z.array(grant).min(1).max(64),
  expires_in: seconds(LIMITS.enrolmentTtlMaxMs)
    .default(LIMITS.enrolmentTtlDefaultMs / 1_000)
    .describe('Lifetime of the enrolment token in seconds'),
});
export const enrol = z.strictObject({
  expires_in: seconds(LIMITS.userTokenTtlMaxMs).default(LIMITS.userTokenTtlDefaultMs / 1_000),
});
export const createUserToken = z.strictObject({
  expires_in: seconds(LIMITS.userTokenTtlMaxMs).default(LIMITS.userTokenTtlDefaultMs / 1_000),
});
export const user = z
  .object({
    id: z.string(),
    name: z.string(),
    grants: z.array(z.object({ role: z.string(), tenant: z.string() })),
    created_at: timestamp,
    offboarded_at: nullableTime,
  })
  .meta({ id: 'User' });
export type WireUser = z.infer<typeof user>;
export const createdUser = z
  .object({
    user,
    enrolment: issuedToken.describe('Give it to the person, who exchanges it once for a personal token'),
  })
  .meta({ id: 'CreatedUser' });
export type WireCreatedUser = z.infer<typeof createdUser>;
export const enrolledUser = z.object({ user, token: issuedToken }).meta({ id: 'EnrolledUser' });
export type WireEnrolledUser = z.infer<typeof enrolledUser>;
export const whoAmI = z
  .object({
    type: z.string(),
    id: z.string(),
    name: z.string(),
    roles: z.array(z.string()),
    tenants: z.array(z.string()).optional(),
    environment: z.string().optional(),
  })
  .meta({ id: 'WhoAmI' });
export type WireWhoAmI = z.infer<typeof whoAmI>;

export const auditQuery = z
  .strictObject({
    before: digits(0, Number.MAX_SAFE_INTEGER).optional().describe('Only events with a smaller index'),
    from: digits(0, Number.MAX_SAFE_INTEGER)
      .optional()
      .describe('Events from this index on, oldest first; cannot be combined with before'),
    limit,
    action: z.string().max(64).optional(),
    actor: z.string().max(64).optional().describe('Id of a principal, or name of a user or workload, also of a removed one'),
    outcome: z.enum(['success', 'failure', 'denied']).optional(),
    target: z.string().max(LIMITS.credentialNameMaxChars).optional().describe('Id or name of the target'),
    environment: name.optional().describe('Environment of the target; omits events without an environment'),
    workflow: z.string().max(128).optional(),
    request: z.string().max(64).optional(),
    since: instant.optional().describe('At this instant or later'),
    until: instant.optional().describe('Before this instant'),
  })
  .refine(({ before, from }) => before === undefined || from === undefined, {
    path: ['from'],
    message: 'must not be combined with before',
  });
const index = digits(0, Number.MAX_SAFE_INTEGER);
/** The range includes both ends. */
export const exportQuery = z
  .strictObject({ from: index.optional(), to: index.optional() })
  .refine(({ from, to }) => (from === undefined) === (to === undefined), {
    path: ['to'],
    message: 'must be given together with from',
  })
  .refine(({ from = 0, to = 0 }) => from <= to, { path: ['to'], message: 'must be greater than or equal to from' });
export const event = z
  .looseObject({
    index: z.int(),
    at: timestamp,
    action: z.string(),
    outcome: z.string(),
    reason: z.string(),
    actor_name: z
      .string()
      .optional()
      .describe('Present name of the user or workload; not part of the logged event, so no signature covers it'),
  })
  .meta({ id: 'Event' });
export interface WireEvent {
  readonly index: number;
  readonly at: string;
  readonly action: string;
  readonly actor: { readonly type: string; readonly id: string };
  readonly actor_name?: string;
  readonly outcome: string;
  readonly reason: string;
  readonly request: string;
  readonly client_request?: string;
  readonly context?: { readonly workflow?: string; readonly run?: string };
  readonly target: { readonly type: string; readonly id?: string; readonly name?: string; readonly environment?: string };
  readonly details?: Readonly<Record<string, unknown>>;
  readonly origin?: { readonly address: string; readonly userAgent: string };
}
export const events = z
  .object({
    items: z.array(event),
    next_before: z
      .int()
      .nullable()
      .describe('Pass as before for older events. A page may be short or empty although more events follow'),
    next_from: z.int().nullable().describe('Pass as from to continue following'),
    damaged: z
      .array(z.object({ from: z.int(), to: z.int() }))
      .describe(
        'First and last index of events in this part of the log that are changed or missing in the database; items omits them',
      ),
  })
  .meta({ id: 'EventPage' });
export type WireEvents = Omit<z.infer<typeof events>, 'items'> & { readonly items: readonly WireEvent[] };
export const checkpoint = z
  .object({ size: z.int(), at: timestamp, note: z.string(), verifier_key: z.string() })
  .meta({ id: 'Checkpoint' });
export type WireCheckpoint = z.infer<typeof checkpoint>;

export const rotateKeys = z.strictObject({
  purposes: z
    .array(z.enum(['oauth_token', 'api_key', 'mfa_seed', 'backup', 'audit_pii', 'metadata_mac']))
    .min(1)
    .refine((purposes) => new Set(purposes).size === purposes.length, 'must not contain a purpose twice')
    .meta({ uniqueItems: true })
    .optional(),
});
export const keyProgress = z
  .object({
    purpose: z.string(),
    to_version: z.int(),
    total: z.int(),
    done: z.int(),
    started_at: timestamp,
    finished_at: nullableTime,
  })
  .meta({ id: 'KeyProgress' });
export const keys = z
  .object({
    keys: z.array(
      z.object({
        id: z.string(),
        purpose: z.string(),
        version: z.int(),
        state: z.enum(['active', 'decrypt_only', 'destroyed']),
        wraps: z.int(),
        created_at: timestamp,
        turns_at: nullableTime.meta({ description: 'When an active key is rotated by its age, unless somebody does it before' }),
        destroy_after_at: nullableTime,
        destroyed_at: nullableTime,
      }),
    ),
    rotations: z.array(keyProgress),
  })
  .meta({ id: 'Keys' });
export type WireKeys = z.infer<typeof keys>;
export const rootKey = z
  .object({
    provider: z.string(),
    rotating_since: nullableTime,
    done: z.int(),
    total: z.int(),
    blocked: z.array(z.object({ id: z.string(), code: z.string() })),
  })
  .meta({ id: 'RootKey' });
export type WireRootKey = z.infer<typeof rootKey>;

const part = z.enum(['ok', 'degraded', 'failing']);
const healthState = z.enum(['ok', 'degraded', 'failing', 'sealed', 'not_initialised']);
const parts = z
  .object({
    storage: part.optional(),
    witness: part.optional(),
    scheduler: part.optional(),
    clock: part.optional(),
    state: part.optional().describe('degraded: something stored failed its check since the start; alerts say what'),
    tenants: part.optional(),
  })
  .describe('The parts that the platform can check');
export const healthAnswer = z.object({ status: healthState, version: z.string(), parts }).meta({ id: 'Health' });
export type WireHealth = z.infer<typeof healthAnswer>;
export const healthDetail = z.object({
  status: healthState,
  parts,
  storage: z.string().nullable().describe('The error code, if the home cell cannot store data'),
  clock: z
    .object({
      state: z
        .enum(['steady', 'starting', 'jump_waiting', 'behind'])
        .describe(
          'Nothing is destroyed or purged unless the state is steady. jump_waiting: the clock jumped ahead; behind: the clock is behind a committed time',
        ),
      ahead_seconds: z.number().int().describe('The difference from the proven time; negative if the clock is behind'),
      steady_in_seconds: z
        .number()
        .int()
        .nullable()
        .describe('Seconds until it is steady, without a further jump; null while it is behind'),
    })
    .nullable()
    .describe('Null on platforms that guarantee the clock'),
  tenants: z
    .array(z.object({ id: z.string(), name: z.string().nullable(), code: z.string() }))
    .describe('The tenants that are not served, with the error code'),
});
export type WireHealthDetail = z.infer<typeof healthDetail>;
