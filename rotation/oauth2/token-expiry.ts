// When an access token ends, from what the provider says, what the token says, or what the connector says, in that order.
// It counts from the moment the request was sent and never from a provider's clock, unless the token carries nothing else.
import { decodeJwt } from 'jose';
import { LIMITS } from '../../src/base/limits.ts';
import type { OAuth2Spec } from '../connector.ts';

/** `default`: neither the answer nor the token told; the figure is the connector's or ours. */
export type ExpirySource = 'expires_in' | 'expires_at' | 'jwt' | 'default';

export interface TokenExpiry {
  /** Undefined: the token has no end. */
  readonly expiresAtMs: number | undefined;
  readonly expirySource: ExpirySource;
}

const FARTHEST_MS = 10 * 365 * 24 * 60 * 60 * 1_000;

/** Zero or less means it has ended already; nonsense counts as absent; anything past ten years is ten years. */
export function tokenExpiry(
  spec: Pick<OAuth2Spec, 'accessTokenTtlSeconds'>,
  accessToken: string,
  answered: { readonly expiresIn?: unknown; readonly expiresAt?: unknown },
  sentAtMs: number,
): TokenExpiry {
  const bounded = (atMs: number): number => Math.min(Math.max(Math.floor(atMs), sentAtMs), sentAtMs + FARTHEST_MS);

  const seconds = toNumber(answered.expiresIn);
  if (seconds !== undefined) return { expiresAtMs: bounded(sentAtMs + seconds * 1_000), expirySource: 'expires_in' };

  const instant = toInstantMs(answered.expiresAt);
  if (instant !== undefined) return { expiresAtMs: bounded(instant), expirySource: 'expires_at' };

  const exp = jwtExpirySeconds(accessToken);
  if (exp !== undefined) return { expiresAtMs: bounded(exp * 1_000), expirySource: 'jwt' };

  const ttl = spec.accessTokenTtlSeconds;
  if (ttl === 'never') return { expiresAtMs: undefined, expirySource: 'default' };
  return { expiresAtMs: sentAtMs + (ttl === undefined ? LIMITS.refreshDefaultTtlMs : ttl * 1_000), expirySource: 'default' };
}

/** A finite number, or text that is one; providers send both. */
function toNumber(value: unknown): number | undefined {
  const number = typeof value === 'string' && /^\s*-?[0-9]+(\.[0-9]+)?\s*$/.test(value) ? Number(value) : value;
  return typeof number === 'number' && Number.isFinite(number) ? number : undefined;
}

function toInstantMs(value: unknown): number | undefined {
  const seconds = toNumber(value);
  if (seconds !== undefined) return seconds * 1_000;
  if (typeof value !== 'string' || !/^[0-9]{4}-[0-9]{2}-[0-9]{2}T/.test(value)) return undefined;
  const atMs = Date.parse(value);
  return Number.isFinite(atMs) ? atMs : undefined;
}

/** Read without checking the signature: it only decides when to refresh, never what to trust. */
function jwtExpirySeconds(accessToken: string): number | undefined {
  if (accessToken.split('.').length !== 3) return undefined;
  try {
    return toNumber(decodeJwt(accessToken).exp);
  } catch {
    return undefined;
  }
}
