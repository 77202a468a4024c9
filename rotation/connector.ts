// The connector contract: what Keyturn must know of one kind of credential at one provider. Data first, code only where the
// provider is odd. A connector never opens a connection, reads a clock, keeps state or touches customer records.
import { KeyturnError } from '../src/base/errors.ts';
import type { SecretValue } from '../src/base/secret-value.ts';

export type CredentialKind = 'oauth2' | 'api_key' | 'basic' | 'database' | 'json';

/** One file in rotation/connectors/ exports exactly one of these as `connector`. */
export interface Connector {
  /** Equals the file's name without `.ts`; stored with credentials, so it is never renamed. */
  readonly id: string;
  /** For people; shown in the console. */
  readonly title: string;
  readonly kind: CredentialKind;
  /** What a credential must say for `{name}` in URLs and hosts. */
  readonly parameters?: readonly Parameter[];
  /** Present: the grant can be refreshed. Absent: it cannot. */
  readonly oauth2?: OAuth2Spec;
  /** Fields of `oauth2` that a credential may set for itself (regions, self-hosted editions, sandboxes). */
  readonly adjustable?: readonly (keyof OAuth2Spec)[];
  /** A harmless read that tells whether an access token or key works. */
  readonly probe?: ProbeSpec;
  /** Present: a key or password that can be replaced by calls. */
  readonly keyRotation?: KeyRotation;
  /** What a person does where no call exists: numbered steps, no secrets. */
  readonly manualSteps?: readonly string[];
  /** Where the figures above come from, by field name, e.g. `oauth2.lostAnswer`. */
  readonly facts?: Readonly<Record<string, Fact>>;
}

/** `documented`: read at the provider. `known`: the page is known, not re-read. `seen`: in others' code. `unknown`: keep it adjustable. */
export interface Fact {
  readonly sureness: 'documented' | 'known' | 'seen' | 'inferred' | 'unknown';
  /** URL or public code, with the date it was read where known. */
  readonly source: string;
}

export interface Parameter {
  readonly name: string;
  readonly title: string;
  /** `label`: one host label or path segment (letters, digits, `-`, `_`). `host`: a whole host name, optionally with a port. */
  readonly shape: 'label' | 'host';
  readonly default?: string;
}

// ---- OAuth 2 grants -------------------------------------------------------------------------------------------------------

/** How a token endpoint proves who the client is (RFC 6749 section 2.3, RFC 7523 section 2.2). */
export type ClientAuthentication = 'client_secret_basic' | 'client_secret_post' | 'private_key_jwt' | 'none';

/**
 * What to do when a refresh was sent and no whole answer came back. `safe`: the same refresh token still works. `window`: it works
 * again for so many seconds. `unsafe`: it may be spent, and using it again may kill the whole family (RFC 9700 section 4.14.2).
 */
export type LostAnswer =
  | { readonly kind: 'safe' }
  | { readonly kind: 'window'; readonly seconds: number }
  | { readonly kind: 'unsafe' };

export interface OAuth2Spec {
  /** Absolute https URL; may hold `{parameter}`. Empty: the credential must set it. */
  readonly tokenEndpoint: string;
  /** Hosts the refresh may reach: `name`, `name:port` or `*.name`; may hold `{parameter}`. Empty: the token endpoint's own host only. */
  readonly hosts: readonly string[];
  readonly clientAuthentication: ClientAuthentication;
  readonly bodyFormat: 'form' | 'json';
  /** Whether an answer brings another refresh token that replaces the one sent. */
  readonly refreshTokenRotates: 'always' | 'sometimes' | 'never';
  readonly lostAnswer: LostAnswer;
  /** Used when neither the answer nor the token itself tells; `never` means the token has no end. Default: one hour. */
  readonly accessTokenTtlSeconds?: number | 'never';
  /** Added to every refresh request, e.g. `{ resource: '...' }`; never secret, never replaces a field of the protocol. */
  readonly extraParameters?: Readonly<Record<string, string>>;
  /** Between scopes in the provider's answers and requests; Keyturn itself always uses a space. */
  readonly scopeSeparator: ' ' | ',';
  /** `aud` of a private_key_jwt assertion. Default: the token endpoint. */
  readonly assertionAudience?: string;
  /** Where the answer keeps its parts, if not under the names of RFC 6749 section 5.1. Dots go inside, e.g. `authed_user.access_token`. */
  readonly answerFields?: Partial<AnswerFields>;
  /** Read from the first row down, before the general table of oauth2-errors.ts. */
  readonly errorTable?: readonly ErrorRow[];
}

export interface AnswerFields {
  readonly accessToken: string;
  readonly refreshToken: string;
  readonly expiresIn: string;
  /** An instant (RFC 3339 text or seconds since 1970) instead of a duration. */
  readonly expiresAt: string;
  readonly tokenType: string;
  readonly scope: string;
}

/** `dead`: the person must consent again. `configuration`: the operator must act, the grant lives. `transient`: try later. */
export type FailureKind = 'dead' | 'configuration' | 'transient';

/** Matches when every given condition holds; a row without conditions is refused by the contract suite. */
export interface ErrorRow {
  /** One status, or the first and last of a range. */
  readonly status?: number | readonly [number, number];
  /** Equals one of the answer's error codes (`error`, `code`, `status`, `errorCode`, ...), in any case. */
  readonly code?: string;
  /** Occurs in the answer's body, in any case. Only for providers that put several meanings under one code. */
  readonly text?: string;
  readonly means: FailureKind;
  /** The word recorded and shown for it: `[a-z0-9_]{1,64}`, written here and never taken from the answer. */
  readonly cause: string;
}

// ---- keys and passwords ---------------------------------------------------------------------------------------------------

/** Calls a rotation may make: bound by the engine to the connector's hosts, the credential's settings and one deadline. */
export interface ProviderCalls {
  send(request: Pick<EgressRequest, 'url' | 'method' | 'headers' | 'body'>): Promise<EgressAnswer>;
  readonly parameters: Readonly<Record<string, string>>;
}

/** `unknown` never promotes and never revokes (D5). */
export type Verdict = 'works' | 'rejected' | 'unknown';

/** The outside calls of create -> set -> test -> finish -> (grace) -> revoke -> prove-dead; order, journal and retries are the engine's. */
export interface KeyRotation {
  /** `overlap`: old and new work side by side. `in_place`: the old one stops at once, so there is no grace. */
  readonly style: 'overlap' | 'in_place';
  readonly hosts: readonly string[];
  /** Makes a new key named by `runId`, so that an orphan of a crashed run is found by name. `keyId` is not secret. */
  mint(
    calls: ProviderCalls,
    current: SecretValue,
    runId: string,
  ): Promise<{ readonly keyId: string; readonly value: SecretValue }>;
  /** Ids of keys named by `runId`: what a crashed mint may have left behind. */
  findMinted?(calls: ProviderCalls, current: SecretValue, runId: string): Promise<readonly string[]>;
  test(calls: ProviderCalls, value: SecretValue): Promise<Verdict>;
  /** Idempotent: a key that is already gone counts as revoked. */
  revoke(calls: ProviderCalls, current: SecretValue, keyId: string): Promise<'revoked' | 'unknown'>;
}

/** A GET or POST without a body, sent with the token in `Authorization: Bearer`. 2xx works, `rejectedBy` rejects, all else is unknown. */
export interface ProbeSpec {
  readonly url: string;
  readonly method: 'GET' | 'POST';
  readonly hosts: readonly string[];
  readonly headers?: Readonly<Record<string, string>>;
  /** Statuses that mean the token itself is refused. Default: 401 only; 403 and 429 mean it is alive. */
  readonly rejectedBy?: readonly number[];
}

// ---- the way out ----------------------------------------------------------------------------------------------------------

/** The only way any provider code reaches a network; driver-egress.ts and driver-egress-worker.ts implement it. */
export interface Egress {
  /**
   * One request, one answer, whatever its status; redirects are answers and are never followed.
   * @throws EgressFailure when there is no whole answer; `sent` tells whether the provider may have acted
   */
  send(request: EgressRequest): Promise<EgressAnswer>;
}

export interface EgressRequest {
  readonly url: string;
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Lower-case names. A value that authenticates is a SecretValue, so that no log can print it. */
  readonly headers: Readonly<Record<string, string | SecretValue>>;
  readonly body?: SecretValue | Uint8Array;
  /** `name` (port 443), `name:port` or `*.name` (any depth below, not itself). */
  readonly allowedHosts: readonly string[];
  /** From the first look-up to the last byte. */
  readonly timeoutMs: number;
  /** Of the body after decoding. */
  readonly maxBytes: number;
  /** True lets a loopback address be reached, and by plain http: tests and the sandbox on the same machine. */
  readonly allowLoopback: boolean;
}

export interface EgressAnswer {
  readonly status: number;
  /** Lower-case names; `set-cookie` is left out. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: SecretValue;
  /** When the request left; lifetimes count from here. */
  readonly sentAtMs: number;
}

/** Provably before any byte of the request left this machine. */
export const NOT_SENT_REASONS = [
  'request_refused', // not https, credentials in the URL, no URL, or a header no request may carry
  'host_not_allowed',
  'address_blocked', // resolves to a loopback, private, link-local or metadata address
  'dns_failed',
  'connect_failed',
  'connect_timeout',
  'tls_failed',
] as const;
/** The provider may have acted on the request. */
export const UNKNOWN_REASONS = ['timeout', 'connection_lost', 'answer_too_large', 'answer_undecodable', 'egress_failed'] as const;
export type EgressReason = (typeof NOT_SENT_REASONS)[number] | (typeof UNKNOWN_REASONS)[number];

/** No whole answer. Carries a closed reason only: never a URL, an address, a header or a byte of either body. */
export class EgressFailure extends KeyturnError {
  readonly sent: 'not_sent' | 'unknown';
  readonly reason: EgressReason;

  /** @param systemCode e.g. `ECONNREFUSED`; for the operator's log, dropped unless it looks like one */
  constructor(reason: EgressReason, systemCode?: unknown) {
    super('provider_unavailable', `the provider could not be reached: ${reason}`, {
      evidence: typeof systemCode === 'string' && /^[A-Z0-9_]{1,64}$/.test(systemCode) ? systemCode : reason,
    });
    this.name = 'EgressFailure';
    this.reason = reason;
    this.sent = (NOT_SENT_REASONS as readonly string[]).includes(reason) ? 'not_sent' : 'unknown';
  }
}
