import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  consistencyProof,
  Frontier,
  inclusionProof,
  leafHash,
  nodeHash,
  rootOf,
  verifyConsistency,
  verifyInclusion,
} from '../../src/crypto/merkle.ts';
import consistencyProbes from '../vectors/tlog/consistency.json' with { type: 'json' };
import inclusionProbes from '../vectors/tlog/inclusion.json' with { type: 'json' };
import { failureOf, flipBit, fromHex, hex, refusalOf, utf8 } from './fixtures.ts';

interface InclusionProbe {
  leafIdx: number;
  treeSize: number;
  root: string;
  leafHash: string;
  proof: string[] | null;
  wantErr: boolean;
}

interface ConsistencyProbe {
  size1: number;
  size2: number;
  root1: string;
  root2: string;
  proof: string[] | null;
  wantErr: boolean;
}

const fromBase64 = (text: string) => Uint8Array.from(Buffer.from(text, 'base64'));
const leavesUpTo = (size: number) => Array.from({ length: size }, (_, index) => leafHash(utf8(`event ${index}`)));

describe("transparency-dev's probes", () => {
  const counts = (probes: readonly { wantErr: boolean }[]) => ({
    good: probes.filter((probe) => !probe.wantErr).length,
    bad: probes.filter((probe) => probe.wantErr).length,
  });

  it('of inclusion give the expected verdict, 6 good and 92 bad', () => {
    const probes = Object.entries(inclusionProbes as unknown as Record<string, InclusionProbe>);
    for (const [name, probe] of probes) {
      const [leaf, root] = [fromBase64(probe.leafHash), fromBase64(probe.root)];
      const verdict = verifyInclusion(leaf, probe.leafIdx, probe.treeSize, (probe.proof ?? []).map(fromBase64), root);
      expect(verdict, name).toBe(!probe.wantErr);
    }
    expect(counts(probes.map(([, probe]) => probe))).toEqual({ good: 6, bad: 92 });
  });

  it('of consistency give the expected verdict, 6 good and 92 bad', () => {
    const probes = Object.entries(consistencyProbes as unknown as Record<string, ConsistencyProbe>);
    for (const [name, probe] of probes) {
      const [root1, root2] = [fromBase64(probe.root1), fromBase64(probe.root2)];
      const verdict = verifyConsistency(probe.size1, probe.size2, (probe.proof ?? []).map(fromBase64), root1, root2);
      expect(verdict, name).toBe(!probe.wantErr);
    }
    expect(counts(probes.map(([, probe]) => probe))).toEqual({ good: 6, bad: 92 });
  });
});

describe('the tree', () => {
  // The eight leaves of the Certificate Transparency reference tests; the last root is also in the probes.
  const inputs = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f'].map(
    fromHex,
  );
  const roots = [
    'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
    '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
    'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
    'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
    'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
    '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
    '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
    'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
    '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
  ];

  it('has the published root at every size from 0 to 8', () => {
    const frontier = new Frontier();
    expect(hex(frontier.root())).toBe(roots[0]);
    for (const [index, input] of inputs.entries()) {
      frontier.append(leafHash(input));
      expect(frontier.size).toBe(index + 1);
      expect(hex(frontier.root())).toBe(roots[index + 1]);
      expect(hex(rootOf(inputs.slice(0, index + 1).map(leafHash)))).toBe(roots[index + 1]);
    }
  });

  it('hashes leaves and nodes differently', () => {
    const [a, b] = leavesUpTo(2) as [Uint8Array, Uint8Array];
    expect(hex(leafHash(Uint8Array.from([...a, ...b])))).not.toBe(hex(nodeHash(a, b)));
  });

  it('hashes leaves longer than its buffer', () => {
    const long = new Uint8Array(100_000).fill(1);
    expect(hex(leafHash(long))).not.toBe(hex(leafHash(long.subarray(1))));
    expect(hex(leafHash(long.subarray(0, 8191)))).toBe(hex(leafHash(Uint8Array.from(long.subarray(0, 8191)))));
  });
});

describe('the frontier', () => {
  it('restored from its bytes continues as the original', () => {
    fc.assert(
      fc.property(fc.nat(70), fc.nat(70), (before, after) => {
        const leaves = leavesUpTo(before + after);
        const stopped = new Frontier();
        stopped.appendAll(leaves.slice(0, before));
        const resumed = Frontier.fromBytes(stopped.toBytes());
        resumed.appendAll(leaves.slice(before));
        expect(resumed.size).toBe(before + after);
        expect(hex(resumed.root())).toBe(hex(rootOf(leaves)));
      }),
    );
  });

  it('keeps a size past 2^32', () => {
    const peak = leafHash(utf8('a subtree'));
    const size = 2 ** 32;
    const bytes = new Uint8Array(8 + 32);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(size));
    bytes.set(peak, 8);
    const frontier = Frontier.fromBytes(bytes);
    expect(frontier.size).toBe(size);
    expect(hex(frontier.toBytes())).toBe(hex(bytes));
    frontier.append(leafHash(utf8('one more')));
    expect(frontier.size).toBe(size + 1);
  });

  it('refuses malformed bytes', () => {
    const frontier = new Frontier();
    frontier.appendAll(leavesUpTo(5));
    const bytes = frontier.toBytes();
    const otherSize = Uint8Array.from(bytes);
    otherSize[7] = 7;
    const hugeSize = Uint8Array.from(bytes);
    hugeSize[0] = 255;
    for (const bad of [bytes.subarray(1), bytes.subarray(0, -1), new Uint8Array(0), new Uint8Array(7), otherSize, hugeSize]) {
      expect(refusalOf(() => Frontier.fromBytes(bad))).toBe('integrity: malformed');
    }
    for (const size of [0, 1, 31, 33, 64]) {
      expect(failureOf(() => frontier.append(new Uint8Array(size))).code).toBe('internal');
      expect(failureOf(() => new Frontier().append(new Uint8Array(size))).code).toBe('internal');
    }
    expect(frontier.size).toBe(5);
  });
});

describe('proofs', () => {
  it('of inclusion hold only for their leaf, index, size and root', () => {
    for (let size = 1; size <= 20; size++) {
      const leaves = leavesUpTo(size);
      const root = rootOf(leaves);
      for (let index = 0; index < size; index++) {
        const leaf = leaves[index] as Uint8Array;
        const proof = inclusionProof(leaves, index, size);
        expect(verifyInclusion(leaf, index, size, proof, root), `${index} of ${size}`).toBe(true);
        expect(verifyInclusion(flipBit(leaf, 3), index, size, proof, root)).toBe(false);
        expect(verifyInclusion(leaf, index, size, proof, flipBit(root, 100))).toBe(false);
        expect(verifyInclusion(leaf, index + 1, size, proof, root)).toBe(false);
        expect(verifyInclusion(leaf, index, size, [...proof, root], root)).toBe(false);
        if (proof.length > 0) expect(verifyInclusion(leaf, index, size, proof.slice(1), root)).toBe(false);
      }
    }
  });

  it('of consistency hold between every two sizes and fail for a changed past', () => {
    const leaves = leavesUpTo(20);
    const changed = [...leaves];
    changed[0] = leafHash(utf8('another event 0'));
    for (let newSize = 1; newSize <= 20; newSize++) {
      const newRoot = rootOf(leaves.slice(0, newSize));
      for (let oldSize = 1; oldSize <= newSize; oldSize++) {
        const oldRoot = rootOf(leaves.slice(0, oldSize));
        const proof = consistencyProof(leaves, oldSize, newSize);
        expect(verifyConsistency(oldSize, newSize, proof, oldRoot, newRoot), `${oldSize} to ${newSize}`).toBe(true);
        const forked = rootOf(changed.slice(0, newSize));
        expect(verifyConsistency(oldSize, newSize, consistencyProof(changed, oldSize, newSize), oldRoot, forked)).toBe(false);
        expect(verifyConsistency(oldSize, newSize, [...proof, oldRoot], oldRoot, newRoot)).toBe(false);
      }
    }
  });

  it('fail for a size that is not a count, with any hashes', () => {
    const root = rootOf(leavesUpTo(2));
    for (const size of [-1, 0, 1.5, Number.NaN, 2 ** 53]) {
      expect(verifyConsistency(size, size, [], root, root), `consistency of ${size}`).toBe(false);
      expect(verifyConsistency(1, size, [root], root, root), `consistency up to ${size}`).toBe(false);
      expect(verifyInclusion(root, 0, size, [], root), `inclusion in ${size}`).toBe(false);
    }
    for (const index of [-1, 0.5, Number.NaN]) expect(verifyInclusion(root, index, 1, [], root), `leaf ${index}`).toBe(false);
  });

  it('are refused for an index or size out of range', () => {
    const leaves = leavesUpTo(4);
    const asks = [() => inclusionProof(leaves, 4, 4), () => inclusionProof(leaves, 0, 5), () => inclusionProof(leaves, -1, 4)];
    const more = [
      () => consistencyProof(leaves, 0, 4),
      () => consistencyProof(leaves, 3, 2),
      () => consistencyProof(leaves, 1, 5),
    ];
    for (const ask of [...asks, ...more]) expect(failureOf(ask).code).toBe('internal');
  });
});

describe('what is no proof, though its hashes were made to fit', () => {
  const [a, b, c] = leavesUpTo(3) as [Uint8Array, Uint8Array, Uint8Array];
  const ab = nodeHash(a, b);

  it('of inclusion', () => {
    expect(verifyInclusion(a, 0, 2, [b], ab)).toBe(true);
    expect(verifyInclusion(a, 0, 1.5, [b], ab), 'a fraction of a leaf').toBe(false);
    expect(verifyInclusion(a, 0, 1, [b], nodeHash(b, a)), 'longer than its tree is high').toBe(false);
    expect(verifyInclusion(a, 0, 2, [b, c], nodeHash(c, ab)), 'longer than its tree is high').toBe(false);
  });

  it('of consistency', () => {
    expect(verifyConsistency(1, 2, [b], a, ab)).toBe(true);
    expect(verifyConsistency(1.5, 2, [a, b], a, ab), 'from a fraction').toBe(false);
    expect(verifyConsistency(1, 1.5, [b], a, ab), 'to a fraction').toBe(false);
    expect(verifyConsistency(5, 4, [a, b, c], a, nodeHash(ab, c)), 'to a smaller tree').toBe(false);
    expect(verifyConsistency(1, 2, [b, c], nodeHash(c, a), nodeHash(c, ab)), 'longer than its tree is high').toBe(false);
  });
});

it('takes nothing but hashes as the parts of a node', () => {
  const [hash, short] = [new Uint8Array(32), new Uint8Array(31)];
  for (const [left, right] of [[short, hash], [hash, short], [short, short]] as const) // biome-ignore format: one line
    expect(failureOf(() => nodeHash(left, right)).code).toBe('internal');
  expect(failureOf(() => consistencyProof([hash, hash], 1.5, 2)).code).toBe('internal');
});

it('takes no size that cannot be counted with', () => {
  const bytes = new Uint8Array(8 + 32);
  bytes[0] = 0x80;
  expect(refusalOf(() => Frontier.fromBytes(bytes))).toBe('integrity: malformed');
});

it('proves of each tree that each larger one begins with it, and of no other', () => {
  const leaves = leavesUpTo(34);
  const roots = Array.from({ length: 35 }, (_, size) => rootOf(leaves.slice(0, size)));
  const root = (size: number) => roots[size] as Uint8Array;
  for (let old = 1; old < 34; old++)
    for (let size = old; size <= 34; size++) {
      const proof = consistencyProof(leaves, old, size);
      expect(verifyConsistency(old, size, proof, root(old), root(size)), `${old} ${size}`).toBe(true);
      expect(verifyConsistency(old, size, proof, root(old - 1), root(size)), `${old} ${size}`).toBe(false);
    }
});
