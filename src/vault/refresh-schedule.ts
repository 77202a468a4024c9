// Computes when to refresh a grant: before its expiry, or often enough to keep it alive.
import { LIMITS } from '../base/limits.ts';
import type { RunRow } from '../cell/runs.ts';

/** How a grant gets new access tokens, from the connector and the credential's settings. */
export interface RenewalRules {
  /** `key`: with a client secret or a signed assertion, without a refresh token. `never`: only with a new consent or put. */
  readonly renews: 'refresh_token' | 'key' | 'never';
  /** The provider's idle limit of the grant; undefined if unknown. */
  readonly idleMs: number | undefined;
  /** Scopes that the connector requests in addition to those of the workflows. */
  readonly alwaysScopes?: readonly string[];
}

/** For an unknown idle limit: shorter than any documented one. */
const IDLE_DEFAULT_MS = 30 * 24 * 60 * 60 * 1_000;

/**
 * `expiresAtMs - max(5 min, 10 % of the lifetime)` less a jitter of up to half that margin, but not before half of the lifetime has passed
 * (for short-lived tokens).
 * @param fraction a number in [0, 1) that spreads many grants
 */
export function refreshDueAt(nowMs: number, expiresAtMs: number, fraction: number): number {
  const lifetimeMs = Math.max(0, expiresAtMs - nowMs);
  const margin = Math.max(LIMITS.refreshMarginMinMs, lifetimeMs * LIMITS.refreshMarginFraction);
  const capped = Math.min(margin * (1 + fraction / 2), lifetimeMs * LIMITS.refreshMarginMaxFraction);
  return Math.round(expiresAtMs - capped);
}

/** For a grant that is refreshed at a read: refreshes it before the idle limit ends. @param fraction as above */
export function keepAliveAt(nowMs: number, idleMs: number | undefined, fraction: number): number {
  const idle = idleMs ?? IDLE_DEFAULT_MS;
  return Math.round(nowMs + idle * LIMITS.keepAliveFraction * (1 - fraction / 10));
}

/**
 * SECURITY: a provider that issues tokens which are already expired gets no requests for a cool-down; otherwise refreshes would loop, with a
 * version and an event each time (test/rotation/grants/ended-tokens.test.ts).
 */
export function endsAtOnce(handedOutAtMs: number, expiresAtMs: number): boolean {
  return expiresAtMs - handedOutAtMs < LIMITS.usefulLifetimeMinMs;
}

/**
 * When a read without a live token may trigger a waiting run before its scheduled time: soon, because the provider may be available again,
 * but never before the time that the provider stated (outcome `told_when`).
 * INVARIANT: the number of readers does not change how often the run is tried (test/rotation/grants/refresh-failures.test.ts).
 */
export function readerTriesAt(run: Pick<RunRow, 'attempts' | 'outcome' | 'lease_until' | 'next_attempt_at'>): number {
  const plannedAt = run.next_attempt_at ?? 0;
  if (run.outcome === 'told_when') return plannedAt;
  const maxMs = run.outcome === 'configuration' ? LIMITS.readerRetryRefusedMaxMs : LIMITS.readerRetryMaxMs;
  const spacingMs = Math.min(LIMITS.readerRetryMs * 2 ** (Math.max(run.attempts, 1) - 1), maxMs);
  // Without a lease owner, `lease_until` is the end of the last attempt.
  return Math.min(plannedAt, run.lease_until + spacingMs);
}
