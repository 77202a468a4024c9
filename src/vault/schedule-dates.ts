// The dates of a schedule. Pure functions: the same credential gets the same dates after every restart.
// It must never give a date outside of a schedule's windows or on a blackout day.
import { LIMITS } from '../base/limits.ts';
import { addDays, instantAt, instantsAt, type LocalDate, type WallTime, wallAt, weekdayOf } from '../base/zoned-time.ts';
import { cronOf, type ScheduleSpec, WEEKDAYS } from './schedule.ts';

const minutesMs = (minutes: number): number => minutes * 60_000;

/** What the dates of one credential are counted from. */
export interface DatedFrom {
  /** When the current value was made. */
  readonly valueAt: number;
  /** When the schedule was set. */
  readonly setAt: number;
  /** A number in [0, 1) that depends on the credential only (`spreadOf`). */
  readonly spread: number;
}

/** In [0, 1), the same for the same text: FNV-1a, mixed so that similar ids differ. */
export function spreadOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32;
}

/**
 * When the next rotation begins; undefined if the schedule has no further date. With a period or an age it may be in the past: the rotation is
 * due. With cron it is after `nowMs`.
 */
export function nextDate(spec: ScheduleSpec, from: DatedFrom, nowMs: number): number | undefined {
  if (spec.cron !== undefined) return nextCronDate(spec, spec.cron, from, nowMs);
  const nominal = nominalDate(spec, from);
  if (isAllowed(spec, nominal)) return nominal;
  const earlier = spec.max_age_seconds === undefined ? undefined : lastWindowBefore(spec, nominal, from.spread);
  if (earlier !== undefined && earlier > nowMs) return earlier;
  return landed(spec, nominal, from.spread);
}

/** The next `count` dates, if each rotation succeeds on its date. */
export function nextDates(spec: ScheduleSpec, from: DatedFrom, nowMs: number, count: number): number[] {
  const dates: number[] = [];
  let anchor = from;
  let now = nowMs;
  while (dates.length < count) {
    const planned = nextDate(spec, anchor, now);
    const date = planned !== undefined && planned < nowMs ? landed(spec, nowMs, from.spread) : planned;
    if (date === undefined) break;
    dates.push(date);
    anchor = { ...anchor, valueAt: date };
    now = date;
  }
  return dates;
}

/**
 * For a rotation that was due at a time when it could not begin: within the catch-up time from now, at a time that depends on the credential,
 * and in a window.
 */
export function caughtUp(spec: ScheduleSpec, spread: number, nowMs: number, spreadMs: number): number | undefined {
  const wanted = nowMs + Math.floor(spread * spreadMs);
  if (isAllowed(spec, wanted)) return wanted;
  // What remains of the present window is enough for all, more densely.
  const closes = isAllowed(spec, nowMs) ? closing(spec, nowMs) : undefined;
  if (closes !== undefined) return allowedOr(spec, nowMs + Math.floor(spread * (closes - nowMs)), nowMs);
  return landed(spec, wanted, spread, spreadMs);
}

/** Whether a rotation may begin at this instant. */
export function isAllowed(spec: ScheduleSpec, atMs: number): boolean {
  if (spec.windows === undefined && spec.blackouts === undefined) return true;
  const wall = wallAt(zoneOf(spec), atMs);
  return !isBlackout(spec, wall.date) && windowsOf(spec).some((window) => contains(window, wall));
}

/** The first instant from `atMs` on at which a rotation may begin. @param days how many local days are searched after the one of `atMs` */
export function firstAllowed(spec: ScheduleSpec, atMs: number, days: number = LIMITS.scheduleSearchDays): number | undefined {
  if (isAllowed(spec, atMs)) return atMs;
  const zone = zoneOf(spec);
  const windows = windowsOf(spec);
  const { date: today } = wallAt(zone, atMs);
  let date = addDays(today, -1);
  let isBlack = isBlackout(spec, date);
  for (let day = -1; day <= days; day++) {
    const tomorrow = addDays(date, 1);
    const isBlackTomorrow = isBlackout(spec, tomorrow);
    if (!isBlack || !isBlackTomorrow) {
      const weekday = weekdayOf(date);
      const openings = windows
        .filter((window) => window.days === undefined || window.days.has(weekday))
        .flatMap(({ from, to }) => [
          ...(isBlack ? [] : openingsOf(zone, date, from)),
          // Past midnight the next day begins inside the window.
          ...(to <= from && !isBlackTomorrow ? openingsOf(zone, tomorrow, 0) : []),
        ])
        .filter((at) => at > atMs && isAllowed(spec, at))
        .sort((a, b) => a - b);
      if (openings[0] !== undefined) return openings[0];
    }
    date = tomorrow;
    isBlack = isBlackTomorrow;
  }
  return undefined;
}

function nominalDate(spec: ScheduleSpec, { valueAt, setAt, spread }: DatedFrom): number {
  const { every_seconds: every, max_age_seconds: maxAge = 0 } = spec;
  const periodMs = (every ?? maxAge) * 1_000;
  const jitterMs = Math.min(jitterOf(spec), periodMs / 2);
  return Math.round((every === undefined ? valueAt : Math.max(valueAt, setAt)) + periodMs - spread * jitterMs);
}

function nextCronDate(spec: ScheduleSpec, pattern: string, { spread }: DatedFrom, nowMs: number): number | undefined {
  const offsetMs = Math.floor(spread * jitterOf(spec));
  const cron = cronOf(pattern, zoneOf(spec));
  const nominal = cron.nextRun(new Date(nowMs - offsetMs))?.getTime();
  return nominal === undefined ? undefined : landed(spec, nominal + offsetMs, spread);
}

/** `atMs`, or a time in the next window: spread over the time of the jitter, so that not all begin when it opens. */
function landed(spec: ScheduleSpec, atMs: number, spread: number, spreadMs = jitterOf(spec)): number | undefined {
  if (isAllowed(spec, atMs)) return atMs;
  const opens = firstAllowed(spec, atMs);
  if (opens === undefined || spreadMs === 0) return opens;
  return allowedOr(spec, opens + Math.floor(spread * Math.min(spreadMs, closing(spec, opens) - opens)), opens);
}

function allowedOr(spec: ScheduleSpec, atMs: number, otherwise: number): number {
  return isAllowed(spec, atMs) ? atMs : otherwise;
}

/** A day, and one more where the clocks change. */
const EARLIER_DAYS_AT_ONCE = 2;

/** The last time before `atMs` at which a rotation may begin, spread over its window. */
function lastWindowBefore(spec: ScheduleSpec, atMs: number, spread: number): number | undefined {
  for (let back = 1; back <= LIMITS.scheduleEarlierDays; back++) {
    const from = atMs - minutesMs(back * 1_440);
    // The days after it were searched before.
    const opens = firstAllowed(spec, from, EARLIER_DAYS_AT_ONCE);
    if (opens !== undefined && opens < atMs) {
      const closes = Math.min(closing(spec, opens), atMs);
      return allowedOr(spec, opens + Math.floor(spread * (closes - opens)), opens);
    }
  }
  return undefined;
}

/** When the window around `atMs` closes, at most a day later. */
function closing(spec: ScheduleSpec, atMs: number): number {
  let inside = atMs;
  let outside = atMs;
  while (outside - atMs < minutesMs(1_440) && isAllowed(spec, outside)) {
    inside = outside;
    outside += minutesMs(30);
  }
  while (outside - inside > minutesMs(1)) {
    const middle = Math.floor((inside + outside) / 2);
    if (isAllowed(spec, middle)) inside = middle;
    else outside = middle;
  }
  return inside;
}

const zoneOf = ({ zone }: ScheduleSpec): string => zone ?? 'UTC';

function jitterOf({ jitter_seconds: jitter, every_seconds: every, max_age_seconds: maxAge }: ScheduleSpec): number {
  return jitter === undefined ? (every ?? maxAge ?? 0) * 1_000 * LIMITS.scheduleJitterFraction : jitter * 1_000;
}

interface Window {
  /** Undefined: every day. */
  readonly days: ReadonlySet<number> | undefined;
  readonly from: number;
  readonly to: number;
}

const WHOLE_DAY: Window = { days: undefined, from: 0, to: 1_440 };

function windowsOf({ windows }: ScheduleSpec): readonly Window[] {
  if (windows === undefined) return [WHOLE_DAY];
  return windows.map(({ days, from, to }) => ({
    days: days === undefined ? undefined : new Set(days.map((day) => WEEKDAYS.indexOf(day))),
    from: minutesOf(from),
    to: minutesOf(to),
  }));
}

function minutesOf(time: string): number {
  return Number(time.slice(0, 2)) * 60 + Number(time.slice(3));
}

/** A window past midnight belongs to the day on which it opens. */
function contains({ days, from, to }: Window, { date, minute }: WallTime): boolean {
  const isDay = (day: LocalDate) => days === undefined || days.has(weekdayOf(day));
  if (from < to) return minute >= from && minute < to && isDay(date);
  return (minute >= from && isDay(date)) || (minute < to && isDay(addDays(date, -1)));
}

/** In an overlap a window may open twice; in a gap it opens when the gap ends. */
function openingsOf(zone: string, date: LocalDate, minute: number): number[] {
  const instants = instantsAt(zone, date, minute);
  return instants.length > 0 ? instants : [instantAt(zone, date, minute)];
}

function isBlackout({ blackouts = [] }: ScheduleSpec, date: LocalDate): boolean {
  return blackouts.some(({ from, to = from }) => {
    const day = date.slice(-from.length);
    return from <= to ? day >= from && day <= to : day >= from || day <= to;
  });
}
