import { describe, expect, it } from 'vitest';
import { tokenExpiry } from '../../../rotation/oauth2/token-expiry.ts';
import { LIMITS } from '../../../src/base/limits.ts';

const SENT = 1_000_000_000_000;
const jwt = (payload: unknown) => `${btoa('{"alg":"none"}')}.${btoa(JSON.stringify(payload)).replaceAll('=', '')}.x`;
const at = (answered: { expiresIn?: unknown; expiresAt?: unknown; renewable?: boolean }, token = 'opaque', spec = {}) =>
  tokenExpiry(spec, token, answered, SENT);

describe('the end of an access token', () => {
  it.each([
    [3_600, 3_600_000],
    ['3600', 3_600_000],
    [' 3600 ', 3_600_000],
    [1.5, 1_500],
    [30 * 86_400, 30 * 86_400_000],
    [60 * 86_400, 60 * 86_400_000],
    [100 * 86_400, 100 * 86_400_000],
    [180 * 86_400, 180 * 86_400_000],
    [365 * 86_400, 365 * 86_400_000],
    [5_183_999, 5_183_999_000],
  ])('counts expires_in %j from the sending, %i ms later', (expiresIn, laterMs) => {
    expect(at({ expiresIn })).toEqual({ expiresAtMs: SENT + laterMs, expirySource: 'expires_in' });
  });

  it.each([
    [300_000, 300_000],
    [3_600_000, 3_600_000],
    ['3600000', 3_600_000],
    [10_800_000, 10_800_000],
    [86_400_000, 86_400_000],
  ])('reads expires_in %j as the milliseconds it is', (expiresIn, laterMs) => {
    expect(at({ expiresIn })).toEqual({ expiresAtMs: SENT + laterMs, expirySource: 'expires_in' });
  });

  it.each([
    ['seconds since 1970', { expiresIn: SENT / 1_000 + 3_600 }],
    ['milliseconds since 1970', { expiresIn: SENT + 3_600_000 }],
  ])('reads %s in expires_in as the instant it is', (_, told) => {
    expect(at(told)).toEqual({ expiresAtMs: SENT + 3_600_000, expirySource: 'expires_in' });
  });

  it('reads a small number in expires_at as the life it is', () => {
    expect(at({ expiresAt: 3_600 })).toEqual({ expiresAtMs: SENT + 3_600_000, expirySource: 'expires_at' });
  });

  it.each([0, '0', -5, 0.4, 367 * 86_400, 315_360_000, 1e300, SENT / 1_000 + 400 * 86_400, SENT / 1_000 - 5])(
    'does not believe expires_in %j: the token or the connector tells',
    (expiresIn) => {
      expect(at({ expiresIn })).toEqual({ expiresAtMs: SENT + LIMITS.refreshDefaultTtlMs, expirySource: 'default' });
      expect(at({ expiresIn }, jwt({ exp: SENT / 1_000 + 120 })).expiresAtMs).toBe(SENT + 120_000);
      expect(at({ expiresIn }, 'opaque', { accessTokenTtlSeconds: 90 }).expiresAtMs).toBe(SENT + 90_000);
    },
  );

  it('takes 0, and what is too far away, for no end where nothing could bring another token', () => {
    for (const expiresIn of [0, '0', 315_360_000])
      expect(at({ expiresIn, renewable: false })).toEqual({ expiresAtMs: undefined, expirySource: 'default' });
    expect(at({ renewable: false }).expiresAtMs).toBe(SENT + LIMITS.refreshDefaultTtlMs);
  });

  it('is what the credential sets, whatever anybody else tells', () => {
    const set = { accessTokenTtlSeconds: 90, accessTokenTtlIsSet: true };
    const token = jwt({ exp: SENT / 1_000 + 120 });
    expect(at({ expiresIn: 3_600, expiresAt: SENT / 1_000 + 60 }, token, set)).toEqual({
      expiresAtMs: SENT + 90_000,
      expirySource: 'set',
    });
    expect(at({ expiresIn: 0 }, token, { ...set, accessTokenTtlSeconds: 'never' }).expiresAtMs).toBeUndefined();
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
    ['an instant as servers of SQL write it', '2001-09-09 02:46:40'],
    ['an instant with a zone in words', '2001-09-09 02:46:40 UTC'],
    ['an instant with an offset without a colon', '2001-09-09T04:46:40+0200'],
    ['an instant as milliseconds', SENT + 3_600_000],
    ['an instant as milliseconds in text', String(SENT + 3_600_000)],
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

  it('reads exp in milliseconds', () => {
    expect(at({}, jwt({ exp: SENT + 120_000 }))).toEqual({ expiresAtMs: SENT + 120_000, expirySource: 'jwt' });
  });

  it('is at most ten years away, and an instant past the year 9999 is none', () => {
    expect(at({ expiresAt: '9999-12-31T23:59:59Z' }).expiresAtMs).toBe(SENT + 315_360_000_000);
    expect(at({ expiresAt: SENT * 1_000 }).expirySource).toBe('default');
  });

  it('is never before the sending', () => {
    expect(at({}, jwt({ exp: 1 })).expiresAtMs).toBe(SENT);
    expect(at({ expiresAt: '1999-01-01T00:00:00Z' }).expiresAtMs).toBe(SENT);
  });
});
