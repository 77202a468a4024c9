// Reading the log back: newest-first search and the export an outsider can verify. Reads are events, too; the door records them.
import { fail } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Lookup } from '../cell/access.ts';
import type { Sql } from '../cell/sql.ts';
import type { AuditEvent } from './event.ts';

interface BlockRow {
  first_index: number;
  events: number;
  bytes: Uint8Array;
  leaves: Uint8Array;
}

export interface EventFilter {
  readonly action?: string | undefined;
  readonly actor?: string | undefined;
  readonly outcome?: string | undefined;
  /** A target's id or name. */
  readonly target?: string | undefined;
  readonly environment?: string | undefined;
  readonly workflow?: string | undefined;
  readonly request?: string | undefined;
  readonly sinceAt?: string | undefined;
  readonly untilAt?: string | undefined;
}

export interface EventPage {
  readonly events: AuditEvent[];
  /** Pass as `beforeIndex` for the next page; undefined when the beginning was reached. */
  readonly nextBefore: number | undefined;
}

export interface CheckpointRow {
  size: number;
  at: number;
  note: string;
}

/** First line of an export; the format is described in verify-export.ts. */
export interface ExportHeader {
  readonly export: 'keyturn-audit-v1';
  readonly origin: string;
  readonly verifier_key: string;
  readonly size: number;
}

const decoder = new TextDecoder();

function matches(event: AuditEvent, filter: EventFilter): boolean {
  const { action, actor, outcome, target, environment, workflow, request, sinceAt, untilAt } = filter;
  return (
    (action === undefined || event.action === action) &&
    (actor === undefined || event.actor.id === actor) &&
    (outcome === undefined || event.outcome === outcome) &&
    (target === undefined || event.target.id === target || event.target.name === target) &&
    (environment === undefined || event.target.environment === environment) &&
    (workflow === undefined || event.context?.workflow === workflow) &&
    (request === undefined || event.request === request) &&
    (sinceAt === undefined || event.at >= sinceAt) &&
    (untilAt === undefined || event.at < untilAt)
  );
}

/** The events of a block that can still be read: a damaged line shows as a gap here and by name in the verified export. */
function readable(block: BlockRow): AuditEvent[] {
  return decoder
    .decode(block.bytes)
    .split('\n')
    .flatMap((text) => {
      try {
        const event = JSON.parse(text) as AuditEvent;
        return Number.isSafeInteger(event.index) ? [event] : [];
      } catch {
        return [];
      }
    });
}

export class AuditReader {
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  /** Newest first. A filter that matches little returns early with `nextBefore` set, so that no request scans without bound. */
  search(access: Lookup, filter: EventFilter, beforeIndex: number, maxRows: number): EventPage {
    access.check();
    const events: AuditEvent[] = [];
    let before = beforeIndex;
    let scanned = 0;
    for (;;) {
      const blocks = this.#sql.all<BlockRow>(
        'SELECT first_index, events, bytes FROM audit_block WHERE first_index < ? ORDER BY first_index DESC LIMIT 20',
        before,
      );
      if (blocks.length === 0) return { events, nextBefore: undefined };
      for (const block of blocks) {
        for (const event of readable(block).reverse()) {
          if (event.index >= beforeIndex) continue;
          if (matches(event, filter)) events.push(event);
          if (events.length === maxRows) return { events, nextBefore: event.index > 0 ? event.index : undefined };
        }
        before = block.first_index;
        scanned += block.events;
        if (scanned >= LIMITS.auditScanMaxEvents) return { events, nextBefore: before > 0 ? before : undefined };
      }
    }
  }

  /** Oldest first from `fromIndex`, for `tail`. */
  from(access: Lookup, fromIndex: number, maxRows: number): AuditEvent[] {
    access.check();
    const start = this.#sql.get<{ first_index: number }>(
      'SELECT first_index FROM audit_block WHERE first_index <= ? ORDER BY first_index DESC LIMIT 1',
      fromIndex,
    );
    const events: AuditEvent[] = [];
    let at = start?.first_index ?? 0;
    while (events.length < maxRows) {
      const blocks = this.#sql.all<BlockRow>(
        'SELECT first_index, events, bytes FROM audit_block WHERE first_index >= ? ORDER BY first_index LIMIT 20',
        at,
      );
      if (blocks.length === 0) break;
      for (const block of blocks) {
        for (const event of readable(block)) {
          if (event.index >= fromIndex && events.length < maxRows) events.push(event);
        }
        at = Math.max(at + 1, block.first_index + block.events); // a damaged count must not turn this in a circle
      }
    }
    return events;
  }

  /** The newest signed head. @throws not_found before the first one */
  latestCheckpoint(access: Lookup): CheckpointRow {
    access.check();
    return (
      this.#sql.get<CheckpointRow>('SELECT size, at, note FROM checkpoint ORDER BY size DESC LIMIT 1') ??
      fail('not_found', 'no such checkpoint')
    );
  }

  /** Reads one slice of an export: the events of some blocks, their leaf hashes and the checkpoints that fall among them. */
  exportSlice(access: Lookup, fromIndex: number, toSize: number): { readonly text: Uint8Array; readonly nextIndex: number } {
    access.check();
    const blocks = this.#sql.all<BlockRow>(
      'SELECT first_index, events, bytes, leaves FROM audit_block WHERE first_index >= ? AND first_index < ? ORDER BY first_index LIMIT 200',
      fromIndex,
      toSize,
    );
    const parts: Uint8Array[] = [];
    let nextIndex = fromIndex;
    for (const block of blocks) {
      parts.push(
        block.bytes,
        line({ export: 'leaves', first: block.first_index, hashes: Buffer.from(block.leaves).toString('base64') }),
      );
      nextIndex = Math.max(nextIndex + 1, block.first_index + block.events); // a damaged count must not turn this in a circle
    }
    const last = blocks.length === 0 ? toSize : nextIndex;
    const notes = this.#sql.all<CheckpointRow>(
      'SELECT size, at, note FROM checkpoint WHERE size > ? AND size <= ? ORDER BY size',
      fromIndex,
      last,
    );
    for (const row of notes) parts.push(line({ export: 'checkpoint', note: row.note }));
    return { text: Buffer.concat(parts), nextIndex: blocks.length === 0 ? toSize : nextIndex };
  }
}

export function line(value: unknown): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(value)}\n`);
}
