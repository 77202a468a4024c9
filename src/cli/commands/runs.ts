// keyturn runs ...: list, show, watch, cancel, resume and retry the runs of a credential.
import { Command, Option } from 'commander';
import { SECONDS } from '../../base/instants.ts';
import type { WireRun } from '../../http/v1/wire.ts';
import { CliError, EXIT } from '../exit.ts';
import { dim, out, table } from '../print.ts';
import { type Session, sessionOf } from '../session.ts';
import { span } from '../times.ts';
import { describeRun } from './credential-text.ts';
import { followOnTerminal, noteFollowing } from './follow-run.ts';
import { adviceOf } from './run-text.ts';

export function runsCommand(): Command {
  const command = new Command('runs').description('follow, cancel, resume and retry rotations');
  command
    .command('list <name>')
    .description('list the runs of a credential, newest first')
    .option('--limit <n>', 'maximum number')
    .action(async (name: string, options: { limit?: string }, self: Command) => {
      const session = sessionOf(self);
      session.show(await session.client.runs(session.environment(), name, { limit: options.limit }), ({ items }) =>
        runTable(items),
      );
    });
  command
    .command('show <name> [run]')
    .description('show one run with its journal; default: the newest')
    .action(async (name: string, run: string | undefined, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      const id = run ?? (await newest(session, name));
      session.show(await session.client.run(session.environment(), name, id), (shown) => withAdvice(shown, name));
    });
  command
    .command('watch <name> [run]')
    .description('follow a run, one line a step; default: the newest')
    .addOption(timeoutOption())
    .action(async (name: string, run: string | undefined, options: { timeout: number }, self: Command) => {
      const session = sessionOf(self);
      const id = run ?? (await newest(session, name));
      const ended = await followOnTerminal(session, { name, run: id, timeoutSeconds: options.timeout }, out);
      showEnd(session, ended);
    });
  for (const change of ['cancel', 'resume', 'retry'] as const) {
    const changing = command.command(`${change} <name> [run]`).description(CHANGES[change]);
    if (change !== 'cancel')
      changing.option('--wait', 'follow the run; exits with 1 if it failed, 9 on timeout').addOption(timeoutOption());
    changing.action(
      async (name: string, run: string | undefined, options: { wait?: boolean; timeout?: number }, self: Command) => {
        const session = sessionOf(self);
        const id = run ?? (await newest(session, name));
        const changed = await session.client.changeRun(session.environment(), name, id, change);
        if (options.wait !== true) return session.show(changed, (shown) => withAdvice(shown, name));
        noteFollowing(changed);
        const timeoutSeconds = options.timeout ?? 2 * SECONDS.m;
        showEnd(session, await followOnTerminal(session, { name, run: changed.id, timeoutSeconds }));
      },
    );
  }
  return command;
}

const CHANGES = {
  cancel: 'cancel a run whose new value is not current; what it made is ended',
  resume: 'continue a waiting run now',
  retry: 'open a new run after one that failed or was cancelled',
} as const;

export function timeoutOption(): Option {
  return new Option('--timeout <time>', 'how long to follow').argParser(span()).default(2 * SECONDS.m, '2m');
}

/** The end of a run whose steps were printed; the exit code tells whether it succeeded. */
export function showEnd(session: Session, run: WireRun): void {
  const { steps: _, ...rest } = run;
  session.show(run, () => describeRun(rest));
  if (run.state !== 'succeeded') process.exitCode = EXIT.failed;
}

export function runTable(items: readonly WireRun[]): string {
  if (items.length === 0) return dim('no runs');
  return table(
    ['run', 'kind', 'trigger', 'state', 'outcome', 'started', 'version'],
    items.map((item) => [item.id, item.kind, item.trigger, item.state, item.outcome, item.started_at, item.new_version]),
  );
}

function withAdvice(run: WireRun, name: string): string {
  const advice = adviceOf(run, name);
  return advice === undefined ? describeRun(run) : `${describeRun(run)}\n${advice}`;
}

async function newest(session: Session, name: string): Promise<string> {
  const { items } = await session.client.runs(session.environment(), name, { limit: 20 });
  // The end of a replaced value is a run of its own, which begins after the rotation.
  const run = items.find(({ kind }) => kind !== 'revocation') ?? items[0];
  if (run === undefined)
    throw new CliError(`${name} has no runs`, EXIT.notFound, `begin one with: keyturn credential rotate ${name}`);
  return run.id;
}
