// The offline verifier reports each change of an export, and exactly which events a signed head covers.
import { beforeAll, describe, expect, it } from 'vitest';
import type { Finding } from '../../src/audit/verify-export.ts';
import { signCheckpoint, signerFrom, verifyCheckpoint } from '../../src/crypto/checkpoint.ts';
import { leafHash } from '../../src/crypto/merkle.ts';
import { exportedLines, loggedTenant, verifyLines } from '../kit/exports.ts';
import { inside, type TestTenant, testTenant } from '../kit/vaults.ts';

let lines: string[];
let key: string;
let early: string;
let late: string;
let tenant: TestTenant;

const kinds = (findings: readonly Finding[]) => findings.map((finding) => `${finding.kind} ${finding.from}..${finding.to}`);
const positionOf = (index: number) => lines.findIndex((line) => line.includes(`"index":${index},`));

function codeOf(attempt: () => unknown): string {
  try {
    attempt();
    return 'ok';
  } catch (error) {
    return (error as { code?: string }).code ?? 'unknown';
  }
}

/** A head signed by this log over `by` more events than it has, or over the same number of other events. */
function signedAhead(by: number): string {
  const { audit, keyring } = inside(tenant.vault).core;
  const signer = signerFrom(keyring.current('audit_sign').key.export(), audit.origin);
  return signCheckpoint(signer, {
    ...verifyCheckpoint(key, late),
    size: audit.size + by,
    root: new Uint8Array(32),
    stateSequence: audit.stateSequence,
  });
}

beforeAll(async () => {
  tenant = await loggedTenant();
  early = tenant.notes[0] ?? '';
  lines = await exportedLines(tenant);
  late = tenant.notes.at(-1) ?? '';
  key = inside(tenant.vault).core.audit.verifierKey;
});

describe('the offline verifier', () => {
  it('has no finding for an unchanged export, alone, with the pinned key and with checkpoints from outside', () => {
    for (const options of [{}, { verifierKey: key }, { verifierKey: key, checkpoints: [early, late] }]) {
      const result = verifyLines(lines, options);
      expect(result.findings).toEqual([]);
      expect(result).toMatchObject({ ok: true, verdict: 'whole', uncovered: 0, unproven: [], closing: 'signed' });
      expect(result.covered).toEqual([{ from: 0, to: result.events - 1 }]);
      expect(result.head).toMatchObject({ size: result.events, anchored: true });
      expect(result.key).toBe('verifierKey' in options ? 'pinned' : 'export');
      expect(result.events).toBeGreaterThan(15);
    }
  });

  it('names the event that was edited', () => {
    const edited = [...lines];
    edited[positionOf(7)] = (edited[positionOf(7)] ?? '').replace('"outcome":"success"', '"outcome":"denied"');
    expect(kinds(verifyLines(edited).findings)).toEqual(['edited 7..7']);
  });

  it('detects an edit with a matching leaf hash, between the two signed heads around it', () => {
    const edited = [...lines];
    const position = positionOf(7);
    const changed = (edited[position] ?? '').replace('"outcome":"success"', '"outcome":"denied"');
    const before = Buffer.from(leafHash(Buffer.from(edited[position] ?? '')));
    edited[position] = changed;
    const forged = edited.map((line) => {
      const value = JSON.parse(line) as { export?: string; hashes?: string };
      if (value.export !== 'leaves') return line;
      const hashes = Buffer.from(value.hashes ?? '', 'base64');
      const at = hashes.indexOf(before);
      if (at >= 0) hashes.set(leafHash(Buffer.from(changed)), at);
      return JSON.stringify({ ...value, hashes: hashes.toString('base64') });
    });
    const [finding] = verifyLines(forged).findings;
    expect(finding?.kind).toBe('root_mismatch');
    expect(finding?.from).toBeLessThanOrEqual(7);
    expect(finding?.to).toBeGreaterThanOrEqual(7);
  });

  it('names events that were removed from the middle', () => {
    const cut = lines.filter((_, i) => i !== positionOf(5) && i !== positionOf(6));
    expect(kinds(verifyLines(cut).findings)).toEqual(['deleted 5..6']);
  });

  it('names events that were reordered', () => {
    const swapped = [...lines];
    const [a, b] = [positionOf(3), positionOf(4)];
    [swapped[a], swapped[b]] = [swapped[b] ?? '', swapped[a] ?? ''];
    expect(kinds(verifyLines(swapped).findings)).toContain('reordered 3..3');
  });

  it('names a tail that was cut off with its hashes', () => {
    const size = verifyLines(lines).events;
    const eventsOnly = lines.slice(0, positionOf(size - 3));
    expect(kinds(verifyLines(eventsOnly).findings)).toEqual([`cut_tail ${size - 3}..${size - 1}`]);
  });

  it('names a tail that was cut off with every head that covers it, by a checkpoint from outside', () => {
    const size = verifyLines(lines).events;
    const header = JSON.parse(lines[0] ?? '') as { size: number };
    const end = positionOf(6);
    const shorter = [
      JSON.stringify({ ...header, size: 6 }),
      ...lines.slice(1, end).filter((line) => !line.includes('"checkpoint"')),
    ];
    expect(verifyLines(shorter)).toMatchObject({
      ok: false,
      verdict: 'incomplete',
      covered: [],
      unproven: [{ from: 0, to: 5, why: 'no_signed_head' }],
      closing: 'missing',
      findings: [],
    });
    expect(kinds(verifyLines(shorter, { checkpoints: [late] }).findings)).toEqual([`rolled_back 6..${size - 1}`]);
  });

  it('refuses heads signed by another key and an export of another log', async () => {
    const other = await testTenant();
    const foreign = inside(other.vault).core.audit.verifierKey;
    expect(verifyLines(lines, { verifierKey: foreign }).findings.map((finding) => finding.kind)).toContain('wrong_log');
    expect(
      verifyLines(await exportedLines(other), { verifierKey: foreign, checkpoints: [late] }).findings.map(
        (finding) => finding.kind,
      ),
    ).toContain('bad_signature');
  });

  it('reports a line that is not JSON, and a missing header', () => {
    expect(verifyLines(lines.slice(1)).findings.map((finding) => finding.kind)).toContain('malformed');
    expect(verifyLines([...lines, '{"action":']).findings.map((finding) => finding.kind)).toContain('malformed');
  });
});

describe('a witnessed checkpoint', () => {
  it('allows the same log to open again, and refuses an older or a forked one', async () => {
    expect(inside(tenant.reopen(late)).core.audit.size).toBeGreaterThan(15);
    // Its log ends before the head that was published.
    expect(codeOf(() => tenant.reopen(signedAhead(1)))).toBe('rolled_back');
    // A fork: another log of the same size.
    expect(codeOf(() => tenant.reopen(signedAhead(0)))).toBe('rolled_back');
    const older = await testTenant();
    expect(codeOf(() => older.reopen(late))).toBe('rolled_back');
  });
});
