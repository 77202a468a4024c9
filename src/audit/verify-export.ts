// The offline verifier of an export: reports which events a signed head covers, which are not covered, and what was changed
// (docs/audit-format.md). It proves most with a pinned verifier key and signed heads from elsewhere. It must never need the service, a
// secret or the network.
import { KeyturnError } from '../base/errors.ts';
import { type Checkpoint, isExportSigned, verifyCheckpoint } from '../crypto/checkpoint.ts';
import { Frontier, leafHash } from '../crypto/merkle.ts';
import { HASH_BYTES, RunningSha256 } from '../crypto/primitives.ts';
import { equalBytes } from '../crypto/token.ts';
import { type ExportLine, type HeaderLine, type IndexRange, type LeavesLine, parseLine } from './export-lines.ts';

export type { IndexRange };

export type FindingKind =
  | 'edited' // the event's bytes differ from the logged ones
  | 'edited_hash' // the event is unchanged, but its hash in the export was changed
  | 'deleted' // events between two others are missing
  | 'duplicated'
  | 'reordered'
  | 'cut_tail' // the newest events are missing
  | 'altered_lines' // every event is present, but other lines were removed, added, moved or edited
  | 'root_mismatch' // an event before a signed head differs, and no leaf hash shows which one
  | 'bad_signature'
  | 'malformed'
  | 'rolled_back' // a checkpoint from outside covers more events than the log has
  | 'wrong_log'; // the export is of another log, or has another key

export interface Finding extends IndexRange {
  readonly kind: FindingKind;
  readonly explanation: string;
}

export interface Unproven extends IndexRange {
  readonly why:
    | 'missing' // not in this export
    | 'edited'
    | 'no_signed_head'
    | 'head_does_not_fit'
    | 'after_last_head' // present, newer than the newest signed head that fits
    | 'unknown_hashes'; // events and hashes before them are incomplete, so no tree can be computed up to them
}

export interface CoveringHead {
  /** The head covers the events 0 to `size` - 1. */
  readonly size: number;
  /** Milliseconds since 1970-01-01T00:00:00Z. */
  readonly atMs: number;
  readonly from: 'export' | 'outside';
  /** The head also commits to the state of the database (`keyturn-anchor`). */
  readonly anchored: boolean;
}

export interface VerifyResult {
  /** True for the verdicts `whole` and `range`. */
  readonly ok: boolean;
  /**
   * `whole`: one signed head covers every event, and no line differs from the exported ones. `range`: every event of the requested range
   * is covered. `incomplete`: no contradiction, but not everything is proven. `altered`: see the findings.
   */
  readonly verdict: 'whole' | 'range' | 'incomplete' | 'altered';
  readonly origin: string;
  /** `export`: no key was given, so the key in the export was used, which proves less: a forger of the log can make a key as well. */
  readonly key: 'pinned' | 'export';
  readonly events: number;
  /** Signed heads with a good signature, in the export and from outside. */
  readonly checkpoints: number;
  /** The newest signed head whose root these events give. */
  readonly head: CoveringHead | undefined;
  readonly covered: readonly IndexRange[];
  readonly unproven: readonly Unproven[];
  /** Events present that no signed head covers. */
  readonly uncovered: number;
  /** `signed`: the last line proves that no line was removed, added, moved or edited. */
  readonly closing: 'signed' | 'missing' | 'does_not_fit';
  readonly findings: readonly Finding[];
}

export interface VerifyOptions {
  /** The verifier key, noted when the log was new; without it the key in the export is used, which proves less. */
  readonly verifierKey?: string | undefined;
  /** Signed heads from outside the export (a witness file). */
  readonly checkpoints?: readonly string[] | undefined;
  /** Verify these events only: others may be missing as long as their hashes are present. */
  readonly range?: IndexRange | undefined;
}

interface Head {
  readonly checkpoint: Checkpoint;
  readonly from: 'export' | 'outside';
}

interface FittingHead extends Head {
  /** `events`: the events give its root. `hashes`: only the stated hashes do. */
  readonly by: 'events' | 'hashes';
}

const LISTED_MAX = 100;
const EVERYTHING: IndexRange = { from: 0, to: Number.MAX_SAFE_INTEGER };
const NEWLINE = Uint8Array.of(0x0a);
const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Verifies an export line by line; export-lines.ts and docs/audit-format.md describe the lines. */
export class ExportVerifier {
  readonly #options: VerifyOptions;
  readonly #findings: Finding[] = [];
  readonly #digest = new RunningSha256();
  readonly #notes: string[] = [];
  readonly #heads: Head[] = [];
  /** Leaf hashes by index: computed from the events, and stated in the export. */
  readonly #events = new Map<number, Uint8Array>();
  readonly #stated = new Map<number, Uint8Array>();
  readonly #order: number[] = [];
  #header: HeaderLine | undefined;
  #lines = 0;
  #statedEnd = 0;
  /** Of a line whose newline did not come yet. */
  #rest: Uint8Array[] = [];
  #closed: { readonly note: string; readonly sha256: Uint8Array } | undefined;

  constructor(options: VerifyOptions = {}) {
    this.#options = options;
  }

  /** Takes the next bytes of an export, in parts of any size. */
  add(bytes: Uint8Array): void {
    let start = 0;
    for (let end = bytes.indexOf(0x0a); end >= 0; end = bytes.indexOf(0x0a, start)) {
      const part = bytes.subarray(start, end);
      this.push(this.#rest.length === 0 ? part : Buffer.concat([...this.#rest, part]));
      this.#rest = [];
      start = end + 1;
    }
    if (start < bytes.byteLength) this.#rest.push(bytes.slice(start));
  }

  /** Takes the next line, which a newline ends, without its newline; preferably as bytes: decoding can change them. */
  push(line: string | Uint8Array): void {
    if (this.#closed !== undefined) {
      this.#malformed('the export has a line after the closing line');
      return;
    }
    const bytes = typeof line === 'string' ? encoder.encode(line) : line;
    const parsed = parsedLine(line);
    if (parsed === undefined) this.#malformed(`the line after event ${this.#order.at(-1) ?? 'none'} is not a line of an export`);
    else this.#take(parsed, bytes);
    if (this.#closed !== undefined) return;
    this.#lines += 1;
    this.#digest.add(bytes).add(NEWLINE);
  }

  finish(): VerifyResult {
    if (this.#rest.length > 0) {
      this.push(Buffer.concat(this.#rest));
      this.#malformed('the last line of the export has no newline');
    }
    if (this.#header === undefined) this.#find('malformed', 0, 0, 'the export has no header line');
    this.#readHeads();
    this.#orderFindings();
    this.#tailFinding();
    const { fitting, reach } = this.#fittingHeads();
    this.#hashFindings(fitting);
    const best = newest(fitting);
    const { covered, unproven } = this.#coverage(best, reach);
    const closing = this.#closing();
    const verdict = this.#verdict(best, closing);
    return {
      ok: verdict === 'whole' || verdict === 'range',
      verdict,
      origin: this.#header?.origin ?? '',
      key: this.#options.verifierKey === undefined ? 'export' : 'pinned',
      events: this.#order.length,
      checkpoints: this.#heads.length,
      head: best === undefined ? undefined : described(best),
      covered,
      unproven,
      uncovered: this.#events.size - covered.reduce((sum, { from, to }) => sum + to - from + 1, 0),
      closing,
      findings: this.#findings,
    };
  }

  // ---- reading

  #take(line: ExportLine, bytes: Uint8Array): void {
    if ((this.#header === undefined) !== (line.kind === 'header')) {
      this.#malformed(
        line.kind === 'header' ? 'the export has a second header line' : 'the export has a line before its header line',
      );
    }
    if (line.kind === 'header') this.#header ??= line;
    else if (line.kind === 'leaves') this.#state(line);
    else if (line.kind === 'checkpoint') this.#notes.push(line.note);
    else if (line.kind === 'end') this.#closed = { note: line.note, sha256: this.#digest.digest() };
    else {
      this.#order.push(line.index);
      if (!this.#events.has(line.index)) this.#events.set(line.index, leafHash(bytes));
    }
  }

  #state({ first, hashes }: LeavesLine): void {
    const count = hashes.byteLength / HASH_BYTES;
    for (let i = 0; i < count; i++) {
      if (!this.#stated.has(first + i)) this.#stated.set(first + i, hashes.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES));
    }
    this.#statedEnd = Math.max(this.#statedEnd, first + count);
  }

  #readHeads(): void {
    const { verifierKey, checkpoints = [] } = this.#options;
    const named = this.#header?.verifierKey;
    if (verifierKey !== undefined && named !== undefined && verifierKey !== named) {
      this.#find('wrong_log', 0, 0, 'the verifier key in the export is not the given verifier key');
    }
    const key = verifierKey ?? named ?? '';
    if (this.#header !== undefined && key.split('+')[0] !== this.#header.origin) {
      this.#find('wrong_log', 0, 0, 'the verifier key belongs to another log than the origin in the header line');
    }
    for (const note of this.#notes) this.#readHead(key, note, 'export');
    for (const note of checkpoints) this.#readHead(key, note, 'outside');
  }

  #readHead(key: string, note: string, from: Head['from']): void {
    try {
      this.#heads.push({ checkpoint: verifyCheckpoint(key, note), from });
    } catch (error) {
      const evidence = error instanceof KeyturnError ? (error.evidence ?? error.message) : 'unreadable';
      const where = from === 'export' ? 'in the export' : 'from outside';
      this.#find('bad_signature', 0, 0, `a checkpoint ${where} is not signed by this log's key (${evidence})`);
    }
  }

  // ---- missing, duplicated and reordered events

  /** The range that this export must contain. */
  get #scope(): IndexRange {
    return this.#options.range ?? this.#header?.range ?? EVERYTHING;
  }

  get #end(): number {
    return this.#order.reduce((top, index) => Math.max(top, index), -1) + 1;
  }

  #orderFindings(): void {
    const seen = new Set<number>();
    let highest = -1;
    for (const index of this.#order) {
      if (seen.has(index)) this.#find('duplicated', index, index, `event ${index} is present more than once`);
      else if (index < highest) this.#find('reordered', index, index, `event ${index} comes after event ${highest}`);
      seen.add(index);
      highest = Math.max(highest, index);
    }
    for (const { from, to } of this.#gaps()) this.#find('deleted', from, to, `events ${from}..${to} are missing`);
  }

  /** Runs of missing events before the last one that is present, within the scope. */
  #gaps(): IndexRange[] {
    const { from, to } = this.#scope;
    const gaps: IndexRange[] = [];
    let expected = from;
    for (const index of [...this.#events.keys()].sort((a, b) => a - b)) {
      if (index > expected) gaps.push({ from: expected, to: Math.min(index - 1, to) });
      expected = Math.max(expected, index + 1);
      if (expected > to) break;
    }
    return gaps;
  }

  #tailFinding(): void {
    const sizes = (from: Head['from']) =>
      this.#heads.filter((head) => head.from === from).reduce((top, head) => Math.max(top, head.checkpoint.size), 0);
    const promised = Math.max(this.#header?.size ?? 0, this.#statedEnd, sizes('export'));
    const outside = sizes('outside');
    const end = this.#end;
    if (outside > promised) {
      const what = `a signed head covers ${outside} events, but the export ends before event ${end}: events ${end}..${outside - 1} were cut off`;
      this.#find('rolled_back', end, outside - 1, what);
      return;
    }
    const last = Math.min(promised - 1, this.#scope.to);
    const first = Math.max(end, this.#scope.from);
    if (first <= last) this.#find('cut_tail', first, last, `events ${first}..${last} were cut off`);
  }

  // ---- hashes

  /**
   * The heads whose root the events or the stated hashes give, and the size up to which the tree could be computed. Where the export has
   * only the hash of an event, or only the event, both trees use that one.
   */
  #fittingHeads(): { fitting: FittingHead[]; reach: number } {
    const sizes = new Set(this.#heads.map((head) => head.checkpoint.size));
    const roots = new Map<number, { events: Uint8Array; hashes: Uint8Array }>();
    const byEvents = new Frontier();
    let byHashes: Frontier | undefined;
    let reach = 0;
    for (; ; reach++) {
      if (sizes.has(reach)) roots.set(reach, { events: byEvents.root(), hashes: (byHashes ?? byEvents).root() });
      const stated = this.#stated.get(reach);
      const event = this.#events.get(reach) ?? stated;
      if (event === undefined) break;
      if (stated !== undefined && !equalBytes(event, stated)) byHashes ??= Frontier.fromBytes(byEvents.toBytes());
      byEvents.append(event);
      byHashes?.append(stated ?? event);
    }
    return { fitting: this.#headsWithRoot(roots), reach };
  }

  #headsWithRoot(roots: ReadonlyMap<number, { readonly events: Uint8Array; readonly hashes: Uint8Array }>): FittingHead[] {
    const fitting: FittingHead[] = [];
    let mismatch: Head | undefined;
    for (const head of [...this.#heads].sort((a, b) => a.checkpoint.size - b.checkpoint.size)) {
      const { size, root } = head.checkpoint;
      const found = roots.get(size);
      if (found === undefined) continue;
      if (equalBytes(found.events, root)) fitting.push({ ...head, by: 'events' });
      else if (equalBytes(found.hashes, root)) fitting.push({ ...head, by: 'hashes' });
      else mismatch ??= head;
    }
    if (mismatch !== undefined) this.#mismatch(mismatch, fitting);
    return fitting;
  }

  #mismatch({ checkpoint: { size }, from: source }: Head, fitting: readonly FittingHead[]): void {
    const from = fitting.reduce((top, head) => (head.checkpoint.size < size ? Math.max(top, head.checkpoint.size) : top), 0);
    const to = Math.max(from, size - 1);
    const where = source === 'export' ? '' : ' from outside';
    this.#find(
      'root_mismatch',
      from,
      to,
      `the signed head${where} over ${size} events has another root: at least one of the events ${from}..${to} was changed`,
    );
  }

  #hashFindings(fitting: readonly FittingHead[]): void {
    const proven = newest(fitting.filter((head) => head.by === 'events'))?.checkpoint.size ?? 0;
    for (const [index, stated] of this.#stated) {
      const event = this.#events.get(index);
      if (event === undefined || equalBytes(event, stated)) continue;
      if (index >= proven) this.#find('edited', index, index, `event ${index} differs from the logged event`);
      else
        this.#find('edited_hash', index, index, `the hash in the export of event ${index} was changed; the event is unchanged`);
    }
  }

  // ---- verdict

  /** Every index that the export should contain, in runs: covered by the head, or the reason why not. */
  #coverage(best: FittingHead | undefined, reach: number): { covered: IndexRange[]; unproven: Unproven[] } {
    const runs: Run[] = [];
    let next = 0;
    for (const [index, hash] of [...this.#events].sort(([a], [b]) => a - b)) {
      extend(runs, next, index - 1, 'missing');
      extend(runs, index, index, this.#whyUnproven(index, hash, best, reach));
      next = index + 1;
    }
    extend(runs, next, this.#promised() - 1, 'missing');
    return {
      covered: runs.flatMap(({ from, to, why }) => (why === undefined ? [{ from, to }] : [])),
      unproven: runs.flatMap(({ from, to, why }) => (why === undefined ? [] : [{ from, to, why }])),
    };
  }

  #whyUnproven(index: number, hash: Uint8Array, best: FittingHead | undefined, reach: number): Unproven['why'] | undefined {
    if (best !== undefined && index < best.checkpoint.size) {
      const stated = this.#stated.get(index) ?? hash;
      return best.by === 'events' || equalBytes(hash, stated) ? undefined : 'edited';
    }
    if (this.#heads.length === 0) return 'no_signed_head';
    if (index >= reach) return 'unknown_hashes';
    return this.#heads.some((head) => head.checkpoint.size > index) ? 'head_does_not_fit' : 'after_last_head';
  }

  /** The largest number of events that header, hashes or heads state. */
  #promised(): number {
    return this.#heads.reduce(
      (top, head) => Math.max(top, head.checkpoint.size),
      Math.max(this.#header?.size ?? 0, this.#statedEnd),
    );
  }

  #closing(): VerifyResult['closing'] {
    const header = this.#header;
    if (this.#closed === undefined || header === undefined) return 'missing';
    const { note, sha256 } = this.#closed;
    const statement = { origin: header.origin, events: this.#order.length, lines: this.#lines, sha256 };
    try {
      if (isExportSigned(this.#options.verifierKey ?? header.verifierKey, note, statement)) return 'signed';
    } catch {
      // The verifier key does not parse: reading the heads has reported that already.
    }
    if (this.#findings.length === 0 && this.#options.range === undefined) {
      const what = 'lines other than events were removed, added, moved or edited after the export was signed';
      this.#find('altered_lines', 0, Math.max(0, this.#end - 1), what);
    }
    return 'does_not_fit';
  }

  #verdict(best: FittingHead | undefined, closing: VerifyResult['closing']): VerifyResult['verdict'] {
    const { range } = this.#options;
    if (this.#findings.length > 0) return 'altered';
    // Without a finding every event asked for is there, once, in order and as logged, as far as a head covers it.
    if (range !== undefined) return best !== undefined && range.to < best.checkpoint.size ? 'range' : 'incomplete';
    const header = this.#header;
    if (header === undefined || header.range !== undefined || closing !== 'signed') return 'incomplete';
    // INVARIANT: `whole` needs one head that covers every event (test/audit/tampered-exports.test.ts).
    return this.#order.length === header.size && best?.checkpoint.size === header.size ? 'whole' : 'incomplete';
  }

  #malformed(explanation: string): void {
    this.#find('malformed', this.#order.length, this.#order.length, explanation);
  }

  #find(kind: FindingKind, from: number, to: number, explanation: string): void {
    if (this.#findings.length < LISTED_MAX) this.#findings.push({ kind, from, to, explanation });
  }
}

interface Run {
  from: number;
  to: number;
  why: Unproven['why'] | undefined;
}

/** Adds what follows the last run without a gap; nothing where `to` is before `from`. */
function extend(runs: Run[], from: number, to: number, why: Run['why']): void {
  const last = runs.at(-1);
  if (from > to) return;
  if (last !== undefined && last.why === why) last.to = to;
  else runs.push({ from, to, why });
}

function newest(heads: readonly FittingHead[]): FittingHead | undefined {
  return heads.reduce<FittingHead | undefined>(
    (top, head) => (top !== undefined && top.checkpoint.size >= head.checkpoint.size ? top : head),
    undefined,
  );
}

function described({ checkpoint: { size, at, anchor }, from }: FittingHead): CoveringHead {
  return { size, atMs: at, from, anchored: anchor !== undefined };
}

function parsedLine(line: string | Uint8Array): ExportLine | undefined {
  if (typeof line === 'string') return parseLine(line);
  try {
    return parseLine(decoder.decode(line));
  } catch {
    return undefined;
  }
}
