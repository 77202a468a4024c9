// SECURITY.md says which folders of tests never run in workerd, and why: exactly those.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { expect, it } from 'vitest';
import { IN_OBJECTS } from '../kit/in-workerd.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const tests = readdirSync(join(ROOT, 'test'), { recursive: true, withFileTypes: true })
  .filter((entry) => entry.name.endsWith('.test.ts'))
  .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)));
const runsInWorkerd = (file: string) => /\.(shared|workers)\.test\.ts$/.test(file) || IN_OBJECTS.includes(file);

it('the folders without a test in workerd are the ones said to be', () => {
  const folders = new Set(tests.map((file) => dirname(file)).filter((folder) => folder !== 'test'));
  // The conformance suite starts the whole Worker there from Node.
  const without = [...folders].filter(
    (folder) => folder !== 'test/conformance' && !tests.some((file) => file.startsWith(`${folder}/`) && runsInWorkerd(file)),
  );
  const said = [...readFileSync(join(ROOT, 'SECURITY.md'), 'utf8').matchAll(/^- `(test\/[\w/]+)`: \S/gm)].map((row) => row[1]);
  expect(said.toSorted()).toEqual(without.toSorted());
});

it('the tests said to run inside Durable Objects are there', () => {
  expect(IN_OBJECTS.filter((file) => !tests.includes(file))).toEqual([]);
  expect(new Set(IN_OBJECTS).size).toBe(IN_OBJECTS.length);
});
