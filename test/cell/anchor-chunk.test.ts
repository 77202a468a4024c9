// The entries of one chunk against a plain Map: whatever is set and taken out, it finds the same, sorted and without doubles.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type AnchorOp, ChunkEntries, chunkSpan, ENTRY_BYTES, nextChain, OpList, readOps, TAG_BYTES, writeOps } from '../../src/cell/anchor-chunk.ts'; // biome-ignore format: one line
import { FrameWriter } from '../../src/crypto/framing.ts';

const HIGH = 2 ** 32 - 1;
const words = fc.oneof(fc.constantFrom(0, 1, 2, 2 ** 31, HIGH - 1, HIGH), fc.integer({ min: 0, max: HIGH }));
const tag = (byte: number) => new Uint8Array(TAG_BYTES).fill(byte);
const op = (high: number, low: number, byte?: number): AnchorOp => ({
  high,
  low,
  tag: byte === undefined ? undefined : tag(byte),
});
const ops = fc.array(
  fc.record({ high: words, low: words, byte: fc.option(fc.integer({ min: 1, max: 255 }), { nil: undefined }) }),
  { maxLength: 90 },
);

/** Of 8 and 16 bytes, one after the other. */
function bytesOf(entries: readonly (readonly [number, number, number])[]): Uint8Array {
  const all = Buffer.concat(
    entries.map(([high, low, byte]) => {
      const entry = Buffer.alloc(ENTRY_BYTES, byte);
      entry.writeUInt32BE(high, 0);
      entry.writeUInt32BE(low, 4);
      return entry;
    }),
  );
  return new Uint8Array(all);
}

const hex = (bytes: Uint8Array | undefined) => (bytes === undefined ? undefined : Buffer.from(bytes).toString('hex'));
const filled = (entries: readonly (readonly [number, number, number])[]) => {
  const chunk = new ChunkEntries();
  for (const [high, low, byte] of entries) chunk.apply(op(high, low, byte));
  return chunk;
};

describe('the entries of a chunk', () => {
  it('are those that were set last and not taken out since, sorted', () => {
    fc.assert(
      fc.property(ops, (changes) => {
        const chunk = new ChunkEntries();
        const model = new Map<string, readonly [number, number, number]>();
        for (const { high, low, byte } of changes) {
          chunk.apply(op(high, low, byte));
          if (byte === undefined) model.delete(`${high}.${low}`);
          else model.set(`${high}.${low}`, [high, low, byte]);
        }
        const sorted = [...model.values()].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
        expect(chunk.count).toBe(sorted.length);
        expect(hex(chunk.peek())).toBe(hex(bytesOf(sorted)));
        for (const { high, low } of changes) {
          const known = model.get(`${high}.${low}`);
          expect(hex(chunk.find({ high, low }))).toBe(known && hex(tag(known[2])));
        }
        const again = new ChunkEntries(chunk.peek());
        expect([again.count, hex(again.peek())]).toEqual([sorted.length, hex(chunk.peek())]);
      }),
      { numRuns: 150 },
    );
  });

  it('grow beyond every room made for them', () => {
    const entries = Array.from({ length: 100 }, (_, i) => [i, 7, (i % 255) + 1] as const);
    for (const order of [entries, entries.toReversed()]) expect(hex(filled(order).peek())).toBe(hex(bytesOf(entries)));
  });

  it('are a copy: what is changed in one is not changed in the other, nor in the bytes they came from', () => {
    const bytes = bytesOf([[1, 1, 1]]);
    const first = new ChunkEntries(bytes);
    const second = first.copy();
    first.apply(op(1, 1, 2));
    second.apply(op(3, 3, 3));
    expect([first.count, second.count]).toEqual([1, 2]);
    expect([hex(first.find({ high: 1, low: 1 })), hex(second.find({ high: 1, low: 1 }))]).toEqual([hex(tag(2)), hex(tag(1))]);
    expect(hex(bytes)).toBe(hex(bytesOf([[1, 1, 1]])));
  });

  it('are split by their first 32 bits', () => {
    const entries = [[1, 9, 1], [5, 0, 2], [5, 1, 3], [6, 0, 4]] as const; // biome-ignore format: one line
    for (const [high, below] of [
      [0, 0],
      [1, 0],
      [2, 1],
      [5, 1],
      [6, 3],
      [7, 4],
    ] as const) {
      // biome-ignore format: one line
      const [low, rest] = filled(entries).splitAt(high);
      expect([hex(low.peek()), hex(rest.peek())]).toEqual([
        hex(bytesOf(entries.slice(0, below))),
        hex(bytesOf(entries.slice(below))),
      ]);
    }
  });

  it('belong to a part of the map that halves with each bit', () => {
    expect([chunkSpan(0), chunkSpan(2), chunkSpan(32)]).toEqual([2 ** 32, 2 ** 30, 1]);
  });
});

describe('changes of the map', () => {
  /** The changes as the journal has them, applied to no entries. */
  const applied = (changes: readonly Uint8Array[]) => {
    const list = new OpList();
    for (const change of changes) list.push(change);
    const entries = new ChunkEntries();
    list.applyTo(entries);
    return entries;
  };

  it('give the same entries written and applied later as applied at once', () => {
    fc.assert(
      fc.property(ops, (changes) => {
        const writer = new FrameWriter();
        const now = new ChunkEntries();
        const written = changes.map(({ high, low, byte }) => {
          now.apply(op(high, low, byte));
          writeOps(writer.clear(), [op(high, low, byte)]);
          return writer.bytes();
        });
        for (const one of written) expect(one).toHaveLength(ENTRY_BYTES);
        expect(hex(applied(written).peek())).toBe(hex(now.peek()));
      }),
      { numRuns: 60 },
    );
  });

  it('set a tag where any byte of it is not zero, and take it out where all are', () => {
    for (let at = 0; at < TAG_BYTES; at++) {
      const bytes = new Uint8Array(ENTRY_BYTES);
      bytes[8 + at] = 1;
      expect(hex(applied([bytes]).find({ high: 0, low: 0 }))).toBe(hex(bytes.subarray(8)));
      expect(applied([bytes, new Uint8Array(ENTRY_BYTES)]).count).toBe(0);
    }
  });

  it('are none where the bytes are no whole entries', () => {
    for (const count of [0, 1, ENTRY_BYTES - 1, ENTRY_BYTES + 1]) expect(readOps(new Uint8Array(count))).toBeUndefined();
    const inside = new Uint8Array(ENTRY_BYTES + 3).subarray(3);
    inside[3] = 7;
    expect(readOps(inside)).toEqual([{ high: 7, low: 0, tag: undefined }]);
  });

  it('lead to another chain with another one before, another epoch or other changes', () => {
    const chains = [
      nextChain(new Uint8Array(32), 1, Uint8Array.of(1)),
      nextChain(new Uint8Array(32).fill(1), 1, Uint8Array.of(1)),
      nextChain(new Uint8Array(32), 2, Uint8Array.of(1)),
      nextChain(new Uint8Array(32), 1, Uint8Array.of(2)),
    ];
    expect(new Set(chains.map(hex)).size).toBe(4);
  });
});
