// Credentials and runs on the wire: what is accepted and what is answered. Names are snake_case; unknown fields are refused.
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
import { cursor, digits, instant, limit, name, nullableTime, timestamp } from './wire-parts.ts';

const label = z.string().min(1).max(LIMITS.labelMaxChars);
const LABEL_NAME = /^[a-zA-Z0-9][a-zA-Z0-9._/-]{0,63}$/;
export const labels = z
  .record(z.string().regex(LABEL_NAME, 'must be a label name'), label)
  .refine((value) => Object.keys(value).length <= LIMITS.labelsMaxCount, 'has too many labels')
  .meta({ propertyNames: { pattern: LABEL_NAME.source }, maxProperties: LIMITS.labelsMaxCount });
const description = z.string().max(LIMITS.descriptionMaxChars);

const putCommon = {
  labels: labels.optional(),
  description: description.optional(),
  /** The current version the caller believes in; 0: must not exist. */
  cas: z.int().min(0).optional(),
  replace_deleted: z
    .boolean()
    .optional()
    .describe('A deleted credential of this name is set aside: it can be restored under another name until its window ends'),
};
/** The grant was made elsewhere: it is watched for signs that the other system still refreshes it. */
const importOf = z.strictObject({
  /** Where it comes from, e.g. `nango`. */
  from: name,
  /** The other system goes on refreshing it for now: the watch does not end. */
  still_used_there: z.boolean().optional(),
});
const expiring = { ...putCommon, expires_at: instant.optional() };
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
        .describe('Parts of the stored value to lose: nobody can read them back, so leaving one out is refused'),
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
  .describe('expired: the end date that was put with it has passed; it is still served, and marked');

const scopeList = z.array(z.string());
export const grant = z
  .object({
    connected_at: nullableTime.describe('When a person last consented'),
    imported_at: nullableTime,
    imported_from: z.string().nullable(),
    refreshed_at: nullableTime,
    ends_at: nullableTime.describe('When it ends if nobody does anything'),
    ends_because: z.string().nullable(),
    ends_certain: z.boolean().nullable(),
    account: z.record(z.string(), z.string()).describe('What the provider told of the connected account, by connector'),
    scopes: z
      .object({
        wanted: scopeList,
        granted: scopeList.nullable().describe('Null: nobody told'),
        missing: scopeList,
        extra: scopeList,
        source: z.enum(['answer', 'introspection', 'jwt', 'probe']).nullable(),
      })
      .describe('What the workflows need held against what was granted'),
    guard: z
      .object({
        sign: z.enum(['refused_early', 'replaced_unexpectedly', 'token_dead_early', 'put_while_alive']),
        at: timestamp,
        explanation: z.string(),
      })
      .nullable()
      .describe('A sign that another system refreshes the same grant'),
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
    created_at: timestamp,
    created_by: z.string(),
    updated_at: timestamp,
    deleted_at: nullableTime,
    destroy_after_at: nullableTime,
    grant: grant.optional().describe('Of an OAuth grant'),
    set_aside: z
      .string()
      .optional()
      .describe('After a put with replace_deleted: the name the deleted credential has from now on'),
    reconnect: z.string().optional().describe('Where to POST for a link, while the account must be connected again'),
  })
  .meta({ id: 'Credential' });
export type WireCredential = z.infer<typeof credential>;

export const disconnect = z.strictObject({ revoke: z.boolean().default(true) });
export const disconnected = credential.extend({
  manual_steps: z.array(z.string()).describe('What a person does at the provider where no call revokes it'),
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
    expires_at: nullableTime,
    expired: z
      .boolean()
      .describe('expires_at has passed: the value is served as it is, and the provider decides whether it still works'),
    value: z
      .record(z.string(), z.unknown())
      .describe('By kind. Of an OAuth grant: access_token, token_type, scope; never the refresh token'),
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
    .regex(/^[^=]+=.*$/, 'must be name=value')
    .optional(),
  search: z.string().min(1).max(128).optional(),
  deleted: z.enum(['true', 'false']).default('false'),
});
export const readValue = z.strictObject({
  version: digits(1, Number.MAX_SAFE_INTEGER).optional(),
  stage: z.enum(['current', 'previous', 'pending']).optional(),
});
export const patchCredential = z.strictObject({ labels: labels.optional(), description: description.optional() });
export const rollBack = z.strictObject({ version: z.int().min(1).optional() });
export const deleteQuery = z.strictObject({
  recovery_window_days: digits(LIMITS.recoveryWindowMinMs / 86_400_000, LIMITS.recoveryWindowMaxMs / 86_400_000).optional(),
});

export const evidence = z
  .object({
    status: z.int().optional(),
    content_type: z.string().optional(),
    words: z.array(z.string()).optional().describe('Error codes as the provider wrote them'),
    excerpt: z.string().optional().describe('Plain words of its answer; … stands where something was left out'),
    system_code: z.string().optional().describe('Of a connection that failed, e.g. ECONNREFUSED'),
  })
  .describe('What the provider said when it did not do what it was asked, without any secret');
export type WireEvidence = z.infer<typeof evidence>;

export const run = z
  .object({
    id: z.string(),
    credential: z.string(),
    kind: z.enum(['refresh', 'rotation', 'revocation']),
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
    steps: z.array(z.object({ step: z.string(), status: z.string(), at: timestamp, evidence: evidence.optional() })).optional(),
  })
  .meta({ id: 'Run' });
export type WireRun = z.infer<typeof run>;
