// What a connector declares about OAuth 2 grants: tokens, consent, scopes, revocation, lifetimes. Data only, no calls.
// URLs are templates: `{parameter}`, `{client_id}` and `{account.field}` are filled in by settings.ts, checked there, and nowhere else.

/**
 * How a client proves who it is (RFC 6749 section 2.3, RFC 7523 section 2.2). `client_secret_as_user`: Basic with the secret as user
 * name and no password, and the client does not name itself (Stripe's secret keys).
 */
export type ClientAuthentication =
  | 'client_secret_basic'
  | 'client_secret_post'
  | 'client_secret_as_user'
  | 'private_key_jwt'
  | 'none';

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
  /**
   * Hosts that any call of this connector may reach: `name`, `name:port` or `*.name`; may hold `{parameter}`. Empty: of each call its own
   * URL's host. A URL that a provider hands out (`{account.instance_url}`) is refused unless its host is listed here.
   */
  readonly hosts: readonly string[];
  /** How a fresh access token is got. Default: `refresh_token`. */
  readonly renewal?: Renewal;
  readonly clientAuthentication: ClientAuthentication;
  readonly bodyFormat: 'form' | 'json';
  /** Whether an answer brings another refresh token that replaces the one sent. */
  readonly refreshTokenRotates: 'always' | 'sometimes' | 'never';
  readonly lostAnswer: LostAnswer;
  /** Used when neither the answer nor the token itself tells; `never` means the token has no end. Default: one hour. */
  readonly accessTokenTtlSeconds?: number | 'never';
  /** True: the credential set that figure, and it holds whatever an answer or a token tells. No connector declares it. */
  readonly accessTokenTtlIsSet?: boolean;
  /** Requests to the token endpoint that the provider allows one client; counted over all tenants of a process. Absent: unknown, our own figure. */
  readonly rateBudget?: { readonly requests: number; readonly perSeconds: number };
  /** Added to the exchange of an authorization code only. */
  readonly exchangeParameters?: Readonly<Record<string, string>>;
  /** False: the exchange does not repeat `redirect_uri`. Default: it does (RFC 6749 section 4.1.3). */
  readonly exchangeSendsRedirectUri?: boolean;
  /** Takes the place of `answerFields` for the answer to a code, e.g. `authed_user.access_token`, where a refresh is answered elsewhere. */
  readonly exchangeAnswerFields?: Partial<AnswerFields>;
  /** What a token answer tells of the connected account, by our name, e.g. `{ instance_url: 'instance_url' }`; never secret, served with the token. */
  readonly accountFields?: Readonly<Record<string, string>>;
  /** Which of `accountFields` says whose account it is: another value is another account, and is told. */
  readonly accountId?: string;
  /** Added to every refresh request, e.g. `{ resource: '...' }`; never secret, never replaces a field of the protocol. */
  readonly extraParameters?: Readonly<Record<string, string>>;
  /** Between scopes in the provider's answers and requests; Keyturn itself always uses a space. */
  readonly scopeSeparator: ' ' | ',';
  /** `aud` of a private_key_jwt assertion. Default: the token endpoint. */
  readonly assertionAudience?: string;
  /** Where the answer keeps its parts, if not under the names of RFC 6749 section 5.1. Dots go inside, e.g. `authed_user.access_token`. */
  readonly answerFields?: Partial<AnswerFields>;
  /** Read from the first row down, before the general table of errors.ts. */
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
  /** Seconds the refresh token lives from now. */
  readonly refreshTokenExpiresIn: string;
}

/**
 * `refresh_token`: RFC 6749 section 6. `client_credentials`: RFC 6749 section 4.4, as the client itself. `jwt_bearer`: RFC 7523 section
 * 2.1, an assertion signed with the credential's key. `app_jwt`: the token endpoint is asked with such an assertion as its bearer token
 * (GitHub installations). `none`: the token has no end, or only a person can bring another.
 */
export type Renewal =
  | { readonly kind: 'refresh_token'; readonly recovery?: AssertionSpec }
  | { readonly kind: 'client_credentials' }
  | { readonly kind: 'jwt_bearer'; readonly assertion: AssertionSpec }
  | { readonly kind: 'app_jwt'; readonly assertion: AssertionSpec }
  | { readonly kind: 'none' };

/** A JWT made for one request. `iss` is the client id; every claim may hold `{parameter}`. */
export interface AssertionSpec {
  readonly algorithm: 'RS256' | 'ES256' | 'HS256';
  /** HS256 signs with the client secret, everything else with the credential's private key. */
  readonly audience?: string;
  readonly subject?: string;
  /** At most 300. */
  readonly lifetimeSeconds: number;
  /** `grant_type` of the request. Default: `urn:ietf:params:oauth:grant-type:jwt-bearer`. */
  readonly grantType?: string;
  /** `parameter`: sent as `assertion`. `bearer`: sent in Authorization. */
  readonly sentAs: 'parameter' | 'bearer';
  /** `claim`: scopes travel in the assertion (Google). Default: as a request parameter, if at all. */
  readonly scopeIn?: 'claim' | 'parameter' | 'none';
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

// ---- consent --------------------------------------------------------------------------------------------------------------

/** The authorization request (RFC 6749 section 4.1.1, RFC 7636, RFC 9207). */
export interface ConsentSpec {
  /** Absolute https URL; may hold `{parameter}`. Empty: the credential must set it. */
  readonly authorizeEndpoint: string;
  /** `refused` only where the provider turns a request with a challenge away. */
  readonly pkce: 'S256' | 'refused';
  /** The parameter that scopes travel in; `none` where the provider fixes them elsewhere. Default: `scope`. */
  readonly scopeParameter?: string;
  /** Asked for beside what workflows need, e.g. `offline_access`: without it no refresh token comes. */
  readonly alwaysScopes?: readonly string[];
  /** What a scope lets us do, in words for the person who is asked. */
  readonly scopeTitles?: Readonly<Record<string, string>>;
  readonly extraParameters?: Readonly<Record<string, string>>;
  /** Left out by the oldest servers. Default: true. */
  readonly sendsResponseType?: boolean;
  /** The provider names itself in its answer (`iss`); another or no name is refused. Absent: checked only when it comes. */
  readonly issuer?: string;
  /** Callback fields that become parameters, by their name in the callback, e.g. `{ installationId: 'installation' }`. */
  readonly callbackParameters?: Readonly<Record<string, string>>;
  /** One grant covers several places: which one is meant is asked after consent. */
  readonly choice?: ChoiceSpec;
  /** The answer carries an ID token that must be checked (OpenID Connect Core section 3.1.3.7). Needs `issuer` or discovery. */
  readonly openid?: boolean;
}

/** A GET with the new access token whose answer lists what can be chosen. One entry chooses itself. */
export interface ChoiceSpec {
  readonly url: string;
  readonly title: string;
  /** Dotted path to the list. Empty: the answer is the list. */
  readonly items: string;
  readonly idField: string;
  readonly labelField: string;
  /** The account field that keeps the chosen id. */
  readonly accountField: string;
}

/** Where granted scopes are read from, best first. `answer`: the token answer. `jwt`: a claim of the access token, unverified. */
export type ScopeSource =
  | { readonly from: 'answer' }
  | { readonly from: 'introspection' }
  | { readonly from: 'jwt'; readonly claim: string }
  | { readonly from: 'probe_header'; readonly header: string; readonly separator: ' ' | ',' }
  | { readonly from: 'probe_body'; readonly path: string };

/** RFC 7662, or what a provider has in its place. */
export interface IntrospectionSpec {
  readonly url: string;
  readonly method: 'GET' | 'POST';
  /** `bearer`: the token asks about itself. */
  readonly authentication: ClientAuthentication | 'bearer';
  /** Of a signed assertion. Default: the URL. */
  readonly assertionAudience?: string;
  readonly bodyFormat: 'form' | 'json' | 'query';
  /** The field that carries the access token. */
  readonly tokenParameter: string;
  /** Dotted paths into the answer. `active` absent: a 2xx answer means active. */
  readonly fields: {
    readonly active?: string;
    readonly scope?: string;
    readonly expiresAt?: string;
    readonly expiresIn?: string;
  };
}

/** RFC 7009, or what a provider has in its place. */
export interface RevocationSpec {
  readonly url: string;
  readonly method: 'POST' | 'DELETE' | 'GET';
  readonly authentication: ClientAuthentication | 'bearer';
  /** Of a signed assertion. Default: the URL. */
  readonly assertionAudience?: string;
  readonly bodyFormat: 'form' | 'json' | 'none';
  /** Which token is sent; the refresh token falls back to the access token where there is none. */
  readonly token: 'refresh' | 'access';
  /** The field that carries the token. Absent: it is in Authorization, or the account is named by `extraParameters`. */
  readonly tokenParameter?: string;
  /** Sends `token_type_hint`. */
  readonly sendsHint?: boolean;
  /** May hold `{client_id}` and `{account.field}`. */
  readonly extraParameters?: Readonly<Record<string, string>>;
  /** `grant`: this connection's tokens. `account`: every connection of the same account and client (HubSpot portals, Stripe accounts). */
  readonly ends: 'grant' | 'account';
  /** Refusals that mean it is gone already, read before anything else. */
  readonly alreadyGone?: readonly Omit<ErrorRow, 'means' | 'cause'>[];
}

/** What ends a grant although nobody does anything. A figure nobody knows is left out, never guessed. */
export interface LifetimeSpec {
  /** Since the refresh token was last used. */
  readonly idleSeconds?: number;
  /** Since consent, whatever is done. */
  readonly absoluteSeconds?: number;
  /** Of each refresh token since it was issued, where the answer does not tell. */
  readonly refreshTokenSeconds?: number;
  /** Live grants of one account and client; one more silently ends the oldest. */
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
  /** Concerns only credentials whose token endpoint contains this. Absent: all. */
  readonly ofTokenEndpoint?: string;
}

/** A harmless read, sent with the token in `Authorization: Bearer`. 2xx works, `rejectedBy` rejects, all else is unknown. */
export interface ProbeSpec {
  readonly url: string;
  readonly method: 'GET' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON with POST; a query that reads, never one that changes anything. */
  readonly body?: Readonly<Record<string, unknown>>;
  /** Statuses that mean the token itself is refused. Default: 401 only; 403 and 429 mean it is alive. */
  readonly rejectedBy?: readonly number[];
  /** A 2xx answer with this member present or false is a refusal (`errors` of GraphQL, `ok` of Slack). */
  readonly refusedWhen?: { readonly member: string; readonly is: 'present' | 'false' };
}

// ---- how the sandbox plays the provider -----------------------------------------------------------------------------------

/** Documented oddities of the answers, for the sandbox to play; what is absent follows RFC 6749. */
export interface PersonaSpec {
  readonly successStatus?: number;
  readonly expiresIn?: 'number' | 'text' | 'absent';
  /** Default: `accessTokenTtlSeconds`, which says something else where the provider tells the time itself. */
  readonly accessTokenSeconds?: number;
  readonly scopeAs?: 'text' | 'list' | 'absent';
  readonly accessTokenIs?: 'opaque' | 'jwt';
  /** Seconds a spent refresh token still works. Default: 0 for connectors that are `unsafe`. */
  readonly graceSeconds?: number;
  /** Seconds a refresh token lives, sent under `refreshTokenExpiresIn`. */
  readonly refreshTokenSeconds?: number;
  /** Further members of a token answer, made up. */
  readonly alsoAnswers?: Readonly<Record<string, unknown>>;
  /** How it refuses. The contract suite holds each to the error table: `dead` must be read as dead, and so on. */
  readonly refusals: {
    /** Absent: there is no grant that could die, only the client's own proof. */
    readonly dead?: PersonaRefusal;
    readonly configuration: PersonaRefusal;
    readonly transient: PersonaRefusal;
    /** Reuse of a spent refresh token, where it differs from `dead`. */
    readonly reused?: PersonaRefusal;
  };
}

export interface PersonaRefusal {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>> | string;
  readonly headers?: Readonly<Record<string, string>>;
}
