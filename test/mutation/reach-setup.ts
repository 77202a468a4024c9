// Runs before each test file of the reach run: collects the functions that file enters and writes them down at its end.
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { afterAll, expect } from 'vitest';
import type { Entries } from './reach.ts';

const entered = new Set<string>();
const atLoad = new Set<string>();
globalThis.__reach = { entered, atLoad, loading: 0 };
const startedAt = performance.now();

afterAll(() => {
  const test = relative(process.cwd(), expect.getState().testPath!);
  const entries: Entries = {
    test,
    milliseconds: Math.round(performance.now() - startedAt),
    places: [...entered].sort(),
    atLoad: [...atLoad],
  };
  const folder = process.env['KEYTURN_REACH']!;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${createHash('sha256').update(test).digest('hex').slice(0, 16)}.json`), JSON.stringify(entries));
});
