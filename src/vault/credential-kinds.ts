// The kinds of credential: the schemas of their values and settings, which parts are served and which never leave the vault.
import { z } from 'zod';
import { fail } from '../base/errors.ts';
import { canonicalInstant, INSTANT_FORMS, isInstant } from '../base/instants.ts';
import { LIMITS } from '../base/limits.ts';
import type { Purpose } from '../crypto/envelope.ts';

const text = (maxChars: number) => z.string().min(1).max(maxChars);
const secretText = text(65_536);
/** RFC 4648 section 4, with its padding: any bytes. */
const secretBytes = z
  .base64('must be base64 of RFC 4648 section 4, with its padding')
  .min(1)
  .max(87_384)
  .meta({ contentEncoding: 'base64', pattern: '^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$' });

/** An instant in any accepted form, converted to the canonical one (base/instants.ts). */
export const instant = z
  .string()
  .max(64)
  .refine(isInstant, `must be ${INSTANT_FORMS}`)
  .overwrite(canonicalInstant)
  .meta({ format: 'date-time', description: 'RFC 3339 with any offset, or a date, which is 00:00 UTC' });

function hasCredentialsOrFragment(url: URL | null): boolean {
  return url !== null && (url.username !== '' || url.password !== '' || url.hash !== '');
}

/**
 * A value with one secret: as text, or as base64 if its bytes are not UTF-8; never both.
 * INVARIANT: a read returns exactly the value that was put, in the same form (test/http/v1/values.test.ts).
 */
export const apiKeyValue = z.union([
  z.strictObject({ key: secretText, key_id: text(512).optional() }),
  z.strictObject({ key_base64: secretBytes, key_id: text(512).optional() }),
]);
/** RFC 7617 section 2: the user name or the password may be empty; services accept a key in either place. */
const username = z.string().max(65_536);
export const basicValue = z
  .union([
    z.strictObject({ username, password: z.string().max(65_536) }),
    z.strictObject({ username, password_base64: secretBytes }),
  ])
  .refine(
    (value) => value.username !== '' || !('password' in value) || value.password !== '',
    'must have a user name or a password',
  );

const port = z.union([z.int().min(1).max(65_535), z.string().regex(/^[1-9][0-9]{0,4}$/, 'must be a port number')]);
const databaseParts = {
  username: z.string().max(512).optional(),
  password: z.string().max(65_536).optional(),
  password_base64: secretBytes.optional(),
  /** Absent where the engine finds the port itself, as with mongodb+srv. */
  port: port.optional(),
  database: text(255).optional(),
  /** Further options of the driver, e.g. `{ "sslmode": "require" }`. */
  options: z.record(text(128), z.union([z.string().max(1_024), z.number(), z.boolean()])).optional(),
  dbname: text(255).optional(),
  dbInstanceIdentifier: text(255).optional(),
  dbClusterIdentifier: text(255).optional(),
};
const engine = z
  .string()
  .regex(/^[a-z][a-z0-9+._-]{0,63}$/, 'must be the name of an engine such as postgresql, mysql, mongodb, redis or sqlserver');
/** One host, several with commas, or the folder of a Unix socket. */
const host = text(2_048);
/** In the form of drivers and services: parts, or a whole connection string; the member names of Amazon RDS are accepted. */
export const databaseValue = z
  .union([
    z.strictObject({ engine, host, url: secretText.optional(), ...databaseParts }),
    z.strictObject({ url: secretText, engine: engine.optional(), ...databaseParts }),
  ])
  .refine((value) => value.password === undefined || value.password_base64 === undefined, {
    path: ['password_base64'],
    message: 'must not be given together with password',
  });
export const jsonValue = z
  .record(z.string().max(256), z.unknown())
  .refine((value) => Object.keys(value).length > 0, 'must not be empty')
  .meta({ minProperties: 1 });

/** An OAuth grant in a put. Only the access token, its type, scope and expiry are ever served. */
export const oauth2Value = z.strictObject({
  access_token: secretText.optional(),
  refresh_token: secretText.optional(),
  client_secret: secretText.optional(),
  /** For private_key_jwt: a private JWK with `alg`. */
  client_private_jwk: z.looseObject({ kty: z.enum(['OKP', 'EC', 'RSA']), alg: z.string().max(16) }).optional(),
  /** PEM, PKCS #8 or PKCS #1: the key of a Google service account or a GitHub App. */
  client_private_key_pem: text(16_384).optional(),
  token_type: text(64).optional(),
  scope: z.string().max(4_096).optional(),
  /** Lifetime of the access token from now, in seconds. */
  expires_in: z.int().min(0).max(31_536_000).optional(),
});

// SECURITY: settings are shown and logged as plain text, and a connector would read braces as a template.
export const endpoint = z
  .url({ protocol: /^https?$/ })
  .max(1_024)
  .refine((text) => !/[{}\s\p{C}]/u.test(text), 'must be one plain URL')
  .refine((text) => !hasCredentialsOrFragment(URL.parse(text)), 'must not contain a user name, a password or a fragment');
export const parameterName = z.string().regex(/^[a-z][a-z0-9_]{0,63}$/, 'must be a parameter name');
/** RFC 6749 section 3.3. */
const scopeToken = z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]{1,256}$/, 'must be one scope without spaces');

// SECURITY: the person who consents reads it: line breaks or a changed reading order could mislead.
const MISLEADS = /[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/u;

/** The scopes that one workflow needs; consent requests exactly the union of these (commitment X2). */
const workflowNeed = z.strictObject({
  name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9 ._/-]{0,63}$/, 'must be a name'),
  scopes: z.array(scopeToken).max(LIMITS.scopesMaxCount),
  /** Shown to the person who consents. */
  why: text(200)
    .refine((reason) => !MISLEADS.test(reason), 'must be one line of plain text')
    .optional(),
});
export type WorkflowNeed = z.infer<typeof workflowNeed>;

/** Fields of a token request that extra_parameters must not set: they have a setting of their own, or only the vault sets them. */
const PROTOCOL_FIELDS = new Set([
  'grant_type',
  'refresh_token',
  'scope',
  'client_secret',
  'client_assertion',
  'client_assertion_type',
  'code',
  'code_verifier',
  'token',
]);
const PROTOCOL_FIELD_LIST = [...PROTOCOL_FIELDS].join(', ');

/** How to connect and refresh an OAuth grant; nothing here is secret. The connector determines absent settings. */
export const oauth2Config = z
  .strictObject({
    /** Required if the connector declares none (generic-oauth2). */
    token_endpoint: endpoint.optional(),
    authorization_endpoint: endpoint.optional(),
    revocation_endpoint: endpoint.optional(),
    introspection_endpoint: endpoint.optional(),
    /** For generic-oidc: the issuer for discovery; for others: the required `iss` of an authorization response. */
    issuer: endpoint.optional(),
    /** Values of the connector's `{parameter}` placeholders: My Domain, region, slug ... */
    parameters: z.record(parameterName, z.string().min(1).max(255)).optional(),
    /** Replacements of hosts that the connector declares, e.g. `{ "api.hubapi.com": "https://proxy.example/hubspot" }`. */
    base_urls: z.record(z.string().min(1).max(255), endpoint).optional(),
    /** The sandbox at this origin replaces all hosts of the connector. Only if the installation allows it. */
    sandbox: endpoint.optional(),
    workflows: z
      .array(workflowNeed)
      .max(LIMITS.workflowsMaxCount)
      .refine((list) => new Set(list.map((entry) => entry.name)).size === list.length, 'must not list a workflow twice')
      .optional(),
    client_id: text(512),
    client_authentication: z.enum(['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'none']).optional(),
    body_format: z.enum(['form', 'json']).optional(),
    refresh_token_rotates: z.enum(['always', 'sometimes', 'never']).optional(),
    lost_answer: z.union([z.enum(['safe', 'unsafe']), z.strictObject({ window_seconds: z.int().min(1).max(86_400) })]).optional(),
    access_token_ttl_seconds: z.union([z.int().min(1).max(31_536_000), z.literal('never')]).optional(),
    /** Sent with every refresh in addition to the protocol's fields, which it must not set; `client_id` only with the value above. */
    extra_parameters: z
      .record(
        z.string().regex(/^[\x21-\x7e]{1,64}$/, 'must be a parameter name of visible ASCII characters'),
        z.string().max(1_024),
      )
      .refine((given) => !Object.keys(given).some((name) => PROTOCOL_FIELDS.has(name)), {
        message: `must not set ${PROTOCOL_FIELD_LIST}: use the settings for them, or leave them to Keyturn`,
      })
      .optional(),
    scope_separator: z.enum([' ', ',']).optional(),
    assertion_audience: text(1_024).optional(),
    /** Sent with every refresh, for the few providers that require it. */
    scope: z.string().max(4_096).optional(),
    /** `ahead` (default): before each expiry. `on_read`: at a read, and often enough to keep an idle grant alive. */
    refresh: z.enum(['ahead', 'on_read']).optional(),
    /** For the forecast, if the connector does not declare it. */
    idle_limit_days: z.int().min(1).max(3_650).optional(),
    absolute_limit_days: z.int().min(1).max(3_650).optional(),
    client_secret_expires_at: instant.optional(),
  })
  .refine((config) => (config.extra_parameters?.['client_id'] ?? config.client_id) === config.client_id, {
    path: ['extra_parameters', 'client_id'],
    message: 'must be the client_id of this credential, or absent',
  });
export type OAuth2Config = z.infer<typeof oauth2Config>;

/** Settings that may change without new secrets: none determines a host, a client or the client authentication. */
export const FREE_SETTINGS = [
  'workflows',
  'scope',
  'scope_separator',
  'body_format',
  'refresh',
  'refresh_token_rotates',
  'lost_answer',
  'access_token_ttl_seconds',
  'idle_limit_days',
  'absolute_limit_days',
  'client_secret_expires_at',
] as const satisfies readonly (keyof OAuth2Config)[];
type FreeSetting = (typeof FREE_SETTINGS)[number];
export type BoundConfig = Omit<OAuth2Config, FreeSetting>;
export type FreeConfig = Pick<OAuth2Config, FreeSetting>;

/** Sealed in a version's retained part, with the secrets. */
export interface BoundSettings {
  readonly connector: string;
  readonly config: BoundConfig;
  /** The hosts to which the connector sent secrets with these settings when they were stored; absent if unknown. */
  readonly hosts?: readonly string[];
}

const KINDS = ['oauth2', 'api_key', 'basic', 'database', 'json'] as const;
export type Kind = (typeof KINDS)[number];

/** Facts of a kind that many modules need; its behaviour is in kind.ts. */
interface KindFacts {
  /** Separate keys for OAuth tokens and everything else (commitment E3). */
  readonly purpose: Purpose;
  /** Its value is renewed at a provider, so the end of the value is not the end of the credential. */
  readonly isRenewed: boolean;
  /** The connector if a put names none. */
  readonly defaultConnector: string | null;
}

const PLAIN: KindFacts = { purpose: 'api_key', isRenewed: false, defaultConnector: null };
const FACTS: Readonly<Record<Kind, KindFacts>> = {
  oauth2: { purpose: 'oauth_token', isRenewed: true, defaultConnector: 'generic-oauth2' },
  api_key: PLAIN,
  basic: PLAIN,
  database: PLAIN,
  json: PLAIN,
};

/** @param kind from the row of a credential */
export function kindFacts(kind: string): KindFacts {
  return FACTS[kind as Kind] ?? fail('internal', 'this build does not support the kind of a stored credential');
}

export interface SplitValue {
  /** JSON bytes that a read may return. */
  readonly value: Uint8Array;
  /** JSON bytes that never leave the vault. */
  readonly retained: Uint8Array | undefined;
  readonly expiresAtMs: number | undefined;
}

export interface RetainedGrant {
  refresh_token?: string | undefined;
  client_secret?: string | undefined;
  client_private_jwk?: Readonly<Record<string, unknown>> | undefined;
  client_private_key_pem?: string | undefined;
  /** The only settings that these secrets may be used with; absent in versions older than this member. */
  settings?: BoundSettings | undefined;
}

/** Parts that cannot be read back: a put without a stored part must list it in `discard`. */
export const RETAINED_PARTS = ['refresh_token', 'client_secret', 'client_private_jwk', 'client_private_key_pem'] as const;
export type RetainedPart = (typeof RETAINED_PARTS)[number];

export interface ServedGrant {
  access_token?: string | undefined;
  token_type?: string | undefined;
  scope?: string | undefined;
  /** Facts that a caller needs in addition to the token: instance URL, cloud id ... never secret. */
  account?: Readonly<Record<string, string>> | undefined;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function jsonBytes(value: unknown): Uint8Array {
  return encoder.encode(JSON.stringify(value));
}

export function fromJsonBytes<T>(bytes: Uint8Array): T {
  return JSON.parse(decoder.decode(bytes)) as T;
}

/** Splits an OAuth grant into the served and the retained part; its settings are sealed with the retained part. */
export function splitGrant(input: z.infer<typeof oauth2Value>, settings: BoundSettings, nowMs: number): SplitValue {
  const served: ServedGrant = {
    access_token: input.access_token,
    token_type: input.access_token === undefined ? undefined : (input.token_type ?? 'Bearer'),
    scope: input.scope,
  };
  const retained: RetainedGrant = {
    refresh_token: input.refresh_token,
    client_secret: input.client_secret,
    client_private_jwk: input.client_private_jwk,
    client_private_key_pem: input.client_private_key_pem,
    settings,
  };
  return {
    value: jsonBytes(served),
    retained: jsonBytes(retained),
    expiresAtMs:
      input.access_token === undefined || input.expires_in === undefined ? undefined : nowMs + input.expires_in * 1_000,
  };
}
