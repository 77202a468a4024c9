// Reads secrets from a terminal, a pipe or a file. It must never echo a secret, nor take one from argv (LK-06).
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { exposureOf, SECRET_FILE_RULE } from '../base/file-access.ts';
import { textIn } from '../sdk/value-bytes.ts';
import { CliError, EXIT } from './exit.ts';
import { note, yellow } from './print.ts';
import { hold } from './unsaid.ts';

const ENTER = /[\r\n]/;
const CTRL_C = '\u0003';
const CTRL_D = '\u0004';
const RUBOUT = /[\b\u007f]/;

/**
 * Reads a one-line secret such as a token: standard input without its last line break; at a terminal one line without echo.
 * @throws CliError if the user cancels or the input is not UTF-8
 */
export async function readStdin(what: string): Promise<string> {
  if (process.stdin.isTTY === true) return readUnseen(what);
  return hold(withoutLastBreak(textOf(await pipedBytes(), 'standard input')));
}

/** Reads standard input byte for byte; at a terminal one line without echo and without its line break. @throws CliError if the user cancels */
export async function readStdinBytes(what: string): Promise<Uint8Array> {
  return process.stdin.isTTY === true ? Buffer.from(await readUnseen(what), 'utf8') : holdBytes(await pipedBytes());
}

async function pipedBytes(): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of process.stdin) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

/** Like `hold`; bytes that are not text cannot occur in a message. */
function holdBytes(bytes: Uint8Array): Uint8Array {
  hold(textIn(bytes));
  return bytes;
}

/** @throws CliError for bytes that are not UTF-8: invalid bytes are never replaced */
function textOf(bytes: Uint8Array, where: string): string {
  return textIn(bytes) ?? fail(`${where} must be UTF-8 text`);
}

function fail(message: string): never {
  throw new CliError(message, EXIT.usage);
}

/**
 * Reads several secrets in this order, one line each; at a terminal without echo. Empty ones are omitted.
 * @throws CliError if the user cancels
 */
export async function readSecrets<N extends string>(
  asked: readonly { readonly name: N; readonly what: string }[],
): Promise<Partial<Record<N, string>>> {
  const found: [N, string][] = [];
  if (process.stdin.isTTY === true) {
    for (const { name, what } of asked) found.push([name, await readUnseen(what)]);
  } else {
    const lines = (await readStdin('')).split(/\r?\n/);
    for (const [i, { name }] of asked.entries()) found.push([name, lines[i] ?? '']);
  }
  return Object.fromEntries(found.filter(([, text]) => text !== '')) as Partial<Record<N, string>>;
}

/** Reads a JSON object from standard input. @throws CliError */
export async function readSecretObject(): Promise<Record<string, unknown>> {
  const text = textOf(await readStdinBytes('the JSON object'), 'standard input');
  try {
    const parsed = JSON.parse(text) as unknown;
    if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) return parsed as Record<string, unknown>;
  } catch {
    // SECURITY: the parser's message may quote the secrets, so it is dropped.
  }
  return fail('standard input must be one JSON object with --json-value');
}

/** Reads a one-line secret from a file that keeps it. @throws CliError if it cannot be read or other users have access to it */
export function readSecretFile(path: string): string {
  const { bytes, exposure } = readWithAccess(path);
  if (exposure !== undefined) throw new CliError(`the file ${path} ${exposure}: ${SECRET_FILE_RULE}`, EXIT.usage);
  return hold(withoutLastBreak(textOf(bytes, `the file ${path}`)));
}

/** Reads a secret byte for byte from a file, to store it in the vault. Warns if other users have access to the file. @throws CliError */
export function readValueFile(path: string): Uint8Array {
  const { bytes, exposure } = readWithAccess(path);
  if (exposure !== undefined) {
    note(`${yellow('warning:')} the file ${path} ${exposure}: ${SECRET_FILE_RULE}, or delete it once the vault holds the value`);
  }
  return holdBytes(bytes);
}

function readWithAccess(path: string): { bytes: Uint8Array; exposure: string | undefined } {
  let file: number | undefined;
  try {
    file = openSync(path, 'r');
    // SECURITY: checks the open file, not the path, so that the file cannot be exchanged in between. A pipe stores nothing.
    const stats = fstatSync(file);
    const exposure = stats.isFile() ? exposureOf(stats, process.getuid?.()) : undefined;
    return { bytes: readFileSync(file), exposure };
  } catch (error) {
    throw cannotRead(path, error);
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

/** @throws CliError if it cannot be read */
export function readTextFile(path: string): string {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw cannotRead(path, error);
  }
  return textOf(bytes, `the file ${path}`);
}

/** @throws CliError if it cannot be read or is not a JSON object */
export function readJsonFile(path: string): Record<string, unknown> {
  const text = readTextFile(path);
  try {
    const parsed = JSON.parse(text) as unknown;
    if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) return parsed as Record<string, unknown>;
  } catch {
    // SECURITY: the parser's message may quote a secret from a wrong file, so it is dropped.
  }
  return fail(`the file ${path} must hold one JSON object`);
}

function cannotRead(path: string, error: unknown): CliError {
  const why = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'does not exist' : 'cannot be read';
  return new CliError(`the file ${path} ${why}`, EXIT.usage);
}

function withoutLastBreak(text: string): string {
  return text.replace(/\r?\n$/, '');
}

/** The typed text after one more key; `end` is set by the last key. */
export function typed(before: string, key: string): { text: string; end?: 'done' | 'cancelled' } {
  if (key === CTRL_C) return { text: '', end: 'cancelled' };
  if (ENTER.test(key) || key === CTRL_D) return { text: before, end: 'done' };
  return { text: RUBOUT.test(key) ? [...before].slice(0, -1).join('') : before + key };
}

function readUnseen(what: string): Promise<string> {
  const { stdin } = process;
  process.stderr.write(`${what} (input is hidden): `);
  stdin.setRawMode(true);
  stdin.setEncoding('utf8');
  return new Promise((resolve, reject) => {
    let text = '';
    const onData = (chunk: string) => {
      for (const key of chunk) {
        const after = typed(text, key);
        text = after.text;
        if (after.end === undefined) continue;
        stdin.off('data', onData);
        stdin.setRawMode(false);
        stdin.pause();
        process.stderr.write('\n');
        if (after.end === 'done') resolve(hold(text));
        else reject(new CliError('the input was cancelled', EXIT.failed));
        return;
      }
    };
    stdin.on('data', onData);
  });
}
