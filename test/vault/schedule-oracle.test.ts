// Dates of schedules against an independent computation: the tables of zoneinfo in Python.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { wallAt } from '../../src/base/zoned-time.ts';
import type { ScheduleSpec } from '../../src/vault/schedule.ts';
import { isAllowed, nextDates, spreadOf } from '../../src/vault/schedule-dates.ts';

const hasPython = spawnSync('python3', ['-c', 'import zoneinfo; zoneinfo.ZoneInfo("Europe/Berlin")']).status === 0;
if (!hasPython) console.warn('SKIPPED: the second computation of schedules needs python3 with zoneinfo, which is not there');

function ask<T>(questions: readonly object[]): T[] {
  const { stdout, status } = spawnSync('python3', [join(import.meta.dirname, '../kit/schedule_oracle.py')], {
    input: JSON.stringify(questions),
    maxBuffer: 100_000_000,
  });
  expect(status).toBe(0);
  return JSON.parse(stdout.toString()) as T[];
}

// Zones whose rules for these years have not changed for long: the tables of the two runtimes may be of different releases.
const ZONES = [
  ...['Europe/Berlin', 'Europe/Dublin', 'America/New_York', 'Australia/Lord_Howe', 'Pacific/Chatham', 'Asia/Kolkata', 'UTC'],
];
const PATTERNS = [
  ...['30 2 * * *', '0 2 * * *', '15 1 * * *', '*/30 * * * *', '*/20 1-3 * * *', '0 1,2,3 * * *', '0 0 * * *', '45 23 * * *'],
  ...['0 0 29 2 *', '0 0 31 * *', '5 4 1-7 * 1', '59 1 * * 0', '0 */2 * * *', '10,40 2 * * *', '* 2 * * *'],
];
const DAYS = ['2026-03-07', '2026-03-28', '2026-04-03', '2026-10-03', '2026-10-24', '2026-10-31'];

describe.skipIf(!hasPython)('Python computes the same', () => {
  it('dates of cron patterns around every change of the clock', () => {
    const questions = ZONES.flatMap((zone) =>
      PATTERNS.flatMap((pattern) =>
        DAYS.map((day) => ({
          ask: 'dates',
          zone,
          pattern,
          from: Date.parse(`${day}T06:00Z`) / 1_000,
          count: pattern.startsWith('*') ? 60 : 6,
        })),
      ),
    );
    const expected = ask<number[]>(questions);
    questions.forEach(({ zone, pattern, from, count }, i) => {
      const anchor = { valueAt: 0, setAt: 0, spread: 0.7 };
      const found = nextDates({ cron: pattern, zone }, anchor, from * 1_000, count).map((one) => one / 1_000);
      expect(found, `${pattern} in ${zone} from ${from}`).toEqual(expected[i]);
    });
  });

  it('which instants are in windows and blackouts, and so no date is outside', () => {
    const windows: readonly NonNullable<ScheduleSpec['windows']>[] = [
      [{ days: ['mon', 'tue', 'wed', 'thu', 'fri'], from: '02:00', to: '05:00' }],
      [{ from: '22:00', to: '03:30' }],
      [
        { days: ['sun'], from: '01:30', to: '02:30' },
        { days: ['sat'], from: '23:00', to: '01:00' },
      ],
    ];
    const blackouts = [{ from: '12-24', to: '01-02' }, { from: '2026-10-26', to: '2026-10-28' }, { from: '11-01' }];
    const specs = ZONES.flatMap((zone) =>
      windows.flatMap((one) =>
        [{ every_seconds: 86_400 }, { max_age_seconds: 7 * 86_400 }, { cron: '30 2 * * *', jitter_seconds: 7_200 }].map(
          (kind): ScheduleSpec => ({ ...kind, zone, windows: one, blackouts }),
        ),
      ),
    );
    const planned = specs.map((spec, i) => {
      const from = Date.parse('2026-10-20T00:00Z');
      return nextDates(spec, { valueAt: from, setAt: from, spread: spreadOf(`crd_${i}`) }, from, 30);
    });
    const minutes = Array.from({ length: 700 }, (_, i) => Date.parse('2026-10-24T20:00Z') / 1_000 + i * 613);
    const questionOf = ({ zone, windows: given }: ScheduleSpec, instants: readonly number[]) => ({
      ...{ ask: 'allowed', zone, windows: given, blackouts, instants },
    });
    const answers = ask<boolean[]>(
      specs.flatMap((spec, i) => [
        questionOf(
          spec,
          planned[i]!.map((one) => one / 1_000),
        ),
        questionOf(spec, minutes),
      ]),
    );
    specs.forEach((spec, i) => {
      expect(planned[i]?.length).toBe(30);
      expect(answers[2 * i], JSON.stringify(spec)).toEqual(Array(30).fill(true));
      expect(
        minutes.map((one) => isAllowed(spec, one * 1_000)),
        JSON.stringify([spec, wallAt(spec.zone ?? 'UTC', 0)]),
      ).toEqual(answers[2 * i + 1]);
    });
  });
});
