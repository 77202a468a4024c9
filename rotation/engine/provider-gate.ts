// Holds back requests to a provider that is down, throttles or has had its share: a breaker and a budget for each host, shared by all
// tenants of a process. It lives in memory, knows no credential, and must never hold one provider because of another.
import type { Clock } from '../../src/base/clock.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { OAuth2Spec } from '../connector.ts';
import type { RefreshOutcome } from '../oauth2/refresh.ts';

/** What came of a request. `alive`: the provider answered in its right mind. `none`: nothing left, so nothing was learnt. */
export type GateReport =
  | { readonly kind: 'alive' | 'failed' | 'none' }
  | { readonly kind: 'throttled'; readonly retryAfterMs: number };

/** `go` after so long: the place is taken. `held`: nothing is taken; ask again after so long. */
export type Admission = { readonly kind: 'go'; readonly afterMs: number } | { readonly kind: 'held'; readonly forMs: number };

interface Host {
  tokens: number;
  filledAtMs: number;
  failures: number;
  /** How often in a row the breaker opened. */
  opened: number;
  heldUntilMs: number;
  /** When that was said; a clock that shows less was put back since. */
  heldAtMs: number;
  /** One request may find out whether the provider is back. */
  probing: boolean;
  probeUntilMs: number;
}

/** A tenth of a second's worth may come at once, so that no span of time sees more than the budget. */
const BURST_SECONDS = 0.1;
const HOSTS_MAX_COUNT = 10_000;

export class ProviderGate {
  readonly #clock: Clock;
  readonly #hosts = new Map<string, Host>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Asks for one request. @param maxWaitMs a longer wait is not taken */
  admit(endpoint: string, budget: OAuth2Spec['rateBudget'], maxWaitMs: number): Admission {
    const now = this.#clock.now();
    const host = this.#host(endpoint, budget, now);
    if (isHeld(host, now)) return { kind: 'held', forMs: host.heldUntilMs - now };
    if (host.probing) {
      if (isAhead(host.probeUntilMs, now, PROBE_MAX_MS)) return { kind: 'held', forMs: LIMITS.breakerOpenMs / 10 };
      host.probeUntilMs = now + PROBE_MAX_MS;
    }
    const perMs = perMsOf(budget);
    const burst = burstOf(budget);
    host.tokens = Math.min(burst, host.tokens + Math.max(0, now - host.filledAtMs) * perMs);
    host.filledAtMs = now;
    const afterMs = Math.max(0, (1 - host.tokens) / perMs);
    if (afterMs > maxWaitMs) return { kind: 'held', forMs: afterMs - maxWaitMs };
    host.tokens -= 1;
    return { kind: 'go', afterMs: Math.ceil(afterMs) };
  }

  report(endpoint: string, report: GateReport): void {
    const host = this.#hosts.get(hostOf(endpoint));
    if (host === undefined) return;
    const now = this.#clock.now();
    if (report.kind === 'none') {
      host.probeUntilMs = 0;
    } else if (report.kind === 'failed') {
      host.failures += 1;
      // What was under way when it opened says nothing new.
      if (isHeld(host, now) || (!host.probing && host.failures < LIMITS.breakerFailures)) return;
      host.heldAtMs = now;
      host.heldUntilMs = now + Math.min(LIMITS.breakerOpenMs * 2 ** Math.min(host.opened, 20), LIMITS.breakerOpenMaxMs);
      host.opened += 1;
      host.probing = true;
      host.probeUntilMs = 0;
    } else {
      host.failures = 0;
      host.opened = 0;
      host.probing = false;
      // INVARIANT: an answer of another credential does not cut a throttle short (test/rotation/engine/provider-gate.test.ts).
      if (report.kind !== 'throttled') return;
      host.heldUntilMs = Math.max(isHeld(host, now) ? host.heldUntilMs : 0, now + report.retryAfterMs);
      host.heldAtMs = now;
    }
  }

  #host(endpoint: string, budget: OAuth2Spec['rateBudget'], now: number): Host {
    const name = hostOf(endpoint);
    const known = this.#hosts.get(name);
    if (known !== undefined) return known;
    if (this.#hosts.size >= HOSTS_MAX_COUNT) this.#hosts.clear();
    const host: Host = {
      tokens: burstOf(budget),
      filledAtMs: now,
      failures: 0,
      opened: 0,
      heldUntilMs: 0,
      heldAtMs: 0,
      probing: false,
      probeUntilMs: 0,
    };
    this.#hosts.set(name, host);
    return host;
  }
}

/** A probe that never reported back does not keep the gate shut. */
const PROBE_MAX_MS = 2 * LIMITS.providerTimeoutMs;

/**
 * For requests that nobody waits for: milliseconds until all that are admitted within one tenth of a second go, so that they share their
 * commits and find their code warm. INVARIANT: no span sees more than the budget, since this puts a request off by no more than the time
 * that the burst was taken off the rate for (test/rotation/engine/provider-gate.test.ts).
 */
export function togetherAfter(nowMs: number, afterMs: number): number {
  const spanMs = BURST_SECONDS * 1_000;
  return afterMs + spanMs - ((nowMs + afterMs) % spanMs);
}

function isHeld({ heldUntilMs, heldAtMs }: Host, nowMs: number): boolean {
  return nowMs >= heldAtMs - LIMITS.clockSkewMs && isAhead(heldUntilMs, nowMs, LIMITS.refreshWaitMaxMs);
}

/** An instant further ahead than any that is ever set was set by a clock that went astray. */
function isAhead(atMs: number, nowMs: number, maxMs: number): boolean {
  return atMs > nowMs && atMs <= nowMs + maxMs;
}

function perSecondOf(budget: OAuth2Spec['rateBudget']): number {
  return budget === undefined ? LIMITS.providerRequestsPerSecond : budget.requests / budget.perSeconds;
}

function burstOf(budget: OAuth2Spec['rateBudget']): number {
  return Math.max(1, Math.floor(perSecondOf(budget) * BURST_SECONDS));
}

/** The burst is taken off the rate, so that even the span that begins with it stays within the budget. */
function perMsOf(budget: OAuth2Spec['rateBudget']): number {
  const { requests, perSeconds } = budget ?? { requests: LIMITS.providerRequestsPerSecond, perSeconds: 1 };
  return Math.max(requests - burstOf(budget), requests / 2) / perSeconds / 1_000;
}

function hostOf(endpoint: string): string {
  return URL.parse(endpoint)?.host ?? '';
}

/** What an outcome says of the provider. A grant that is dead says that it is alive. */
export function reportOf(outcome: RefreshOutcome): GateReport {
  if (outcome.kind === 'unknown') return { kind: 'failed' };
  if (outcome.kind === 'refreshed') return { kind: 'alive' };
  const { status, retryAfterSeconds } = outcome;
  if (status === 429 && retryAfterSeconds !== undefined) return { kind: 'throttled', retryAfterMs: retryAfterSeconds * 1_000 };
  if (outcome.kind === 'transient') return { kind: outcome.cause === 'withdrawn' ? 'none' : 'failed' };
  return { kind: status === undefined ? 'none' : 'alive' };
}
