// The text of schedules on a terminal, and the parsers of windows and blackouts.
import type { WireRule, WireSchedule } from '../../http/v1/wire.ts';
import { CliError, EXIT } from '../exit.ts';
import { dim, facts, plain, table } from '../print.ts';
import { instant } from './grant-text.ts';

type Spec = WireRule['schedule'];
type Window = NonNullable<Spec['windows']>[number];
type Day = NonNullable<Window['days']>[number];

const DAYS: readonly string[] = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'];
const WINDOW = /^(?:([a-z,-]+) )?(\d\d:\d\d)-(\d\d:\d\d)$/;

/** `mon-fri 02:00-05:00`, `sat,sun 22:00-06:00` or `02:00-05:00`. @throws CliError */
export function windowOf(text: string): Window {
  const [, days, from, to] = WINDOW.exec(text.trim().toLowerCase()) ?? [];
  if (from === undefined || to === undefined)
    throw new CliError('the option --window must have the form "mon-fri 02:00-05:00" or "02:00-05:00"', EXIT.usage);
  return { ...(days === undefined ? {} : { days: days.split(',').flatMap(daysOf) }), from, to };
}

function daysOf(text: string): Day[] {
  const [first, last = first] = text.split('-').map((day) => DAYS.indexOf(day));
  if (first === undefined || last === undefined || first < 0 || last < 0)
    throw new CliError(
      'the days of --window must be mon, tue, wed, thu, fri, sat or sun, or a range such as mon-fri',
      EXIT.usage,
    );
  const count = ((last - first + 7) % 7) + 1;
  return Array.from({ length: count }, (_, i) => DAYS[(first + i) % 7] as Day);
}

/** `2026-12-24`, `2026-12-24..2027-01-02` or `12-24..01-02`. */
export function blackoutOf(text: string): { from: string; to?: string } {
  const [from = '', to] = text.trim().split('..');
  return to === undefined ? { from } : { from, to };
}

/** One line, such as `every 30d, mon-fri 02:00-05:00 Europe/Berlin`. */
function specText(spec: Spec): string {
  const main =
    spec.cron !== undefined
      ? `cron ${spec.cron}`
      : spec.max_age_seconds === undefined
        ? `every ${spanText(spec.every_seconds ?? 0)}`
        : `at most ${spanText(spec.max_age_seconds)} old`;
  const windows = (spec.windows ?? []).map(windowText).join(' or ');
  const blackouts = (spec.blackouts ?? []).map(({ from, to }) => (to === undefined ? from : `${from}..${to}`)).join(' ');
  return [main, windows, spec.zone ?? '', blackouts === '' ? '' : `not ${blackouts}`].filter((part) => part !== '').join(', ');
}

function windowText({ days, from, to }: Window): string {
  return [days === undefined ? '' : daysText(days), `${from}-${to}`].filter((part) => part !== '').join(' ');
}

function daysText(days: readonly Day[]): string {
  const sorted = DAYS.filter((day) => days.some((one) => one === day));
  const first = DAYS.indexOf(sorted[0] ?? 'mon');
  const isRange = sorted.length > 2 && sorted.every((day, i) => DAYS[first + i] === day);
  return isRange ? `${sorted[0]}-${sorted.at(-1)}` : sorted.join(',');
}

function spanText(seconds: number): string {
  const [unit, size] = ([['d', 86_400], ['h', 3_600], ['m', 60]] as const).find(([, one]) => seconds % one === 0) ?? ['s', 1]; // biome-ignore format: one line
  return `${seconds / size}${unit}`;
}

export function rulesText(rules: readonly WireRule[]): string {
  if (rules.length === 0) return dim('no rules');
  return table(
    ['rule', 'for', 'schedule', 'priority', 'state'],
    rules.map((rule) => [rule.name, coversText(rule), specText(rule.schedule), rule.priority, stateText(rule)]),
  );
}

export function ruleText(rule: WireRule): string {
  return facts([
    ['rule', rule.name],
    ['for', coversText(rule)],
    ['schedule', specText(rule.schedule)],
    ['priority', rule.priority],
    ['state', stateText(rule)],
  ]);
}

function coversText({ environment, connector, label }: WireRule): string {
  const conditions = [environment, connector, label === null ? null : `${label.name}=${label.value}`];
  return conditions.filter((one) => one !== null).join(' ') || 'every credential';
}

function stateText({ pause, applied }: WireRule): string {
  if (pause !== null) return `paused: ${pause.reason}`;
  return applied ? 'active' : 'being applied';
}

/** Lines of the schedule of one credential, for `credential show` and `schedule`. */
export function scheduleFacts({ schedule, source, rule, pause, due_at, promised_at, next }: WireSchedule): [string, string][] {
  if (schedule === null) return [['schedule', 'none: rotated on request']];
  const from = source === 'rule' ? ` (rule ${plain(rule)})` : '';
  const isLate = promised_at !== null && Date.parse(promised_at) <= Date.now() && (due_at === null || due_at > promised_at);
  return [
    ['schedule', `${specText(schedule)}${from}`],
    ...(pause === null ? [] : [['paused', `${pause.reason}, since ${instant(pause.at)}`] satisfies [string, string]]),
    ...(isLate ? [['was due', instant(promised_at)] satisfies [string, string]] : []),
    ...next.map((at, i): [string, string] => [i === 0 ? 'next rotations' : '', instant(at)]),
  ];
}
