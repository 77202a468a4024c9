// When to refresh a grant ahead of its expiry. Pure arithmetic.
import { LIMITS } from '../base/limits.ts';

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
