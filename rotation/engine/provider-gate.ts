// Delays requests to a provider that is down, throttles or has reached its rate limit: a circuit breaker per endpoint and a budget per host,
// shared by all tenants of a process, in memory. It must never delay requests to one provider because of another.
import type { Clock } from '../../src/base/clock.ts';
import { LIMITS } from '../../src/base/limits.ts';

/** The rate limit of a provider; absent: Keyturn's default. */
export type RateBudget = { readonly requests: number; readonly perSeconds: number } | undefined;

/**
 * What triggers the call. `schedule`: no caller waits. `read`: a workflow without a valid token waits; probes a failing provider every few seconds.
 * `request`: an explicit request, which is sent even to a provider that fails or throttles.
 */
export type Urgency = 'schedule' | 'read' | 'request';

/** The result of a request for the gate. `alive`: the provider gave a well-formed answer, even a refusal. `none`: nothing was sent. */
export type GateReport =
  | { readonly kind: 'alive' | 'failed' | 'none' }
  | { readonly kind: 'throttled'; readonly retryAfterMs: number };

/** `go`: the request has a slot, after this delay. `held`: no slot; ask again after this delay. */
export type Admission = { readonly kind: 'go'; readonly afterMs: number } | { readonly kind: 'held'; readonly forMs: number };

interface Host {
  tokens: number;
  filledAtMs: number;
  /** The provider throttles until then. */
  throttledUntilMs: number;
  /** When the provider said so; an earlier time means that the clock was set back. */
  throttledAtMs: number;
}

interface Breaker {
  failures: number;
  /** Consecutive openings. */
  opened: number;
  openUntilMs: number;
  openedAtMs: number;
  /** Whether one request may probe the provider. */
  probing: boolean;
  probeUntilMs: number;
  /** When the last failure was reported; readers probe a fixed time after it. */
  failedAtMs: number;
}

/** The burst is a tenth of the rate per second and is subtracted from it, so that no second exceeds the budget. */
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

  /** Requests a slot. @param maxWaitMs a longer delay is answered with `held` */
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

  /** How long scheduled work for this endpoint is held now, without requesting a slot; 0: a slot is free, or there is one after `maxWaitMs`. */
  heldForMs(endpoint: string, budget: RateBudget, maxWaitMs: number): number {
    const now = this.#clock.now();
    const host = this.#hosts.get(hostOf(endpoint));
    const breaker = this.#breakers.get(endpoint);
    if (host === undefined) return 0;
    const forMs = Math.max(throttledFor(host, now), breaker === undefined ? 0 : heldFor(breaker, now, 'schedule'));
    if (forMs > 0) return forMs;
    const tokens = host.tokens + Math.max(0, now - host.filledAtMs) * perMsOf(budget);
    return Math.max(0, (1 - tokens) / perMsOf(budget) - maxWaitMs);
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
      // INVARIANT: an answer for another credential does not end a throttle early (test/rotation/engine/provider-gate.test.ts).
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
  // Results of requests that were in progress when it opened, and of readers' probes, do not open it again.
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
  // Only one probe at a time, whatever its trigger.
  if (breaker.probing && isUnderWay(breaker, now)) return LIMITS.breakerOpenMs / 10;
  if (!isOpen(breaker, now)) return 0;
  const forMs = breaker.openUntilMs - now;
  const probeAtMs = isSet(breaker.failedAtMs, now) ? breaker.failedAtMs + LIMITS.breakerProbeMs : now;
  return urgency === 'read' ? Math.min(forMs, Math.max(0, probeAtMs - now)) : forMs;
}

function isOpen({ openUntilMs, openedAtMs }: Breaker, now: number): boolean {
  return isSet(openedAtMs, now) && openUntilMs > now;
}

/** Whether the value was not set by a clock ahead of this one. */
function isSet(atMs: number, now: number): boolean {
  return now >= atMs - LIMITS.clockSkewMs;
}

/** A probe without a result does not keep the gate closed. */
const PROBE_MAX_MS = 2 * LIMITS.providerTimeoutMs;

/**
 * For requests without a waiting caller: milliseconds until all requests admitted within a tenth of a second start together, so that they share
 * commits and run with warm code. INVARIANT: no second exceeds the budget, because the delay is at most the time for which the burst was
 * subtracted from the rate (test/rotation/engine/provider-gate.test.ts).
 */
export function togetherAfter(nowMs: number, afterMs: number): number {
  const spanMs = BURST_SECONDS * 1_000;
  return afterMs + spanMs - ((nowMs + afterMs) % spanMs);
}

/** An end beyond the longest possible one was set by a clock ahead of this one. */
function isUnderWay({ probeUntilMs }: Breaker, now: number): boolean {
  return probeUntilMs > now && probeUntilMs <= now + PROBE_MAX_MS;
}

function perSecondOf(budget: RateBudget): number {
  return budget === undefined ? LIMITS.providerRequestsPerSecond : budget.requests / budget.perSeconds;
}

function burstOf(budget: RateBudget): number {
  return Math.max(1, Math.floor(perSecondOf(budget) * BURST_SECONDS));
}

/** The burst is subtracted from the rate, so that a second that begins with a burst stays within the budget. */
function perMsOf(budget: RateBudget): number {
  const { requests, perSeconds } = budget ?? { requests: LIMITS.providerRequestsPerSecond, perSeconds: 1 };
  return Math.max(requests - burstOf(budget), requests / 2) / perSeconds / 1_000;
}

function hostOf(endpoint: string): string {
  return URL.parse(endpoint)?.host ?? '';
}
