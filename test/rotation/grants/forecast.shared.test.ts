// The forecast: a day for every end that is known, none for what is not, and the soonest first.
import { describe, expect, it } from 'vitest';
import { daysLeft, endDateForecast, type ForecastSubject, forecastOf } from '../../../rotation/grants/forecast.ts';

const DAY = 86_400_000;
const NOW = Date.UTC(2026, 2, 1);
const GENERIC: ForecastSubject = {
  lifetimes: {},
  refreshTokenRotates: 'sometimes',
  renews: 'refresh_token',
  idleMs: undefined,
  consentedAt: undefined,
  refreshedAt: undefined,
  refreshTokenExpiresAt: undefined,
  absoluteLimitDays: undefined,
  clientSecretExpiresAt: undefined,
  valueExpiresAt: NOW + 3_600_000,
  isRenewed: true,
  grantsOfAccount: undefined,
};
const forecast = (changes: Partial<ForecastSubject>) => forecastOf({ ...GENERIC, ...changes }, NOW);

describe('what nobody knows', () => {
  it('has no day', () => {
    expect(forecast({})).toBeUndefined();
  });

  it.each<[string, Partial<ForecastSubject>]>([
    ['an idle limit without a last use', { idleMs: 90 * DAY }],
    ['an absolute limit of a grant whose consent is not known', { absoluteLimitDays: 365, refreshedAt: NOW }],
    ['a lifetime of refresh tokens given out nobody knows when', { lifetimes: { refreshTokenSeconds: 86_400 } }],
    ['a cap for an account nobody knows', { lifetimes: { cap: { count: 1, note: '' } } }],
    [
      'a date that is none',
      { lifetimes: { scheduled: [{ at: 'soon', ends: 'x', remedy: 'y' }] }, clientSecretExpiresAt: 'later' },
    ],
    ['an access token that is renewed', { valueExpiresAt: NOW + 1 }],
  ])('%s', (_name, changes) => {
    expect(forecast(changes)).toBeUndefined();
  });
});

describe('each cause', () => {
  it.each<[string, Partial<ForecastSubject>, number, boolean, RegExp]>([
    ['idle_limit', { idleMs: 90 * DAY, consentedAt: NOW - 40 * DAY, refreshedAt: NOW - 10 * DAY }, 80, true, /^Refresh it before 2026-05-20; /],
    ['idle_limit', { idleMs: 90 * DAY, consentedAt: NOW - 40 * DAY }, 50, true, /^Refresh it before 2026-04-20; /],
    ['absolute_limit', { lifetimes: { absoluteSeconds: 365 * 86_400 }, consentedAt: NOW - 300 * DAY, refreshedAt: NOW }, 65, true, /^Connect the account again before 2026-05-05; /],
    ['absolute_limit', { lifetimes: { absoluteSeconds: 365 * 86_400 }, absoluteLimitDays: 180, consentedAt: NOW - 100 * DAY }, 80, true, /^Connect/],
    ['refresh_token_expiry', { refreshTokenExpiresAt: NOW + 5 * DAY, lifetimes: { refreshTokenSeconds: 1 } }, 5, true, /^Refresh it before 2026-03-06; /],
    ['refresh_token_expiry', { refreshTokenRotates: 'never', lifetimes: { refreshTokenSeconds: 60 * 86_400 }, consentedAt: NOW - 50 * DAY, refreshedAt: NOW }, 10, true, /^Connect the account again before 2026-03-11; /],
    ['refresh_token_expiry', { refreshTokenRotates: 'always', lifetimes: { refreshTokenSeconds: 60 * 86_400 }, consentedAt: NOW - 50 * DAY, refreshedAt: NOW }, 60, true, /^Refresh it/],
    ['refresh_token_expiry', { refreshTokenRotates: 'sometimes', lifetimes: { refreshTokenSeconds: 60 * 86_400 }, consentedAt: NOW - 50 * DAY, refreshedAt: NOW }, 10, false, /^Refresh it/],
    ['access_token_expiry', { isRenewed: false, valueExpiresAt: NOW + 20 * DAY }, 20, true, /put a new token before 2026-03-21/],
    ['client_secret_expiry', { clientSecretExpiresAt: '2026-03-15T00:00:00+02:00' }, 13, true, /^Rotate the client secret at the provider .* before 2026-03-14\.$/],
    ['provider_change', { lifetimes: { scheduled: [{ at: '2026-04-30', ends: 'v1 tokens', remedy: 'Move to v2 before 2026-04-30.' }] } }, 60, true, /^Move to v2/],
    ['token_cap', { lifetimes: { cap: { count: 50, note: 'the oldest goes first.' } }, grantsOfAccount: 50 }, 0, false, /there are 50, and the provider keeps 50; the oldest goes first\./],
  ])('%s has its day, its sureness and its remedy', (cause, changes, days, certain, remedy) => {
    const found = forecast(changes);
    expect(found).toMatchObject({ cause, certain, remedy: expect.stringMatching(remedy) });
    expect(daysLeft(found?.endsAt ?? Number.NaN, NOW)).toBe(days);
  }); // biome-ignore format: a table

  it('of a grant that needs no refresh token is not one of a refresh token', () => {
    const known = { idleMs: DAY, consentedAt: NOW, refreshTokenExpiresAt: NOW + DAY };
    expect(forecast({ renews: 'key', ...known })).toBeUndefined();
    expect(forecast({ renews: 'key', ...known, clientSecretExpiresAt: '2027-01-01T00:00:00Z' })?.cause).toBe(
      'client_secret_expiry',
    );
  });

  it('that has passed is to be dealt with at once: no remedy of ours names a deadline in the past', () => {
    const long = { consentedAt: NOW - 400 * DAY, lifetimes: { absoluteSeconds: 365 * 86_400, refreshTokenSeconds: 86_400 } };
    const ended: Partial<ForecastSubject>[] = [
      { idleMs: DAY, consentedAt: NOW - 40 * DAY },
      long,
      { ...long, refreshTokenRotates: 'never' },
      { isRenewed: false, valueExpiresAt: NOW - DAY },
      { clientSecretExpiresAt: '2020-01-01T00:00:00Z' },
    ];
    const ends = [...ended.flatMap((changes) => forecast(changes)?.all ?? []), ...endDateForecast(NOW, NOW).all];
    expect(new Set(ends.map(({ cause }) => cause))).toEqual(
      new Set([
        'idle_limit',
        'absolute_limit',
        'refresh_token_expiry',
        'access_token_expiry',
        'client_secret_expiry',
        'end_date',
      ]),
    );
    for (const { remedy, cause } of ends) {
      expect(remedy, cause).toMatch(/ at once \(the end was 20\d\d-\d\d-\d\d\)/);
      expect(remedy, cause).not.toMatch(/before 20/);
    }
  });

  it('below the cap is no risk', () => {
    expect(forecast({ lifetimes: { cap: { count: 50, note: '' } }, grantsOfAccount: 49 })).toBeUndefined();
  });
});

describe('several ends', () => {
  it('are told soonest first, and the first is the forecast', () => {
    const found = forecast({
      idleMs: 90 * DAY,
      refreshedAt: NOW,
      consentedAt: NOW - 300 * DAY,
      lifetimes: { absoluteSeconds: 365 * 86_400 },
      clientSecretExpiresAt: '2026-03-31T00:00:00Z',
    });
    expect(found?.all.map(({ cause }) => cause)).toEqual(['client_secret_expiry', 'absolute_limit', 'idle_limit']);
    expect(found?.cause).toBe('client_secret_expiry');
    expect(found?.all.map(({ isMovedByRefresh }) => isMovedByRefresh)).toEqual([false, false, true]);
  });
});

describe('a day that has passed', () => {
  it('is told still while nothing shows that it was wrong', () => {
    const found = forecast({ absoluteLimitDays: 10, consentedAt: NOW - 20 * DAY });
    expect(found?.cause).toBe('absolute_limit');
    expect(daysLeft(found?.endsAt ?? 0, NOW)).toBe(0);
  });

  it('is wrong once a refresh has worked after it', () => {
    expect(forecast({ absoluteLimitDays: 10, consentedAt: NOW - 20 * DAY, refreshedAt: NOW - 9 * DAY })).toBeUndefined();
    expect(forecast({ clientSecretExpiresAt: '2026-02-01T00:00:00Z', refreshedAt: NOW - DAY })).toBeUndefined();
  });
});
