// An export is never whole after a line was removed, duplicated, swapped or edited: every kind of line, alone and in pairs.
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { ExportVerifier, type VerifyOptions } from '../../src/audit/verify-export.ts';
import { newSigner, signCheckpoint, signExport, signerFrom, verifyCheckpoint } from '../../src/crypto/checkpoint.ts';
import { RunningSha256 } from '../../src/crypto/primitives.ts';
import { exportedLines, loggedTenant, verifyLines } from '../kit/exports.ts';
import type { TestTenant } from '../kit/vaults.ts';
import { inside } from '../kit/vaults.ts';

interface Tampering {
  readonly what: string;
  readonly make: (lines: string[]) => string[];
}

let tenant: TestTenant;
let lines: string[];
let key: string;
let late: string;
let tamperings: Tampering[];
let levels: [string, VerifyOptions][];

const kindOf = (line: string) => (JSON.parse(line) as { export?: string }).export ?? 'event';

/** The first and the last line of each kind, and one event in between. */
function chosen(): string[] {
  const byKind = Map.groupBy(lines, kindOf);
  return [...byKind].flatMap(([kind, same]) => [
    ...new Set([same[0], kind === 'event' ? same[same.length >> 1] : same[0], same.at(-1)]),
  ]) as string[];
}

/** Lines are identified by their text, so that one tampering does not change the target of another. */
function tamperingsOf(line: string, others: readonly string[], name: string): Tampering[] {
  const edit = (what: string, change: (text: string) => string): Tampering => ({
    what: `${what} ${name}`,
    make: (given) => given.map((one) => (one === line ? change(one) : one)),
  });
  return [
    { what: `remove ${name}`, make: (given) => given.filter((one) => one !== line) },
    { what: `double ${name}`, make: (given) => given.flatMap((one) => (one === line ? [one, one] : [one])) },
    { what: `append ${name}`, make: (given) => [...given, line] },
    { what: `prepend ${name}`, make: (given) => [line, ...given.filter((one) => one !== line)] },
    edit('put a space into', (text) => text.replace(':', ': ')),
    edit('put a member into', (text) => text.replace(/}$/, ',"note_":1}')),
    edit('count up a number in', (text) => text.replace(/:(\d+)/, (_all, count) => `:${Number(count) + 1}`)),
    edit('change a letter in', (text) => text.replace(/[A-Za-z0-9](?=[^A-Za-z0-9]*$)/, (one) => (one === 'A' ? 'B' : 'A'))),
    edit('cut', (text) => text.slice(0, -1)),
    edit('empty', () => ''),
    ...others.map((other) => ({
      what: `exchange ${name} with ${kindOf(other)}`,
      make: (given: string[]) => given.map((one) => (one === line ? other : one === other ? line : one)),
    })),
  ];
}

beforeAll(async () => {
  tenant = await loggedTenant();
  lines = await exportedLines(tenant);
  key = inside(tenant.vault).core.audit.verifierKey;
  late = tenant.notes.at(-1) ?? '';
  const picked = chosen();
  tamperings = picked
    .flatMap((line, i) => tamperingsOf(line, picked.slice(i + 1), `${kindOf(line)} ${lines.indexOf(line)}`))
    .filter(({ make }) => make(lines).join('\n') !== lines.join('\n'));
  levels = [
    ['alone', {}],
    ['with the key', { verifierKey: key }],
    ['with the key and a head kept outside', { verifierKey: key, checkpoints: [late] }],
  ];
});

describe('an export that was tampered with', () => {
  it('has every kind of line, so that every kind is tried', () => {
    expect([...new Set(lines.map(kindOf))].sort()).toEqual(['checkpoint', 'end', 'event', 'keyturn-audit-v1', 'leaves']);
    expect(tamperings.length).toBeGreaterThan(100);
    for (const [, options] of levels) expect(verifyLines(lines, options).verdict).toBe('whole');
  });

  it('is never whole after one change', () => {
    for (const { what, make } of tamperings) {
      const changed = make(lines);
      for (const [level, options] of levels) expect(verifyLines(changed, options).ok, `${what}, ${level}`).toBe(false);
    }
  });

  it('is never whole after any two changes', { timeout: 120_000 }, () => {
    let tried = 0;
    const whole: string[] = [];
    for (const [i, one] of tamperings.entries()) {
      const once = one.make(lines);
      for (const other of tamperings.slice(i + 1)) {
        const changed = other.make(once);
        if (changed.join('\n') === lines.join('\n')) continue;
        tried += 1;
        if (verifyLines(changed).ok) whole.push(`${one.what}, ${other.what}`);
      }
    }
    expect(whole).toEqual([]);
    expect(tried).toBeGreaterThan(4_000);
  });

  it('is never whole after a change of any one byte', () => {
    const bytes = Buffer.from(`${lines.join('\n')}\n`);
    fc.assert(
      fc.property(fc.nat(bytes.byteLength - 1), fc.integer({ min: 0, max: 255 }), (at, value) => {
        fc.pre(bytes[at] !== value);
        const changed = Buffer.from(bytes);
        changed[at] = value;
        const verifier = new ExportVerifier();
        verifier.add(changed);
        expect(verifier.finish().ok).toBe(false);
      }),
      { numRuns: 500 },
    );
  });
});

describe('a log forged from its beginning', () => {
  /** Every head and the closing line, signed by a forger's key. */
  function forged(): string[] {
    const header = JSON.parse(lines[0] ?? '') as { origin: string; verifier_key: string };
    const signer = newSigner(header.origin);
    const out = lines.slice(0, -1).map((line) => {
      const value = JSON.parse(line) as { export?: string; note?: string };
      if (value.export === 'keyturn-audit-v1') return JSON.stringify({ ...header, verifier_key: signer.vkey });
      if (value.export !== 'checkpoint') return line;
      return JSON.stringify({ export: 'checkpoint', note: signCheckpoint(signer, verifyCheckpoint(key, value.note ?? '')) });
    });
    const sha256 = new RunningSha256().add(Buffer.from(`${out.join('\n')}\n`)).digest();
    const events = out.filter((line) => kindOf(line) === 'event').length;
    const note = signExport(signer, { origin: header.origin, events, lines: out.length, sha256 });
    return [...out, JSON.stringify({ export: 'end', note })];
  }

  it('is detected only with a key or a head from outside; without one, the result says that the key of the export was used', () => {
    expect(verifyLines(forged())).toMatchObject({ verdict: 'whole', key: 'export' });
    expect(verifyLines(forged(), { verifierKey: key })).toMatchObject({ verdict: 'altered', key: 'pinned' });
    expect(verifyLines(forged(), { checkpoints: [late] })).toMatchObject({ verdict: 'altered', key: 'export' });
  });
});

describe('the covered part of an export', () => {
  const without = (...kinds: string[]) => lines.filter((line) => !kinds.includes(kindOf(line)));
  const head = (size: number) =>
    lines.findIndex(
      (line) => kindOf(line) === 'checkpoint' && (JSON.parse(line) as { note: string }).note.split('\n')[1] === String(size),
    );
  const sizes = () =>
    lines
      .filter((line) => kindOf(line) === 'checkpoint')
      .map((line) => Number((JSON.parse(line) as { note: string }).note.split('\n')[1]));

  it('is empty without heads and hashes', () => {
    const edited = without('checkpoint', 'leaves', 'end').map((line) =>
      line.replace('"outcome":"success"', '"outcome":"denied"'),
    );
    const events = edited.length - 1;
    expect(verifyLines(edited)).toMatchObject({
      verdict: 'incomplete',
      ok: false,
      covered: [],
      uncovered: events,
      unproven: [{ from: 0, to: events - 1, why: 'no_signed_head' }],
    });
  });

  it('ends at the newest head', () => {
    const [beforeLast = 0, last = 0] = sizes().slice(-2);
    const cut = lines.filter((_, i) => i !== head(last));
    expect(verifyLines(cut.slice(0, -1))).toMatchObject({
      ok: false,
      head: { size: beforeLast, from: 'export' },
      covered: [{ from: 0, to: beforeLast - 1 }],
      uncovered: last - beforeLast,
      unproven: [{ from: beforeLast, to: last - 1, why: 'after_last_head' }],
    });
    expect(verifyLines(cut, { checkpoints: [late] })).toMatchObject({ ok: false, head: { size: last, from: 'outside' } });
  });

  it('is every event when a leaves line or an older head is missing, which is a finding', () => {
    for (const gone of [lines.findIndex((line) => kindOf(line) === 'leaves'), head(sizes()[0] ?? 0)]) {
      const result = verifyLines(lines.filter((_, i) => i !== gone));
      expect(result).toMatchObject({ verdict: 'altered', uncovered: 0, closing: 'does_not_fit', unproven: [] });
      expect(result.findings.map(({ kind }) => kind)).toEqual(['altered_lines']);
    }
  });

  it('distinguishes an edited hash from an edited event', () => {
    const at = lines.findIndex((line) => kindOf(line) === 'leaves');
    const { first, hashes } = JSON.parse(lines[at] ?? '') as { first: number; hashes: string };
    const bytes = Buffer.from(hashes, 'base64');
    bytes[0] = (bytes[0] ?? 0) ^ 1;
    const changed = lines.with(at, JSON.stringify({ export: 'leaves', first, hashes: bytes.toString('base64') }));
    expect(verifyLines(changed).findings.map(({ kind, from }) => [kind, from])).toEqual([['edited_hash', first]]);
  });

  it('has a finding for an event that is present twice', () => {
    const at = lines.findIndex((line) => line.includes('"index":4,'));
    expect(verifyLines(lines.toSpliced(at, 0, lines[at] ?? '')).findings).toMatchObject([{ kind: 'duplicated', from: 4, to: 4 }]);
  });
});

describe('a part of the log', () => {
  it('is proven by a file with some events removed, if the range is given and all hashes are present; without the range it is not whole', () => {
    const some = lines.filter((line) => kindOf(line) !== 'event' || /"index":(5|6|7),/.test(line));
    expect(verifyLines(some, { verifierKey: key, range: { from: 5, to: 7 } })).toMatchObject({
      ok: true,
      verdict: 'range',
      covered: [{ from: 5, to: 7 }],
      findings: [],
    });
    expect(verifyLines(some, { range: { from: 4, to: 7 } })).toMatchObject({ ok: false });
    expect(verifyLines(some).ok).toBe(false);
  });

  it('can be exported: all hashes, the events of the range; an edit in it is reported', async () => {
    const range = { from: 3, to: 9 };
    const part = await exportedLines(tenant, range);
    expect(part.filter((line) => kindOf(line) === 'event')).toHaveLength(7);
    expect(verifyLines(part, { verifierKey: key, range })).toMatchObject({ verdict: 'range', closing: 'signed', findings: [] });
    expect(verifyLines(part, { verifierKey: key })).toMatchObject({ verdict: 'incomplete', ok: false, findings: [] });
    expect(verifyLines(part, { range: { from: 3, to: 10 } }).ok).toBe(false);
    const edited = part.map((line) => (line.includes('"index":5,') ? line.replace('"success"', '"denied"') : line));
    expect(verifyLines(edited, { range }).findings.map(({ kind, from }) => [kind, from])).toEqual([['edited', 5]]);
    const without = part.filter((line) => !line.includes('"index":6,'));
    expect(verifyLines(without, { range }).findings.map(({ kind, from }) => [kind, from])).toEqual([['deleted', 6]]);
  });
});

describe('a head that commits to the state of the database', () => {
  it('verifies with and without that line, and the result says which', () => {
    const { audit, keyring } = inside(tenant.vault).core;
    const { anchor, ...plain } = verifyCheckpoint(key, late);
    expect(anchor?.chain.byteLength).toBe(32);
    const anchored = { ...plain, anchor: { epoch: 17, chain: new Uint8Array(32).fill(7) } };
    const note = signCheckpoint(signerFrom(keyring.current('audit_sign').key.export(), audit.origin), anchored);
    expect(note).toContain('\nkeyturn-seq ');
    expect(note.split('\n')[4]).toMatch(/^keyturn-anchor 17 [A-Za-z0-9+/]{43}=$/);
    expect(verifyCheckpoint(key, note)).toEqual(anchored);
    expect(verifyLines(lines, { checkpoints: [late] }).head?.anchored).toBe(true);
    // A head of an older build.
    const bare = signCheckpoint(signerFrom(keyring.current('audit_sign').key.export(), audit.origin), plain);
    const without = lines.map((line) =>
      kindOf(line) === 'checkpoint' && line.includes(`\\n${plain.size}\\n`)
        ? JSON.stringify({ export: 'checkpoint', note: bare })
        : line,
    );
    expect(verifyLines(without.slice(0, -1)).head).toMatchObject({ size: plain.size, anchored: false });
  });
});
