// The text of runs and plans on a terminal: one line a step, and a plan that can be read before it is confirmed.
import type { WireEvidence, WireRotationPlan, WireRun } from '../../http/v1/wire.ts';
import { bold, columns, cyan, dim, facts, green, plain, red, wrapped, yellow } from '../print.ts';

type Step = NonNullable<WireRun['steps']>[number];

const GOOD = new Set(['done', 'works', 'rotated', 'refreshed', 'revoked', 'removed', 'set']);
const BAD = new Set(['test_failed', 'dead', 'given_up', 'still_works', 'key_may_remain']);
const STEP_COLUMNS = 12;
const TIME_COLUMNS = 14;

/** E.g. `14:03:21.118  create        begun`. */
export function stepLine({ step, status, at, evidence }: Step): string {
  const shown = plain(status);
  const paint = GOOD.has(status) ? green : BAD.has(status) ? red : WAITS.has(step) ? yellow : (text: string) => text;
  const line = `${dim(at.slice(11, 23))}  ${plain(step).padEnd(STEP_COLUMNS)} ${paint(wrapped(shown, TIME_COLUMNS + STEP_COLUMNS + 1))}`;
  return evidence === undefined ? line : `${line}\n${' '.repeat(TIME_COLUMNS)}${dim('provider:')} ${evidenceText(evidence)}`;
}

const WAITS = new Set(['waiting', 'needs_manual', 'uncertain', 'grace', 'cancelled']);

function evidenceText({ status, content_type, words = [], excerpt, system_code }: WireEvidence): string {
  const parts = [status, content_type, words.join(', '), excerpt === undefined ? '' : `"${excerpt}"`, system_code];
  return wrapped(plain(parts.filter((part) => part !== undefined && part !== '').join(' · ')), TIME_COLUMNS + 10);
}

/** What a person can do about an open run that waits; undefined if nothing is needed. */
export function adviceOf(run: WireRun, name: string): string | undefined {
  if (run.state !== 'open') return undefined;
  const again = run.next_attempt_at === null ? '' : `; it is tried again at ${run.next_attempt_at}`;
  if (run.step === 'needs_manual')
    return `it waits for a person: ${plain(run.cause)} (docs/rotation.md)${again}; after the cause is removed: keyturn runs resume ${name} ${run.id}`;
  return run.step === 'waiting' || run.step === 'uncertain' ? `it waits: ${plain(run.cause)}${again}` : undefined;
}

export function planText({ plan, hash, consequence, checks, readers }: WireRotationPlan, name: string): string {
  const { calls, strategy, connector, version, manager, keys_max, destinations } = plan;
  const faults = checks.filter(({ ok }) => !ok);
  const live = readers.filter(({ live }) => live);
  const head = facts([
    ['plan', hash],
    ['credential', `${name}, version ${version}`],
    ['connector', connector === null ? null : `${connector}, strategy ${strategy}`],
    ['managed by', manager === null ? 'itself' : manager.name],
    ['keys allowed', keys_max ?? 'unknown'],
    ['sent to', destinations.length === 0 ? 'the host in the value' : destinations.join(' ')],
    ['readers', live.length === 0 ? 'none lately' : live.map((reader) => reader.name ?? reader.id).join(', ')],
    ['old value', endText(plan)],
  ]);
  return [
    head,
    '',
    ...(calls.length === 0 ? [] : [...calls.map(callLine), '']),
    wrapped(consequence, 0),
    '',
    faults.length === 0
      ? green(`all ${checks.length} checks have passed; nothing was called`)
      : faults.map(({ check, fault }) => `${red('✗')} ${bold(check)}: ${wrapped(plain(fault), check.length + 4)}`).join('\n'),
    ...(faults.length === 0
      ? [dim('to do exactly this:'), `  ${cyan(`keyturn credential rotate ${name} --if-plan ${hash}`)}`]
      : []),
  ].join('\n');
}

/** E.g. ` 3  create      POST https://api.example.com/v1/keys`. */
function callLine({ step, what, undoable }: WireRotationPlan['plan']['calls'][number], index: number): string {
  const line = `${dim(String(index + 1).padStart(2))}  ${step.padEnd(STEP_COLUMNS - 1)} ${plain(what)}`;
  if (undoable) return line;
  const told = yellow('cannot be undone');
  const isShort = what.length + STEP_COLUMNS + 4 + '  cannot be undone'.length <= columns();
  return isShort ? `${line}  ${told}` : `${line}\n${' '.repeat(STEP_COLUMNS + 4)}${told}`;
}

function endText({ grace_seconds, deadline_seconds }: WireRotationPlan['plan']): string {
  if (grace_seconds === null || deadline_seconds === null) return 'refused at once, or ended by the provider';
  return `works at least ${spanText(grace_seconds)}; ended ${spanText(deadline_seconds)} after the rotation at the latest`;
}

function spanText(seconds: number): string {
  const [unit, size] = ([['d', 86_400], ['h', 3_600], ['m', 60]] as const).find(([, one]) => seconds > 0 && seconds % one === 0) ?? ['s', 1]; // biome-ignore format: one line
  return `${seconds / size}${unit}`;
}
