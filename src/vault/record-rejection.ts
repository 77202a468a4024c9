// Refused authentications go to the home log before their 401 leaves: each one at first, counted together when there are many (DS-13).
import type { Caller } from '../access/principals.ts';
import { fail } from '../base/errors.ts';
import { type HomeVault, REFUSED } from './home-vault.ts';

export interface FailureLimit {
  take(key: string, nowMs: number): { readonly ok: boolean; readonly retryAfterSeconds: number };
}

/**
 * Settles when the refusal is durable, or counted into an event to come.
 * @throws rate_limited instead once a source used up its failures; those are counted, too
 */
export function rejectionRecorder(home: HomeVault, limit: FailureLimit, sourceOf: (address: string) => string) {
  return async (caller: Caller, route: string): Promise<void> => {
    const source = sourceOf(caller.source.address);
    const answer = limit.take(source, home.platform.clock.now());
    if (!answer.ok) {
      home.rejections.count();
      fail('rate_limited', 'too many refused tokens from this source', { retryAfterSeconds: answer.retryAfterSeconds });
    }
    if (!home.rejections.take(source)) return;
    const target = { type: 'route', name: route };
    const { request, clientRequest } = caller;
    await home.submit((job) => job.door.note({ ...REFUSED, reason: 'unauthenticated', request, clientRequest, target }, caller));
  };
}
