// A root key that a program of the operator wraps, for example one that talks to an HSM. The key passes through pipes only: it must never be in an
// argument or in the environment, and the program's arguments never come from a request.
import { spawn } from 'node:child_process';
import { isAbsolute } from 'node:path';
import { fail, KeyturnError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { requireOwnedFile } from './owned-file.ts';
import type { Wrapping } from './wrapped-root.ts';

/**
 * The command from its option: an absolute path, or a JSON array of a path and its arguments.
 * @throws invalid_request
 */
export function parseRootCommand(text: string): readonly string[] {
  const command = text.startsWith('[') ? membersOf(text) : [text];
  const [path] = command ?? [];
  if (command === undefined || path === undefined || !isAbsolute(path))
    fail(
      'invalid_request',
      'the option --root-command must be an absolute path, or a JSON array of an absolute path and arguments, e.g. ["/usr/local/bin/hsm-wrap","--slot","1"]',
    );
  return command;
}

function membersOf(text: string): string[] | undefined {
  try {
    const members = JSON.parse(text) as unknown;
    return Array.isArray(members) && members.every((one) => typeof one === 'string') ? members : undefined;
  } catch {
    return undefined;
  }
}

/**
 * One line of JSON on the program's standard input, `{"action":"wrap"|"unwrap","installation":"ins_...","data":"<base64>"}`, and one line on its
 * standard output, `{"data":"<base64>"}`. Any exit code other than 0 is a failure; its standard error goes to the service's.
 */
export function commandWrapping(command: readonly string[], timeLimitMs: number = LIMITS.rootCommandMaxMs): Wrapping {
  const ask = async (action: 'wrap' | 'unwrap', bytes: Uint8Array, installationId: string): Promise<Uint8Array> => {
    const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
    const line = Buffer.from(`${JSON.stringify({ action, installation: installationId, data })}\n`);
    try {
      return answerIn(await run(command, line, timeLimitMs));
    } finally {
      line.fill(0);
    }
  };
  return {
    wrap: (bytes, installationId) => ask('wrap', bytes, installationId),
    unwrap: (wrapped, installationId) => ask('unwrap', wrapped, installationId),
  };
}

function run(command: readonly string[], input: Uint8Array, timeLimitMs: number): Promise<Buffer> {
  const [path = '', ...rest] = command;
  return new Promise((resolve, reject) => {
    const refuse = (evidence: string) => {
      child.kill('SIGKILL');
      reject(failure(evidence));
    };
    const child = spawn(requireOwnedFile(path, 'the program of --root-command', 'execute'), rest, {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: ownEnvironment(),
      shell: false,
    });
    const timer = setTimeout(() => refuse(`no answer within ${timeLimitMs} ms`), timeLimitMs);
    const chunks: Buffer[] = [];
    let byteCount = 0;
    child.stdout.on('data', (chunk: Buffer) => {
      byteCount += chunk.byteLength;
      if (byteCount > LIMITS.rootCommandAnswerMaxBytes)
        refuse(`an answer of more than ${LIMITS.rootCommandAnswerMaxBytes} bytes`);
      else chunks.push(chunk);
    });
    child.on('error', (error) => reject(failure((error as NodeJS.ErrnoException).code ?? 'it cannot be started')));
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      if (code === 0) resolve(Buffer.concat(chunks));
      else reject(failure(`it ended with ${code ?? signal}`));
    });
    // A program that ends without reading its input is reported by its exit code.
    child.stdin.on('error', () => {});
    child.stdin.end(input);
  });
}

/** SECURITY: settings of the service, which may contain tokens, are not for the program. */
function ownEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('KEYTURN_')));
}

function answerIn(output: Buffer): Uint8Array {
  try {
    const { data } = JSON.parse(output.toString('latin1')) as { data?: unknown };
    const bytes = typeof data === 'string' ? Buffer.from(data, 'base64') : undefined;
    if (bytes !== undefined && bytes.byteLength > 0 && bytes.toString('base64') === data) return new Uint8Array(bytes);
  } catch {
    // falls through to the refusal
  } finally {
    output.fill(0);
  }
  throw failure('the answer is not {"data":"<base64>"}');
}

function failure(evidence: string): KeyturnError {
  return new KeyturnError('sealed', 'the program of --root-command failed: run it by hand as the same user', { evidence });
}
