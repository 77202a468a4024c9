// Reads the stored map of a cell (anchor.ts) at open: head, directory of chunks and journal, checked against each other.
// It must never return a part that does not belong to the history of the head.
import { equalBytes } from '../crypto/primitives.ts';
import { ENTRY_BYTES, type JournalRow, nextChain } from './anchor-chunk.ts';
import type { ChunkPlace } from './anchor-chunks.ts';
import { type AnchorHead, type AnchorPosition, type HeadFacts, refuse } from './anchor-head.ts';
import type { Sql } from './sql.ts';

/** The stored parts of a map. */
export interface StoredMap {
  readonly head: HeadFacts;
  /** In order of start; gaps and overlaps are not checked yet. */
  readonly chunks: readonly ChunkPlace[];
  readonly journal: readonly JournalRow[];
  readonly journalBytes: number;
  /** The position that the witness has, or the start of the journal if that is later. Epoch 0: none. */
  readonly published: AnchorPosition;
  /** The chain at the requested epoch; undefined when the journal does not reach back to it. */
  readonly wanted: Uint8Array | undefined;
}

/** @throws integrity */
export function readMap(sql: Sql, stored: AnchorHead, wanted: number): StoredMap {
  const head = stored.read();
  const places = sql.all<{ start: number; bits: number; epoch: number }>(
    'SELECT start, bits, epoch FROM anchor_chunk ORDER BY start',
  );
  const needed = new Set([...places.map(({ epoch }) => epoch), head.published, wanted]);
  const journal = sql.all<JournalRow>('SELECT epoch, ops FROM anchor_journal WHERE epoch > ? ORDER BY epoch', head.start);
  const chains = chainsOf(head, journal, needed);
  return {
    head,
    chunks: places.map((place) => ({ ...place, chain: chains.get(place.epoch) ?? refuse('a chunk of another history') })),
    journal,
    journalBytes: journal.reduce((bytes, { ops }) => bytes + ops.byteLength, 0),
    published: publishedOf(head, chains),
    wanted: chains.get(wanted),
  };
}

function publishedOf(head: HeadFacts, chains: ReadonlyMap<number, Uint8Array>): AnchorPosition {
  const chain = chains.get(head.published);
  if (chain !== undefined) return { epoch: head.published, chain };
  // The journal was cut after the witnessed position because of its size: use its start instead.
  return head.published > 0 ? { epoch: head.start, chain: head.start_chain } : { epoch: 0, chain: new Uint8Array(0) };
}

/** The chains at the needed epochs, computed along the journal. @throws integrity unless it leads from its start to the head */
function chainsOf(head: HeadFacts, journal: readonly JournalRow[], needed: ReadonlySet<number>): Map<number, Uint8Array> {
  const chains = new Map([[head.start, head.start_chain]]);
  let chain = head.start_chain;
  let epoch = head.start;
  for (const row of journal) {
    epoch += 1;
    if (row.epoch !== epoch) refuse('the journal has a gap');
    if (row.ops.byteLength === 0 || row.ops.byteLength % ENTRY_BYTES !== 0) refuse('the journal has an incomplete change');
    chain = nextChain(chain, epoch, row.ops);
    if (needed.has(epoch)) chains.set(epoch, chain);
  }
  if (epoch !== head.epoch || !equalBytes(chain, head.chain)) refuse('the journal does not lead to the head');
  return chains;
}
