// Converts the outcome of a refresh to the result for the provider gate.
import type { GateReport } from '../engine/provider-gate.ts';
import type { RefreshOutcome } from '../oauth2/answer.ts';

/** A refusal shows that the provider works; an answer that is not a token endpoint's shows that it does not. */
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
      // An unusable token comes from the provider itself.
      return { kind: outcome.refreshToken === undefined ? 'failed' : 'alive' };
    case 'not_sent':
      return { kind: outcome.means === 'transient' ? 'failed' : 'none' };
  }
}
