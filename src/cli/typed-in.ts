// What a person types or a program pipes in. It must never show a secret on the screen, nor take one from argv (LK-06).
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
 * One secret that is a line of text by nature (a token, a client secret): standard input without its last line break; at a terminal one
 * unseen line, ended with Enter. @throws CliError when given up or not UTF-8
 */
export async function readStdin(what: string): Promise<string> {
  if (process.stdin.isTTY === true) return readUnseen(what);
  return hold(withoutLastBreak(textOf(await pipedBytes(), 'standard input')));
}

/** Standard input byte for byte; at a terminal one unseen line without the Enter that ended it. @throws CliError when given up */
export async function readStdinBytes(what: string): Promise<Uint8Array> {
  return process.stdin.isTTY === true ? Buffer.from(await readUnseen(what), 'utf8') : holdBytes(await pipedBytes());
}

async function pipedBytes(): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of process.stdin) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

/** As `hold`: what is no text cannot stand in a message. */
function holdBytes(bytes: Uint8Array): Uint8Array {
  hold(textIn(bytes));
  return bytes;
}

/** @throws CliError for bytes that are not UTF-8: none is ever replaced by another */
function textOf(bytes: Uint8Array, where: string): string {
  return textIn(bytes) ?? fail(`${where} is not UTF-8 text`);
}

function fail(message: string): never {
  throw new CliError(message, EXIT.usage);
}

/**
 * Several secrets in this order: one unseen line each at a terminal, one line each from a pipe. Empty ones are left out.
 * @throws CliError when given up
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

/** All members of the one JSON object that comes in. @throws CliError */
export async function readSecretObject(): Promise<Record<string, unknown>> {
  const text = textOf(await readStdinBytes('the JSON object'), 'standard input');
  try {
    const parsed = JSON.parse(text) as unknown;
    if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) return parsed as Record<string, unknown>;
  } catch {
    // SECURITY: a parser's message quotes what it could not read, and those are secrets.
  }
  return fail('standard input is not one JSON object, as --json-value asks');
}

/** A file that goes on holding a secret, a line of text by nature, after it was read. @throws CliError when it cannot be read or others may touch it */
export function readSecretFile(path: string): string {
  const { bytes, exposure } = readWithAccess(path);
  if (exposure !== undefined) throw new CliError(`the file ${path} ${exposure}: ${SECRET_FILE_RULE}`, EXIT.usage);
  return hold(withoutLastBreak(textOf(bytes, `the file ${path}`)));
}

/** A file whose secret goes into the vault now, byte for byte: that others may touch it is told, not refused. @throws CliError */
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
    // SECURITY: the open file is examined, not the path, so it cannot be exchanged in between. A pipe holds nothing at rest.
    const stats = fstatSync(file);
    const exposure = stats.isFile() ? exposureOf(stats, process.getuid?.()) : undefined;
    return { bytes: readFileSync(file), exposure };
  } catch (error) {
    throw cannotRead(path, error);
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

/** @throws CliError when it cannot be read */
export function readTextFile(path: string): string {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw cannotRead(path, error);
  }
  return textOf(bytes, `the file ${path}`);
}

/** @throws CliError when it cannot be read or is not one JSON object */
export function readJsonFile(path: string): Record<string, unknown> {
  const text = readTextFile(path);
  try {
    const parsed = JSON.parse(text) as unknown;
    if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) return parsed as Record<string, unknown>;
  } catch {
    // SECURITY: a parser's message quotes what it could not read, and that may be a secret in the wrong file.
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

/** What was typed so far, after one more key; `done` when it was the last one. */
export function typed(before: string, key: string): { text: string; end?: 'done' | 'given up' } {
  if (key === CTRL_C) return { text: '', end: 'given up' };
  if (ENTER.test(key) || key === CTRL_D) return { text: before, end: 'done' };
  return { text: RUBOUT.test(key) ? [...before].slice(0, -1).join('') : before + key };
}

function readUnseen(what: string): Promise<string> {
  const { stdin } = process;
  process.stderr.write(`${what} (it is not shown): `);
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
        else reject(new CliError('given up', EXIT.failed));
        return;
      }
    };
    stdin.on('data', onData);
  });
}
