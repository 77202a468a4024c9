import { describe, expect, it } from 'vitest';
import { tokenExpiry } from '../../../rotation/oauth2/token-expiry.ts';
import { LIMITS } from '../../../src/base/limits.ts';

const SENT = 1_000_000_000_000;
const jwt = (payload: unknown) => `${btoa('{"alg":"none"}')}.${btoa(JSON.stringify(payload)).replaceAll('=', '')}.x`;
const at = (answered: { expiresIn?: unknown; expiresAt?: unknown }, token = 'opaque', spec = {}) =>
  tokenExpiry(spec, token, answered, SENT);

describe('the end of an access token', () => {
  it.each([
    [3_600, 3_600_000],
    ['3600', 3_600_000],
    [' 3600 ', 3_600_000],
    [1.5, 1_500],
    [0, 0],
    ['0', 0],
    [-5, 0],
    [1e300, 315_360_000_000],
  ])('counts expires_in %j from the sending, %i ms later', (expiresIn, laterMs) => {
    expect(at({ expiresIn })).toEqual({ expiresAtMs: SENT + laterMs, expirySource: 'expires_in' });
  });

  it.each([null, undefined, '', 'soon', '0x10', true, [60], {}, Number.NaN, Number.POSITIVE_INFINITY])(
    'takes %j for no answer',
    (expiresIn) => {
      expect(at({ expiresIn })).toEqual({ expiresAtMs: SENT + LIMITS.refreshDefaultTtlMs, expirySource: 'default' });
    },
  );

  it.each([
    ['an instant as text', '2001-09-09T02:46:40Z'],
    ['an instant as text with an offset', '2001-09-09T04:46:40+02:00'],
    ['an instant as seconds', (SENT + 3_600_000) / 1_000],
    ['an instant as seconds in text', String((SENT + 3_600_000) / 1_000)],
  ])('reads %s', (_, expiresAt) => {
    expect(at({ expiresAt })).toEqual({ expiresAtMs: SENT + 3_600_000, expirySource: 'expires_at' });
  });

  it('falls back to the token itself, then to the connector, then to an hour', () => {
    const token = jwt({ exp: SENT / 1_000 + 120 });
    expect(at({}, token)).toEqual({ expiresAtMs: SENT + 120_000, expirySource: 'jwt' });
    expect(at({ expiresIn: 60 }, token).expirySource).toBe('expires_in');
    expect(at({}, 'opaque', { accessTokenTtlSeconds: 90 })).toEqual({ expiresAtMs: SENT + 90_000, expirySource: 'default' });
    expect(at({}, 'opaque', { accessTokenTtlSeconds: 'never' })).toEqual({ expiresAtMs: undefined, expirySource: 'default' });
  });

  it.each([jwt({}), jwt({ exp: 'x' }), 'a.b.c', '..', jwt('text')])(
    'does not trip over a token that only looks like one (%#)',
    (token) => {
      expect(at({}, token).expirySource).toBe('default');
    },
  );

  it('is never before the sending', () => {
    expect(at({}, jwt({ exp: 1 })).expiresAtMs).toBe(SENT);
    expect(at({ expiresAt: '1999-01-01T00:00:00Z' }).expiresAtMs).toBe(SENT);
  });
});
