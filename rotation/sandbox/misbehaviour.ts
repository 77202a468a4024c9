// How the sandbox may misbehave on demand, for which connector, at which call and how often.
// Everything marked "after" happens once the provider has acted: that is the case that loses grants.
import type { Endpoint } from './persona-routes.ts';

export type Misbehaviour =
  /** After: the answer comes so much later. */
  | { readonly kind: 'slow'; readonly ms: number }
  /** After: half of the answer comes, then the connection dies. */
  | { readonly kind: 'truncate' }
  /** After: a proxy answers with a page. */
  | { readonly kind: 'html'; readonly status?: number }
  /** A server error, before or after the provider acted. Default: 503, before. */
  | { readonly kind: 'server_error'; readonly status?: number; readonly when?: 'before' | 'after' }
  /** Before: 429. `retry_after`: sent as it is, or one of the odd ones by name. */
  | { readonly kind: 'throttle'; readonly retry_after?: string }
  /** After: the connection dies without an answer. */
  | { readonly kind: 'drop' }
  /** Before: the connection dies, nothing happened. */
  | { readonly kind: 'reset' }
  /** Before: the provider ends the grant that is presented. */
  | { readonly kind: 'revoke_grant' }
  /** Before: the person takes the consent back. */
  | { readonly kind: 'withdraw_consent' }
  /** Before: somebody else refreshes the same grant, so the token at hand is spent. */
  | { readonly kind: 'rotate_elsewhere' }
  /** Before: refused in the connector's own words, while the grant lives on. */
  | { readonly kind: 'refuse'; readonly as: 'dead' | 'configuration' | 'transient' }
  /** Before: sent elsewhere. Default: https://elsewhere.example/ */
  | { readonly kind: 'redirect'; readonly location?: string }
  /** The answer grants less than was asked: the last scope is missing. */
  | { readonly kind: 'narrower_scope' }
  | { readonly kind: 'wider_scope' }
  /** Members that nobody expects, some of them hostile. */
  | { readonly kind: 'foreign_fields' }
  /** A member of so many bytes. Default: two million. */
  | { readonly kind: 'oversized'; readonly bytes?: number }
  | { readonly kind: 'expires_in'; readonly value: 'missing' | 'zero' | 'negative' | 'text' }
  /** A refresh answers with the very token that was sent; nothing is spent. */
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
  /** How many calls pass before. Default: 0. */
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

/** Asked in the order planned; one call takes at most one. */
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

/** The header behind a name: `seconds`, `date`, `past`, `negative`, `huge`, `garbage`, `none`; anything else is sent as it is. */
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
