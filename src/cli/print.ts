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
/** Cells are not broken into shorter lines than this. */
const BROKEN_WIDTH = 16;

const INSTANT = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(:\d\d(\.\d+)?)?Z$/;
/** Ways to print an instant, the exact one first. */
const INSTANTS = [
  (at: string) => at,
  (at: string) => at.replace(INSTANT, '$1 $2Z'),
  (at: string) => at.replace(INSTANT, '$1'),
] as const;

/**
 * Columns as wide as their widest cell. Where these do not fit `width`, instants are shortened to minutes and then to days, then cells are
 * broken at blanks; where that is not enough, each row is printed as one line per column. Nothing is cut, so that every id can be copied.
 * SECURITY: control characters in a cell could manipulate the terminal, so they are replaced (LK-11).
 */
export function table(head: readonly string[], rows: readonly (readonly Cell[])[], width = columns()): string {
  const titles = head.map((title) => title.toUpperCase());
  for (const shortened of INSTANTS) {
    const cells = rows.map((row) => row.map((cell) => shortened(plain(cell))));
    const widths = widthsOf(titles, cells, (cell) => cell.length);
    if (rows.length === 0 || sumOf(widths) <= width) return grid(titles, cells, widths);
  }
  const cells = rows.map((row) => row.map((cell) => INSTANTS[2](plain(cell))));
  const least = widthsOf(titles, cells, (cell) =>
    Math.max(Math.min(cell.length, BROKEN_WIDTH), ...cell.split(' ').map((word) => word.length)),
  );
  let left = width - sumOf(least);
  if (left < 0)
    return rows
      .map((row) =>
        facts(
          head.map((title, i) => [title, row[i]]),
          width,
        ),
      )
      .join('\n\n');
  const widest = widthsOf(titles, cells, (cell) => cell.length);
  const widths = least.map((one, i) => {
    const more = Math.min(left, (widest[i] ?? one) - one);
    left -= more;
    return one + more;
  });
  return grid(titles, cells, widths);
}

function widthsOf(titles: readonly string[], cells: readonly (readonly string[])[], of: (cell: string) => number): number[] {
  return titles.map((title, i) => Math.max(title.length, ...cells.map((row) => of(row[i] ?? ''))));
}

/** The length of a line with columns of these widths. */
const sumOf = (widths: readonly number[]): number => widths.reduce((sum, one) => sum + one + 2, -2);

function grid(titles: readonly string[], cells: readonly (readonly string[])[], widths: readonly number[]): string {
  const line = (row: readonly string[]) => widths.map((width, i) => (row[i] ?? '').padEnd(width)).join('  ').trimEnd(); // biome-ignore format: one line
  const lines = cells.flatMap((row) => {
    const broken = row.map((cell, i) => brokenAt(cell, widths[i] ?? 0));
    return Array.from({ length: Math.max(...broken.map((parts) => parts.length)) }, (_, at) =>
      line(broken.map((parts) => parts[at] ?? '')),
    );
  });
  return [dim(line(titles)), ...lines].join('\n');
}

/** Lines of at most `width`, broken at blanks. A longer word, such as an id or a URL, is not broken. */
function brokenAt(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** `brokenAt` as one text whose further lines are indented. */
export function wrapped(text: string, indent: number, width = columns() - indent): string {
  return brokenAt(text, width).join(`\n${' '.repeat(indent)}`);
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
