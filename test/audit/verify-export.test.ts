import { beforeAll, describe, expect, it } from 'vitest';
import { ExportVerifier, type Finding, type VerifyOptions } from '../../src/audit/verify-export.ts';
import { leafHash } from '../../src/crypto/merkle.ts';
import { exportAudit } from '../../src/vault/read-audit.ts';
import { putKey, type TestTenant, testTenant, workloadToken } from '../kit/vaults.ts';

let lines: string[];
let key: string;
let early: string;
let late: string;
let tenant: TestTenant;

async function exported(from: TestTenant): Promise<string[]> {
  let text = '';
  for await (const slice of exportAudit(from.vault, from.user(['auditor'], 'everywhere')))
    text += new TextDecoder().decode(slice);
  return text.split('\n').filter((line) => line !== '');
}

function verify(given: readonly string[], options: VerifyOptions = {}) {
  const verifier = new ExportVerifier(options);
  for (const line of given) verifier.push(line);
  return verifier.finish();
}

const kinds = (findings: readonly Finding[]) => findings.map((finding) => `${finding.kind} ${finding.from}..${finding.to}`);
const positionOf = (index: number) => lines.findIndex((line) => line.includes(`"index":${index},`));

beforeAll(async () => {
  tenant = await testTenant();
  for (let i = 0; i < 12; i++) {
    await putKey(tenant, `key-${i}`, 'not-a-real-secret');
    tenant.clock.pass(400);
  }
  await workloadToken(tenant);
  early = tenant.notes[0] ?? '';
  lines = await exported(tenant);
  late = tenant.notes.at(-1) ?? '';
  key = tenant.vault.core.audit.verifierKey;
});

describe('the offline verifier', () => {
  it('finds nothing wrong with an untouched export, alone, with the pinned key and with checkpoints kept outside', () => {
    for (const options of [{}, { verifierKey: key }, { verifierKey: key, checkpoints: [early, late] }]) {
      const result = verify(lines, options);
      expect(result.findings).toEqual([]);
      expect(result).toMatchObject({ ok: true, uncovered: 0 });
      expect(result.events).toBeGreaterThan(15);
    }
  });

  it('names the very event that was edited', () => {
    const edited = [...lines];
    edited[positionOf(7)] = (edited[positionOf(7)] ?? '').replace('"outcome":"success"', '"outcome":"denied"');
    expect(kinds(verify(edited).findings)).toEqual(['edited 7..7']);
  });

  it('sees an edit whose leaf hash was made to fit, between the two signed heads around it', () => {
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
    const [finding] = verify(forged).findings;
    expect(finding?.kind).toBe('root_mismatch');
    expect(finding?.from).toBeLessThanOrEqual(7);
    expect(finding?.to).toBeGreaterThanOrEqual(7);
  });

  it('names events that were taken out of the middle', () => {
    const cut = lines.filter((_, i) => i !== positionOf(5) && i !== positionOf(6));
    expect(kinds(verify(cut).findings)).toEqual(['deleted 5..6']);
  });

  it('names events that changed places', () => {
    const swapped = [...lines];
    const [a, b] = [positionOf(3), positionOf(4)];
    [swapped[a], swapped[b]] = [swapped[b] ?? '', swapped[a] ?? ''];
    expect(kinds(verify(swapped).findings)).toContain('reordered 3..3');
  });

  it('names a tail that was cut off, hashes and all', () => {
    const size = verify(lines).events;
    const eventsOnly = lines.slice(0, positionOf(size - 3));
    expect(kinds(verify(eventsOnly).findings)).toEqual([`cut_tail ${size - 3}..${size - 1}`]);
  });

  it('names a tail cut off together with every head that speaks of it, by a checkpoint kept outside', () => {
    const size = verify(lines).events;
    const header = JSON.parse(lines[0] ?? '') as { size: number };
    const end = positionOf(6);
    const shorter = [
      JSON.stringify({ ...header, size: 6 }),
      ...lines.slice(1, end).filter((line) => !line.includes('"checkpoint"')),
    ];
    expect(verify(shorter).ok).toBe(true);
    expect(kinds(verify(shorter, { checkpoints: [late] }).findings)).toEqual([`rolled_back 6..${size - 1}`]);
  });

  it('refuses heads signed by another key and an export of another log', async () => {
    const other = await testTenant();
    const foreign = other.vault.core.audit.verifierKey;
    expect(verify(lines, { verifierKey: foreign }).findings.map((finding) => finding.kind)).toContain('wrong_log');
    expect(
      verify(await exported(other), { verifierKey: foreign, checkpoints: [late] }).findings.map((finding) => finding.kind),
    ).toContain('bad_signature');
  });

  it('says so when a line is not JSON or the header is missing', () => {
    expect(verify(lines.slice(1)).findings[0]?.kind).toBeDefined();
    expect(verify([...lines, '{"action":']).findings.map((finding) => finding.kind)).toContain('malformed');
  });
});

describe('a witnessed checkpoint', () => {
  it('lets the same log open again, and refuses an older or a forked one', async () => {
    expect(tenant.reopen(late).core.audit.size).toBeGreaterThan(15);
    const older = await testTenant();
    expect(() => older.reopen(late)).toThrow();
  });
});
