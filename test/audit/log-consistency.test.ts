// A log continues the witnessed one when its leaves lead from the witnessed root to its head. Stored frontiers are used but not trusted.
import { describe, expect, it } from 'vitest';
import { refuseOtherLog } from '../../src/audit/log-consistency.ts';
import type { LogRows } from '../../src/cell/log-rows.ts';
import { Frontier, leafHash } from '../../src/crypto/merkle.ts';

const leafOf = (index: number) => leafHash(new TextEncoder().encode(`event ${index}`));
const leaves = (count: number) => Array.from({ length: count }, (_, index) => leafOf(index));

function frontierOf(hashes: readonly Uint8Array[]): Frontier {
  const frontier = new Frontier();
  frontier.appendAll(hashes);
  return frontier;
}

interface Stored {
  /** Leaf hashes by block. */
  readonly blocks: readonly { readonly first_index: number; readonly hashes: readonly Uint8Array[] }[];
  readonly frontiers?: ReadonlyMap<number, Uint8Array>;
}

/** Blocks of `perBlock` events each. */
const inBlocks = (hashes: readonly Uint8Array[], perBlock: number) =>
  Array.from({ length: Math.ceil(hashes.length / perBlock) }, (_, i) => ({
    first_index: i * perBlock,
    hashes: hashes.slice(i * perBlock, (i + 1) * perBlock),
  }));

/** The part of the rows that refuseOtherLog uses. */
const rowsOf = ({ blocks, frontiers = new Map() }: Stored) =>
  ({
    frontierAt: (size: number) => frontiers.get(size),
    leavesFrom: (index: number, beforeIndex: number, maxRows: number) => {
      const from = Math.max(0, ...blocks.map(({ first_index }) => first_index).filter((first) => first <= index));
      return blocks
        .filter(({ first_index }) => first_index >= from && first_index < beforeIndex)
        .slice(0, maxRows)
        .map(({ first_index, hashes }) => ({ first_index, leaves: Buffer.concat(hashes) }));
    },
  }) as unknown as LogRows;

const headOf = (hashes: readonly Uint8Array[]) => {
  const frontier = frontierOf(hashes);
  return { size: frontier.size, stateSequence: 1, frontier: frontier.toBytes() };
};

function verdict(stored: Stored, head: readonly Uint8Array[], witnessed: readonly Uint8Array[]): string {
  try {
    refuseOtherLog(rowsOf(stored), headOf(head), witnessed.length, frontierOf(witnessed).root());
    return 'continues';
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

const ALL = leaves(20);
const OTHER = ALL.with(5, leafOf(99));

describe('a log', () => {
  it('continues each of its earlier states, also when a signed head is inside a block', () => {
    for (const perBlock of [1, 3, 7, 20])
      for (let size = 0; size <= ALL.length; size++)
        expect(verdict({ blocks: inBlocks(ALL, perBlock) }, ALL, ALL.slice(0, size)), `${size} in ${perBlock}s`).toBe(
          'continues',
        );
  });

  it('that is shorter than the witnessed one was rolled back, even if its tables have later blocks', () => {
    for (const blocks of [inBlocks(ALL, 3), inBlocks(ALL.slice(0, 12), 3)])
      expect(verdict({ blocks }, ALL.slice(0, 12), ALL)).toBe('rolled_back');
  });

  it('that differs before or after the witnessed head was rolled back', () => {
    const blocks = inBlocks(ALL, 3);
    expect(verdict({ blocks }, ALL, OTHER), 'as long').toBe('rolled_back');
    expect(verdict({ blocks }, ALL, OTHER.slice(0, 10)), 'witnessed otherwise').toBe('rolled_back');
    expect(verdict({ blocks: inBlocks(OTHER, 3) }, ALL, ALL.slice(0, 10)), 'before').toBe('rolled_back');
    expect(verdict({ blocks: inBlocks(OTHER, 3) }, ALL, ALL.slice(0, 3)), 'after').toBe('rolled_back');
    expect(verdict({ blocks: inBlocks(OTHER, 3) }, OTHER, ALL.slice(0, 10)), 'all through').toBe('rolled_back');
  });

  it('with a gap in its leaves is refused', () => {
    const blocks = inBlocks(ALL, 3);
    for (const gone of [0, 1, 3, blocks.length - 1])
      expect(verdict({ blocks: blocks.toSpliced(gone, 1) }, ALL, ALL.slice(0, 6)), `block ${gone}`).toBe('rolled_back');
    expect(verdict({ blocks: [] }, ALL, ALL.slice(0, 6))).toBe('rolled_back');
  });

  it('whose head is the witnessed one needs no stored leaves', () => {
    expect(verdict({ blocks: [] }, ALL, ALL)).toBe('continues');
  });

  it('of thousands of blocks is read in several turns, to its end', () => {
    const many = leaves(1_300);
    expect(verdict({ blocks: inBlocks(many, 1) }, many, many.slice(0, 2))).toBe('continues');
    expect(verdict({ blocks: inBlocks(many.with(1_200, leafOf(0)), 1) }, many, many.slice(0, 2))).toBe('rolled_back');
  });
});

describe('the frontier stored beside a signed head', () => {
  const blocks = inBlocks(ALL, 4);
  const kept = (bytes: Uint8Array) => new Map([[8, bytes]]);

  it('replaces the leaves before it', () => {
    const frontiers = kept(frontierOf(ALL.slice(0, 8)).toBytes());
    expect(verdict({ blocks: blocks.slice(2), frontiers }, ALL, ALL.slice(0, 8))).toBe('continues');
    expect(verdict({ blocks: blocks.slice(2) }, ALL, ALL.slice(0, 8))).toBe('rolled_back');
  });

  it('is ignored if it is of another log or size, or damaged', () => {
    for (const bytes of [frontierOf(OTHER.slice(0, 8)).toBytes(), frontierOf(ALL.slice(0, 7)).toBytes(), new Uint8Array(5)]) {
      expect(verdict({ blocks, frontiers: kept(bytes) }, ALL, ALL.slice(0, 8))).toBe('continues');
      expect(verdict({ blocks: blocks.slice(2), frontiers: kept(bytes) }, ALL, ALL.slice(0, 8))).toBe('rolled_back');
    }
  });
});
