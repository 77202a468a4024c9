// Wall-clock time of a zone, from the tables of the runtime (Intl): a local time that does not exist or exists twice is told apart.
// It must never use the zone of the machine.

/** A date as `YYYY-MM-DD`; such texts sort by time. */
export type LocalDate = string;

export interface WallTime {
  readonly date: LocalDate;
  /** Minutes since midnight on the clock, 0 to 1439. */
  readonly minute: number;
}

const minutesMs = (minutes: number): number => minutes * 60_000;
const daysMs = (days: number): number => minutesMs(days * 1_440);

const formatters = new Map<string, Intl.DateTimeFormat>();

/** Whether the runtime knows this IANA name. Offsets such as `+02:00` are no zones: they have no rules. */
export function isZone(text: string): boolean {
  if (!/^[A-Za-z][A-Za-z0-9_+/-]{1,63}$/.test(text)) return false;
  try {
    formatterOf(text);
    return true;
  } catch {
    return false;
  }
}

/** What a clock in the zone shows at this instant; seconds are cut off. */
export function wallAt(zone: string, atMs: number): WallTime {
  const shown = Math.floor((atMs + offsetAt(zone, atMs)) / minutesMs(1));
  const minute = ((shown % 1440) + 1440) % 1440;
  return { date: dateOf(minutesMs(shown - minute)), minute };
}

/** Every instant at which a clock in the zone shows this time, earliest first: none in a gap, two in an overlap. */
export function instantsAt(zone: string, date: LocalDate, minute: number): number[] {
  const local = startOf(date) + minutesMs(minute);
  const offsets = new Set([offsetAt(zone, local - daysMs(1)), offsetAt(zone, local + daysMs(1))]);
  return [...offsets]
    .map((offset) => local - offset)
    .filter((at) => at + offsetAt(zone, at) === local)
    .sort((a, b) => a - b);
}

/** The first instant at which a clock in the zone shows this time; of a time in a gap, the instant after the gap. */
export function instantAt(zone: string, date: LocalDate, minute: number): number {
  const [first] = instantsAt(zone, date, minute);
  if (first !== undefined) return first;
  const local = startOf(date) + minutesMs(minute);
  let before = local - daysMs(1);
  let after = local + daysMs(1);
  const offset = offsetAt(zone, before);
  while (after - before > 1) {
    const middle = Math.floor((before + after) / 2);
    if (offsetAt(zone, middle) === offset) before = middle;
    else after = middle;
  }
  return after;
}

export function addDays(date: LocalDate, days: number): LocalDate {
  return dateOf(startOf(date) + daysMs(days));
}

/** 0 is Sunday. */
export function weekdayOf(date: LocalDate): number {
  return new Date(startOf(date)).getUTCDay();
}

/** Whether it is a date of the calendar, e.g. not 2027-02-29. */
export function isDate(text: string): boolean {
  return /^\d{4}-\d\d-\d\d$/.test(text) && !Number.isNaN(startOf(text)) && dateOf(startOf(text)) === text;
}

function startOf(date: LocalDate): number {
  return Date.parse(`${date}T00:00:00Z`);
}

function dateOf(ms: number): LocalDate {
  return new Date(ms).toISOString().slice(0, 10);
}

/** How far the clocks of the zone are ahead of UTC, in milliseconds. */
function offsetAt(zone: string, atMs: number): number {
  if (zone === 'UTC') return 0;
  const part: Record<string, number> = {};
  const wholeSeconds = Math.floor(atMs / 1_000) * 1_000;
  for (const { type, value } of formatterOf(zone).formatToParts(wholeSeconds)) part[type] = Number(value);
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = part;
  return Date.UTC(year, month - 1, day, hour, minute, second) - wholeSeconds;
}

function formatterOf(zone: string): Intl.DateTimeFormat {
  const known = formatters.get(zone);
  if (known !== undefined) return known;
  const made = new Intl.DateTimeFormat('en-US', {
    timeZone: zone,
    calendar: 'gregory',
    numberingSystem: 'latn',
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  });
  formatters.set(zone, made);
  return made;
}
