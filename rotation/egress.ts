// Egress: the only request and answer types through which provider code reaches a network, and the ways a request can fail.
// It must never put a URL, an address, a header or a byte of a body into an error.
import { KeyturnError } from '../src/base/errors.ts';
import type { SecretValue } from '../src/base/secret-value.ts';

/** The only network access of provider code; src/node/egress.ts and src/worker/egress.ts implement it. */
export interface Egress {
  /**
   * One request, one answer, whatever its status; redirects are answers and are never followed.
   * @throws EgressFailure if there is no complete answer; `sent` shows whether the provider may have acted
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
  /** Timeout from the look-up to the last byte, in running time of the process: time in which the process was suspended does not count. */
  readonly timeoutMs: number;
  /** Limit of the decoded body. */
  readonly maxBytes: number;
  /** Allows loopback addresses and plain http to them: for tests and the local sandbox. */
  readonly allowLoopback: boolean;
  /** Called when the connection is established; after true, the first byte is sent within LEAVES_WITHIN_MS. False withdraws the request. Default: true. */
  readonly mayLeave?: () => boolean;
}

/** An older permission is asked for again, because the process may have been suspended since. */
export const LEAVES_WITHIN_MS = 1_000;

export interface EgressAnswer {
  readonly status: number;
  /** Lower-case names; `set-cookie` is left out. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: SecretValue;
  /** When the request was sent; lifetimes count from here. */
  readonly sentAtMs: number;
}

/** Provably before any byte of the request was sent. */
export const NOT_SENT_REASONS = [
  'request_refused', // not https, credentials in the URL, an invalid URL, or an invalid header
  'host_not_allowed',
  'address_blocked', // resolves to a loopback, private, link-local or metadata address
  'dns_failed',
  'connect_failed',
  'connect_timeout',
  'tls_failed',
  'withdrawn', // `mayLeave` returned false
  'held', // the budget of the provider is used up, or the provider fails or throttles
] as const;
/** The provider may have acted on the request. */
export const UNKNOWN_REASONS = [
  'timeout',
  'connection_lost',
  'answer_too_large',
  'answer_undecodable',
  'fetch_failed', // no answer began, and the platform does not report whether a connection was established
  'egress_failed',
] as const;
export type EgressReason = (typeof NOT_SENT_REASONS)[number] | (typeof UNKNOWN_REASONS)[number];

/** There is no complete answer. Contains only a reason from a closed list: never a URL, an address, a header or a byte of a body. */
export class EgressFailure extends KeyturnError {
  readonly sent: 'not_sent' | 'unknown';
  readonly reason: EgressReason;
  /** True if the platform cannot report whether a connection was established, so that the request may not have been sent. */
  readonly maybeUnsent: boolean;

  /** @param systemCode e.g. `ECONNREFUSED`; for the operator's log, dropped unless it looks like one */
  constructor(reason: EgressReason, systemCode?: unknown, maybeUnsent = false) {
    super('provider_unavailable', `the provider could not be reached: ${reason}`, {
      evidence: typeof systemCode === 'string' && /^[A-Z0-9_]{1,64}$/.test(systemCode) ? systemCode : reason,
    });
    this.name = 'EgressFailure';
    this.reason = reason;
    this.maybeUnsent = maybeUnsent;
    this.sent = (NOT_SENT_REASONS as readonly string[]).includes(reason) ? 'not_sent' : 'unknown';
  }
}
