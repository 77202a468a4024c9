import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalInstant, parseDurationSeconds, parseInstant } from '../../src/base/instants.ts';

describe('an instant', () => {
  it.each([
    ['2027-01-01T00:00:00.000Z', '2027-01-01T00:00:00.000Z'],
    ['2027-01-01T00:00:00Z', '2027-01-01T00:00:00.000Z'],
    ['2027-01-01T00:00Z', '2027-01-01T00:00:00.000Z'],
    ['2027-01-01T00:00:00+00:00', '2027-01-01T00:00:00.000Z'],
    ['2027-01-01T00:00:00-00:00', '2027-01-01T00:00:00.000Z'],
    ['2027-01-01T01:00:00.000+01:00', '2027-01-01T00:00:00.000Z'],
    ['2027-01-01T01:00:00 01:00', '2027-01-01T00:00:00.000Z'],
    ['2026-12-31T18:30:00-05:30', '2027-01-01T00:00:00.000Z'],
    ['2027-01-01t00:00:00.000z', '2027-01-01T00:00:00.000Z'],
    ['2027-01-01 00:00:00Z', '2027-01-01T00:00:00.000Z'],
    ['2027-01-01T00:00:00.123456Z', '2027-01-01T00:00:00.123Z'],
    ['2027-01-01T00:00:00.5Z', '2027-01-01T00:00:00.500Z'],
    ['2027-01-01', '2027-01-01T00:00:00.000Z'],
    ['0702-07-18T04:24:57.9Z', '0702-07-18T04:24:57.900Z'],
    ['0000-01-01', '0000-01-01T00:00:00.000Z'],
    ['2028-02-29', '2028-02-29T00:00:00.000Z'],
    ['2016-12-31T23:59:60Z', '2017-01-01T00:00:00.000Z'],
    ['9999-12-31T23:59:59.999Z', '9999-12-31T23:59:59.999Z'],
  ])('may be written %s', (written, meant) => {
    expect(canonicalInstant(written)).toBe(meant);
    expect(parseInstant(written)).toBe(Date.parse(meant));
  });

  it.each([
    '',
    'tomorrow',
    '2027-1-1',
    '2027-02-30',
    '2027-02-29',
    '2027-13-01',
    '2027-00-10',
    '2027-01-00',
    '2027-01-01T24:00:00Z',
    '2027-01-01T00:60:00Z',
    '2027-01-01T00:00:00',
    '2027-01-01T00:00:00+0100',
    '2027-01-01T00:00:00+25:00',
    '2027-01-01Z',
    '9999-12-31T23:59:59-01:00',
    '0000-01-01T00:00:00+00:01',
    ' 2027-01-01',
    '2027-01-01\n',
    '1798761600',
    `2027-01-01T00:00:00.${'0'.repeat(40)}Z`,
  ])('is never %j', (written) => {
    expect(parseInstant(written)).toBeUndefined();
  });

  it('is the same with every offset', () => {
    const at = fc.integer({ min: Date.UTC(1900, 0, 1), max: Date.UTC(2200, 0, 1) });
    fc.assert(
      fc.property(at, fc.integer({ min: -23 * 60, max: 23 * 60 }), (atMs, offset) => {
        const local = new Date(atMs + offset * 60_000).toISOString().slice(0, -1);
        const [hours, minutes] = [Math.trunc(Math.abs(offset) / 60), Math.abs(offset) % 60].map((n) =>
          String(n).padStart(2, '0'),
        );
        expect(parseInstant(`${local}${offset < 0 ? '-' : '+'}${hours}:${minutes}`)).toBe(atMs);
      }),
    );
  });
});

describe('a duration', () => {
  it.each([
    ['90s', 90],
    ['30m', 1_800],
    ['12h', 43_200],
    ['30d', 2_592_000],
    ['2w', 1_209_600],
    ['1h30m', 5_400],
    ['1D', 86_400],
    ['0s', 0],
    ['P30D', 2_592_000],
    ['P2W', 1_209_600],
    ['PT12H', 43_200],
    ['P1DT1H1M1S', 90_061],
  ])('may be written %s', (written, seconds) => {
    expect(parseDurationSeconds(written)).toBe(seconds);
  });

  it.each(['', '30', 'd', '30 d', '-1d', '1.5h', '30m1h', 'P', 'PT', 'P1DT', 'P1M', 'P1Y', '1d ', '9999999999s', 'forever'])(
    'is never %j',
    (written) => {
      expect(parseDurationSeconds(written)).toBeUndefined();
    },
  );
});
