// The way out: the one request and answer through which any provider code reaches a network, and the ways it can fail.
// Nothing here may carry a URL, an address, a header or a byte of a body into an error.
import { KeyturnError } from '../src/base/errors.ts';
import type { SecretValue } from '../src/base/secret-value.ts';

/** The only way any provider code reaches a network; src/node/egress.ts and src/worker/egress.ts implement it. */
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
  /** From the first look-up to the last byte, in time that this process was running: an answer that waits for a stopped one counts. */
  readonly timeoutMs: number;
  /** Of the body after decoding. */
  readonly maxBytes: number;
  /** True lets a loopback address be reached, and by plain http: tests and the sandbox on the same machine. */
  readonly allowLoopback: boolean;
  /** Asked when the connection stands; the first byte leaves within LEAVES_WITHIN_MS of a yes. False withdraws the request. Default: it may. */
  readonly mayLeave?: () => boolean;
}

/** An older yes is asked for again: the process may have been stopped since. */
export const LEAVES_WITHIN_MS = 1_000;

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
  'withdrawn', // `mayLeave` said no
] as const;
/** The provider may have acted on the request. */
export const UNKNOWN_REASONS = [
  'timeout',
  'connection_lost',
  'answer_too_large',
  'answer_undecodable',
  'fetch_failed', // no answer began, and the platform does not tell whether a connection ever stood
  'egress_failed',
] as const;
export type EgressReason = (typeof NOT_SENT_REASONS)[number] | (typeof UNKNOWN_REASONS)[number];

/** No whole answer. Carries a closed reason only: never a URL, an address, a header or a byte of either body. */
export class EgressFailure extends KeyturnError {
  readonly sent: 'not_sent' | 'unknown';
  readonly reason: EgressReason;
  /** True where `sent` is unknown and the platform cannot even tell whether a connection stood: it may as well never have left. */
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
