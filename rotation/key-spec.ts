// How a key or a password is replaced at its target, as data: the part of the connector contract for everything but OAuth grants.
// Types only. Providers with a management API need data only; targets without HTTP name a driver.

/** The result of testing a token or key at the provider. `unknown` never promotes and never revokes (D5). */
export type Verdict = 'works' | 'rejected' | 'unknown';

/**
 * How a new value takes the place of the old one.
 * `overlap`: a second key is made beside the first; both work until the first is revoked.
 * `alternating_users`: two accounts in turn; the one that is not in use gets a new password.
 * `single_user`: the password of the one account is replaced; the old one is refused from then on.
 * `in_place`: the provider makes a new value and refuses the old one from then on.
 * `manual`: only a person can make a new value.
 */
export type RotationStrategy = 'overlap' | 'alternating_users' | 'single_user' | 'in_place' | 'manual';

/** Strategies at which the target refuses the old value as soon as it accepts the new one. */
export const REPLACES_AT_ONCE: ReadonlySet<RotationStrategy> = new Set(['single_user', 'in_place']);

/**
 * A text with variables in braces. `{parameters.x}`: a parameter of the credential; `{old.x}`, `{admin.x}`: a member of the value that is
 * replaced, of the admin credential; `{value.x}`: of the value that `test`, `used`, `read`, `disable` and `revoke` are about; `{copied.x}`: taken by
 * `inspect`; `{name}`: the name of the new key, which contains the id of the run; `{ends.x}`: an instant, as declared in `lifetime`.
 * In the path and query of a URL every variable is percent-encoded. A JSON member or form field whose whole text is one variable gets
 * its JSON value, and is left out if it is an optional copied member that is absent.
 */
export type Template = string;

/** RFC 6901; the empty text is the whole answer. The segment `*` stands for every element of a list; the result is then a list. */
export type JsonPointer = string;

/** An answer with this status, and with this text anywhere in its body in any case. */
export interface AnswerMatch {
  readonly status: number;
  readonly text?: string;
}

/** How a call authenticates. */
export type CallAuthentication =
  /** Lower-case names. */
  | { readonly by: 'headers'; readonly headers: Readonly<Record<string, Template>> }
  | { readonly by: 'basic'; readonly username: Template; readonly password: Template }
  /** RFC 7616 with MD5 or SHA-256, as the provider asks; costs a first request without authentication. */
  | { readonly by: 'digest'; readonly username: Template; readonly password: Template }
  /** AWS Signature Version 4. */
  | {
      readonly by: 'sigv4';
      readonly service: string;
      readonly region: Template;
      readonly keyId: Template;
      readonly key: Template;
    }
  /** RFC 7523 section 2.1 with RS256: adds `grant_type` and `assertion` to the form. */
  | {
      readonly by: 'jwt_bearer';
      readonly issuer: Template;
      readonly audience: Template;
      /** PEM, PKCS #8 or PKCS #1. */
      readonly privateKey: Template;
      readonly scope: string;
    }
  /** Standard Webhooks 1.0.0 with the key `whsec_...`; `id` identifies the message. */
  | { readonly by: 'standard_webhook'; readonly id: string; readonly key: Template }
  /** The secret is in the body, or in a header of the call. */
  | { readonly by: 'none' };

/** A member that makes an answer of success a refusal, e.g. `errors` of GraphQL; `false`: when it has the value false. */
export interface RefusedWhen {
  readonly at: JsonPointer;
  readonly is: 'present' | 'false';
  /** Of the refusal, unless a row of the error table matches. Default: `refused_in_answer`. */
  readonly cause?: string;
}

export interface KeyCall {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly url: Template;
  /** Lower-case names. Default: `accept` and `content-type` as `answer`, `json` and `form` say. */
  readonly headers?: Readonly<Record<string, Template>>;
  /** A JSON body. */
  readonly json?: unknown;
  /** A form body; used if `json` is absent. */
  readonly form?: Readonly<Record<string, Template>>;
  /** Default: `authentication` of the connector for management calls. */
  readonly authentication?: CallAuthentication;
  /** Statuses of success. Default: 200 to 299. */
  readonly succeeds?: readonly number[];
  /** Of an answer in XML instead of JSON: element names are the members, the root included. */
  readonly answer?: 'json' | 'xml';
  readonly refusedWhen?: readonly RefusedWhen[];
}

/**
 * Reads members from an answer by JSON pointer; of several pointers the first that finds something counts. A missing member is an answer
 * of the wrong shape, unless its name ends with `?`. Null is missing; of an optional member, empty lists and objects are, too.
 */
export type Takes = Readonly<Record<string, JsonPointer | readonly JsonPointer[]>>;

export interface MintCall extends KeyCall {
  /** Members of the new value, as texts. Members of the old value that are not listed stay as they are. */
  readonly takes: Takes;
  /** Instead of `takes`: the new value is the JSON document in base64 that is there. */
  readonly takesDocument?: JsonPointer;
  /** Where the answer says when the new key ends: RFC 3339, or seconds or milliseconds since 1970. */
  readonly endsAt?: JsonPointer;
}

export interface InspectCall extends KeyCall {
  /** Becomes `{copied.x}`. */
  readonly takes: Takes;
}

/** How the next page of a list is asked for. A list without `pages` is complete in one answer. */
export type Pages =
  /** By number, until a page has fewer than `size` items. */
  | { readonly by: 'number'; readonly parameter: string; readonly first: 0 | 1; readonly size: number }
  /** By a cursor in the answer, until it is absent or the page is empty. */
  | { readonly by: 'cursor'; readonly parameter: string; readonly at: JsonPointer }
  /** By the query of a URL in the answer, until it is absent; its host and path are ignored. */
  | { readonly by: 'url'; readonly at: JsonPointer };

/** Lists the keys of the account, to find the key of an interrupted run by its name and to count keys before a new one is made. */
export interface ListCall extends KeyCall {
  readonly items: JsonPointer;
  /** Inside an item. */
  readonly id: JsonPointer;
  /** Inside an item: what `{name}` was written to. Absent: keys have no name. */
  readonly name?: JsonPointer;
  /**
   * Inside an item: when the key was made (RFC 3339). Keys without a name are found by it. They are removed only if nobody has used them, so
   * without `usedAt` and `used` a person removes them.
   */
  readonly createdAt?: JsonPointer;
  /** Inside an item: present if the key was used, so that it is somebody's. */
  readonly usedAt?: JsonPointer;
  readonly pages?: Pages;
}

/** A harmless call with the value itself, or, if that has none, a question about it with the admin credential. */
export interface TestCall extends KeyCall {
  readonly authentication: CallAuthentication;
  /** Answers that mean that the value is refused. Default: 401. Everything else that is not a success is `unknown`. */
  readonly rejectedBy?: readonly AnswerMatch[];
  /**
   * Where an answer of success has a member, so that a page of something between is not taken for one; of several pointers, one. With `is`,
   * the member must have this text, e.g. `active`: another text is a refusal. A missing member is `unknown`.
   */
  /** Where an answer of success has a member only if the value was ended. */
  readonly rejectedWhen?: JsonPointer;
  readonly worksWhen: { readonly at: JsonPointer | readonly JsonPointer[]; readonly is?: string };
}

export interface RevokeCall extends KeyCall {
  /** Answers that mean that the key no longer exists. Default: 404. */
  readonly goneBy?: readonly AnswerMatch[];
}

/** A key at a provider with a management API. */
export interface KeyCalls {
  /** Of `mint`, `inspect`, `list`, `disable` and `revoke`. */
  readonly authentication: CallAuthentication;
  /** The member of the value that identifies the key at the provider. Default: `key_id`. */
  readonly idMember?: string;
  /** Ids in answers are resource names such as `projects/x/keys/id`: the last segment is the id. */
  readonly idIsResourceName?: true;
  /** Reads the old key, so that the new one gets the same rights. */
  readonly inspect?: InspectCall;
  readonly list?: ListCall;
  /** Asks whether the key `{value.<idMember>}` was ever used, where `list` does not say. */
  readonly used?: KeyCall & { readonly at: JsonPointer };
  readonly mint: MintCall;
  /**
   * Reads the new value of the key `{value.<idMember>}`, for providers whose `mint` only begins the making: the key is found by its name in
   * `list`, and one of an interrupted run is read instead of removed.
   */
  readonly read?: KeyCall & { readonly takes: Takes };
  readonly test: TestCall;
  /** Called before `revoke`, for providers that delete only what is disabled. */
  readonly disable?: RevokeCall;
  /** Ends the key `{value.<idMember>}`; also a new key that failed its test. For `in_place`: absent, because `mint` does it. */
  readonly revoke?: RevokeCall;
  /** The lifetime of new keys: `{ends.date_time}` (RFC 3339 without fractions), `{ends.date}`, `{ends.hours}`, `{ends.days}`, `{ends.seconds}`. */
  readonly lifetime?: { readonly defaultDays: number; readonly maxDays: number };
}

/** Targets without HTTP, by the driver that the platform provides. */
export type DriverName = 'postgresql' | 'mysql' | 'redis' | 'ldap' | 'smtp';

export interface KeyErrorRow {
  readonly status?: number;
  /** A text in the answer. */
  readonly text?: string;
  readonly means: 'transient' | 'configuration';
  /** `a-z0-9_`, at most 64 characters. */
  readonly cause: string;
}

export type KeyKind = 'api_key' | 'basic' | 'database' | 'json';

export interface KeySpec {
  /** The kind of credential that contains the value. */
  readonly credential: KeyKind;
  /** Other kinds that it accepts. */
  readonly alsoCredentials?: readonly KeyKind[];
  readonly strategy: RotationStrategy;
  /** Who authenticates the management calls: the value itself, an admin credential, or either. With `self`, `{admin.x}` is the old value. */
  readonly admin: 'self' | 'credential' | 'either';
  /** The kinds an admin credential may have. Default: the same as `credential`. For `oauth2`, `{admin.access_token}` is its token. */
  readonly adminKinds?: readonly (KeyKind | 'oauth2')[];
  /** As in OAuth connectors: `name`, `name:port` or `*.name`; `{x}` is a parameter. Empty for a driver: the host is in the value. */
  readonly hosts: readonly string[];
  /** Keys that may exist at once. */
  readonly keysMaxCount?: number;
  /** For how long a new key may still be refused because the provider distributes it. Default: 0. */
  readonly settlesWithinSeconds?: number;
  /** Between the end of the cut-over and the revocation. Default: a day for `overlap` and `alternating_users`. */
  readonly graceSeconds?: number;
  /** Refusals that differ from the general rule: 408, 425, 429 and 5xx are transient, every other refusal is configuration. */
  readonly errorTable?: readonly KeyErrorRow[];
  readonly rateBudget?: { readonly requests: number; readonly perSeconds: number };
  /** Exactly one of `calls`, `driver` and `custom`; none for `manual`. */
  readonly calls?: KeyCalls;
  readonly driver?: DriverName;
  /** The credential's settings of this name describe the steps; strategy and hosts are theirs, too (keys/custom.ts). */
  readonly custom?: 'http' | 'webhook' | 'program';
}
