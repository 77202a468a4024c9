// The misbehaviours of the sandbox on demand: for which connector, at which call and how often.
// Those marked "after" happen after the provider has acted, which is the case that can lose grants.
import type { Endpoint } from './persona-routes.ts';

export type Misbehaviour =
  /** After: the answer is delayed by this time. */
  | { readonly kind: 'slow'; readonly ms: number }
  /** After: half of the answer is sent, then the connection is closed. */
  | { readonly kind: 'truncate' }
  /** After: a proxy answers with a page. */
  | { readonly kind: 'html'; readonly status?: number }
  /** A server error, before or after the provider acted. Default: 503, before. */
  | { readonly kind: 'server_error'; readonly status?: number; readonly when?: 'before' | 'after' }
  /** Before: 429. `retry_after`: sent verbatim, or a named special value. */
  | { readonly kind: 'throttle'; readonly retry_after?: string }
  /** After: the connection is closed without an answer. */
  | { readonly kind: 'drop' }
  /** Before: the connection is closed, the provider has not acted. */
  | { readonly kind: 'reset' }
  /** Before: the provider ends the presented grant. */
  | { readonly kind: 'revoke_grant' }
  /** Before: the person withdraws the consent. */
  | { readonly kind: 'withdraw_consent' }
  /** Before: another system refreshes the same grant, so the presented token is used up. */
  | { readonly kind: 'rotate_elsewhere' }
  /** Before: refused with an error of the connector's table, but the grant stays valid. */
  | { readonly kind: 'refuse'; readonly as: 'dead' | 'configuration' | 'transient' }
  /** Before: a redirect. Default: https://elsewhere.example/ */
  | { readonly kind: 'redirect'; readonly location?: string }
  /** The answer grants less than requested: the last scope is missing. */
  | { readonly kind: 'narrower_scope' }
  | { readonly kind: 'wider_scope' }
  /** Unexpected members, some of them hostile. */
  | { readonly kind: 'foreign_fields' }
  /** A member with this number of bytes. Default: two million. */
  | { readonly kind: 'oversized'; readonly bytes?: number }
  | { readonly kind: 'expires_in'; readonly value: 'missing' | 'zero' | 'negative' | 'text' }
  /** A refresh answers with the same token that was sent; nothing is used up. */
  | { readonly kind: 'same_refresh_token' }
  /** At the callback. */
  | { readonly kind: 'wrong_state' }
  | { readonly kind: 'wrong_issuer' }
  | { readonly kind: 'no_issuer' };

export type MisbehaviourKind = Misbehaviour['kind'];

export interface MisbehaviourPlan {
  /** A connector's id; absent: any. */
  readonly connector?: string;
  /** Which calls. Default: those to the token endpoint, and the callback for what happens there. */
  readonly on?: Endpoint;
  /** How many calls. Default: 1; 0 means until `calm`. */
  readonly times?: number;
  /** How many calls are unaffected before it. Default: 0. */
  readonly skip?: number;
}

interface Planned {
  readonly misbehaviour: Misbehaviour;
  readonly connector: string | undefined;
  readonly on: Endpoint;
  left: number;
  skip: number;
}

const AT_CALLBACK: readonly MisbehaviourKind[] = ['wrong_state', 'wrong_issuer', 'no_issuer'];

/** Applied in the planned order, at most one per call. */
export class MisbehaviourQueue {
  #planned: Planned[] = [];

  plan(misbehaviour: Misbehaviour, { connector, on, times = 1, skip = 0 }: MisbehaviourPlan): void {
    const where = on ?? (AT_CALLBACK.includes(misbehaviour.kind) ? 'authorize' : 'token');
    this.#planned.push({ misbehaviour, connector, on: where, left: times === 0 ? Number.POSITIVE_INFINITY : times, skip });
  }

  calm(): void {
    this.#planned = [];
  }

  take(connectorId: string, endpoint: Endpoint): Misbehaviour | undefined {
    for (const planned of this.#planned) {
      if ((planned.connector ?? connectorId) !== connectorId || planned.on !== endpoint) continue;
      if (planned.skip > 0) {
        planned.skip -= 1;
        continue;
      }
      planned.left -= 1;
      this.#planned = this.#planned.filter(({ left }) => left > 0);
      return planned.misbehaviour;
    }
    return undefined;
  }
}

const HTTP_DATE_OF_OLD = 'Sun, 06 Nov 1994 08:49:37 GMT';

/** The header behind a name: `seconds`, `date`, `past`, `negative`, `huge`, `garbage`, `none`; any other text is sent verbatim. */
export function retryAfterHeader(named: string | undefined, nowMs: number): string | undefined {
  switch (named) {
    case undefined:
    case 'seconds':
      return '2';
    case 'date':
      return new Date(nowMs + 3_000).toUTCString();
    case 'past':
      return HTTP_DATE_OF_OLD;
    case 'negative':
      return '-30';
    case 'huge':
      return '99999999999999999999';
    case 'garbage':
      return 'soon, maybe';
    case 'none':
      return undefined;
    default:
      return named;
  }
}
