// Reads the log: newest-first search, and the export that an outsider can verify. The door records these reads as events.
import { fail } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Lookup } from '../cell/access.ts';
import type { BlockSummary, CheckpointRow, LogBlock, LogRows } from '../cell/log-rows.ts';
import type { AuditEvent } from './event.ts';
import { type IndexRange, lineBytes } from './export-lines.ts';

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

/** Undefined for a damaged line: a search skips it, and verifying an export reports it. */
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

export class AuditReader {
  readonly #rows: LogRows;

  constructor(rows: LogRows) {
    this.#rows = rows;
  }

  /** The range of indexes that can contain events between `sinceAt` and `untilAt`. */
  bounds(access: Lookup, filter: EventFilter): { readonly floor: number; readonly ceiling: number } {
    const { sinceAt, untilAt } = filter;
    return {
      floor: sinceAt === undefined ? 0 : this.#indexAt(access, Date.parse(sinceAt) - LIMITS.auditClockSlackMs),
      ceiling: untilAt === undefined ? Number.MAX_SAFE_INTEGER : this.#ceilingOf(access, Date.parse(untilAt)),
    };
  }

  /**
   * INVARIANT: a clock that jumped ahead and was corrected hides no event (test/audit/audit-reader.test.ts): where two blocks are further
   * apart than `untilMs` and the slack, later blocks may have earlier times, so the search starts at the newest.
   */
  #ceilingOf(access: Lookup, untilMs: number): number {
    const index = this.#indexAt(access, untilMs + LIMITS.auditClockSlackMs);
    const before = this.#rows.blockAt(access, index - 1);
    return before !== undefined && before.last_at < untilMs ? Number.MAX_SAFE_INTEGER : index;
  }

  /** The time of the newest block; undefined in an empty log. */
  newestAt(access: Lookup): number | undefined {
    return this.#rows.newestBlock(access)?.last_at;
  }

  /** One turn of a search, newest first, down to `floor`. Its work is bounded for every filter: see LIMITS.auditSlice... */
  search(
    access: Lookup,
    filter: EventFilter,
    { before, floor }: { readonly before: number; readonly floor: number },
    maxRows: number,
  ): EventSlice {
    const blocks = turnOf(this.#rows.blocksBefore(access, before, floor, LIMITS.auditSliceBlocks));
    const [newest] = blocks;
    if (newest === undefined) return { events: [], nextBefore: undefined, looked: 0 };
    const top = Math.min(before, newest.first_index + newest.events);
    const sinceMs = filter.sinceAt === undefined ? 0 : Date.parse(filter.sinceAt);
    const needles = needlesOf(filter);
    const events: AuditEvent[] = [];
    let parsed = 0;
    for (const block of blocks) {
      if (block.last_at < sinceMs) continue;
      for (const line of candidateLines(this.#bytesOf(access, block), needles)) {
        const event = readable(line);
        if (event === undefined || event.index >= before) continue;
        parsed += 1;
        if (matches(event, filter)) events.push(event);
        if (events.length === maxRows || parsed >= LIMITS.auditSliceEvents)
          return { events, nextBefore: above(event.index, floor), looked: Math.max(0, top - event.index) };
      }
    }
    const reached = blocks.at(-1)?.first_index ?? 0;
    return { events, nextBefore: above(reached, floor), looked: Math.max(0, top - reached) };
  }

  /** One turn of following the log: oldest first from `fromIndex`. The next turn starts at `nextFrom`; `atEnd`: no more events now. */
  follow(
    access: Lookup,
    filter: EventFilter,
    fromIndex: number,
    maxRows: number,
  ): { readonly events: AuditEvent[]; readonly nextFrom: number; readonly atEnd: boolean; readonly looked: number } {
    const start = this.#rows.blockAt(access, fromIndex)?.first_index ?? 0;
    const found = this.#rows.blocksFrom(access, start, Number.MAX_SAFE_INTEGER, LIMITS.auditSliceBlocks);
    const blocks = turnOf(found);
    const needles = needlesOf(filter);
    const events: AuditEvent[] = [];
    let nextFrom = fromIndex;
    let parsed = 0;
    for (const block of blocks) {
      for (const line of [...candidateLines(this.#bytesOf(access, block), needles)].reverse()) {
        const event = readable(line);
        if (event === undefined || event.index < fromIndex) continue;
        parsed += 1;
        nextFrom = event.index + 1;
        if (matches(event, filter)) events.push(event);
        if (events.length === maxRows || parsed >= LIMITS.auditSliceEvents)
          return { events, nextFrom, atEnd: false, looked: nextFrom - fromIndex };
      }
      nextFrom = Math.max(nextFrom, block.first_index + Math.max(1, block.events)); // a damaged count must not make this loop endless
    }
    const atEnd = found.length === blocks.length && found.length < LIMITS.auditSliceBlocks;
    return { events, nextFrom, atEnd, looked: nextFrom - fromIndex };
  }

  /** The newest signed head. @throws not_found before the first one */
  latestCheckpoint(access: Lookup): CheckpointRow {
    return this.#rows.newestHead(access) ?? fail('not_found', 'no such checkpoint');
  }

  /** Reads one slice of an export: the events of some blocks, their leaf hashes, and the checkpoints of sizes in that range. */
  exportSlice(
    access: Lookup,
    fromIndex: number,
    toSize: number,
    wanted: IndexRange | undefined,
  ): { readonly lines: readonly Uint8Array[]; readonly events: number; readonly nextIndex: number } {
    const turn = turnOf(this.#rows.blocksFrom(access, fromIndex, toSize, LIMITS.auditSliceBlocks));
    const blocks = this.#rows.wholeBlocks(access, fromIndex, turn.at(-1)?.first_index ?? -1);
    let events = 0;
    const lines: Uint8Array[] = [];
    let nextIndex = fromIndex;
    for (const block of blocks) {
      const texts = eventLines(block, wanted);
      events += texts.length;
      lines.push(...texts);
      if (block.leaves.byteLength > 0) lines.push(lineBytes({ kind: 'leaves', first: block.first_index, hashes: block.leaves }));
      nextIndex = Math.max(nextIndex + 1, block.first_index + block.events); // a damaged count must not make this loop endless
    }
    const last = blocks.length === 0 ? toSize : nextIndex;
    for (const row of this.#rows.heads(access, fromIndex, last)) lines.push(lineBytes({ kind: 'checkpoint', note: row.note }));
    return { lines, events, nextIndex: blocks.length === 0 ? toSize : nextIndex };
  }

  #bytesOf(access: Lookup, block: BlockSummary): Buffer {
    const bytes = this.#rows.bytesOf(access, block.first_index);
    return bytes === undefined ? Buffer.alloc(0) : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** An index before which every block ended before `atMs`; a binary search, about twenty steps in the largest logs. */
  #indexAt(access: Lookup, atMs: number): number {
    const newest = this.#rows.newestBlock(access);
    let low = 0;
    let high = newest === undefined ? 0 : newest.first_index + newest.events;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      const block = this.#rows.blockAt(access, middle);
      if (block === undefined || block.last_at < atMs) low = middle + 1;
      else high = Math.min(middle, block.first_index);
    }
    return low;
  }
}
