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

/** Columns as wide as their widest cell. SECURITY: control characters in a cell could manipulate the terminal, so they are replaced (LK-11). */
export function table(head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const cells = rows.map((row) => row.map(plain));
  const widths = head.map((title, i) => Math.max(title.length, ...cells.map((row) => row[i]?.length ?? 0)));
  const line = (row: readonly string[]) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd();
  return [dim(line(head.map((title) => title.toUpperCase()))), ...cells.map(line)].join('\n');
}

/** The text of a cell, with control characters replaced by `?`. */
export function plain(cell: Cell): string {
  if (cell === null || cell === undefined || cell === '') return '-';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters to replace
  return String(cell).replace(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, '?');
}

/** `key  value` lines. */
export function facts(pairs: readonly (readonly [string, Cell])[]): string {
  const width = Math.max(...pairs.map(([key]) => key.length));
  return pairs.map(([key, value]) => `${dim(key.padEnd(width))}  ${plain(value)}`).join('\n');
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
