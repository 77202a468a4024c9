// docs/audit-format.md is sufficient for a verifier: its example has the stated bytes, and a verifier in another language, written from the
// page, agrees with Keyturn's about complete and tampered exports.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { exportedLines, loggedTenant, verifyLines } from '../kit/exports.ts';
import { inside, type TestTenant } from '../kit/vaults.ts';

const page = readFileSync(join(import.meta.dirname, '../../docs/audit-format.md'), 'utf8');
const example = (/```jsonl\n(.*?)```/s.exec(page)?.[1] ?? '').trimEnd().split('\n');
const hasPython = spawnSync('python3', ['--version']).status === 0;
if (!hasPython) console.warn('SKIPPED: the verifier in another language needs python3, which is not there');
const scratch = mkdtempSync(join(tmpdir(), 'keyturn-format-'));

afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const sha256 = (...parts: (string | Uint8Array)[]) => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};
const members = (line: string | undefined) => JSON.parse(line ?? '{}') as Record<string, string>;

describe('the example of the page', () => {
  it('is whole, and each of its hashes is the one on the page', () => {
    expect(verifyLines(example)).toMatchObject({
      verdict: 'whole',
      events: 3,
      checkpoints: 2,
      head: { size: 3, anchored: true },
    });
    const events = example.filter((line) => !line.startsWith('{"export"'));
    const leaves = events.map((line) => sha256(Uint8Array.of(0), line));
    const two = sha256(Uint8Array.of(1), leaves[0] as Buffer, leaves[1] as Buffer);
    const three = sha256(Uint8Array.of(1), two, leaves[2] as Buffer);
    const before = sha256(example.slice(0, -1).map((line) => `${line}\n`).join('')); // biome-ignore format: one line
    for (const hash of [...leaves, two, three, before]) expect(page).toContain(`\`${hash.toString('hex')}\``);
    for (const [i, line] of events.entries())
      expect(page).toContain(`leaf of event ${i} (0x00 and ${Buffer.byteLength(line)} bytes)`);
    const notes = example.filter((line) => line.includes('"checkpoint"')).map((line) => members(line)['note'] ?? '');
    expect(notes.map((note) => note.split('\n')[2])).toEqual([two.toString('base64'), three.toString('base64')]);
    const text = (notes[0] ?? '').split('\n\n')[0] ?? '';
    expect(text.split('\n')).toHaveLength(7);
    expect(Buffer.from(text).subarray(0, 8).toString('hex')).toBe('6b657974 75726e2f'.replace(' ', ''));
    expect(Buffer.from(`${text}\n`).subarray(-4).toString('hex')).toBe('30355a0a');
  });

  it('is not whole without any one of its lines', () => {
    for (let i = 0; i < example.length; i++) expect(verifyLines(example.toSpliced(i, 1)).ok, `without line ${i}`).toBe(false);
  });
});

describe.skipIf(!hasPython)('a verifier in another language, written from the page', () => {
  let tenant: TestTenant;
  let lines: string[];
  let options: { verifierKey: string; checkpoints: string[] };

  beforeAll(async () => {
    tenant = await loggedTenant();
    lines = await exportedLines(tenant);
    options = { verifierKey: inside(tenant.vault).core.audit.verifierKey, checkpoints: [tenant.notes.at(-1) ?? ''] };
  });

  function python(given: readonly string[], pinned?: typeof options): { status: number | null; text: string } {
    const file = join(scratch, 'export.jsonl');
    const kept = join(scratch, 'kept.txt');
    writeFileSync(file, `${given.join('\n')}\n`);
    writeFileSync(kept, pinned?.checkpoints[0] ?? '');
    const more = pinned === undefined ? [] : ['--key', pinned.verifierKey, '--checkpoint', kept];
    const ran = spawnSync('python3', [join(import.meta.dirname, 'verify_export.py'), file, ...more], { encoding: 'utf8' });
    return { status: ran.status, text: ran.stdout + ran.stderr };
  }

  it('has at most 160 lines and needs only Python', () => {
    const text = readFileSync(join(import.meta.dirname, 'verify_export.py'), 'utf8');
    expect(text.split('\n').length).toBeLessThanOrEqual(161);
    expect(text.match(/^(import|from) .*$/gm)).toEqual(['import argparse, base64, hashlib, json, re, sys']);
  });

  it('finds the example and a real export whole, alone and with a key and a head from outside', () => {
    expect(python(example)).toMatchObject({ status: 0, text: expect.stringContaining('3 events, the first 3 covered') });
    expect(python(lines).status).toBe(0);
    expect(python(lines, options)).toMatchObject({ status: 0, text: expect.stringContaining('key given') });
    expect(python(example, options).status).toBe(8);
  });

  it.each([
    [{ from: 3, to: 9 }],
    [{ from: 0, to: 0 }],
  ])('finds a partial export whole, and says that it is a part: %o', async (range) => {
    const part = await exportedLines(tenant, range);
    expect(verifyLines(part, { range }).verdict).toBe('range');
    const events = range.to - range.from + 1;
    expect(python(part)).toEqual({
      status: 0,
      text: expect.stringMatching(
        new RegExp(`^${events} events, [^]*whole from event ${range.from} to event ${range.to}: a part of the log\n$`),
      ),
    });
    const at = part.findIndex((one) => one.includes(`"index":${range.from},`));
    const edited = python(part.with(at, (part[at] ?? '').replace('"success"', '"denied"')));
    expect(edited).toMatchObject({ status: 8, text: expect.stringContaining(`event ${range.from} has another hash`) });
    expect(python(part.toSpliced(at, 1)).status).toBe(8);
    expect(python(part.toSpliced(part.findIndex((one) => one.includes('"leaves"')), 1)).status).toBe(8);
  });

  it('names the edited event before the heads that no longer fit', () => {
    const at = line('"index":7,');
    const { text } = python(lines.with(at, (lines[at] ?? '').replace('"success"', '"denied"')));
    expect(text).toContain('wrong: event 7 has another hash than stated\nwrong: ');
    expect(text.match(/do not fit/g)).toHaveLength(1);
  });

  const line = (what: string) => lines.findIndex((one) => one.includes(what));
  const TAMPERED: [string, () => string[]][] = [
    ['an event edited', () => lines.with(line('"index":7,'), (lines[line('"index":7,')] ?? '').replace('"success"', '"denied"'))],
    ['an event removed', () => lines.toSpliced(line('"index":7,'), 1)],
    ['an event doubled', () => lines.toSpliced(line('"index":7,'), 0, lines[line('"index":7,')] ?? '')],
    ['a leaves line removed', () => lines.toSpliced(line('"leaves"'), 1)],
    ['a checkpoint removed', () => lines.toSpliced(line('"checkpoint"'), 1)],
    ['the closing line removed', () => lines.slice(0, -1)],
    ['the header removed', () => lines.slice(1)],
    ['the tail cut off', () => lines.slice(0, line('"index":9,'))],
    ['every head and hash removed', () => lines.filter((one) => !/^{"export":"(leaves|checkpoint|end)"/.test(one))],
    ['a space put in', () => lines.with(0, (lines[0] ?? '').replace(':', ': '))],
    ['a line appended', () => [...lines, lines[1] ?? '']],
  ];

  it.each(TAMPERED)('agrees with Keyturn that it is not whole: %s', (_what, make) => {
    const tampered = make();
    expect(verifyLines(tampered).ok).toBe(false);
    expect(python(tampered)).toMatchObject({ status: 8, text: expect.stringContaining('not whole') });
  });
});
