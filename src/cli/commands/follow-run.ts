// Follows a run on a terminal: one line a step as it happens, with a time limit. It must never end the run when it stops to follow.
import { setTimeout as sleep } from 'node:timers/promises';
import type { WireRun } from '../../http/v1/wire.ts';
import { CliError, EXIT } from '../exit.ts';
import { dim, note } from '../print.ts';
import type { Session } from '../session.ts';
import { adviceOf, stepLine } from './run-text.ts';

export interface Following {
  readonly name: string;
  readonly run: string;
  readonly timeoutSeconds: number;
  /** Default: the environment of the command. */
  readonly environment?: string;
  readonly onStep?: (step: NonNullable<WireRun['steps']>[number]) => void;
}

/** Resolves with the run at its end, or as it is when the time is over. */
export async function followed(session: Session, following: Following): Promise<WireRun> {
  const { name, run, timeoutSeconds, onStep } = following;
  const environment = following.environment ?? session.environment();
  const stop = new AbortController();
  const events = session.client.followRun(environment, name, run, stop.signal);
  const over = sleep(timeoutSeconds * 1_000, 'over' as const, { signal: stop.signal }).catch(() => 'over' as const);
  try {
    for (;;) {
      const next = await Promise.race([events.next(), over]);
      if (next === 'over' || next.done === true) return await session.client.run(environment, name, run);
      if (next.value.kind === 'end') return next.value.run;
      onStep?.(next.value.step);
    }
  } finally {
    // An open stream would keep the process alive.
    stop.abort();
  }
}

/**
 * Prints each step as a line, if text is wanted; by default to standard error, so that standard output has the result only.
 * @throws CliError if the run has not ended in time
 */
export async function followOnTerminal(
  session: Session,
  following: Following,
  print: (line: string) => void = note,
): Promise<WireRun> {
  const isText = session.settings.output !== 'json';
  const ended = await followed(session, {
    ...following,
    ...(isText ? { onStep: (step) => print(stepLine(step)) } : {}),
  });
  if (ended.state !== 'open') return ended;
  const advice = adviceOf(ended, following.name) ?? `look at it with: keyturn runs show ${following.name} ${ended.id}`;
  throw new CliError(
    `the run has not ended after ${following.timeoutSeconds} s; it continues in the service`,
    EXIT.notYet,
    advice,
  );
}

export function noteFollowing(run: WireRun): void {
  if (process.stderr.isTTY) process.stderr.write(`${dim(`following ${run.id}; Ctrl-C stops to follow, not the run`)}\n`);
}
