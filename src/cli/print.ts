// Output for people: aligned tables, colour on a terminal only, JSON on request.
import { withoutSecrets } from './unsaid.ts';

const COLOUR = process.stdout.isTTY === true && process.env['NO_COLOR'] === undefined && !process.argv.includes('--no-color');

const paint = (code: number) => (text: string) => (COLOUR ? `\u001b[${code}m${text}\u001b[0m` : text);
export const bold = paint(1);
export const dim = paint(2);
export const red = paint(31);
export const green = paint(32);
export const yellow = paint(33);
export const cyan = paint(36);

export type Cell = string | number | boolean | null | undefined;

/** Columns of the terminal; without one COLUMNS, or else 80. */
export function columns(): number {
  const told = process.stdout.columns ?? Number(process.env['COLUMNS']);
  return Number.isInteger(told) && told >= NARROWEST ? told : 80;
}
const NARROWEST = 40;

const INSTANT = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(:\d\d(\.\d+)?)?Z$/;
/** Ways to print an instant, the exact one first. */
const INSTANTS = [(at: string) => at, (at: string) => at.replace(INSTANT, '$1 $2Z'), (at: string) => at.replace(INSTANT, '$1')];

/**
 * Columns as wide as their widest cell. Where these do not fit `width`, instants are shortened to minutes and then to days; where that is not
 * enough, each row is printed as one line per column: nothing is cut, so that every id and name can be copied.
 * SECURITY: control characters in a cell could manipulate the terminal, so they are replaced (LK-11).
 */
export function table(head: readonly string[], rows: readonly (readonly Cell[])[], width = columns()): string {
  for (const shortened of INSTANTS) {
    const cells = rows.map((row) => row.map((cell) => shortened(plain(cell))));
    const widths = head.map((title, i) => Math.max(title.length, ...cells.map((row) => row[i]?.length ?? 0)));
    if (rows.length > 0 && widths.reduce((sum, one) => sum + one + 2, -2) > width) continue;
    const line = (row: readonly string[]) =>
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd();
    return [dim(line(head.map((title) => title.toUpperCase()))), ...cells.map(line)].join('\n');
  }
  return rows
    .map((row) =>
      facts(
        head.map((title, i) => [title, row[i]]),
        width,
      ),
    )
    .join('\n\n');
}

/** Breaks `text` into lines of at most `width` at blanks; further lines are indented. A longer word, such as an id or a URL, is not broken. */
export function wrapped(text: string, indent: number, width = columns() - indent): string {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines.join(`\n${' '.repeat(indent)}`);
}

/** The text of a cell, with control characters replaced by `?`. */
export function plain(cell: Cell): string {
  if (cell === null || cell === undefined || cell === '') return '-';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters to replace
  return String(cell).replace(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, '?');
}

/** `key  value` lines; a long value continues below its first line. */
export function facts(pairs: readonly (readonly [string, Cell])[], width = columns()): string {
  const keys = Math.max(...pairs.map(([key]) => key.length)) + 2;
  return pairs.map(([key, value]) => `${dim(key.padEnd(keys))}${wrapped(plain(value), keys, width - keys)}`).join('\n');
}

export function json(value: unknown): string {
  return JSON.stringify(value, null, 2);
}

export function out(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Prints to standard error, with every secret that this process received masked. */
export function note(text: string): void {
  process.stderr.write(`${withoutSecrets(text)}\n`);
}

export function bar(done: number, total: number, width = 28): string {
  const share = total === 0 ? 1 : done / total;
  const full = Math.round(share * width);
  return `${'█'.repeat(full)}${'░'.repeat(width - full)} ${Math.floor(share * 100)} %`;
}
