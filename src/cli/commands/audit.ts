// keyturn audit ...: commands for the security reviewer. Verification runs on the reviewer's machine.
import { accessSync, constants, createReadStream } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { ExportVerifier, type IndexRange, type VerifyResult } from '../../audit/verify-export.ts';
import { LIMITS } from '../../base/limits.ts';
import type { WireEvent } from '../../http/v1/wire.ts';
import { CliError, EXIT } from '../exit.ts';
import { type Cell, cyan, dim, facts, green, json, note, out, plain, red, wrapped, yellow } from '../print.ts';
import { type Session, sessionOf } from '../session.ts';
import { readConfig, saveConfig } from '../settings.ts';
import { moment } from '../times.ts';
import { readTextFile } from '../typed-in.ts';

const FILTERS = {
  action: ['<name>', 'the operation, e.g. credential.read'],
  actor: ['<who>', 'user or workload by name or id, also a removed one; a system task by its name'],
  outcome: ['<outcome>', 'success, denied (by policy or for lack of proof) or failure (allowed, but failed)'],
  target: ['<what>', 'target by name or id'],
  workflow: ['<name>', 'calling automation, as it named itself'],
  request: ['<id>', 'request by the x-request-id of its answer'],
  since: ['<instant>', 'at or after: 2026-01-31T00:00:00Z, 2026-01-31, or a time ago: 24h'],
  until: ['<instant>', 'before this instant, in the same forms'],
} as const;

function targetOf(event: WireEvent): string {
  const { type, name, environment, id } = event.target;
  const what = name ?? id ?? '';
  return [type, environment === undefined || environment === name ? what : `${environment}/${what}`]
    .filter((part) => part !== '')
    .join(' ');
}

function outcomeOf(outcome: string): string {
  return outcome === 'success' ? green(outcome) : outcome === 'denied' ? red(outcome) : yellow(outcome);
}

/** One event: when and what, then target, actor and address, then the details, so that two events of one run differ. */
export function eventText(event: WireEvent): string {
  const { index, at, action, actor, actor_name: name, outcome, reason, origin, context } = event;
  const from = origin === undefined ? '' : ` from ${origin.address}`;
  const workflow = context?.workflow === undefined ? '' : ` in ${context.workflow}`;
  const more = [
    `${targetOf(event)} by ${actor.type} ${name === undefined ? actor.id : `${name} (${actor.id})`}${from}${workflow}`,
    outcome === 'success' ? '' : reason,
    detailsOf(event),
  ];
  return [
    `${dim(String(index).padStart(6))}  ${dim(at)}  ${plain(action)}  ${outcomeOf(outcome)}`,
    ...more.filter((text) => text !== '').map((text) => `        ${wrapped(plain(text), 8)}`),
  ].join('\n');
}

/** The step first, then the other details by name. */
function detailsOf({ details = {} }: WireEvent): string {
  const { step, ...others } = details;
  const words = Object.entries(others).map(([name, value]) => `${name.replaceAll('_', ' ')} ${plain(value as Cell)}`);
  return [...(typeof step === 'string' ? [step.replaceAll('_', ' ')] : []), ...words].join(', ');
}

const VERDICTS: Readonly<Record<VerifyResult['verdict'], string>> = {
  whole: green('✓ the log is complete: a signed head covers every event, and no line was removed, added, moved or edited'),
  range: green('✓ the range is complete: signed heads cover every event, and none was edited or removed'),
  incomplete: yellow('✗ incomplete: no event contradicts the signed heads, but some events are not covered or lines are missing'),
  altered: red('✗ altered: the export differs from what was logged'),
};

const WHY: Readonly<Record<VerifyResult['unproven'][number]['why'], string>> = {
  missing: 'not in this file',
  edited: 'edited',
  no_signed_head: 'there is no valid signed head',
  head_does_not_fit: 'the signed head that covers them does not match',
  after_last_head: 'newer than the newest signed head',
  unknown_hashes: 'earlier events and their hashes are missing',
};

const CLOSINGS: Readonly<Record<VerifyResult['closing'], string>> = {
  signed: 'valid: the lines are those that were exported',
  missing: 'missing: lines that are not events may have been removed',
  does_not_fit: 'does not match: lines were removed, added, moved or edited',
};

/** `stored`: taken from the log and stored by this verification. */
type Verified = Omit<VerifyResult, 'key'> & { readonly key: VerifyResult['key'] | 'stored' };

const KEYS: Readonly<Record<Verified['key'], string>> = {
  pinned: 'given by --key or stored at an earlier verification',
  export: 'taken from the export, which a forger could replace; store it with `keyturn audit key`',
  stored: 'taken from this log at its first verification and stored in your config; later verifications use it',
};

const span = ({ from, to }: IndexRange) => (from === to ? `${from}` : `${from}..${to}`);

/** To standard error: a list or a tail must not omit events silently. */
function sayDamaged(damaged: readonly IndexRange[]): void {
  if (damaged.length === 0) return;
  const which = damaged.map(span).join(', ');
  note(red(`events ${which} are changed or missing in the database and are omitted: run \`keyturn audit verify\``));
}

/** The covered events and their signed head, the others with the reason, and the verdict. */
function sayVerification(result: Verified): string {
  const { head } = result;
  const by =
    head === undefined
      ? 'none'
      : `over ${head.size} events, ${new Date(head.atMs).toISOString()}${head.from === 'outside' ? ', kept elsewhere' : ''}${head.anchored ? ', with the state of the database' : ''}`;
  return [
    facts([
      ['log', result.origin],
      ['verifier key', KEYS[result.key]],
      ['events', result.events],
      ['signed heads', result.checkpoints],
      ['newest valid head', by],
      ['covered', result.covered.length === 0 ? 'nothing' : result.covered.map(span).join(', ')],
      ['closing line', CLOSINGS[result.closing]],
    ]),
    ...result.unproven.map((run) => `${yellow('not covered')} ${wrapped(`${span(run)}: ${WHY[run.why]}`, 12)}`),
    ...result.findings.map((finding) => `${red('✗')} ${wrapped(`${finding.kind}: ${plain(finding.explanation)}`, 2)}`),
    wrapped(VERDICTS[result.verdict], 2),
  ].join('\n');
}

interface VerifyFlags {
  readonly key?: string;
  readonly checkpoint?: string[];
  readonly range?: string;
}

async function verifyFile(path: string, options: VerifyFlags): Promise<VerifyResult> {
  const verifier = new ExportVerifier({
    verifierKey: options.key,
    checkpoints: notes(options.checkpoint),
    range: rangeOf(options.range),
  });
  try {
    accessSync(path, constants.R_OK);
  } catch {
    throw new CliError(`the file ${path} cannot be read`, EXIT.usage);
  }
  for await (const bytes of createReadStream(path)) verifier.add(bytes);
  return verifier.finish();
}

async function verifyLive(session: Session, options: VerifyFlags): Promise<Verified> {
  const head = await session.client.checkpoint();
  const origin = head.note.split('\n', 1)[0] ?? '';
  const { verifier_keys: keys, seen_heads: seen } = readConfig();
  const pinned = options.key ?? keys?.[origin];
  const lastSeen = seen?.[origin];
  const checkpoints = [head.note, ...(lastSeen === undefined ? [] : [lastSeen]), ...notes(options.checkpoint)];
  const range = rangeOf(options.range);
  const verifier = new ExportVerifier({ verifierKey: pinned, checkpoints, range });
  for await (const bytes of session.client.exportBytes(range)) verifier.add(bytes);
  const result = verifier.finish();
  // INVARIANT: key and head are stored only after a successful verification, or a forged log would define them (test/cli/commands.test.ts).
  if (result.verdict !== 'whole') return result;
  saveConfig({
    verifier_keys: { ...keys, [origin]: pinned ?? head.verifier_key },
    seen_heads: { ...seen, [origin]: head.note },
  });
  return pinned === undefined ? { ...result, key: 'stored' } : result;
}

function rangeOf(text: string | undefined): IndexRange | undefined {
  if (text === undefined) return undefined;
  const [, from, to] = /^(\d{1,15})\.\.(\d{1,15})$/.exec(text) ?? [];
  const range = { from: Number(from), to: Number(to) };
  if (from === undefined || to === undefined || range.from > range.to)
    throw new CliError('the option --range must be the first and the last index, e.g. 100..199', EXIT.usage);
  return range;
}

function notes(paths: readonly string[] | undefined): string[] {
  return (paths ?? []).map(readTextFile);
}

function listCommand(): Command {
  const list = new Command('list').description('list events, newest first; filters combine with AND');
  for (const [name, [value, text]] of Object.entries(FILTERS)) {
    if (value === '<instant>') list.option(`--${name} ${value}`, text, moment('back'));
    else list.option(`--${name} ${value}`, text);
  }
  list.option('--limit <n>', 'maximum number', '50');
  list.option('--env <environment>', 'environment of the target; KEYTURN_ENVIRONMENT is ignored here');
  return list.action(async (options: Record<string, string>, self: Command) => {
    const session = sessionOf(self);
    const filters = Object.fromEntries(Object.keys(FILTERS).map((name) => [name, options[name]]));
    const page = await eventsUpTo(session, { ...filters, environment: options['env'] }, Number(options['limit']));
    session.show(page, ({ items, next_before, damaged }) => {
      sayDamaged(damaged);
      const more = next_before === null ? '' : `\n${dim('… more: use --since and --until, or raise --limit')}`;
      return (items.length === 0 ? dim('no events') : items.map(eventText).join('\n')) + more;
    });
  });
}

/** Continues after short pages until `limit` events are found. */
async function eventsUpTo(session: Session, query: Readonly<Record<string, string | undefined>>, limit: number) {
  const items: WireEvent[] = [];
  const damaged: IndexRange[] = [];
  let before: number | undefined;
  for (let page = 0; page < LIMITS.auditShortPagesMax; page++) {
    const found = await session.client.events({ ...query, limit: Math.min(limit - items.length, LIMITS.pageMaxRows), before });
    items.push(...found.items);
    damaged.push(...found.damaged);
    if (found.next_before === null || items.length >= limit) return { items, next_before: found.next_before, damaged };
    before = found.next_before;
  }
  return { items, next_before: before ?? null, damaged };
}

export function auditCommand(): Command {
  const command = new Command('audit').description('read, export and verify an audit log');
  command.addCommand(listCommand());
  for (const add of [addTail, addExport, addVerify, addKey, addCheckpoint]) add(command);
  return command;
}

function addTail(parent: Command): void {
  parent
    .command('tail')
    .description('print the newest events')
    .option('-f, --follow', 'also print new events as they come')
    .option('-n, --lines <n>', 'number of events', '10')
    .action(async (options: { follow?: boolean; lines: string }, self: Command) => {
      const session = sessionOf(self);
      const newest = await session.client.events({ limit: Number(options.lines) });
      const print = (event: WireEvent) => out(session.settings.output === 'json' ? JSON.stringify(event) : eventText(event));
      sayDamaged(newest.damaged);
      for (const event of [...newest.items].reverse()) print(event);
      let next = (newest.items[0]?.index ?? -1) + 1;
      while (options.follow === true) {
        await sleep(LIMITS.auditFollowMs);
        const more = await session.client.events({ from: next, limit: 500 });
        sayDamaged(more.damaged);
        // Each poll is itself an event; these are omitted, or every poll would print one.
        for (const event of more.items) {
          if (event.action !== 'audit.read' && event.action !== 'installation.audit.read') print(event);
        }
        next = more.next_from ?? next;
      }
    });
}

function addExport(parent: Command): void {
  parent
    .command('export')
    .description('write the log with its signed heads to standard output')
    .option('--range <first..last>', 'only these events, and the hashes of the others')
    .action(async (options: { range?: string }, self: Command) => {
      const session = sessionOf(self);
      for await (const bytes of session.client.exportBytes(rangeOf(options.range))) process.stdout.write(bytes);
    });
}

function addVerify(parent: Command): void {
  parent
    .command('verify [file]')
    .description('verify an export or the live log; exits with 8 if incomplete')
    .option('--key <vkey>', 'verifier key stored earlier; default: the key in the export')
    .option('--checkpoint <file...>', 'signed heads kept elsewhere, which the log must continue')
    .option('--range <first..last>', 'verify only these events; others may be missing')
    .action(async (file: string | undefined, options: VerifyFlags, self: Command) => {
      const session = sessionOf(self);
      const result = file === undefined ? await verifyLive(session, options) : await verifyFile(file, options);
      out(session.settings.output === 'json' ? json(result) : sayVerification(result));
      if (!result.ok) process.exitCode = EXIT.verification;
    });
}

function addKey(parent: Command): void {
  parent
    .command('key')
    .description('print the verifier key of the log, to keep it elsewhere')
    .action(async (_options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(await session.client.checkpoint(), (head) => head.verifier_key);
    });
}

function addCheckpoint(parent: Command): void {
  parent
    .command('checkpoint')
    .description('print the newest signed head, to keep it elsewhere')
    .action(async (_options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(await session.client.checkpoint(), (head) => cyan(head.note.trimEnd()));
    });
}
