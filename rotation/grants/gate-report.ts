// What the outcome of a refresh says of its provider, for the gate that holds requests to one that fails or throttles.
import type { GateReport } from '../engine/provider-gate.ts';
import type { RefreshOutcome } from '../oauth2/answer.ts';

/** A refusal says that the provider is there; an answer that is none of a token endpoint says that something stands in for it. */
export function reportOf(outcome: RefreshOutcome): GateReport {
  switch (outcome.kind) {
    case 'refreshed':
    case 'refused':
      return { kind: 'alive' };
    case 'throttled': {
      const { retryAfterSeconds } = outcome;
      return retryAfterSeconds === undefined
        ? { kind: 'failed' }
        : { kind: 'throttled', retryAfterMs: retryAfterSeconds * 1_000 };
    }
    case 'transient':
    case 'sent_and_lost':
      return { kind: 'failed' };
    case 'answered_oddly':
      // A token that cannot be used came from the provider itself.
      return { kind: outcome.refreshToken === undefined ? 'failed' : 'alive' };
    case 'not_sent':
      return { kind: outcome.means === 'transient' ? 'failed' : 'none' };
  }
}
