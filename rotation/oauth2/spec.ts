// The declarations of a connector for OAuth 2 grants: tokens, consent, scopes, revocation, lifetimes. Data only.
// URLs are templates: only settings.ts fills in and checks `{parameter}`, `{client_id}` and `{account.field}`.

/**
 * Client authentication (RFC 6749 section 2.3, RFC 7523 section 2.2). `client_secret_as_user`: Basic with the secret as user
 * name, without password and without `client_id` (Stripe's secret keys).
 */
export type ClientAuthentication =
  | 'client_secret_basic'
  | 'client_secret_post'
  | 'client_secret_as_user'
  | 'private_key_jwt'
  | 'none';

/**
 * What applies if a refresh was sent and no complete answer arrived. `safe`: the same refresh token still works. `window`: it works
 * for this number of seconds. `unsafe`: it may be used up, and using it again may end the whole family (RFC 9700 section 4.14.2).
 */
export type LostAnswer =
  | { readonly kind: 'safe' }
  | { readonly kind: 'window'; readonly seconds: number }
  | { readonly kind: 'unsafe' };

export interface OAuth2Spec {
  /** Absolute https URL; may contain `{parameter}`. Empty: the credential must set it. */
  readonly tokenEndpoint: string;
  /**
   * Hosts that a call of this connector may reach: `name`, `name:port` or `*.name`; may contain `{parameter}`. Empty: the host of each
   * call's URL. A URL from a provider's answer (`{account.instance_url}`) is refused unless its host is listed here.
   */
  readonly hosts: readonly string[];
  /** How an access token is renewed. Default: `refresh_token`. */
  readonly renewal?: Renewal;
  readonly clientAuthentication: ClientAuthentication;
  readonly bodyFormat: 'form' | 'json';
  /** Whether an answer contains a refresh token that replaces the one sent. */
  readonly refreshTokenRotates: 'always' | 'sometimes' | 'never';
  readonly lostAnswer: LostAnswer;
  /** Used if neither the answer nor the token contains the lifetime; `never`: the token does not expire. Default: one hour. */
  readonly accessTokenTtlSeconds?: number | 'never';
  /** True if the credential sets the lifetime, which then overrides answer and token. Not declared by connectors. */
  readonly accessTokenTtlIsSet?: boolean;
  /** The provider's rate limit of the token endpoint per client; counted over all tenants of a process. Absent: Keyturn's default. */
  readonly rateBudget?: { readonly requests: number; readonly perSeconds: number };
  /** Added only to the exchange of an authorization code. */
  readonly exchangeParameters?: Readonly<Record<string, string>>;
  /** Whether the exchange repeats `redirect_uri`. Default: true (RFC 6749 section 4.1.3). */
  readonly exchangeSendsRedirectUri?: boolean;
  /** Replaces `answerFields` for the answer to a code, e.g. `authed_user.access_token`, if a refresh answer has another form. */
  readonly exchangeAnswerFields?: Partial<AnswerFields>;
  /** Fields of a token answer about the account, by Keyturn's name, e.g. `{ instance_url: 'instance_url' }`; never secret, served with the token. */
  readonly accountFields?: Readonly<Record<string, string>>;
  /** The one of `accountFields` that identifies the account; a different value raises an alert. */
  readonly accountId?: string;
  /** Added to every refresh request, e.g. `{ resource: '...' }`; never secret, never replaces a protocol field. */
  readonly extraParameters?: Readonly<Record<string, string>>;
  /** Between scopes in the provider's answers and requests; Keyturn itself always uses a space. */
  readonly scopeSeparator: ' ' | ',';
  /** `aud` of a private_key_jwt assertion. Default: the token endpoint. */
  readonly assertionAudience?: string;
  /** Dotted paths of the answer's parts, if they differ from RFC 6749 section 5.1, e.g. `authed_user.access_token`. */
  readonly answerFields?: Partial<AnswerFields>;
  /** Applied in order, before the general table of errors.ts. */
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
  /** Lifetime of the refresh token in seconds. */
  readonly refreshTokenExpiresIn: string;
}

/**
 * `refresh_token`: RFC 6749 section 6. `client_credentials`: RFC 6749 section 4.4, as the client itself. `jwt_bearer`: RFC 7523 section
 * 2.1, an assertion signed with the credential's key. `app_jwt`: such an assertion is the bearer token of the request
 * (GitHub installations). `none`: the token does not expire, or a person must replace it.
 */
export type Renewal =
  | { readonly kind: 'refresh_token'; readonly recovery?: AssertionSpec }
  | { readonly kind: 'client_credentials' }
  | { readonly kind: 'jwt_bearer'; readonly assertion: AssertionSpec }
  | { readonly kind: 'app_jwt'; readonly assertion: AssertionSpec }
  | { readonly kind: 'none' };

/** A JWT for one request. `iss` is the client id; every claim may contain `{parameter}`. */
export interface AssertionSpec {
  readonly algorithm: 'RS256' | 'ES256' | 'HS256';
  /** HS256 uses the client secret, the others use the credential's private key. */
  readonly audience?: string;
  readonly subject?: string;
  /** At most 300. */
  readonly lifetimeSeconds: number;
  /** `grant_type` of the request. Default: `urn:ietf:params:oauth:grant-type:jwt-bearer`. */
  readonly grantType?: string;
  /** `parameter`: sent as `assertion`. `bearer`: sent in Authorization. */
  readonly sentAs: 'parameter' | 'bearer';
  /** `claim`: scopes are a claim of the assertion (Google). Default: a request parameter, if any. */
  readonly scopeIn?: 'claim' | 'parameter' | 'none';
}

/** `dead`: a person must consent again. `configuration`: the operator must act, the grant is valid. `transient`: retry later. */
export type FailureKind = 'dead' | 'configuration' | 'transient';

/** Matches if every given condition is true; the contract suite refuses a row without conditions. */
export interface ErrorRow {
  /** One status, or the first and last of a range. */
  readonly status?: number | readonly [number, number];
  /** Equals one of the answer's error codes (`error`, `code`, `status`, `errorCode`, ...), in any case. */
  readonly code?: string;
  /** Occurs in the answer's body, in any case. Only for providers that use one code for several meanings. */
  readonly text?: string;
  readonly means: FailureKind;
  /** The recorded and displayed cause: `[a-z0-9_]{1,64}`, never taken from the answer. */
  readonly cause: string;
}

// ---- consent --------------------------------------------------------------------------------------------------------------

/** The authorization request (RFC 6749 section 4.1.1, RFC 7636, RFC 9207). */
export interface ConsentSpec {
  /** Absolute https URL; may contain `{parameter}`. Empty: the credential must set it. */
  readonly authorizeEndpoint: string;
  /** `refused` only if the provider rejects a request with a challenge. */
  readonly pkce: 'S256' | 'refused';
  /** The request parameter of scopes; `none` if the provider configures them elsewhere. Default: `scope`. */
  readonly scopeParameter?: string;
  /** Requested in addition to the scopes of workflows, e.g. `offline_access`, without which there is no refresh token. */
  readonly alwaysScopes?: readonly string[];
  /** What a scope allows, in words for the consenting person. */
  readonly scopeTitles?: Readonly<Record<string, string>>;
  readonly extraParameters?: Readonly<Record<string, string>>;
  /** False for servers that do not support it. Default: true. */
  readonly sendsResponseType?: boolean;
  /** The provider sends `iss` in its answer; a different or missing one is refused. Absent: checked only if present. */
  readonly issuer?: string;
  /** Callback fields that become parameters, by their name in the callback, e.g. `{ installationId: 'installation' }`. */
  readonly callbackParameters?: Readonly<Record<string, string>>;
  /** For grants that cover several accounts: the choice is made after consent. */
  readonly choice?: ChoiceSpec;
  /** The answer contains an ID token that must be checked (OpenID Connect Core section 3.1.3.7). Needs `issuer` or discovery. */
  readonly openid?: boolean;
}

/** A GET with the new access token that returns the choices. A single choice is selected automatically. */
export interface ChoiceSpec {
  readonly url: string;
  readonly title: string;
  /** Dotted path to the list. Empty: the answer is the list. */
  readonly items: string;
  readonly idField: string;
  readonly labelField: string;
  /** The account field for the chosen id. */
  readonly accountField: string;
}

/** Sources of the granted scopes, best first. `answer`: the token answer. `jwt`: a claim of the access token, unverified. */
export type ScopeSource =
  | { readonly from: 'answer' }
  | { readonly from: 'introspection' }
  | { readonly from: 'jwt'; readonly claim: string }
  | { readonly from: 'probe_header'; readonly header: string; readonly separator: ' ' | ',' }
  | { readonly from: 'probe_body'; readonly path: string };

/** RFC 7662, or a provider's equivalent. */
export interface IntrospectionSpec {
  readonly url: string;
  readonly method: 'GET' | 'POST';
  /** `bearer`: the token itself authenticates the request. */
  readonly authentication: ClientAuthentication | 'bearer';
  /** The audience of a signed assertion. Default: the URL. */
  readonly assertionAudience?: string;
  readonly bodyFormat: 'form' | 'json' | 'query';
  /** The request field of the access token. */
  readonly tokenParameter: string;
  /** Dotted paths into the answer. `active` absent: a 2xx answer means active. */
  readonly fields: {
    readonly active?: string;
    readonly scope?: string;
    readonly expiresAt?: string;
    readonly expiresIn?: string;
  };
}

/** RFC 7009, or a provider's equivalent. */
export interface RevocationSpec {
  readonly url: string;
  readonly method: 'POST' | 'DELETE' | 'GET';
  readonly authentication: ClientAuthentication | 'bearer';
  /** The audience of a signed assertion. Default: the URL. */
  readonly assertionAudience?: string;
  readonly bodyFormat: 'form' | 'json' | 'none';
  /** Which token is sent; the access token if there is no refresh token. */
  readonly token: 'refresh' | 'access';
  /** The request field of the token. Absent: the token is in Authorization, or `extraParameters` identifies the account. */
  readonly tokenParameter?: string;
  /** Sends `token_type_hint`. */
  readonly sendsHint?: boolean;
  /** May contain `{client_id}` and `{account.field}`. */
  readonly extraParameters?: Readonly<Record<string, string>>;
  /** `grant`: this connection's tokens. `account`: every connection of the same account and client (HubSpot portals, Stripe accounts). */
  readonly ends: 'grant' | 'account';
  /** Refusals that mean the token no longer exists; checked first. */
  readonly alreadyGone?: readonly Omit<ErrorRow, 'means' | 'cause'>[];
}

/** What ends a grant without any action. Unknown limits are omitted, never guessed. */
export interface LifetimeSpec {
  /** Limit since the last use of the refresh token. */
  readonly idleSeconds?: number;
  /** Limit since consent, regardless of use. */
  readonly absoluteSeconds?: number;
  /** Lifetime of each refresh token, if the answer does not contain it. */
  readonly refreshTokenSeconds?: number;
  /** Maximum number of valid grants of one account and client; a further one ends the oldest without notice. */
  readonly cap?: { readonly count: number; readonly note: string };
  readonly scheduled?: readonly ScheduledEnd[];
}

/** An announced change of the provider. */
export interface ScheduledEnd {
  /** RFC 3339 date. */
  readonly at: string;
  /** What stops then. */
  readonly ends: string;
  readonly remedy: string;
  /** Applies only to credentials whose token endpoint contains this text. Absent: to all. */
  readonly ofTokenEndpoint?: string;
}

/** A harmless read, sent with the token in `Authorization: Bearer`. 2xx works, `rejectedBy` rejects, all else is unknown. */
export interface ProbeSpec {
  readonly url: string;
  readonly method: 'GET' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON with POST; a read-only query. */
  readonly body?: Readonly<Record<string, unknown>>;
  /** Statuses that mean the token is rejected. Default: only 401; with 403 and 429 it is valid. */
  readonly rejectedBy?: readonly number[];
  /** A 2xx answer with this member, or with the value false, is a refusal (`errors` of GraphQL, `ok` of Slack). */
  readonly refusedWhen?: { readonly member: string; readonly is: 'present' | 'false' };
}

// ---- how the sandbox simulates the provider -----------------------------------------------------------------------------------

/** Documented deviations of the answers from RFC 6749, for the sandbox. */
export interface PersonaSpec {
  readonly successStatus?: number;
  readonly expiresIn?: 'number' | 'text' | 'absent';
  /** Default: `accessTokenTtlSeconds`, which may differ if the provider's answer contains the lifetime. */
  readonly accessTokenSeconds?: number;
  readonly scopeAs?: 'text' | 'list' | 'absent';
  readonly accessTokenIs?: 'opaque' | 'jwt';
  /** Seconds that a used refresh token still works. Default: 0 for `unsafe` connectors. */
  readonly graceSeconds?: number;
  /** Lifetime of a refresh token in seconds, sent as `refreshTokenExpiresIn`. */
  readonly refreshTokenSeconds?: number;
  /** Further members of a token answer, with fictitious values. */
  readonly alsoAnswers?: Readonly<Record<string, unknown>>;
  /** Example refusals. The contract suite compares each with the error table: `dead` must be classified as dead, and so on. */
  readonly refusals: {
    /** Absent: there is no grant, only client credentials. */
    readonly dead?: PersonaRefusal;
    readonly configuration: PersonaRefusal;
    readonly transient: PersonaRefusal;
    /** The answer to the reuse of a refresh token, if it differs from `dead`. */
    readonly reused?: PersonaRefusal;
  };
}

export interface PersonaRefusal {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>> | string;
  readonly headers?: Readonly<Record<string, string>>;
}
