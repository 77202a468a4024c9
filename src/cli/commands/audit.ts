// keyturn audit ... : the security reviewer's commands. Verification happens here, on the reviewer's machine.
import { accessSync, constants, createReadStream } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { ExportVerifier, type IndexRange, type VerifyResult } from '../../audit/verify-export.ts';
import { LIMITS } from '../../base/limits.ts';
import type { WireEvent } from '../../http/v1/wire.ts';
import { linesOf } from '../../sdk/client.ts';
import { CliError, EXIT } from '../exit.ts';
import { cyan, dim, facts, green, json, note, out, plain, red, table, yellow } from '../print.ts';
import { type Session, sessionOf } from '../session.ts';
import { readConfig, saveConfig } from '../settings.ts';
import { moment } from '../times.ts';
import { readTextFile } from '../typed-in.ts';

const FILTERS = {
  action: ['<name>', 'the operation, e.g. credential.read'],
  actor: ['<who>', 'a person or workload by name or id, also one that is gone; a task of the system by its name'],
  outcome: [
    '<outcome>',
    'success (done), denied (policy or a missing proof refused it) or failure (allowed, but did not succeed)',
  ],
  target: ['<what>', 'what was touched, by name or id'],
  workflow: ['<name>', 'the automation that asked, as it named itself'],
  request: ['<id>', 'one request, by the x-request-id of its answer'],
  since: ['<instant>', 'at this instant or later: 2026-01-31T00:00:00Z, 2026-01-31, or how long ago: 24h'],
  until: ['<instant>', 'before this instant, written likewise'],
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

function row(event: WireEvent): (string | number)[] {
  const reason = event.outcome === 'success' ? '' : event.reason;
  return [
    event.index,
    event.at,
    event.action,
    `${event.actor.type} ${event.actor.id}`,
    targetOf(event),
    event.outcome,
    reason,
    event.origin?.address ?? '',
  ];
}

const HEAD = ['#', 'at', 'action', 'actor', 'target', 'outcome', 'reason', 'from'];

function line(event: WireEvent): string {
  return `${dim(String(event.index).padStart(6))}  ${dim(event.at)}  ${event.action.padEnd(20)}  ${outcomeOf(event.outcome.padEnd(7))}  ${targetOf(event)}  ${dim(`${event.actor.type} ${event.actor.id}`)}${event.outcome === 'success' ? '' : `  ${event.reason}`}`;
}

const VERDICTS: Readonly<Record<VerifyResult['verdict'], string>> = {
  whole: green('✓ the log is whole: one signed head covers every event, and no line was removed, added, moved or edited'),
  range: green('✓ every event of the range is covered by a signed head: each is what was logged, and none is missing'),
  incomplete: yellow('✗ not whole: nothing contradicts the signed heads, but they do not cover everything, or lines are missing'),
  altered: red('✗ not whole: the export is not what was logged'),
};

const WHY: Readonly<Record<VerifyResult['unproven'][number]['why'], string>> = {
  missing: 'not in this file',
  edited: 'edited',
  no_signed_head: 'no signed head is there that verifies',
  head_does_not_fit: 'a signed head speaks of them and does not fit',
  after_last_head: 'newer than the newest signed head',
  unknown_hashes: 'events before them are missing, with their hashes',
};

const CLOSINGS: Readonly<Record<VerifyResult['closing'], string>> = {
  signed: 'signed: these are the lines that were exported',
  missing: 'missing: lines that are not events may have been taken away',
  does_not_fit: 'does not fit: lines were removed, added, moved or edited',
};

const span = ({ from, to }: IndexRange) => (from === to ? `${from}` : `${from}..${to}`);

/** What was covered by which head, what was not and why, and the verdict. */
function sayVerification(result: VerifyResult): string {
  const { head } = result;
  const by =
    head === undefined
      ? 'none'
      : `over ${head.size} events, ${new Date(head.atMs).toISOString()}${head.from === 'outside' ? ', kept outside' : ''}${head.anchored ? ', with the state of the database' : ''}`;
  const key =
    result.key === 'pinned'
      ? 'the one given or noted'
      : 'the export’s own: whoever can forge a log can make a key; note it with `keyturn audit key`';
  return [
    facts([
      ['log', result.origin],
      ['verifier key', key],
      ['events', result.events],
      ['signed heads', result.checkpoints],
      ['newest that fits', by],
      ['covered', result.covered.length === 0 ? 'nothing' : result.covered.map(span).join(', ')],
      ['closing line', CLOSINGS[result.closing]],
    ]),
    ...result.unproven.map((run) => `${yellow('not covered')} ${span(run)}: ${WHY[run.why]}`),
    ...result.findings.map((finding) => `${red('✗')} ${finding.kind}: ${plain(finding.explanation)}`),
    VERDICTS[result.verdict],
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
  for await (const line of linesOf(createReadStream(path))) verifier.push(line);
  return verifier.finish();
}

async function verifyLive(session: Session, options: VerifyFlags): Promise<VerifyResult> {
  const head = await session.client.checkpoint();
  const origin = head.note.split('\n', 1)[0] ?? '';
  const { verifier_keys: keys, seen_heads: seen } = readConfig();
  const pinned = options.key ?? keys?.[origin];
  const lastSeen = seen?.[origin];
  const checkpoints = [head.note, ...(lastSeen === undefined ? [] : [lastSeen]), ...notes(options.checkpoint)];
  const range = rangeOf(options.range);
  const verifier = new ExportVerifier({ verifierKey: pinned, checkpoints, range });
  for await (const line of session.client.exportLines(range)) verifier.push(line);
  const result = verifier.finish();
  // INVARIANT: only what verified is noted, or a forged log would become the measure of the true one (test/cli/commands.test.ts).
  if (result.verdict !== 'whole') return result;
  saveConfig({
    verifier_keys: { ...keys, [origin]: pinned ?? head.verifier_key },
    seen_heads: { ...seen, [origin]: head.note },
  });
  if (pinned === undefined) note(dim('the verifier key of this log was noted in your config; later runs hold the log to it'));
  return result;
}

function rangeOf(text: string | undefined): IndexRange | undefined {
  if (text === undefined) return undefined;
  const [, from, to] = /^(\d{1,15})\.\.(\d{1,15})$/.exec(text) ?? [];
  const range = { from: Number(from), to: Number(to) };
  if (from === undefined || to === undefined || range.from > range.to)
    throw new CliError('--range takes the first and the last index, e.g. 100..199', EXIT.usage);
  return range;
}

function notes(paths: readonly string[] | undefined): string[] {
  return (paths ?? []).map(readTextFile);
}

function listCommand(): Command {
  const list = new Command('list').description('events, newest first; filters narrow each other');
  for (const [name, [value, text]] of Object.entries(FILTERS)) {
    if (value === '<instant>') list.option(`--${name} ${value}`, text, moment('back'));
    else list.option(`--${name} ${value}`, text);
  }
  list.option('--limit <n>', 'at most so many', '50');
  list.option('--env <environment>', 'what was touched was in it; KEYTURN_ENVIRONMENT does not narrow the log');
  return list.action(async (options: Record<string, string>, self: Command) => {
    const session = sessionOf(self);
    const filters = Object.fromEntries(Object.keys(FILTERS).map((name) => [name, options[name]]));
    const page = await eventsUpTo(session, { ...filters, environment: options['env'] }, Number(options['limit']));
    session.show(page, ({ items, next_before }) => {
      const more = next_before === null ? '' : `\n${dim('… older ones: narrow with --since/--until, or raise --limit')}`;
      return (items.length === 0 ? dim('no events') : table(HEAD, items.map(row))) + more;
    });
  });
}

/** Goes on over short pages. */
async function eventsUpTo(session: Session, query: Readonly<Record<string, string | undefined>>, limit: number) {
  const items: WireEvent[] = [];
  let before: number | undefined;
  for (let page = 0; page < LIMITS.auditShortPagesMax; page++) {
    const found = await session.client.events({ ...query, limit: Math.min(limit - items.length, LIMITS.pageMaxRows), before });
    items.push(...found.items);
    if (found.next_before === null || items.length >= limit) return { items, next_before: found.next_before };
    before = found.next_before;
  }
  return { items, next_before: before ?? null };
}

export function auditCommand(): Command {
  const command = new Command('audit').description(
    'read, follow, export and verify the log (without --tenant: the installation’s)',
  );
  command.addCommand(listCommand());
  for (const add of [addTail, addExport, addVerify, addKey, addCheckpoint]) add(command);
  return command;
}

function addTail(parent: Command): void {
  parent
    .command('tail')
    .description('the newest events; -f follows')
    .option('-f, --follow')
    .option('-n, --lines <n>', 'how many', '10')
    .action(async (options: { follow?: boolean; lines: string }, self: Command) => {
      const session = sessionOf(self);
      const newest = await session.client.events({ limit: Number(options.lines) });
      const print = (event: WireEvent) => out(session.settings.output === 'json' ? JSON.stringify(event) : line(event));
      for (const event of [...newest.items].reverse()) print(event);
      let next = (newest.items[0]?.index ?? -1) + 1;
      while (options.follow === true) {
        await sleep(LIMITS.auditFollowMs);
        const more = await session.client.events({ from: next, limit: 500 });
        // Following is itself read from the log: its own events are passed over, or it would never be quiet.
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
    .description('the whole log with its signed heads, to standard output')
    .option('--range <first..last>', 'only these events, and hashes of the others')
    .action(async (options: { range?: string }, self: Command) => {
      const session = sessionOf(self);
      for await (const line of session.client.exportLines(rangeOf(options.range))) {
        process.stdout.write(line);
        process.stdout.write('\n');
      }
    });
}

function addVerify(parent: Command): void {
  parent
    .command('verify [file]')
    .description('check an export, or the live log; says what is covered, and exits with 8 unless that is everything')
    .option('--key <vkey>', 'the verifier key noted when the log was young; without it the export’s own is believed')
    .option('--checkpoint <file...>', 'signed heads kept outside: the log must go on from them')
    .option('--range <first..last>', 'only these events matter: others may be missing')
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
    .description('the verifier key of the log: note it elsewhere')
    .action(async (_options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(await session.client.checkpoint(), (head) => head.verifier_key);
    });
}

function addCheckpoint(parent: Command): void {
  parent
    .command('checkpoint')
    .description('the newest signed head: keep it elsewhere')
    .action(async (_options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(await session.client.checkpoint(), (head) => cyan(head.note.trimEnd()));
    });
}
