// Parsers of options that take an instant or a duration, in the forms of base/instants.ts.
import { InvalidArgumentError } from 'commander';
import { toTimestamp } from '../base/clock.ts';
import { DURATION_FORMS, INSTANT_FORMS, parseDurationSeconds, parseInstant } from '../base/instants.ts';

const LAST_MS = Date.UTC(9999, 0, 1);
const UNIT_SECONDS = { s: 1, d: 86_400 } as const;

/** All parsers of time options, for the test that checks every option. */
export const TIME_PARSERS = new WeakSet<object>();

/** Parses a duration to seconds; a bare number is in `unit`. */
export function span(unit: 's' | 'd' = 's'): (text: string) => number {
  const parse = (text: string): number =>
    (/^\d{1,9}(\.\d{1,9})?$/.test(text) ? Math.round(Number(text) * UNIT_SECONDS[unit]) : parseDurationSeconds(text)) ??
    refuse(`It must be ${DURATION_FORMS}.`);
  TIME_PARSERS.add(parse);
  return parse;
}

/** Parses an instant to RFC 3339 in UTC; a duration counts from now, forward (`ahead`) or back (`back`). */
export function moment(direction: 'ahead' | 'back'): (text: string) => string {
  const parse = (text: string): string => {
    const seconds = parseDurationSeconds(text);
    const relative = seconds === undefined ? undefined : Date.now() + (direction === 'ahead' ? seconds : -seconds) * 1_000;
    const atMs = parseInstant(text) ?? (relative !== undefined && relative <= LAST_MS ? relative : undefined);
    return atMs === undefined
      ? refuse(`It must be ${INSTANT_FORMS}; or ${DURATION_FORMS} ${direction === 'ahead' ? 'from now' : 'ago'}.`)
      : toTimestamp(atMs);
  };
  TIME_PARSERS.add(parse);
  return parse;
}

function refuse(rule: string): never {
  throw new InvalidArgumentError(rule);
}
