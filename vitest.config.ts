// Two projects: `node`, and `workerd` (the Workers runtime itself). A *.shared.test.ts runs in both, a *.workers.test.ts in workerd only.
import { randomInt } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { cloudflareTest } from '@cloudflare/vitest-plugin';
import { defineConfig, type Plugin } from 'vitest/config';
import { IN_OBJECTS } from './test/kit/in-workerd.ts';
import { policyText } from './test/kit/policy-text.ts';

const LIMITS = { testTimeout: 30_000, hookTimeout: 30_000 };

/** Of the property tests and the simulator of this run; this file is read once a project, so the choice is kept in the environment. */
function chosenSeed(): number {
  const { SEED, KEYTURN_TEST_SEED } = process.env;
  const seed = SEED ?? KEYTURN_TEST_SEED ?? String(randomInt(1, 2 ** 31));
  if (KEYTURN_TEST_SEED !== seed) console.info(`seed ${seed} (the same again: SEED=${seed} npm test -- <file>)`);
  process.env['KEYTURN_TEST_SEED'] = seed;
  return Number(seed);
}

const SEEDED = { setupFiles: ['./test/kit/seed.ts'], provide: { seed: chosenSeed() } };

/** What a test opens by the kit, its database and its policies, it gets another way in workerd. */
const IN_WORKERD: Readonly<Record<string, string>> = {
  'src/node/sqlite.ts': 'test/kit/in-object.ts',
  'test/kit/cedar.ts': 'test/kit/bundled-cedar.ts',
};
const kitInObjects: Plugin = {
  name: 'kit-in-objects',
  enforce: 'pre',
  resolveId(source, importer) {
    if (importer === undefined || !source.startsWith('.')) return undefined;
    const other = IN_WORKERD[relative(import.meta.dirname, resolve(dirname(importer), source))];
    return other === undefined ? undefined : join(import.meta.dirname, other);
  },
};

export default defineConfig({
  test: {
    // Default: one worker less than there are processors, which leaves half of a small machine idle.
    maxWorkers: Math.max(2, availableParallelism()),
    projects: [
      {
        plugins: [policyText],
        test: {
          name: 'node',
          include: ['test/**/*.test.ts'],
          exclude: ['test/**/*.workers.test.ts'],
          // Processes, not threads: tests change the umask and load a native module. Shared between files for speed, so a test
          // restores what it changes.
          pool: 'forks',
          isolate: false,
          ...SEEDED,
          ...LIMITS,
        },
      },
      {
        plugins: [
          kitInObjects,
          cloudflareTest({
            // Tests bring their own Worker and one empty object class; dates, flags and rules come from the real configuration.
            main: './test/kit/worker-test-object.ts',
            wrangler: { configPath: './wrangler.toml' },
            miniflare: { durableObjects: { TEST: { className: 'TestObject', useSQLite: true } } },
          }),
        ],
        test: {
          name: 'workerd',
          include: ['test/**/*.shared.test.ts', 'test/**/*.workers.test.ts', ...IN_OBJECTS],
          isolate: false,
          ...SEEDED,
          setupFiles: [...SEEDED.setupFiles, './test/kit/in-object.ts'],
          ...LIMITS,
        },
      },
    ],
  },
});
