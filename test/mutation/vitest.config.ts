// The tests on Node as the mutation run starts them, in a copy of the tree; with KEYTURN_REACH they note which functions they enter.
import { join } from 'node:path';
import { defineConfig, type Plugin } from 'vitest/config';
import { policyText } from '../kit/policy-text.ts';
import { noteEntries } from './reach.ts';

const ROOT = join(import.meta.dirname, '..', '..');
/** A changed program often waits for what never comes; long enough for a busy machine. */
const TIMEOUT_MS = 15_000;

const entries: Plugin = {
  name: 'note-entries',
  enforce: 'pre',
  transform(code, id) {
    const file = id.startsWith(`${ROOT}/`) ? id.slice(ROOT.length + 1) : '';
    return /^(src|rotation)\/.*\.ts$/.test(file) ? { code: noteEntries(file, code), map: null } : undefined;
  },
};

const isReach = process.env['KEYTURN_REACH'] !== undefined;

export default defineConfig({
  root: ROOT,
  cacheDir: join(ROOT, '.vite'),
  plugins: [policyText, ...(isReach ? [entries] : [])],
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/**/*.workers.test.ts'],
    pool: 'forks',
    isolate: false,
    maxWorkers: 1,
    testTimeout: TIMEOUT_MS,
    hookTimeout: TIMEOUT_MS,
    setupFiles: ['test/kit/seed.ts', ...(isReach ? ['test/mutation/reach-setup.ts'] : [])],
    // Always the same questions here: what one change survives must not depend on the draw.
    provide: { seed: 1 },
  },
});
