// The witness in files: what a power cut may leave of a file that was not flushed costs no start, and hides nothing that was flushed.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type DataPaths, fileWitness } from '../../src/node/data-directory.ts';

let directory: string;
let paths: DataPaths;
const failures: string[] = [];
const witness = () => fileWitness(paths, (cellId) => failures.push(cellId));

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'keyturn-witness-'));
  paths = { witness: (cellId: string) => join(directory, 'made', `${cellId}.checkpoint`) } as DataPaths;
  failures.length = 0;
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

it('gives the newest head, flushed or not', () => {
  const one = witness();
  expect(one.latest('ten_a')).toBeUndefined();
  for (const [note, urgent] of [
    ['first', false],
    ['second', false],
    ['third', true],
    ['fourth', false],
  ] as const) {
    expect(one.publish('ten_a', note, urgent)).toBe(true);
    expect(one.latest('ten_a')).toBe(note);
    expect(witness().latest('ten_a')).toBe(note);
  }
  expect(failures).toEqual([]);
});

it('gives the last flushed head of a file that a power cut left empty: the first of a start, and each that an answer waited for', () => {
  const one = witness();
  const cut = () => writeFileSync(paths.witness('ten_a'), '');
  expect(one.publish('ten_a', 'first')).toBe(true);
  expect(one.publish('ten_a', 'second')).toBe(true);
  cut();
  expect(witness().latest('ten_a')).toBe('first');
  expect(one.publish('ten_a', 'third', true)).toBe(true);
  expect(one.publish('ten_a', 'fourth')).toBe(true);
  cut();
  expect(witness().latest('ten_a')).toBe('third');
  // Another start flushes its first head.
  expect(witness().publish('ten_a', 'fifth')).toBe(true);
  cut();
  expect(witness().latest('ten_a')).toBe('fifth');
});

it('stays missing where it was removed, and foreign where it was changed', () => {
  expect(witness().publish('ten_a', 'first', true)).toBe(true);
  writeFileSync(paths.witness('ten_a'), 'another');
  expect(witness().latest('ten_a')).toBe('another');
  rmSync(paths.witness('ten_a'));
  expect(witness().latest('ten_a')).toBeUndefined();
  expect(readFileSync(`${paths.witness('ten_a')}.flushed`, 'utf8')).toBe('first');
});
