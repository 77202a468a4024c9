// Holds back requests to a provider that is down, throttles or has had its share: a breaker for each endpoint, a budget for each host,
// shared by all tenants of a process. It lives in memory, knows no credential, and must never hold one provider because of another.
import type { Clock } from '../../src/base/clock.ts';
import { LIMITS } from '../../src/base/limits.ts';

/** Requests that a provider allows; absent: our own figure. */
export type RateBudget = { readonly requests: number; readonly perSeconds: number } | undefined;

/**
 * Who waits for it. `schedule`: nobody. `read`: a workflow without a live token, which probes a provider that fails every few seconds.
 * `request`: somebody asked for this call, which goes even to a provider that fails or throttles.
 */
export type Urgency = 'schedule' | 'read' | 'request';

/** What came of a request. `alive`: the provider gave a well-formed answer, even a refusal. `none`: nothing left, so nothing was learnt. */
export type GateReport =
  | { readonly kind: 'alive' | 'failed' | 'none' }
  | { readonly kind: 'throttled'; readonly retryAfterMs: number };

/** `go` after so long: the place is taken. `held`: nothing is taken; ask again after so long. */
export type Admission = { readonly kind: 'go'; readonly afterMs: number } | { readonly kind: 'held'; readonly forMs: number };

interface Host {
  tokens: number;
  filledAtMs: number;
  /** The provider asked to be left alone until then. */
  throttledUntilMs: number;
  /** When that was said; a clock that shows less was put back since. */
  throttledAtMs: number;
}

interface Breaker {
  failures: number;
  /** How often in a row it opened. */
  opened: number;
  openUntilMs: number;
  openedAtMs: number;
  /** One request may find out whether the provider is back. */
  probing: boolean;
  probeUntilMs: number;
  /** When the last failure was told; readers probe so long after it. */
  failedAtMs: number;
}

/** A tenth of a second's worth may come at once, so that no span of time sees more than the budget. */
const BURST_SECONDS = 0.1;
const KEPT_MAX_COUNT = 10_000;
const NEVER_MS = Number.NEGATIVE_INFINITY;

export class ProviderGate {
  readonly #clock: Clock;
  readonly #hosts = new Map<string, Host>();
  readonly #breakers = new Map<string, Breaker>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Asks for one request. @param maxWaitMs a longer wait is not taken */
  admit(endpoint: string, budget: RateBudget, maxWaitMs: number, urgency: Urgency = 'schedule'): Admission {
    const now = this.#clock.now();
    const host = this.#host(endpoint, budget, now);
    const breaker = this.#breaker(endpoint);
    const forMs = urgency === 'request' ? 0 : Math.max(throttledFor(host, now), heldFor(breaker, now, urgency));
    if (forMs > 0) return { kind: 'held', forMs };
    const perMs = perMsOf(budget);
    const burst = burstOf(budget);
    host.tokens = Math.min(burst, host.tokens + Math.max(0, now - host.filledAtMs) * perMs);
    host.filledAtMs = now;
    const afterMs = Math.max(0, (1 - host.tokens) / perMs);
    if (afterMs > maxWaitMs) return { kind: 'held', forMs: afterMs - maxWaitMs };
    host.tokens -= 1;
    breaker.probeUntilMs = now + PROBE_MAX_MS;
    return { kind: 'go', afterMs: Math.ceil(afterMs) };
  }

  report(endpoint: string, report: GateReport): void {
    const host = this.#hosts.get(hostOf(endpoint));
    const breaker = this.#breakers.get(endpoint);
    if (host === undefined || breaker === undefined) return;
    const now = this.#clock.now();
    if (report.kind === 'none') {
      breaker.probeUntilMs = NEVER_MS;
    } else if (report.kind === 'failed') {
      noteFailure(breaker, now);
    } else {
      this.#breakers.delete(endpoint);
      // INVARIANT: an answer of another credential does not cut a throttle short (test/rotation/engine/provider-gate.test.ts).
      if (report.kind !== 'throttled') return;
      host.throttledUntilMs = Math.max(now + throttledFor(host, now), now + report.retryAfterMs);
      host.throttledAtMs = now;
    }
  }

  #host(endpoint: string, budget: RateBudget, now: number): Host {
    return kept(this.#hosts, hostOf(endpoint), () => ({
      tokens: burstOf(budget),
      filledAtMs: now,
      throttledUntilMs: NEVER_MS,
      throttledAtMs: NEVER_MS,
    }));
  }

  #breaker(endpoint: string): Breaker {
    return kept(this.#breakers, endpoint, () => ({
      failures: 0,
      opened: 0,
      openUntilMs: NEVER_MS,
      openedAtMs: NEVER_MS,
      probing: false,
      probeUntilMs: NEVER_MS,
      failedAtMs: NEVER_MS,
    }));
  }
}

function kept<T>(map: Map<string, T>, name: string, make: () => T): T {
  const known = map.get(name);
  if (known !== undefined) return known;
  if (map.size >= KEPT_MAX_COUNT) map.clear();
  const made = make();
  map.set(name, made);
  return made;
}

function noteFailure(breaker: Breaker, now: number): void {
  breaker.failures += 1;
  breaker.failedAtMs = now;
  breaker.probeUntilMs = NEVER_MS;
  // What was under way when it opened, and what a reader found out meanwhile, says nothing new.
  if (isOpen(breaker, now) || breaker.failures < LIMITS.breakerFailures) return;
  breaker.openedAtMs = now;
  breaker.openUntilMs = now + Math.min(LIMITS.breakerOpenMs * 2 ** breaker.opened, LIMITS.breakerOpenMaxMs);
  breaker.opened += 1;
  breaker.probing = true;
}

function throttledFor({ throttledUntilMs, throttledAtMs }: Host, now: number): number {
  return isSet(throttledAtMs, now) ? Math.max(0, throttledUntilMs - now) : 0;
}

function heldFor(breaker: Breaker, now: number, urgency: Urgency): number {
  // One probe at a time, whoever sends it.
  if (breaker.probing && isUnderWay(breaker, now)) return LIMITS.breakerOpenMs / 10;
  if (!isOpen(breaker, now)) return 0;
  const forMs = breaker.openUntilMs - now;
  const probeAtMs = isSet(breaker.failedAtMs, now) ? breaker.failedAtMs + LIMITS.breakerProbeMs : now;
  return urgency === 'read' ? Math.min(forMs, Math.max(0, probeAtMs - now)) : forMs;
}

function isOpen({ openUntilMs, openedAtMs }: Breaker, now: number): boolean {
  return isSet(openedAtMs, now) && openUntilMs > now;
}

/** Not set by a clock that was ahead of this one. */
function isSet(atMs: number, now: number): boolean {
  return now >= atMs - LIMITS.clockSkewMs;
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

/** An end further ahead than any that is ever set was set by a clock that was ahead of this one. */
function isUnderWay({ probeUntilMs }: Breaker, now: number): boolean {
  return probeUntilMs > now && probeUntilMs <= now + PROBE_MAX_MS;
}

function perSecondOf(budget: RateBudget): number {
  return budget === undefined ? LIMITS.providerRequestsPerSecond : budget.requests / budget.perSeconds;
}

function burstOf(budget: RateBudget): number {
  return Math.max(1, Math.floor(perSecondOf(budget) * BURST_SECONDS));
}

/** The burst is taken off the rate, so that even the span that begins with it stays within the budget. */
function perMsOf(budget: RateBudget): number {
  const { requests, perSeconds } = budget ?? { requests: LIMITS.providerRequestsPerSecond, perSeconds: 1 };
  return Math.max(requests - burstOf(budget), requests / 2) / perSeconds / 1_000;
}

function hostOf(endpoint: string): string {
  return URL.parse(endpoint)?.host ?? '';
}
