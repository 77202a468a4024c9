// When to refresh a grant: ahead of its expiry, or often enough to keep it alive. Pure arithmetic.
import { LIMITS } from '../base/limits.ts';
import type { RunRow } from '../cell/runs.ts';

/** What a connector and a credential's settings say of how fresh access tokens are got. */
export interface RenewalRules {
  /** `key`: by a client secret or a signed assertion, without a refresh token. `never`: only a person can bring another. */
  readonly renews: 'refresh_token' | 'key' | 'never';
  /** How long the provider lets the grant lie unused; undefined where nobody knows. */
  readonly idleMs: number | undefined;
  /** What the connector asks for beside the scopes of workflows. */
  readonly alwaysScopes?: readonly string[];
}

/** Assumed where nobody knows: shorter than any idle limit that a provider documents. */
const IDLE_DEFAULT_MS = 30 * 24 * 60 * 60 * 1_000;

/**
 * Starts at `expiresAtMs - max(5 min, 10 % of the lifetime)` less a jitter of up to half that margin, but never later than is
 * useful nor before half of the lifetime has passed (short-lived tokens).
 * @param fraction a number in [0, 1) that spreads many grants
 */
export function refreshDueAt(nowMs: number, expiresAtMs: number, fraction: number): number {
  const lifetimeMs = Math.max(0, expiresAtMs - nowMs);
  const margin = Math.max(LIMITS.refreshMarginMinMs, lifetimeMs * LIMITS.refreshMarginFraction);
  const capped = Math.min(margin * (1 + fraction / 2), lifetimeMs * LIMITS.refreshMarginMaxFraction);
  return Math.round(expiresAtMs - capped);
}

/** For a grant that is refreshed when someone reads: the idle limit must not pass unused. @param fraction as above */
export function keepAliveAt(nowMs: number, idleMs: number | undefined, fraction: number): number {
  const idle = idleMs ?? IDLE_DEFAULT_MS;
  return Math.round(nowMs + idle * LIMITS.keepAliveFraction * (1 - fraction / 10));
}

/**
 * SECURITY: a provider that calls each new token ended as it hands it out is left alone for a cool-down, or it would be asked in a loop,
 * a version and an event each time (test/rotation/grants/ended-tokens.test.ts).
 */
export function endsAtOnce(handedOutAtMs: number, expiresAtMs: number): boolean {
  return expiresAtMs - handedOutAtMs < LIMITS.usefulLifetimeMinMs;
}

/**
 * When somebody who reads and finds no live token has a waiting run tried again, ahead of its schedule: soon, since the provider may be
 * back, and never before the time that the provider itself named (outcome `told_when`).
 * INVARIANT: however many readers come, they have it tried no more often (test/rotation/grants/refresh-failures.test.ts).
 */
export function readerTriesAt(run: Pick<RunRow, 'attempts' | 'outcome' | 'lease_until' | 'next_attempt_at'>): number {
  const plannedAt = run.next_attempt_at ?? 0;
  if (run.outcome === 'told_when') return plannedAt;
  const maxMs = run.outcome === 'configuration' ? LIMITS.readerRetryRefusedMaxMs : LIMITS.readerRetryMaxMs;
  const spacingMs = Math.min(LIMITS.readerRetryMs * 2 ** (Math.max(run.attempts, 1) - 1), maxMs);
  // While nobody holds a run, its lease says when the last attempt ended.
  return Math.min(plannedAt, run.lease_until + spacingMs);
}
