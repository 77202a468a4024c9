// keyturn audit ... : the security reviewer's commands. Verification happens here, on the reviewer's machine.
import { accessSync, constants, createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { ExportVerifier, type VerifyResult } from '../../audit/verify-export.ts';
import type { WireEvent } from '../../http/v1/wire.ts';
import { CliError, EXIT } from '../exit.ts';
import { cyan, dim, facts, green, json, note, out, red, table, yellow } from '../print.ts';
import { type Session, sessionOf } from '../session.ts';
import { readConfig, saveConfig } from '../settings.ts';
import { moment } from '../times.ts';
import { readTextFile } from '../typed-in.ts';

const FILTERS = [
  'action',
  'actor',
  'outcome',
  'target',
  'environment',
  'workflow',
  'request',
  'since',
  'until',
  'limit',
] as const;
const FOLLOW_MS = 1_000;

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

export function sayVerification(result: VerifyResult): string {
  const head = facts([
    ['log', result.origin],
    ['events', result.events],
    ['signed heads', result.checkpoints],
    ['not yet covered', result.uncovered],
  ]);
  if (result.ok) return `${head}\n${green('✓ the log is whole: every event is what was logged, and none is missing')}`;
  return [head, ...result.findings.map((finding) => `${red('✗')} ${finding.kind}: ${finding.explanation}`)].join('\n');
}

async function verifyFile(path: string, options: { key?: string; checkpoint?: string[] }): Promise<VerifyResult> {
  const verifier = new ExportVerifier({ verifierKey: options.key, checkpoints: notes(options.checkpoint) });
  try {
    accessSync(path, constants.R_OK);
  } catch {
    throw new CliError(`the file ${path} cannot be read`, EXIT.usage);
  }
  for await (const text of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY }))
    verifier.push(text);
  return verifier.finish();
}

async function verifyLive(session: Session, options: { key?: string; checkpoint?: string[] }): Promise<VerifyResult> {
  const head = await session.client.checkpoint();
  const origin = head.note.split('\n', 1)[0] ?? '';
  const { verifier_keys: keys, seen_heads: seen } = readConfig();
  const pinned = options.key ?? keys?.[origin];
  const lastSeen = seen?.[origin];
  const checkpoints = [head.note, ...(lastSeen === undefined ? [] : [lastSeen]), ...notes(options.checkpoint)];
  const verifier = new ExportVerifier({ verifierKey: pinned, checkpoints });
  for await (const text of session.client.exportLines()) verifier.push(text);
  const result = verifier.finish();
  // INVARIANT: only what verified is noted, or a forged log would become the measure of the true one (test/cli/commands.test.ts).
  if (!result.ok) return result;
  saveConfig({
    verifier_keys: { ...keys, [origin]: pinned ?? head.verifier_key },
    seen_heads: { ...seen, [origin]: head.note },
  });
  if (pinned === undefined) note(dim('the verifier key of this log was noted in your config; later runs hold the log to it'));
  return result;
}

function notes(paths: readonly string[] | undefined): string[] {
  return (paths ?? []).map(readTextFile);
}

export function auditCommand(): Command {
  const command = new Command('audit').description(
    'read, follow, export and verify the log (without --tenant: the installation’s)',
  );
  const list = command.command('list').description('events, newest first');
  for (const name of FILTERS) {
    if (name === 'since' || name === 'until')
      list.option(`--${name} <instant>`, 'an instant, a date, or how long ago: 24h', moment('back'));
    else if (name !== 'environment') list.option(`--${name} <value>`);
  }
  list.action(async (options: Record<string, string>, self: Command) => {
    const session = sessionOf(self);
    const query = Object.fromEntries(FILTERS.map((name) => [name, options[name]]));
    session.show(await session.client.events(query), ({ items, next_before }) => {
      if (items.length === 0) return dim('no events');
      return (
        table(HEAD, items.map(row)) +
        (next_before === null ? '' : `\n${dim('… older ones: narrow with --since/--until, or raise --limit')}`)
      );
    });
  });
  command
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
        await sleep(FOLLOW_MS);
        const more = await session.client.events({ from: next, limit: 500 });
        // Following is itself read from the log: its own events are passed over, or it would never be quiet.
        for (const event of more.items) {
          if (event.action !== 'audit.read' && event.action !== 'installation.audit.read') print(event);
          next = event.index + 1;
        }
      }
    });
  command
    .command('export')
    .description('the whole log with its signed heads, to standard output')
    .action(async (_options: unknown, self: Command) => {
      const session = sessionOf(self);
      for await (const text of session.client.exportLines()) if (text !== '') out(text);
    });
  command
    .command('verify [file]')
    .description('check an export, or the live log; exit code 8 when something is wrong')
    .option('--key <vkey>', 'the verifier key noted when the log was young')
    .option('--checkpoint <file...>', 'signed heads kept outside')
    .action(async (file: string | undefined, options: { key?: string; checkpoint?: string[] }, self: Command) => {
      const session = sessionOf(self);
      const result = file === undefined ? await verifyLive(session, options) : await verifyFile(file, options);
      out(session.settings.output === 'json' ? json(result) : sayVerification(result));
      if (!result.ok) process.exitCode = EXIT.verification;
    });
  command
    .command('key')
    .description('the verifier key of the log: note it elsewhere')
    .action(async (_options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(await session.client.checkpoint(), (head) => head.verifier_key);
    });
  command
    .command('checkpoint')
    .description('the newest signed head: keep it elsewhere')
    .action(async (_options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(await session.client.checkpoint(), (head) => cyan(head.note.trimEnd()));
    });
  return command;
}
