// Records refused authentications in the home log before the 401 is sent: single events first, one event for the count of many (DS-13).
import type { Caller } from '../access/principals.ts';
import { fail } from '../base/errors.ts';
import { type HomeVault, REFUSED } from './home-vault.ts';

export interface FailureLimit {
  take(key: string, nowMs: number): { readonly ok: boolean; readonly retryAfterSeconds: number };
}

/**
 * Settles when the event of the refusal is durable, or the refusal was added to the count of a later event.
 * @throws rate_limited instead once a source has exceeded its rate of failures; those are counted, too
 */
export function rejectionRecorder(home: HomeVault, limit: FailureLimit, sourceOf: (address: string) => string) {
  return async (caller: Caller, route: string): Promise<void> => {
    const source = sourceOf(caller.source.address);
    const answer = limit.take(source, home.platform.clock.now());
    if (!answer.ok) {
      home.rejections.count();
      fail('rate_limited', 'this source sent too many refused tokens: try again later', {
        retryAfterSeconds: answer.retryAfterSeconds,
      });
    }
    if (!home.rejections.take(source)) return;
    const target = { type: 'route', name: route };
    const { request, clientRequest } = caller;
    await home.submit((job) => job.door.note({ ...REFUSED, reason: 'unauthenticated', request, clientRequest, target }, caller));
  };
}
