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
 * @throws rate_limited instead once a source used up its failures; those are counted into one event a minute
 */
export function rejectionRecorder(home: HomeVault, limit: FailureLimit, sourceOf: (address: string) => string) {
  let suppressed = 0;
  let lastSummaryAtMs = 0;
  return async (caller: Caller, route: string): Promise<void> => {
    const now = home.around.clock.now();
    const answer = limit.take(sourceOf(caller.source.address), now);
    if (!answer.ok) suppressed += 1;
    const summaryDue = suppressed > 0 && now - lastSummaryAtMs >= SUMMARY_EVERY_MS;
    if (answer.ok || summaryDue) {
      const count = suppressed;
      if (summaryDue) {
        suppressed = 0;
        lastSummaryAtMs = now;
      }
      await home.submit(() =>
        home.door.note(
          {
            action: 'authentication',
            actor: { type: 'anonymous', id: 'unknown' },
            outcome: 'denied',
            reason: 'unauthenticated',
            request: caller.request,
            clientRequest: caller.clientRequest,
            target: { type: 'route', name: route },
            details: summaryDue ? { count } : undefined,
          },
          caller,
        ),
      );
    }
    if (!answer.ok)
      fail('rate_limited', 'too many refused tokens from this source', { retryAfterSeconds: answer.retryAfterSeconds });
  };
}
