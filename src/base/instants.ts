// Parses instants and durations: one parser for every field, filter and flag.
// It must never guess: a text in none of the listed forms gives undefined.
import { toTimestamp } from './clock.ts';
import { LIMITS } from './limits.ts';

/** The accepted forms of an instant, for error messages. */
export const INSTANT_FORMS =
  'an RFC 3339 instant such as 2027-01-31T09:00:00Z or 2027-01-31T10:00:00.000+01:00, or a date such as 2027-01-31, which is 00:00 UTC; years 0001 to 9999';
/** The accepted forms of a duration, for error messages. */
export const DURATION_FORMS = 'a duration such as 90s, 30m, 12h, 30d, 2w, 1h30m or P30D';

const INSTANT =
  /^(\d{4})-(\d{2})-(\d{2})(?:[Tt ]([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d|60)(?:\.(\d+))?)?([Zz]|[+ -](?:[01]\d|2[0-3]):[0-5]\d))?$/;
/** Many languages have no year 0, so a reader of an answer could not parse it. Date.UTC maps the year 1 to 1901. */
const FIRST_MS = Date.parse('0001-01-01T00:00:00Z');
const LAST_MS = Date.UTC(9999, 11, 31, 23, 59, 59, 999);

/**
 * Milliseconds of an instant of RFC 3339 with any offset, `T`, `t` or a space, with or without seconds and fractions (cut to
 * milliseconds), or of a date, which means its first instant in UTC. A space before the offset is read as `+`: a query that was not
 * encoded turns `+` into a space. A leap second is read as the first second after it. Undefined for every other text and outside the years
 * 1 to 9999.
 */
export function parseInstant(text: string): number | undefined {
  const found = text.length > LIMITS.instantMaxChars ? null : INSTANT.exec(text);
  if (found === null) return undefined;
  const [, year, month, day, hour = '0', minute = '0', second = '0', fraction = '', offset = 'Z'] = found;
  const dayMs = new Date(0).setUTCFullYear(Number(year), Number(month) - 1, Number(day));
  // Date rolls 30 February over to March.
  if (new Date(dayMs).getUTCDate() !== Number(day) || new Date(dayMs).getUTCMonth() !== Number(month) - 1) return undefined;
  const ofDayMs =
    ((Number(hour) * 60 + Number(minute)) * 60 + Number(second)) * 1_000 + Number(fraction.padEnd(3, '0').slice(0, 3));
  const atMs = dayMs + ofDayMs - offsetMs(offset);
  if (second === '60' && !isStartOfMonth(atMs)) return undefined;
  return atMs < FIRST_MS || atMs > LAST_MS ? undefined : atMs;
}

/** Whether the instant is in the first second of a month in UTC: only the second before can be a leap second (RFC 3339 section 5.7). */
function isStartOfMonth(atMs: number): boolean {
  return /-01T00:00:00\.\d{3}Z$/.test(toTimestamp(atMs));
}

function offsetMs(offset: string): number {
  if (offset === 'Z' || offset === 'z') return 0;
  const minutes = Number(offset.slice(1, 3)) * 60 + Number(offset.slice(4, 6));
  return (offset.startsWith('-') ? -minutes : minutes) * 60_000;
}

export function isInstant(text: string): boolean {
  return parseInstant(text) !== undefined;
}

/** The same instant in the form this service writes: UTC, milliseconds. A text that is not an instant is returned unchanged. */
export function canonicalInstant(text: string): string {
  const atMs = parseInstant(text);
  return atMs === undefined ? text : toTimestamp(atMs);
}

export const SECONDS = { w: 604_800, d: 86_400, h: 3_600, m: 60, s: 1 } as const;
/** `1w2d3h4m5s`, each part at most once and in this order. */
const SHORT = /^(?:(\d{1,9})w)?(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?$/i;
/** ISO 8601-1 section 5.5.2.2 without years and months, whose length is not one number of seconds. */
const ISO = /^P(?:(\d{1,9})W)?(?:(\d{1,9})D)?(?:T(?=\d)(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})S)?)?$/i;

/** Seconds of `90s`, `30m`, `12h`, `30d`, `2w`, `1h30m` or `P30D`; undefined for everything else. */
export function parseDurationSeconds(text: string): number | undefined {
  const found = SHORT.exec(text) ?? ISO.exec(text);
  if (found === null || !/\d/.test(text)) return undefined;
  const [, weeks = '0', days = '0', hours = '0', minutes = '0', seconds = '0'] = found;
  const total =
    Number(weeks) * SECONDS.w +
    Number(days) * SECONDS.d +
    Number(hours) * SECONDS.h +
    Number(minutes) * SECONDS.m +
    Number(seconds) * SECONDS.s;
  return Number.isSafeInteger(total) ? total : undefined;
}
