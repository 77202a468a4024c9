// Refused authentications go to the home log before their 401 leaves: each one at first, counted together when a source floods (DS-13).
import type { Caller } from '../access/principals.ts';
import { fail } from '../base/errors.ts';
import type { HomeVault } from './home-vault.ts';

export interface FailureLimit {
  take(key: string, nowMs: number): { readonly ok: boolean; readonly retryAfterSeconds: number };
}

const SUMMARY_EVERY_MS = 60_000;

/**
 * Settles when the refusal is durable.
 * @throws rate_limited instead once a source used up its failures; those are counted into one event a minute, and one at close
 */
export function rejectionRecorder(home: HomeVault, limit: FailureLimit, sourceOf: (address: string) => string) {
  const flood = new Flood(home);
  return async (caller: Caller, route: string): Promise<void> => {
    const answer = limit.take(sourceOf(caller.source.address), home.around.clock.now());
    if (!answer.ok) {
      flood.count();
      fail('rate_limited', 'too many refused tokens from this source', { retryAfterSeconds: answer.retryAfterSeconds });
    }
    const target = { type: 'route', name: route };
    const { request, clientRequest } = caller;
    await home.submit(() => home.door.note({ ...REFUSED, reason: 'unauthenticated', request, clientRequest, target }, caller));
  };
}

const REFUSED = { action: 'authentication', actor: { type: 'anonymous', id: 'unknown' }, outcome: 'denied' } as const;

/** INVARIANT: every refusal is an event or in the count of one: none is lost when the flood ends (test/http/hostile-load.test.ts). */
class Flood {
  readonly #home: HomeVault;
  #refusals = 0;
  #waiting = false;

  constructor(home: HomeVault) {
    this.#home = home;
    home.beforeClose(() => this.#write());
  }

  count(): void {
    this.#refusals += 1;
    if (this.#waiting) return;
    this.#waiting = true;
    this.#home.around.later(SUMMARY_EVERY_MS, () => {
      this.#waiting = false;
      this.#write();
    });
  }

  #write(): void {
    const count = this.#refusals;
    if (count === 0) return;
    this.#refusals = 0;
    const { door, core } = this.#home;
    const note = () =>
      door.note({
        ...REFUSED,
        reason: 'rate_limited',
        request: `flood:${core.audit.size}`,
        target: { type: 'routes' },
        details: { count },
      });
    this.#home.submit(note).catch(() => {
      this.#refusals += count;
    });
  }
}
