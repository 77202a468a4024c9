// keyturn keys ...: the encryption keys of a tenant and of the home cell, and the root key.

import { setTimeout as sleep } from 'node:timers/promises';
import { Argument, Command } from 'commander';
import { LIMITS } from '../../base/limits.ts';
import type { WireKeys, WireRootKey } from '../../http/v1/wire.ts';
import type { KeyturnClient } from '../../sdk/client.ts';
import { EXIT } from '../exit.ts';
import { bar, dim, green, note, red, table, yellow } from '../print.ts';
import { type Session, sessionOf } from '../session.ts';

type Rotations = WireKeys['rotations'];
/** `home`: the keys of the home cell instead of those of a tenant. */
type What = 'home' | 'root' | undefined;

const openOnes = (rotations: Rotations): Rotations => rotations.filter(({ finished_at }) => finished_at === null);

function progress(done: number, total: number, unit: string): string {
  return `${bar(done, total)}  ${done} of ${total} ${unit}`;
}

function rotationTable(rotations: Rotations): string {
  return table(
    ['purpose', 'to version', 'rewrapped', 'started', 'finished'],
    rotations.map((rotation) => [
      rotation.purpose,
      rotation.to_version,
      `${rotation.done}/${rotation.total}`,
      rotation.started_at,
      rotation.finished_at,
    ]),
  );
}

function daysFrom(at: string, nowMs: number): string {
  return `${Math.floor((nowMs - Date.parse(at)) / 86_400_000)} d`;
}

function keyTable({ keys, rotations }: WireKeys): string {
  const now = Date.now();
  const rows = keys.map((key) => [
    key.purpose,
    key.version,
    key.state,
    key.wraps,
    daysFrom(key.created_at, now),
    key.turns_at,
    key.destroyed_at ?? key.destroy_after_at,
  ]);
  const head = ['purpose', 'version', 'state', 'wraps', 'age', 'next turn', 'destroyed after'];
  return [table(head, rows), ...(rotations.length === 0 ? [] : ['', rotationTable(rotations)])].join('\n');
}

const keysOf = (client: KeyturnClient, what: What): Promise<WireKeys> => (what === 'home' ? client.homeKeys() : client.keys());

export function keysCommand(): Command {
  return new Command('keys')
    .description('list and rotate encryption and root keys')
    .addCommand(listCommand())
    .addCommand(rotateCommand())
    .addCommand(doctorCommand());
}

function listCommand(): Command {
  return new Command('list')
    .description('list keys: state, use, age, next turn and the progress of rotations')
    .addArgument(new Argument('[what]', 'home: the keys of the home cell').choices(['home']))
    .action(async (what: What, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(await keysOf(session.client, what), keyTable);
    });
}

function rotateCommand(): Command {
  return new Command('rotate')
    .description('create new keys and rewrap in the background what the old ones wrap')
    .addArgument(new Argument('[what]', 'home: the keys of the home cell; root: the root key').choices(['home', 'root']))
    .option('--purpose <name...>', 'purposes; default: all')
    .option('--wait', 'wait until everything is rewrapped')
    .action(async (what: What, options: { purpose?: string[]; wait?: boolean }, self: Command) => {
      const session = sessionOf(self);
      if (what !== 'root') return rotate(session, what, options);
      if (options.purpose !== undefined) self.error('the root key has no purposes: leave out --purpose');
      return rotateRoot(session, options.wait === true);
    });
}

async function rotate(session: Session, what: What, options: { purpose?: string[]; wait?: boolean }): Promise<void> {
  const { client } = session;
  const started = await (what === 'home' ? client.rotateHomeKeys(options.purpose) : client.rotateKeys(options.purpose));
  const mine = new Set(openOnes(started.rotations).map((rotation) => `${rotation.purpose}/${rotation.to_version}`));
  let { rotations } = started;
  const selected = () => rotations.filter((rotation) => mine.has(`${rotation.purpose}/${rotation.to_version}`));
  if (options.wait === true)
    await watch(async () => {
      ({ rotations } = await keysOf(client, what));
      const total = selected().reduce((sum, rotation) => sum + rotation.total, 0);
      const done = selected().reduce((sum, rotation) => sum + rotation.done, 0);
      return { text: progress(done, total, 'rewrapped'), isOver: openOnes(selected()).length === 0 };
    });
  session.show({ rotations: selected() }, ({ rotations: shown }) => rotationTable(shown));
  note(
    options.wait === true
      ? green('all values are rewrapped; the old keys are destroyed in 7 days')
      : dim(`check the progress with: keyturn keys list${what === 'home' ? ' home' : ''}`),
  );
}

async function rotateRoot(session: Session, waits: boolean): Promise<void> {
  const { client } = session;
  let root = await client.rotateRootKey();
  if (waits)
    await watch(async () => {
      root = await client.rootKey();
      const blocked = root.blocked.length === 0 ? '' : `, ${root.blocked.length} blocked`;
      const isOver = root.rotating_since === null;
      return { text: isOver ? 'done' : progress(root.done, root.total, `cells${blocked}`), isOver };
    });
  session.show(root, rootText);
  note(
    waits
      ? green('everything is under the new root key')
      : dim('check the progress with: keyturn keys doctor; the previous root key is needed until it has finished'),
  );
  note('Copy the new root key offline now. Backups from before the rotation need the previous one: keep it as long as them.');
}

/** Polls, and shows the progress on a terminal. */
async function watch(look: () => Promise<{ readonly text: string; readonly isOver: boolean }>): Promise<void> {
  const isTerminal = process.stderr.isTTY === true;
  for (;;) {
    const { text, isOver } = await look();
    if (isTerminal) process.stderr.write(`\r\u001b[K${text}${isOver ? '\n' : ''}`);
    if (isOver) return;
    await sleep(LIMITS.progressPollMs);
  }
}

function rootText({ provider, rotating_since, done, total, blocked }: WireRootKey): string {
  if (rotating_since === null) return `root key from ${provider}; no rotation is under way`;
  return [
    `root key from ${provider}; rotation since ${rotating_since}: ${done} of ${total} cells`,
    ...blocked.map(({ id, code }) => `${yellow('waits for')} ${id}: ${code}`),
  ].join('\n');
}

interface Report {
  readonly ok: boolean;
  readonly findings: readonly string[];
}

function doctorCommand(): Command {
  return new Command('doctor')
    .description('check the age of keys and rotations that do not end; exits with 1 if something is wrong')
    .addArgument(new Argument('[what]', 'home: the keys of the home cell, and the root key').choices(['home']))
    .action(async (what: What, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      const findings = findingsOf(await keysOf(session.client, what), Date.now());
      const root = what === 'home' ? await session.client.rootKey() : undefined;
      for (const { id, code } of root?.blocked ?? [])
        findings.push(
          `the rotation of the root key waits for the cell ${id}: ${code}; the previous root key is needed until it has finished`,
        );
      const report: Report = { ok: findings.length === 0, findings };
      session.show(report, (shown) =>
        [
          ...shown.findings.map((finding) => `${red('fail')} ${finding}`),
          ...(shown.ok ? [`${green('ok')}   every key is younger than its period, and no rotation is late`] : []),
          ...(root === undefined ? [] : [rootText(root)]),
        ].join('\n'),
      );
      if (!report.ok) process.exitCode = EXIT.failed;
    });
}

/** What is past its time by more than the tolerance. */
function findingsOf({ keys, rotations }: WireKeys, nowMs: number): string[] {
  const isLate = (at: string | null) => at !== null && nowMs - Date.parse(at) > LIMITS.keyLateMs;
  return [
    ...keys
      .filter((key) => key.state === 'active' && isLate(key.turns_at))
      .map(
        ({ purpose, turns_at }) =>
          `the key for ${purpose} should have turned at ${turns_at}: check \`keyturn doctor\`, the clock may be in doubt`,
      ),
    ...openOnes(rotations)
      .filter(({ started_at }) => isLate(started_at))
      .map(
        ({ purpose, done, total }) =>
          `the rotation of ${purpose} has not ended: ${done} of ${total}; a damaged row keeps its old key`,
      ),
    ...keys
      .filter((key) => key.state === 'decrypt_only' && isLate(key.destroy_after_at))
      .map(
        ({ purpose, version }) =>
          `version ${version} for ${purpose} should be destroyed: a row still uses it, or the clock is in doubt`,
      ),
  ];
}
