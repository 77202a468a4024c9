// The lines of an export: each has one canonical text, and any other text is refused.
import { describe, expect, it } from 'vitest';
import { type ExportLine, ExportText, lineBytes, parseLine } from '../../src/audit/export-lines.ts';
import { RunningSha256 } from '../../src/crypto/primitives.ts';

const HASHES = new Uint8Array(64).fill(7);
const HEADER = { kind: 'header', origin: 'keyturn/a/b', size: 3, verifierKey: 'name+key', range: undefined } as const;
const LINES: Exclude<ExportLine, { kind: 'event' }>[] = [
  HEADER,
  { ...HEADER, size: 0, range: { from: 0, to: 0 } },
  { ...HEADER, range: { from: 1, to: 2 } },
  { kind: 'leaves', first: 0, hashes: HASHES },
  { kind: 'leaves', first: 9, hashes: HASHES.slice(32) },
  { kind: 'checkpoint', note: 'a\nnote\n' },
  { kind: 'end', note: 'a note' },
];
const text = (line: (typeof LINES)[number]) => new TextDecoder().decode(lineBytes(line));

describe('a line of an export', () => {
  it.each(LINES)('parses to what was written: $kind', (line) => {
    expect(parseLine(text(line))).toEqual(line);
  });

  it('is an event if it has an index, with any other members', () => {
    expect(parseLine('{"index":0}')).toEqual({ kind: 'event', index: 0 });
    expect(parseLine('{"a":1,"index":12}')).toEqual({ kind: 'event', index: 12 });
    for (const index of ['-1', '1.5', '"1"', 'null', '9007199254740992']) expect(parseLine(`{"index":${index}}`)).toBeUndefined();
    expect(parseLine('{"export":"event","index":1}')).toBeUndefined();
  });

  const header = text(HEADER);
  const part = text({ ...HEADER, range: { from: 1, to: 2 } });
  const leaves = text({ kind: 'leaves', first: 0, hashes: HASHES });
  const note = text({ kind: 'checkpoint', note: 'x' });
  it.each([
    ['nothing', ''],
    ['no JSON', '{"export":'],
    ['null', 'null'],
    ['a number', '7'],
    ['a list', '[1]'],
    ['an object without an index', '{}'],
    ['another kind', '{"export":"other","note":"x"}'],
    ['a header of another format', header.replace('audit-v1', 'audit-v2')],
    ['a header without an origin', header.replace('"keyturn/a/b"', '1')],
    ['a header without a key', header.replace('"name+key"', 'null')],
    ['a header without a size', header.replace('"size":3', '"size":-3')],
    ['a range without an end', part.replace(',"to":2', '')],
    ['a range without a beginning', part.replace(',"from":1', '')],
    ['a range that ends before it begins', part.replace('"to":2', '"to":0')],
    ['a range of no numbers', part.replace('"from":1', '"from":"1"')],
    ['a range to no number', part.replace('"to":2', '"to":"2"')],
    ['leaves from nowhere', leaves.replace('"first":0', '"first":-1')],
    ['leaves that are no text', leaves.replace(/"hashes":.*/, '"hashes":7}')],
    ['no leaves', '{"export":"leaves","first":0,"hashes":""}'],
    ['a part of a leaf', `{"export":"leaves","first":0,"hashes":"${Buffer.alloc(33).toString('base64')}"}`],
    ['a note that is not a text', note.replace('"x"', '7')],
    ['members in another order', '{"note":"x","export":"checkpoint"}'],
    ['an extra space', note.replace(':', ': ')],
    ['an extra member', note.replace('}', ',"more":1}')],
    ['another spelling of base64', leaves.replace('="}', '"}')],
  ])('is not %s', (_what, line) => {
    expect([header, part, leaves, note]).not.toContain(line);
    expect(parseLine(line)).toBeUndefined();
  });
});

describe('the text of an export', () => {
  it('is its lines with their newlines, closed by a note over them', () => {
    const out = new ExportText();
    const encode = (line: string) => new TextEncoder().encode(line);
    const written = [out.take([encode('one'), encode('')], 1), out.take([]), out.take([encode('three')], 2)];
    const all = Buffer.concat(written);
    expect(all.toString()).toBe('one\n\nthree\n');
    const stated: unknown[] = [];
    const last = out.close((statement) => {
      stated.push(statement);
      return 'signed';
    });
    expect(stated).toEqual([{ events: 3, lines: 3, sha256: new RunningSha256().add(all).digest() }]);
    expect(new TextDecoder().decode(last)).toBe('{"export":"end","note":"signed"}\n');
  });
});
