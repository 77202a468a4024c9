// Writes and parses the lines of an export that are not events. docs/audit-format.md describes them for outsiders.
// Each line has one canonical text; any other text is malformed.
import { HASH_BYTES, RunningSha256 } from '../crypto/primitives.ts';

const EXPORT_FORMAT = 'keyturn-audit-v1';

/** Includes both ends. */
export interface IndexRange {
  readonly from: number;
  readonly to: number;
}

/** The first line. With `range`, the export contains the events of that range only, and the hashes of all others. */
export interface HeaderLine {
  readonly kind: 'header';
  readonly origin: string;
  /** Number of events in the log when the export began. */
  readonly size: number;
  readonly verifierKey: string;
  readonly range: IndexRange | undefined;
}

/** The leaf hashes of consecutive events, 32 bytes each; `first` is the index of the first one. */
export interface LeavesLine {
  readonly kind: 'leaves';
  readonly first: number;
  readonly hashes: Uint8Array;
}

/** A signed head. */
export interface CheckpointLine {
  readonly kind: 'checkpoint';
  readonly note: string;
}

/** The last line: a signed statement of everything before it. */
export interface EndLine {
  readonly kind: 'end';
  readonly note: string;
}

export interface EventLine {
  readonly kind: 'event';
  readonly index: number;
}

export type ExportLine = HeaderLine | LeavesLine | CheckpointLine | EndLine | EventLine;

/** Without its newline. */
function lineText(line: Exclude<ExportLine, EventLine>): string {
  switch (line.kind) {
    case 'header':
      return JSON.stringify({
        export: EXPORT_FORMAT,
        origin: line.origin,
        size: line.size,
        verifier_key: line.verifierKey,
        ...(line.range === undefined ? {} : { from: line.range.from, to: line.range.to }),
      });
    case 'leaves':
      return JSON.stringify({ export: 'leaves', first: line.first, hashes: Buffer.from(line.hashes).toString('base64') });
    default:
      return JSON.stringify({ export: line.kind, note: line.note });
  }
}

const encoder = new TextEncoder();

export function lineBytes(line: Exclude<ExportLine, EventLine>): Uint8Array {
  return encoder.encode(lineText(line));
}

/** Writes an export: encodes its lines, counts and hashes them for the closing statement. */
export class ExportText {
  readonly #digest = new RunningSha256();
  #lines = 0;
  #events = 0;

  /** The lines with their newlines. `events` of them are events. */
  take(lines: readonly Uint8Array[], events = 0): Uint8Array {
    const text = new Uint8Array(lines.reduce((sum, line) => sum + line.byteLength + 1, 0));
    let at = 0;
    for (const line of lines) {
      text.set(line, at);
      at += line.byteLength + 1;
      text[at - 1] = 0x0a;
    }
    this.#digest.add(text);
    this.#lines += lines.length;
    this.#events += events;
    return text;
  }

  /** The last line, with the note that `sign` makes over the written bytes; call `take` no more after it. */
  close(sign: (written: { readonly events: number; readonly lines: number; readonly sha256: Uint8Array }) => string): Uint8Array {
    const note = sign({ events: this.#events, lines: this.#lines, sha256: this.#digest.digest() });
    return encoder.encode(`${lineText({ kind: 'end', note })}\n`);
  }
}

/** Undefined for a text that is not a line of an export. */
export function parseLine(text: string): ExportLine | undefined {
  const value = parsedObject(text);
  if (value === undefined) return undefined;
  const { export: kind, index } = value;
  if (kind === undefined) return isCount(index) ? { kind: 'event', index } : undefined;
  const line = framed(value);
  return line !== undefined && lineText(line) === text ? line : undefined;
}

function framed(value: Readonly<Record<string, unknown>>): Exclude<ExportLine, EventLine> | undefined {
  const { export: kind, note } = value;
  if (kind === EXPORT_FORMAT) return headerOf(value);
  if (kind === 'leaves') return leavesOf(value);
  return (kind === 'checkpoint' || kind === 'end') && typeof note === 'string' ? { kind, note } : undefined;
}

function headerOf({ origin, size, verifier_key, from, to }: Readonly<Record<string, unknown>>): HeaderLine | undefined {
  if (typeof origin !== 'string' || typeof verifier_key !== 'string' || !isCount(size)) return undefined;
  const header = { kind: 'header', origin, size, verifierKey: verifier_key } as const;
  if (from === undefined) return { ...header, range: undefined };
  return isCount(from) && isCount(to) && from <= to ? { ...header, range: { from, to } } : undefined;
}

function leavesOf({ first, hashes }: Readonly<Record<string, unknown>>): LeavesLine | undefined {
  if (!isCount(first) || typeof hashes !== 'string') return undefined;
  const bytes = new Uint8Array(Buffer.from(hashes, 'base64'));
  const isWhole = bytes.byteLength >= HASH_BYTES && bytes.byteLength % HASH_BYTES === 0;
  return isWhole ? { kind: 'leaves', first, hashes: bytes } : undefined;
}

/** What is no object has no members: numbers, texts and lists are refused as objects without them. */
function parsedObject(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    return (JSON.parse(text) as Record<string, unknown> | null) ?? undefined;
  } catch {
    return undefined;
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
