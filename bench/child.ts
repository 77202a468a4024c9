// Processes of the bench: each script that serves or works runs alone and is asked over its IPC channel.
// Every process started here ends with `stopChildren`.
import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';

export interface CpuUse {
  readonly user: number;
  readonly system: number;
}

export interface Child {
  /** Milliseconds from the spawn to its being ready. */
  readonly readyAfterMs: number;
  /** What it said when it was ready. */
  readonly hello: Record<string, unknown>;
  ask<T>(command: string, input?: unknown): Promise<T>;
  stop(): Promise<void>;
}

interface Reply {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: string;
}

const running = new Set<ChildProcess>();
let asked = 0;

/** Forks `script` of this directory; settles when it said it is ready. `profileDirectory` gets a CPU profile when it ends. */
export async function startChild(script: string, input: unknown, profileDirectory?: string): Promise<Child> {
  const startedAt = performance.now();
  const profile = profileDirectory === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileDirectory}`];
  const child = fork(join(import.meta.dirname, script), [JSON.stringify(input)], {
    execArgv: ['--disable-warning=ExperimentalWarning', ...profile],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    serialization: 'advanced',
  });
  running.add(child);
  const waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  const exited = new Promise<void>((done) => {
    child.once('exit', () => {
      running.delete(child);
      for (const { reject } of waiting.values()) reject(new Error(`${script} ended before it answered`));
      done();
    });
  });
  const ask = <T>(command: string, detail?: unknown): Promise<T> =>
    new Promise<T>((resolve, reject) => {
      const id = asked++;
      waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
      child.send({ id, command, input: detail });
    });
  child.on('message', (reply: Reply) => {
    const waiter = waiting.get(reply.id);
    waiting.delete(reply.id);
    if (reply.error === undefined) waiter?.resolve(reply.value);
    else waiter?.reject(new Error(`${script}: ${reply.error}`));
  });
  const hello = await ask<Record<string, unknown>>('hello');
  return {
    readyAfterMs: performance.now() - startedAt,
    hello,
    ask,
    stop: async () => {
      if (running.has(child)) child.send({ id: -1, command: 'stop' });
      await exited;
    },
  };
}

export function stopChildren(): void {
  for (const child of running) child.kill('SIGKILL');
}

export type Commands = Readonly<Record<string, (input: never) => unknown>>;

/** The child's side: answers `commands` one by one until it is told to stop. `hello` is asked first. */
export function answerWith(commands: Commands, stop: () => unknown): void {
  const own: Commands = {
    cpu: (): CpuUse => process.cpuUsage(),
    rss: (): number => process.memoryUsage.rss(),
    ...commands,
  };
  let turn: Promise<unknown> = Promise.resolve();
  process.on('message', (message: { id: number; command: string; input: never }) => {
    turn = turn.then(async () => {
      if (message.command === 'stop') {
        await stop();
        process.disconnect();
        process.exit(0); // a CPU profile is written on this way out
      }
      try {
        const value = await own[message.command]?.(message.input);
        process.send?.({ id: message.id, value });
      } catch (error) {
        process.send?.({ id: message.id, error: error instanceof Error ? (error.stack ?? error.message) : 'unknown' });
      }
    });
  });
}

/** What the parent gave this process. */
export function givenInput<T>(): T {
  return JSON.parse(process.argv[2] ?? '{}') as T;
}
