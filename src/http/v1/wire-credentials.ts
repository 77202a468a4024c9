// Wire schemas of credentials and runs. Names are snake_case; unknown fields are rejected.
import { z } from 'zod';
import { LIMITS } from '../../base/limits.ts';
import {
  apiKeyValue,
  basicValue,
  databaseValue,
  jsonValue,
  oauth2Config,
  oauth2Value,
  RETAINED_PARTS,
} from '../../vault/credential-kinds.ts';
import { keyConfig } from '../../vault/rotation-state.ts';
import { cursor, digits, instant, limit, name, nullableTime, timestamp } from './wire-parts.ts';

const label = z.string().min(1).max(LIMITS.labelMaxChars);
const LABEL_NAME = /^[a-zA-Z0-9][a-zA-Z0-9._/-]{0,63}$/;
const LABEL_NAME_RULE =
  "a label name may contain A-Z, a-z, 0-9, '.', '_', '/' and '-', at most 64 characters, and begins with a letter or a digit";
export const labels = z
  .record(z.string().regex(LABEL_NAME, LABEL_NAME_RULE), label)
  .refine((value) => Object.keys(value).length <= LIMITS.labelsMaxCount, `must have at most ${LIMITS.labelsMaxCount} labels`)
  .meta({ propertyNames: { pattern: LABEL_NAME.source }, maxProperties: LIMITS.labelsMaxCount });
const description = z.string().max(LIMITS.descriptionMaxChars);

const putCommon = {
  labels: labels.optional(),
  description: description.optional(),
  /** Check-and-set: the write succeeds only if this is the current version; 0: only if the credential does not exist. */
  cas: z.int().min(0).optional(),
  replace_deleted: z
    .boolean()
    .optional()
    .describe('Renames a deleted credential of this name, so that it stays restorable until its recovery window ends'),
};
/** For a grant from another system: Keyturn watches for signs that the other system still refreshes it. */
const importOf = z.strictObject({
  /** The other system, e.g. `nango`. */
  from: name,
  /** The other system still refreshes it: the watch has no end. */
  still_used_there: z.boolean().optional(),
});
const expiring = {
  ...putCommon,
  expires_at: instant.optional(),
  connector: name.optional().describe('How the value is rotated at its target; absent: the stored one'),
  config: keyConfig.optional().describe('Settings of the connector; absent: the stored ones'),
};
export const putCredential = z.discriminatedUnion('kind', [
  z
    .strictObject({
      kind: z.literal('oauth2'),
      value: oauth2Value,
      config: oauth2Config,
      connector: name.optional(),
      import: importOf.optional(),
      discard: z
        .array(z.enum(RETAINED_PARTS))
        .max(RETAINED_PARTS.length)
        .optional()
        .describe(
          'Parts of the stored value to discard. A put that omits a stored part is refused otherwise, because the part cannot be read back',
        ),
      ...putCommon,
    })
    .meta({ id: 'PutGrant' }),
  z.strictObject({ kind: z.literal('api_key'), value: apiKeyValue, ...expiring }).meta({ id: 'PutApiKey' }),
  z.strictObject({ kind: z.literal('basic'), value: basicValue, ...expiring }).meta({ id: 'PutBasic' }),
  z.strictObject({ kind: z.literal('database'), value: databaseValue, ...expiring }).meta({ id: 'PutDatabase' }),
  z.strictObject({ kind: z.literal('json'), value: jsonValue, ...expiring }).meta({ id: 'PutJson' }),
]);

export const health = z
  .enum(['ready', 'degraded', 'needs_consent', 'disconnected', 'expired'])
  .describe('expired: the expires_at of the value has passed; the value is still served, marked as expired');

const scopeList = z.array(z.string());
export const grant = z
  .object({
    connected_at: nullableTime.describe('When a person last consented'),
    imported_at: nullableTime,
    imported_from: z.string().nullable(),
    refreshed_at: nullableTime,
    ends_at: nullableTime.describe('When it ends unless somebody acts'),
    ends_because: z.string().nullable(),
    ends_certain: z.boolean().nullable(),
    account: z
      .record(z.string(), z.string())
      .describe('What the provider reports about the connected account; the fields depend on the connector'),
    scopes: z
      .object({
        wanted: scopeList,
        granted: scopeList.nullable().describe('Null: unknown, because the provider did not report it'),
        missing: scopeList,
        extra: scopeList,
        source: z.enum(['answer', 'introspection', 'jwt', 'probe']).nullable(),
      })
      .describe('The scopes that the workflows need, compared with those granted'),
    guard: z
      .object({
        sign: z.enum(['refused_early', 'replaced_unexpectedly', 'token_dead_early', 'put_while_alive']),
        at: timestamp,
        explanation: z.string(),
      })
      .nullable()
      .describe('The last sign that another system refreshes the same grant'),
    revocation: z
      .object({
        state: z.enum(['waiting', 'revoked', 'not_possible', 'shared', 'not_asked', 'given_up']),
        at: timestamp,
        attempts: z.int(),
        cause: z.string().nullable(),
      })
      .nullable(),
  })
  .meta({ id: 'Grant' });
export type WireGrant = z.infer<typeof grant>;

export const credential = z
  .object({
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
    pending_version: z.int().nullable().describe('A new value that a rotation has not tested yet'),
    rotation_due_at: nullableTime.describe('When the next scheduled rotation of a key or password begins'),
    created_at: timestamp,
    created_by: z.string(),
    updated_at: timestamp,
    deleted_at: nullableTime,
    destroy_after_at: nullableTime,
    grant: grant.optional().describe('Present for OAuth grants'),
    set_aside: z.string().optional().describe('After a put with replace_deleted: the new name of the deleted credential'),
    reconnect: z
      .string()
      .optional()
      .describe('The path to POST to for a link; present while the account must be connected again'),
  })
  .meta({ id: 'Credential' });
export type WireCredential = z.infer<typeof credential>;

export const disconnect = z.strictObject({ revoke: z.boolean().default(true) });
export const disconnected = credential.extend({
  manual_steps: z
    .array(z.string())
    .describe('Steps for a person to revoke the grant at the provider, if the provider has no revocation call'),
});
export type WireDisconnected = z.infer<typeof disconnected>;

export const credentialValue = z
  .object({
    id: z.string(),
    name: z.string(),
    environment: z.string(),
    kind: z.string(),
    version: z.int(),
    version_created_at: timestamp,
    rotated_at: timestamp.describe('When this version became current; of an older version, when it was stored'),
    previous_valid_until: nullableTime.describe(
      'The previous version works at the target at least until then; null if there is none, it has ended, or nothing ends it',
    ),
    good_for_seconds: z.int().describe('How long a client may use its copy of the value without asking again'),
    expires_at: nullableTime,
    expired: z
      .boolean()
      .describe('Whether expires_at has passed. The value is served nevertheless; it may still work at the provider'),
    health: health.describe(
      'Health of the credential. needs_consent: the grant has ended, and the access token is served until it expires; the provider may reject it',
    ),
    value: z
      .record(z.string(), z.unknown())
      .describe('The fields depend on the kind. OAuth grant: access_token, token_type, scope; never the refresh token'),
  })
  .meta({ id: 'CredentialValue' });
export type WireCredentialValue = z.infer<typeof credentialValue>;

export const version = z
  .object({
    version: z.int(),
    stages: z.array(z.enum(['current', 'previous', 'pending'])),
    origin: z.enum(['put', 'import', 'consent', 'refresh', 'rotation']),
    expires_at: nullableTime,
    created_at: timestamp,
    created_by: z.string(),
    run: z.string().nullable(),
  })
  .meta({ id: 'Version' });
export type WireVersion = z.infer<typeof version>;

export const listCredentials = z.strictObject({
  cursor: cursor.optional(),
  limit,
  kind: z.enum(['oauth2', 'api_key', 'basic', 'database', 'json']).optional(),
  health: health.optional(),
  /** `name=value`. */
  label: z
    .string()
    .max(400)
    .regex(/^[^=]+=.*$/, 'must have the form name=value')
    .optional(),
  search: z.string().min(1).max(128).optional(),
  deleted: z.enum(['true', 'false']).default('false'),
});
export const readValue = z.strictObject({
  version: digits(1, Number.MAX_SAFE_INTEGER).optional(),
  stage: z.enum(['current', 'previous', 'pending']).optional(),
  refresh: z
    .enum(['true', 'false'])
    .default('false')
    .describe('Refreshes a grant, or settles a rotation in doubt, before the read; needs the right to rotate'),
});
export const reader = z
  .object({
    id: z.string(),
    type: z.enum(['workload', 'user']),
    name: z.string().nullable(),
    version: z.int().describe('The version that it received last'),
    since: timestamp.describe('When it first received this version'),
    seen: timestamp.describe('When it last read; up to five minutes too early'),
    live: z.boolean().describe('A workload that the end of this version would wait for'),
  })
  .meta({ id: 'Reader' });
export type WireReader = z.infer<typeof reader>;
export const patchCredential = z.strictObject({ labels: labels.optional(), description: description.optional() });
export const rollBack = z.strictObject({
  version: z.int().min(1).optional(),
  revoke_replaced: z.boolean().default(false).describe('Also ends the replaced version at its target, after the grace period'),
});
export const deleteQuery = z.strictObject({
  recovery_window_days: digits(LIMITS.recoveryWindowMinMs / 86_400_000, LIMITS.recoveryWindowMaxMs / 86_400_000).optional(),
});

export const evidence = z
  .object({
    status: z.int().optional(),
    content_type: z.string().optional(),
    words: z.array(z.string()).optional().describe('Error codes of the provider, verbatim'),
    excerpt: z.string().optional().describe('Plain text of its answer; … marks an omission'),
    system_code: z.string().optional().describe('The system error of a failed connection, e.g. ECONNREFUSED'),
  })
  .describe('The answer of the provider to a failed call, without secrets');
export type WireEvidence = z.infer<typeof evidence>;

/** One line, shown to people who look at the run; it is not in the log. */
const reason = z.string().min(1).max(LIMITS.reasonMaxChars);
const planHash = z.string().regex(/^[0-9a-f]{64}$/, 'must be the hash of a plan: 64 hexadecimal digits');
export const rotationPlan = z
  .object({
    hash: planHash.describe('SHA-256 over the canonical JSON (RFC 8785) of the member plan'),
    ready: z.boolean().describe('Whether every check has passed; otherwise a run is refused'),
    checks: z.array(z.object({ check: z.string(), ok: z.boolean(), fault: z.string().nullable() })),
    consequence: z.string().describe('What the strategy means for readers'),
    plan: z.object({
      credential: z.string(),
      version: z.int().describe('The version that is replaced'),
      connector: z.string().nullable(),
      strategy: z.string().nullable(),
      calls: z
        .array(z.object({ step: z.string(), what: z.string(), undoable: z.boolean() }))
        .describe('In order; braces stand for what is known only then'),
      destinations: z.array(z.string()),
      manager: z.object({ id: z.string(), name: z.string() }).nullable().describe('Null: the value manages itself'),
      keys_max: z.int().nullable().describe('Keys that the provider allows at once; null: unknown'),
      grace_seconds: z.int().nullable().describe('The old value works at least that long; null: the target refuses it at once'),
      deadline_seconds: z.int().nullable().describe('Then the old value is ended whoever still has it'),
    }),
    readers: z.array(reader).describe('Who received the value lately'),
  })
  .meta({ id: 'RotationPlan' });
export type WireRotationPlan = z.infer<typeof rotationPlan>;
export const requestRun = z.strictObject({
  reason: reason.optional().describe('Why; shown with the run'),
  plan: planHash.optional().describe('The hash of a plan: the run is refused if the plan has changed since'),
  skip_staging: z
    .boolean()
    .default(false)
    .describe('In production, although no such rotation has completed in staging; for owners, with a reason'),
});

export const run = z
  .object({
    id: z.string(),
    credential: z.string(),
    kind: z.enum(['refresh', 'rotation', 'revocation']),
    version: z.int().describe('The version that the run replaces; of a revocation, the one that it ends'),
    trigger: z.enum(['schedule', 'request', 'read']),
    requested_by: z.string(),
    reason: z.string().nullable(),
    plan: z.string().nullable().describe('The hash of the plan that the run was requested with'),
    retry_of: z.string().nullable().describe('The failed or cancelled run that this one repeats'),
    state: z.enum(['open', 'succeeded', 'failed', 'cancelled']),
    step: z.string(),
    attempts: z.int(),
    outcome: z.string().nullable(),
    cause: z.string().nullable(),
    new_version: z.int().nullable(),
    started_at: timestamp,
    finished_at: nullableTime,
    next_attempt_at: nullableTime,
    late_readers: z
      .object({ count: z.int(), names: z.array(z.string()).describe('The first of them') })
      .optional()
      .describe('Of a revocation: workloads that received the version last and have not received a newer one'),
    deadline_at: timestamp.optional().describe('Of a revocation that waits for readers: when it stops to wait'),
    steps: z.array(z.object({ step: z.string(), status: z.string(), at: timestamp, evidence: evidence.optional() })).optional(),
  })
  .meta({ id: 'Run' });
/** Its bytes are signed; src/audit/receipt.ts has the members of the statement. */
export const receipt = z
  .object({
    receipt: z.literal('keyturn-receipt-v1'),
    origin: z.string(),
    verifier_key: z.string(),
    statement: z.record(z.string(), z.unknown()),
    event: z.string(),
    proof: z.array(z.string()),
    checkpoint: z.string(),
    signature: z.string(),
  })
  .meta({ id: 'Receipt' });
export type WireRun = z.infer<typeof run>;
