// An egress that keeps the budget of each host it sends to: it asks the provider gate before every request and reports every result.
// It must never send a request that the gate holds.
import { LIMITS } from '../../src/base/limits.ts';
import { type Egress, type EgressAnswer, EgressFailure, type EgressReason } from '../connector.ts';
import { retryAfterSeconds } from '../oauth2/answer.ts';
import type { GateReport, ProviderGate, RateBudget, Urgency } from './provider-gate.ts';

export interface Gated {
  readonly gate: ProviderGate;
  readonly budget: RateBudget;
  readonly urgency: Urgency;
  readonly nowMs: () => number;
  readonly wait: (ms: number) => Promise<void>;
}

/** Requests wait in line for at most `LIMITS.gateLineMaxMs`. @throws EgressFailure held, from `send`, before anything is sent */
export function gatedEgress(egress: Egress, gated: Gated): Egress {
  const { gate, nowMs } = gated;
  return {
    send: async (request) => {
      // All paths of a host fail together.
      const endpoint = URL.parse(request.url)?.origin ?? '';
      await stepForward(endpoint, gated);
      if (request.mayLeave?.() === false) {
        gate.report(endpoint, { kind: 'none' });
        throw new EgressFailure('withdrawn');
      }
      try {
        const answer = await egress.send(request);
        gate.report(endpoint, reportOf(answer, nowMs()));
        return answer;
      } catch (error) {
        gate.report(endpoint, { kind: error instanceof EgressFailure && NOT_TRIED.has(error.reason) ? 'none' : 'failed' });
        throw error;
      }
    },
  };
}

async function stepForward(endpoint: string, { gate, budget, urgency, wait }: Gated): Promise<void> {
  let patienceMs: number = LIMITS.gateLineMaxMs;
  for (;;) {
    const admission = gate.admit(endpoint, budget, patienceMs, urgency);
    if (admission.kind === 'go') return admission.afterMs > 0 ? wait(admission.afterMs) : undefined;
    if (urgency === 'schedule' || admission.forMs > patienceMs) throw new EgressFailure('held');
    patienceMs -= admission.forMs;
    await wait(admission.forMs);
  }
}

/** Failures that say nothing about the provider. */
const NOT_TRIED: ReadonlySet<EgressReason> = new Set([
  'request_refused',
  'host_not_allowed',
  'address_blocked',
  'withdrawn',
  'held',
]);

function reportOf({ status, headers }: EgressAnswer, nowMs: number): GateReport {
  const again = retryAfterSeconds(headers['retry-after'], nowMs);
  if ((status === 429 || status === 503) && again !== undefined) return { kind: 'throttled', retryAfterMs: again * 1_000 };
  return { kind: status === 429 || status >= 500 ? 'failed' : 'alive' };
}
