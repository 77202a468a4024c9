// What a person types or a program pipes in. It must never show a secret on the screen, nor take one from argv (LK-06).
import { readFileSync } from 'node:fs';
import { textIn } from '../sdk/value-bytes.ts';
import { CliError, EXIT } from './exit.ts';

const ENTER = /[\r\n]/;
const CTRL_C = '\u0003';
const CTRL_D = '\u0004';
const RUBOUT = /[\b\u007f]/;

/** One secret that is a line of text by nature (a token, a client secret): standard input without its last line break; at a terminal one
 * unseen line, ended with Enter. @throws CliError when given up or not UTF-8 */
export async function readStdin(what: string): Promise<string> {
  if (process.stdin.isTTY === true) return readUnseen(what);
  return withoutLastBreak(textOf(await pipedBytes(), 'standard input'));
}

/** Standard input byte for byte; at a terminal one unseen line without the Enter that ended it. @throws CliError when given up */
export async function readStdinBytes(what: string): Promise<Uint8Array> {
  return process.stdin.isTTY === true ? Buffer.from(await readUnseen(what), 'utf8') : pipedBytes();
}

async function pipedBytes(): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of process.stdin) parts.push(part as Buffer);
  return Buffer.concat(parts);
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

/** A secret that is a line of text by nature, without its last line break. @throws CliError when it cannot be read */
export function readSecretFile(path: string): string {
  return withoutLastBreak(readTextFile(path));
}

/** @throws CliError when it cannot be read */
export function readTextFile(path: string): string {
  return textOf(readFileBytes(path), `the file ${path}`);
}

/** Byte for byte. @throws CliError when it cannot be read */
export function readFileBytes(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'does not exist' : 'cannot be read';
    throw new CliError(`the file ${path} ${why}`, EXIT.usage);
  }
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
        if (after.end === 'done') resolve(text);
        else reject(new CliError('given up', EXIT.failed));
        return;
      }
    };
    stdin.on('data', onData);
  });
}
