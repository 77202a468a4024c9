// The programs that rotate credentials, as the operator lists them for `serve`: paths, arguments and tenants are never set by a request.
// A secret must never be in an argument or in the environment, and no process in the group of a program may outlive its call.
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { z } from 'zod';
import type { Program, ProgramAnswer, ProgramFailure } from '../../rotation/connector.ts';
import { fail, KeyturnError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { SecretValue } from '../base/secret-value.ts';
import { requireOwnedFile } from './owned-file.ts';

const listFile = z.strictObject({
  programs: z
    .record(
      z.string().regex(/^[a-z0-9][a-z0-9-]{0,63}$/, 'must be 1 to 64 of the characters a-z, 0-9 and -'),
      z.strictObject({
        path: z.string().max(4_096).refine(isAbsolute, 'must be an absolute path'),
        args: z.array(z.string().max(4_096)).max(LIMITS.programArgumentsMaxCount).optional(),
        /** Names of the tenants that may use it; `*` for all. */
        tenants: z.array(z.string().min(1).max(64)).min(1).max(LIMITS.pageMaxRows),
        timeout_seconds: z
          .int()
          .min(1)
          .max(LIMITS.programMaxMs / 1_000)
          .optional(),
      }),
    )
    .refine((programs) => Object.keys(programs).length <= LIMITS.programsMaxCount, 'has too many programs'),
});
type Listed = z.infer<typeof listFile>['programs'][string];

const OPTION = 'the file of --rotation-programs';

export class RotationPrograms {
  readonly #listed: ReadonlyMap<string, Listed>;
  #running = 0;

  private constructor(listed: ReadonlyMap<string, Listed>) {
    this.#listed = listed;
  }

  /** Reads the list and checks every program in it. @throws invalid_request naming the field and the rule */
  static read(path: string): RotationPrograms {
    const real = requireOwnedFile(path, OPTION, 'read');
    if (statSync(real).size > LIMITS.programListMaxBytes) fail('invalid_request', `${OPTION} is too large`);
    const parsed = listFile.safeParse(jsonIn(real));
    if (!parsed.success) {
      const [issue] = parsed.error.issues;
      return fail('invalid_request', `${OPTION}: /${issue?.path.join('/') ?? ''}: ${issue?.message ?? 'has another shape'}`);
    }
    const listed = new Map(Object.entries(parsed.data.programs));
    for (const [name, { path: program }] of listed)
      requireOwnedFile(program, `the program ${name} of --rotation-programs`, 'execute');
    return new RotationPrograms(listed);
  }

  /** Undefined if there is no such program for this tenant. */
  find(name: string, tenant: string): Program | undefined {
    const listed = this.#listed.get(name);
    if (listed === undefined || !(listed.tenants.includes('*') || listed.tenants.includes(tenant))) return undefined;
    return { ask: (input) => this.#run(name, listed, input) };
  }

  /** A call beyond the limit is not sent, and so made again later: the lease of its run would end while it waited here. */
  async #run(name: string, listed: Listed, input: SecretValue): Promise<ProgramAnswer> {
    if (this.#running >= LIMITS.programsAtOnceMax) return { kind: 'not_sent', cause: 'too_many_programs' };
    this.#running += 1;
    try {
      return await runProgram(name, listed, input);
    } finally {
      this.#running -= 1;
    }
  }
}

function jsonIn(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as unknown;
  } catch {
    return fail('invalid_request', `${OPTION} must be JSON: {"programs": {"<name>": {"path": "...", "tenants": ["..."]}}}`);
  }
}

async function runProgram(name: string, listed: Listed, input: SecretValue): Promise<ProgramAnswer> {
  let path: string;
  try {
    // SECURITY: the file may have been replaced since the start.
    path = requireOwnedFile(listed.path, `the program ${name}`, 'execute');
  } catch (error) {
    if (error instanceof KeyturnError) return { kind: 'not_sent', cause: 'program_not_trusted' };
    throw error;
  }
  return runToEnd(path, listed, input);
}

/** SECURITY: nothing of the service's environment, which may contain tokens, is for the program. */
const ENVIRONMENT = { PATH: '/usr/local/bin:/usr/bin:/bin', LANG: 'C.UTF-8' };

function runToEnd(path: string, { args = [], timeout_seconds }: Listed, input: SecretValue): Promise<ProgramAnswer> {
  return new Promise((resolve) => {
    // A group of its own, so that its children end with it.
    const child = spawn(path, args, { stdio: 'pipe', env: ENVIRONMENT, cwd: '/', shell: false, detached: true });
    let hasExited = false;
    const output = new Bounded(child.stdout, LIMITS.programAnswerMaxBytes, () => end(lost('program_answer_too_large')));
    const errors = new Bounded(child.stderr, LIMITS.programErrorMaxBytes, undefined);
    const limitMs = timeout_seconds === undefined ? LIMITS.programDefaultMs : timeout_seconds * 1_000;
    const timer = setTimeout(() => end(lost('program_timeout')), limitMs);
    const lost = (cause: string): ProgramFailure => ({ kind: 'lost', cause, errors: errors.take() });
    const end = (answer: ProgramAnswer) => {
      clearTimeout(timer);
      // SECURITY: after the exit, which killed the group, the system may give its id to another group.
      if (!hasExited) killGroup(child);
      for (const stream of [child.stdin, child.stdout, child.stderr]) stream.destroy();
      if (answer.kind !== 'answered') output.wipe();
      errors.wipe();
      resolve(answer);
    };
    child.on('error', () => end({ kind: 'not_sent', cause: 'program_not_started' }));
    // What the group left behind ends at once; `close` follows when all of it is read.
    child.on('exit', () => {
      hasExited = true;
      killGroup(child);
    });
    child.on('close', (code) => end(code === 0 ? { kind: 'answered', output: output.take() } : lost('program_failed')));
    // A program that ends without reading its input is judged by its exit code.
    child.stdin.on('error', () => {});
    input.reveal((bytes) => child.stdin.end(Buffer.from(bytes)));
  });
}

function killGroup({ pid }: ChildProcessWithoutNullStreams): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // Nothing of the group is left.
  }
}

/** What a stream wrote, up to a limit. */
class Bounded {
  readonly #chunks: Buffer[] = [];
  #byteCount = 0;

  /** @param over called when the limit is exceeded; without it, the rest is discarded */
  constructor(stream: NodeJS.ReadableStream, maxBytes: number, over: (() => void) | undefined) {
    stream.on('data', (chunk: Buffer) => {
      this.#byteCount += chunk.byteLength;
      if (this.#byteCount <= maxBytes) this.#chunks.push(chunk);
      else over?.();
    });
    stream.on('error', () => {});
  }

  take(): SecretValue {
    const whole = Buffer.concat(this.#chunks);
    const taken = SecretValue.of(whole);
    whole.fill(0);
    this.wipe();
    return taken;
  }

  wipe(): void {
    for (const chunk of this.#chunks.splice(0)) chunk.fill(0);
  }
}
