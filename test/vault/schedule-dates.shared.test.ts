// Dates that are known without any library, on both runtimes: clock changes, leap days, ends of months, windows and blackouts.
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { instantAt, instantsAt, isDate, isZone, wallAt } from '../../src/base/zoned-time.ts';
import { type ScheduleSpec, scheduleSpec } from '../../src/vault/schedule.ts';
import { caughtUp, firstAllowed, isAllowed, nextDate, nextDates, spreadOf } from '../../src/vault/schedule-dates.ts';

const at = (text: string) => Date.parse(text);
const DAY = 86_400;
const WEEKNIGHTS = { days: ['mon', 'tue', 'wed', 'thu', 'fri'], from: '02:00', to: '05:00' } as const;

function dates(given: ScheduleSpec, from: string, count = 3, spread = 0): string[] {
  const spec = scheduleSpec.parse(given);
  const anchor = { valueAt: at(from), setAt: at(from), spread };
  return nextDates(spec, anchor, at(from), count).map((one) => new Date(one).toISOString().slice(0, 16));
}

describe('the clock of a zone', () => {
  it('has no instant in a gap, two in an overlap, and one otherwise', () => {
    expect(instantsAt('Europe/Berlin', '2027-03-28', 150)).toEqual([]);
    expect(instantAt('Europe/Berlin', '2027-03-28', 150)).toBe(at('2027-03-28T01:00Z'));
    expect(instantsAt('Europe/Berlin', '2026-10-25', 150)).toEqual([at('2026-10-25T00:30Z'), at('2026-10-25T01:30Z')]);
    expect(instantsAt('America/New_York', '2026-11-28', 600)).toEqual([at('2026-11-28T15:00Z')]);
    // Half an hour, and a zone with a day that does not exist.
    expect(instantsAt('Australia/Lord_Howe', '2026-04-05', 105)).toEqual([at('2026-04-04T14:45Z'), at('2026-04-04T15:15Z')]);
    expect(instantAt('Pacific/Apia', '2011-12-30', 600)).toBe(at('2011-12-30T10:00Z'));
  });

  it('shows the local day and minute', () => {
    expect(wallAt('Asia/Kolkata', at('2026-11-28T20:00Z'))).toEqual({ date: '2026-11-29', minute: 90 });
    expect(wallAt('UTC', at('1969-12-31T23:59:30Z'))).toEqual({ date: '1969-12-31', minute: 1_439 });
  });

  it('knows names of zones only', () => {
    expect(['Europe/Berlin', 'UTC', 'Etc/GMT+5'].map(isZone)).toEqual([true, true, true]);
    expect(['+02:00', 'Mars/Base', '', 'local', 'Europe/Berlin '].map(isZone)).toEqual([false, false, false, false, false]);
    expect(['2028-02-29', '2027-02-29', '2027-13-01', '27-01-01'].map(isDate)).toEqual([true, false, false, false]);
  });
});

describe('cron (what is relied on of the library)', () => {
  it.each<[string, string, string, string[]]>([
    // 02:30 does not exist on 28 March 2027 in Berlin: when the gap ends. It exists twice on 25 October 2026: once.
    ['30 2 * * *', 'Europe/Berlin', '2027-03-27T12:00Z', ['2027-03-28T01:00', '2027-03-29T00:30', '2027-03-30T00:30']],
    ['30 2 * * *', 'Europe/Berlin', '2026-10-24T12:00Z', ['2026-10-25T00:30', '2026-10-26T01:30', '2026-10-27T01:30']],
    ['0 3 29 2 *', 'UTC', '2026-11-28T00:00Z', ['2028-02-29T03:00', '2032-02-29T03:00', '2036-02-29T03:00']],
    ['0 0 31 * *', 'UTC', '2026-11-28T00:00Z', ['2026-12-31T00:00', '2027-01-31T00:00', '2027-03-31T00:00']],
    ['0 0 L * *', 'UTC', '2027-01-31T12:00Z', ['2027-02-28T00:00', '2027-03-31T00:00', '2027-04-30T00:00']],
    ['@monthly', 'America/New_York', '2026-11-28T00:00Z', ['2026-12-01T05:00', '2027-01-01T05:00', '2027-02-01T05:00']],
    // Hexagon/croner issues 254 (the fourth of a weekday is not the fifth), 267 (day of month or day of week), 284 (UTC beside another zone)
    ['0 0 * * sat#4', 'UTC', '2024-08-02T00:00Z', ['2024-08-24T00:00', '2024-09-28T00:00', '2024-10-26T00:00']],
    ['0 0 1-31 * 4', 'UTC', '2024-12-01T00:00Z', ['2024-12-02T00:00', '2024-12-03T00:00', '2024-12-04T00:00']],
    ['0 * * * *', 'UTC', '2025-10-05T02:00Z', ['2025-10-05T03:00', '2025-10-05T04:00', '2025-10-05T05:00']],
    ['0 0 30 2 *', 'Europe/Berlin', '2026-11-28T00:00Z', []],
  ])('%s in %s', (cron, zone, from, expected) => {
    expect(dates({ cron, zone }, from)).toEqual(expected);
  });

  it('spreads credentials after the hour, always by the same time', () => {
    const spec = { cron: '0 3 * * *', jitter_seconds: 3_600 };
    expect(dates(spec, '2026-11-28T00:00Z', 2, 0.5)).toEqual(['2026-11-28T03:30', '2026-11-29T03:30']);
    expect(dates(spec, '2026-11-28T03:10Z', 1, 0.5)).toEqual(['2026-11-28T03:30']);
    expect(dates(spec, '2026-11-28T03:30Z', 1, 0.5)).toEqual(['2026-11-29T03:30']);
  });

  it.each([
    '0 0 3 * * *',
    '0 3 * * 1 2027',
    '61 * * * *',
    '2027-01-01T00:00:00',
    '* * * *',
    '@never',
    '',
    '0 0 * * 8',
    'a b c d e',
  ])('refuses %j', (cron) => {
    expect(scheduleSpec.safeParse({ cron }).success).toBe(false);
  });
});

describe('a period and an age', () => {
  it('count from the value, a period also from when it was set, each earlier by the spread', () => {
    const value = at('2026-01-01T00:00Z');
    const set = at('2026-11-01T00:00Z');
    const of = (spec: ScheduleSpec, spread: number) =>
      new Date(nextDate(spec, { valueAt: value, setAt: set, spread }, at('2026-11-28T00:00Z')) ?? 0).toISOString().slice(0, 16);
    expect(of({ every_seconds: 30 * DAY }, 0)).toBe('2026-12-01T00:00');
    expect(of({ every_seconds: 30 * DAY }, 0.5)).toBe('2026-11-29T12:00');
    expect(of({ every_seconds: 30 * DAY, jitter_seconds: 0 }, 0.9)).toBe('2026-12-01T00:00');
    expect(of({ max_age_seconds: 400 * DAY, jitter_seconds: DAY }, 0.5)).toBe('2027-02-04T12:00');
    // Older than allowed: due at once.
    expect(of({ max_age_seconds: 30 * DAY }, 0)).toBe('2026-01-31T00:00');
  });

  it('a window moves a period to its next opening, and an age to the window before', () => {
    const spec = { zone: 'Europe/Berlin', windows: [{ ...WEEKNIGHTS, days: [...WEEKNIGHTS.days] }] };
    // 5 December 2026 is a Saturday.
    expect(dates({ every_seconds: 7 * DAY, ...spec }, '2026-11-28T03:00Z', 1)).toEqual(['2026-12-07T01:00']);
    expect(dates({ max_age_seconds: 7 * DAY, ...spec }, '2026-11-28T03:00Z', 1)).toEqual(['2026-12-04T03:00']);
    expect(dates({ every_seconds: 7 * DAY, ...spec }, '2026-11-28T03:00Z', 1, 0.5)[0]).toBe('2026-12-07T02:29');
  });
});

describe('windows and blackouts', () => {
  it('are evaluated a few times for each day that is searched, however many there are', () => {
    const time = (hour: number, minute: string) => `${String(hour).padStart(2, '0')}:${minute}`;
    const spec = scheduleSpec.parse({
      max_age_seconds: 90 * DAY,
      zone: 'Europe/Berlin',
      windows: Array.from({ length: LIMITS.scheduleWindowsMaxCount }, (_, hour) => ({
        from: time(hour, '30'),
        to: time(hour, '10'),
      })),
      blackouts: Array.from({ length: LIMITS.scheduleBlackoutsMaxCount }, () => ({ from: '03-01', to: '02-28' })),
    });
    let evaluated = 0;
    const counted: ScheduleSpec = {
      ...spec,
      get blackouts() {
        evaluated += 1;
        return spec.blackouts;
      },
    };
    const now = at('2026-11-28T00:00Z');
    const next = nextDates(counted, { valueAt: now, setAt: now, spread: 0 }, now, 5);
    // Half past midnight in Berlin on five leap days: the first is less than two years ahead, the last 16 years after it.
    expect(next.map((one) => new Date(one).toISOString().slice(0, 10))).toEqual(
      ['2028', '2032', '2036', '2040', '2044'].map((year) => `${year}-02-28`),
    );
    expect(evaluated).toBeLessThan(2 * (2 + 4 * 4) * 366);
  });

  const night: ScheduleSpec = {
    cron: '0 0 * * *',
    zone: 'Europe/Berlin',
    windows: [{ from: '22:00', to: '04:00', days: ['fri'] }],
  };

  it('a window past midnight belongs to the day on which it opens', () => {
    const inside = (text: string) => isAllowed(night, at(text));
    expect(inside('2026-11-27T21:30Z')).toBe(true);
    expect(inside('2026-11-28T02:59Z')).toBe(true);
    expect(inside('2026-11-28T03:00Z')).toBe(false);
    expect(inside('2026-11-28T21:30Z')).toBe(false);
    expect(firstAllowed(night, at('2026-11-28T12:00Z'))).toBe(at('2026-12-04T21:00Z'));
  });

  it('a blackout has both its days, in the zone, of one year or of every year', () => {
    const spec: ScheduleSpec = { cron: '0 12 * * *', zone: 'Pacific/Auckland', blackouts: [{ from: '12-24', to: '01-02' }] };
    expect(dates(spec, '2026-12-22T00:00Z', 3)).toEqual(['2026-12-22T23:00', '2027-01-02T11:00', '2027-01-02T23:00']);
    expect(dates({ ...spec, blackouts: [{ from: '2026-12-24' }] }, '2026-12-23T00:00Z', 2)).toEqual([
      '2026-12-24T11:00',
      '2026-12-24T23:00',
    ]);
  });

  it('a window inside the gap of a clock change opens on the next day', () => {
    const spec: ScheduleSpec = { every_seconds: DAY, zone: 'Europe/Berlin', windows: [{ from: '02:00', to: '03:00' }] };
    expect(firstAllowed(spec, at('2027-03-27T02:30Z'))).toBe(at('2027-03-29T00:00Z'));
    expect(firstAllowed(spec, at('2026-10-24T12:00Z'))).toBe(at('2026-10-25T00:00Z'));
  });

  it('a schedule whose windows never open has no date', () => {
    const spec: ScheduleSpec = { every_seconds: DAY, blackouts: [{ from: '01-01', to: '12-31' }] };
    expect(nextDates(spec, { valueAt: 0, setAt: 0, spread: 0 }, at('2026-11-28T00:00Z'), 5)).toEqual([]);
  });

  it.each<object>([
    {},
    { every_seconds: DAY, cron: '0 0 * * *' },
    { every_seconds: DAY, zone: 'Mars/Base' },
    { every_seconds: DAY, windows: [{ from: '02:00', to: '02:00' }] },
    { every_seconds: DAY, windows: [{ from: '2:00', to: '03:00' }] },
    { every_seconds: DAY, blackouts: [{ from: '2027-02-29' }] },
    { every_seconds: DAY, blackouts: [{ from: '12-24', to: '2027-01-01' }] },
    { every_seconds: DAY, blackouts: [{ from: '2027-02-02', to: '2027-01-01' }] },
    { every_seconds: 59 },
  ])('refuses %j', (given) => {
    expect(scheduleSpec.safeParse(given).success).toBe(false);
  });
});

describe('after a time in which nothing could begin', () => {
  const now = at('2026-11-27T03:00Z'); // a Friday, 04:00 in Berlin
  const spec: ScheduleSpec = {
    every_seconds: DAY,
    zone: 'Europe/Berlin',
    windows: [{ ...WEEKNIGHTS, days: [...WEEKNIGHTS.days] }],
  };

  it('credentials are spread over the catch-up time, and never outside of the window', () => {
    const of = (spread: number, spec_: ScheduleSpec, spreadMs: number) => (caughtUp(spec_, spread, now, spreadMs) ?? 0) - now;
    expect([0, 0.25, 0.5].map((spread) => of(spread, { every_seconds: DAY }, 3_600_000))).toEqual([0, 900_000, 1_800_000]);
    const spreads = Array.from({ length: 200 }, (_, i) => spreadOf(`crd_${i}`));
    for (const hours of [1, 3, 24]) {
      const times = spreads.map((spread) => caughtUp(spec, spread, now, hours * 3_600_000) ?? 0);
      expect(times.filter((time) => !isAllowed(spec, time))).toEqual([]);
      expect(new Set(times.map((time) => Math.floor(time / 60_000))).size).toBeGreaterThan(30);
    }
    expect(caughtUp(spec, 0.5, at('2026-11-28T12:00Z'), 3_600_000)).toBe(at('2026-11-30T01:30Z'));
  });

  it('the spread of similar ids is even', () => {
    const tenths = Array<number>(10).fill(0);
    for (let i = 0; i < 10_000; i++) tenths[Math.floor(spreadOf(`crd_${i.toString().padStart(24, '0')}`) * 10)]! += 1;
    expect(Math.min(...tenths)).toBeGreaterThan(900);
    expect(Math.max(...tenths)).toBeLessThan(1_100);
  });
});
