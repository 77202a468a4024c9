// Reads the log: newest-first search, and the export that an outsider can verify. The door records these reads as events.
// It must never hand out an event that is not what was logged, nor pass over one in silence: a reader is told which events are damaged.
import { fail } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Lookup } from '../cell/access.ts';
import type { BlockSummary, CheckpointRow, LogBlock, LogRows } from '../cell/log-rows.ts';
import type { CellRows } from '../cell/rows.ts';
import type { AuditEvent } from './event.ts';
import { type IndexRange, lineBytes } from './export-lines.ts';
import { type ProvenBlock, ProvenBlocks } from './proven-blocks.ts';

export interface EventFilter {
  readonly action?: string | undefined;
  /** The actor's id. */
  readonly actor?: string | undefined;
  /** Further ids that match `actor`: of the principals with that name. */
  readonly actorIds?: readonly string[] | undefined;
  readonly outcome?: string | undefined;
  /** A target's id or name. */
  readonly target?: string | undefined;
  readonly environment?: string | undefined;
  readonly workflow?: string | undefined;
  readonly request?: string | undefined;
  readonly sinceAt?: string | undefined;
  readonly untilAt?: string | undefined;
}

/** The result of one turn, and where the next turn starts. */
export interface EventSlice {
  readonly events: AuditEvent[];
  /** Pass as `before` of the next turn; undefined when the search reached its floor. */
  readonly nextBefore: number | undefined;
  /** Events in the blocks that were read. */
  readonly looked: number;
  /** Events among these that are not stored as they were logged, or not at all. */
  readonly damaged: readonly IndexRange[];
}

/** As `EventSlice`, oldest first. `atEnd`: no more events now. */
export interface FollowedSlice extends Omit<EventSlice, 'nextBefore'> {
  readonly nextFrom: number;
  readonly atEnd: boolean;
}

const NEWLINE = 0x0a;
const decoder = new TextDecoder();

function matches(event: AuditEvent, filter: EventFilter): boolean {
  const { action, actor, actorIds = [], outcome, target, environment, workflow, request } = filter;
  return (
    isOneOf(action, event.action) &&
    (isOneOf(actor, event.actor.id) || actorIds.includes(event.actor.id)) &&
    isOneOf(outcome, event.outcome) &&
    isOneOf(target, event.target.id, event.target.name) &&
    isOneOf(environment, event.target.environment) &&
    isOneOf(workflow, event.context?.workflow) &&
    isOneOf(request, event.request) &&
    isWithin(event.at, filter)
  );
}

/** True also if `wanted` is undefined. */
function isOneOf(wanted: string | undefined, ...values: readonly (string | undefined)[]): boolean {
  return wanted === undefined || values.includes(wanted);
}

function isWithin(at: string, { sinceAt, untilAt }: EventFilter): boolean {
  return (sinceAt === undefined || at >= sinceAt) && (untilAt === undefined || at < untilAt);
}

/**
 * Lists of texts: events are written canonically, so a matching line contains one text of each list. The bytes are searched for them, and
 * only lines that contain them are parsed. The most selective list comes first.
 */
function needlesOf(filter: EventFilter): Buffer[][] {
  const { request, target, actor, workflow, action, environment, outcome } = filter;
  const member = (name: string, values: readonly (string | undefined)[]) =>
    values.flatMap((value) => (value === undefined ? [] : [Buffer.from(`"${name}":${JSON.stringify(value)}`)]));
  return [
    member('request', [request]),
    target === undefined ? [] : [...member('id', [target]), ...member('name', [target])],
    actor === undefined ? [] : member('id', [actor, ...(filter.actorIds ?? [])]),
    member('workflow', [workflow]),
    member('action', [action]),
    member('environment', [environment]),
    member('outcome', [outcome]),
  ].filter((list) => list.length > 0);
}

/** The lines of a block that may match, newest first. */
function* candidateLines(bytes: Buffer, needles: readonly (readonly Buffer[])[]): Generator<Buffer> {
  const [first, ...others] = needles;
  // The last position of each needle: one that does not occur must not be searched again for every line.
  const seen = first?.map((needle) => ({ needle, at: bytes.lastIndexOf(needle) }));
  let end = bytes.byteLength;
  while (end > 0) {
    const hit = seen === undefined ? end - 1 : Math.max(...seen.map(({ at }) => at));
    if (hit < 0) return;
    const start = bytes.subarray(0, hit).lastIndexOf(NEWLINE) + 1;
    const newline = bytes.indexOf(NEWLINE, hit);
    const line = bytes.subarray(start, newline < 0 ? bytes.byteLength : newline);
    if (others.every((list) => list.some((needle) => line.includes(needle)))) yield line;
    end = start - 1;
    for (const last of seen ?? []) if (last.at >= start) last.at = bytes.subarray(0, start).lastIndexOf(last.needle);
  }
}

/** Undefined for a line that is not an event. */
function readable(line: Buffer): AuditEvent | undefined {
  try {
    const event = JSON.parse(decoder.decode(line)) as AuditEvent;
    const { index, actor, target } = event;
    return Number.isSafeInteger(index) && typeof actor?.id === 'string' && typeof target?.type === 'string' ? event : undefined;
  } catch {
    return undefined;
  }
}

/** The blocks that one turn may read: as many as the byte limit allows, at least one. */
function turnOf(blocks: readonly BlockSummary[]): BlockSummary[] {
  let bytes = 0;
  const end = blocks.findIndex((block, i) => {
    bytes += block.size;
    return i > 0 && bytes > LIMITS.auditSliceBytes;
  });
  return blocks.slice(0, end < 0 ? blocks.length : end);
}

function above(index: number, floor: number): number | undefined {
  return index > floor ? index : undefined;
}

/** The stored bytes of each line without its newline; only lines of the wanted range, numbered by their position in the block. */
function eventLines(block: LogBlock, wanted: IndexRange | undefined): Uint8Array[] {
  const lines: Uint8Array[] = [];
  let start = 0;
  for (let index = block.first_index; start < block.bytes.byteLength; index++) {
    const newline = block.bytes.indexOf(0x0a, start);
    const end = newline < 0 ? block.bytes.byteLength : newline;
    if (wanted === undefined || (index >= wanted.from && index <= wanted.to)) lines.push(block.bytes.subarray(start, end));
    start = end + 1;
  }
  return lines;
}

/** In two parts, the first with so many events as the summaries say, or more. */
function inTwo(blocks: readonly BlockSummary[], maxRows: number): (readonly BlockSummary[])[] {
  let events = 0;
  const last = blocks.findIndex((block) => {
    events += block.events;
    return events >= maxRows;
  });
  return last < 0 ? [blocks] : [blocks.slice(0, last + 1), blocks.slice(last + 1)];
}

/** Milliseconds of the first and the last event of a block that passed. */
function timesOf({ bytes }: ProvenBlock): { readonly first: number; readonly last: number } {
  const timeOf = (line: Buffer) => Date.parse(readable(line)?.at ?? '');
  const end = bytes.byteLength - 1;
  return {
    first: timeOf(bytes.subarray(0, bytes.indexOf(0x0a))),
    last: timeOf(bytes.subarray(end === 0 ? 0 : bytes.lastIndexOf(0x0a, end - 1) + 1, end)),
  };
}

/** The events that proven blocks leave out, going one way from an index on. */
class Coverage {
  readonly gaps: IndexRange[] = [];
  #at: number;

  constructor(at: number) {
    this.#at = at;
  }

  up({ first, end }: ProvenBlock): void {
    this.upTo(first);
    this.#at = Math.max(this.#at, end);
  }

  upTo(index: number): void {
    if (index > this.#at) this.gaps.push({ from: this.#at, to: index - 1 });
    this.#at = Math.max(this.#at, index);
  }

  down({ first, end }: ProvenBlock): void {
    this.downTo(end);
    this.#at = Math.min(this.#at, first);
  }

  downTo(index: number): void {
    if (index < this.#at) this.gaps.push({ from: index, to: this.#at - 1 });
    this.#at = Math.min(this.#at, index);
  }
}

export class AuditReader {
  readonly #rows: LogRows;
  readonly #proven: ProvenBlocks;

  constructor(rows: CellRows) {
    this.#rows = rows.log;
    this.#proven = new ProvenBlocks(rows);
  }

  /** The range of indexes that can contain events between `sinceAt` and `untilAt`. */
  bounds(access: Lookup, filter: EventFilter): { readonly floor: number; readonly ceiling: number } {
    const { sinceAt, untilAt } = filter;
    return {
      floor: sinceAt === undefined ? 0 : this.#floorOf(access, Date.parse(sinceAt) - LIMITS.auditClockSlackMs),
      ceiling: untilAt === undefined ? Number.MAX_SAFE_INTEGER : this.#ceilingOf(access, Date.parse(untilAt)),
    };
  }

  /** SECURITY: the stored times of blocks only say where to look; the events before the floor say whether it is right. */
  #floorOf(access: Lookup, atMs: number): number {
    let index = this.#indexAt(access, atMs);
    for (let tries = 0; index > 0 && tries < LIMITS.auditDamagedBlocksMax; tries++) {
      const before = this.#provenBefore(access, index);
      if (before !== undefined) return timesOf(before).last < atMs ? index : 0;
      index = this.#rows.blockAt(access, index - 1)?.first_index ?? 0;
    }
    return 0;
  }

  /**
   * INVARIANT: a clock that jumped ahead and was corrected hides no event (test/audit/audit-reader.test.ts): where two blocks are further
   * apart than `untilMs` and the slack, later blocks may have earlier times, so the search starts at the newest. It does, too, where the
   * events on both sides do not confirm what the stored times of blocks say.
   */
  #ceilingOf(access: Lookup, untilMs: number): number {
    const index = this.#indexAt(access, untilMs + LIMITS.auditClockSlackMs);
    const before = index === 0 ? undefined : this.#provenBefore(access, index);
    const isAfterEnough = index === 0 || (before !== undefined && timesOf(before).last >= untilMs);
    const next = isAfterEnough ? this.#proven.read(access, index, index).get(index) : undefined;
    return next !== undefined && timesOf(next).first >= untilMs ? index : Number.MAX_SAFE_INTEGER;
  }

  /** The time of the newest event; undefined in an empty log, and later than any time when that event is damaged. */
  newestAt(access: Lookup): number | undefined {
    const { size } = this.#proven;
    if (size === 0) return undefined;
    const newest = this.#provenBefore(access, size);
    return newest === undefined ? Number.MAX_SAFE_INTEGER : timesOf(newest).last;
  }

  /** One turn of a search, newest first, down to `floor`. Its work is bounded for every filter: see LIMITS.auditSlice... */
  search(
    access: Lookup,
    filter: EventFilter,
    { before, floor }: { readonly before: number; readonly floor: number },
    maxRows: number,
  ): EventSlice {
    const top = Math.min(before, this.#proven.size);
    const found = this.#rows.blocksBefore(access, before, floor, LIMITS.auditSliceBlocks);
    const blocks = turnOf(found);
    const needles = needlesOf(filter);
    const seen = new Coverage(top);
    const events: AuditEvent[] = [];
    let parsed = 0;
    for (const block of this.#newestFirst(access, blocks, maxRows)) {
      seen.down(block);
      for (const line of candidateLines(block.bytes, needles)) {
        const event = readable(line);
        if (event === undefined || event.index >= before) continue;
        parsed += 1;
        if (matches(event, filter)) events.push(event);
        if (events.length === maxRows || parsed >= LIMITS.auditSliceEvents)
          return { events, nextBefore: above(event.index, floor), looked: top - event.index, damaged: this.#told(seen) };
      }
    }
    const isLast = blocks.length === found.length && found.length < LIMITS.auditSliceBlocks;
    const reached = isLast ? Math.min(floor, top) : (blocks.at(-1)?.first_index ?? floor);
    seen.downTo(reached);
    return { events, nextBefore: above(reached, floor), looked: Math.max(0, top - reached), damaged: this.#told(seen) };
  }

  /** One turn of following the log: oldest first from `fromIndex`. The next turn starts at `nextFrom`. */
  follow(access: Lookup, filter: EventFilter, fromIndex: number, maxRows: number): FollowedSlice {
    const start = this.#rows.blockAt(access, fromIndex)?.first_index ?? 0;
    const { blocks, next } = this.#turnFrom(access, start, Number.MAX_SAFE_INTEGER);
    const needles = needlesOf(filter);
    const seen = new Coverage(fromIndex);
    const events: AuditEvent[] = [];
    let parsed = 0;
    for (const block of this.#oldestFirst(access, blocks, maxRows)) {
      seen.up(block);
      for (const line of [...candidateLines(block.bytes, needles)].reverse()) {
        const event = readable(line);
        if (event === undefined || event.index < fromIndex) continue;
        parsed += 1;
        if (matches(event, filter)) events.push(event);
        const nextFrom = event.index + 1;
        if (events.length === maxRows || parsed >= LIMITS.auditSliceEvents)
          return { events, nextFrom, atEnd: false, looked: nextFrom - fromIndex, damaged: this.#told(seen) };
      }
    }
    const nextFrom = Math.max(fromIndex, Math.min(next, this.#proven.size));
    seen.upTo(nextFrom);
    return { events, nextFrom, atEnd: next >= this.#proven.size, looked: nextFrom - fromIndex, damaged: this.#told(seen) };
  }

  /** The newest signed head. @throws not_found before the first one */
  latestCheckpoint(access: Lookup): CheckpointRow {
    return this.#rows.newestHead(access) ?? fail('not_found', 'no such checkpoint');
  }

  /**
   * Reads one slice of an export: the events of some blocks, their leaf hashes, and the checkpoints of sizes in that range. All of it as it
   * is stored, for an outsider to verify; what is damaged is told here.
   */
  exportSlice(
    access: Lookup,
    fromIndex: number,
    toSize: number,
    wanted: IndexRange | undefined,
  ): { readonly lines: readonly Uint8Array[]; readonly events: number; readonly nextIndex: number } {
    const { blocks: turn, next } = this.#turnFrom(access, fromIndex, toSize);
    const blocks = this.#rows.wholeBlocks(access, fromIndex, turn.at(-1)?.first_index ?? -1);
    const seen = new Coverage(fromIndex);
    for (const block of this.#proven.of(blocks).values()) seen.up(block);
    seen.upTo(next);
    this.#told(seen);
    let events = 0;
    const lines: Uint8Array[] = [];
    for (const block of blocks) {
      const texts = eventLines(block, wanted);
      events += texts.length;
      lines.push(...texts);
      if (block.leaves.byteLength > 0) lines.push(lineBytes({ kind: 'leaves', first: block.first_index, hashes: block.leaves }));
    }
    for (const row of this.#rows.heads(access, fromIndex, next)) lines.push(lineBytes({ kind: 'checkpoint', note: row.note }));
    return { lines, events, nextIndex: next };
  }

  /** One turn's blocks, oldest first, and where the next turn starts. No count that is stored beside a block decides where. */
  #turnFrom(access: Lookup, fromIndex: number, toSize: number): { readonly blocks: BlockSummary[]; readonly next: number } {
    const found = this.#rows.blocksFrom(access, fromIndex, toSize, LIMITS.auditSliceBlocks + 1);
    const blocks = turnOf(found.slice(0, LIMITS.auditSliceBlocks));
    return { blocks, next: found[blocks.length]?.first_index ?? toSize };
  }

  /** Those that pass, in two steps: the newest, which may be enough for a page, and the others. */
  *#newestFirst(access: Lookup, blocks: readonly BlockSummary[], maxRows: number): Generator<ProvenBlock> {
    for (const part of inTwo(blocks, maxRows)) {
      const proven = this.#proven.read(access, part.at(-1)?.first_index ?? 0, part[0]?.first_index ?? -1);
      yield* [...proven.values()].reverse();
    }
  }

  *#oldestFirst(access: Lookup, blocks: readonly BlockSummary[], maxRows: number): Generator<ProvenBlock> {
    for (const part of inTwo(blocks, maxRows)) {
      yield* this.#proven.read(access, part[0]?.first_index ?? 0, part.at(-1)?.first_index ?? -1).values();
    }
  }

  /** The block that ends with the event before `index`, if it passes. */
  #provenBefore(access: Lookup, index: number): ProvenBlock | undefined {
    const first = this.#rows.blockAt(access, index - 1)?.first_index;
    const block = first === undefined ? undefined : this.#proven.read(access, first, first).get(first);
    return block?.end === index ? block : undefined;
  }

  #told(seen: Coverage): readonly IndexRange[] {
    if (seen.gaps.length > 0) this.#proven.tell();
    return seen.gaps;
  }

  /** An index before which every block ended before `atMs`; a binary search, about twenty steps in the largest logs. */
  #indexAt(access: Lookup, atMs: number): number {
    let low = 0;
    let high = this.#proven.size;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      const block = this.#rows.blockAt(access, middle);
      if (block === undefined || block.last_at < atMs) low = middle + 1;
      else high = Math.min(middle, block.first_index);
    }
    return low;
  }
}
