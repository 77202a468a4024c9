// Two projects: `node`, and `workerd` (the Workers runtime itself). A *.shared.test.ts runs in both, a *.workers.test.ts in workerd only.
import { randomInt } from 'node:crypto';
import { cloudflareTest } from '@cloudflare/vitest-plugin';
import { defineConfig } from 'vitest/config';
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

export default defineConfig({
  test: {
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
          cloudflareTest({
            // Tests bring their own Worker and one empty object class; dates, flags and rules come from the real configuration.
            main: './test/kit/worker-test-object.ts',
            wrangler: { configPath: './wrangler.toml' },
            miniflare: { durableObjects: { TEST: { className: 'TestObject', useSQLite: true } } },
          }),
        ],
        test: {
          name: 'workerd',
          include: ['test/**/*.shared.test.ts', 'test/**/*.workers.test.ts'],
          isolate: false,
          ...SEEDED,
          ...LIMITS,
        },
      },
    ],
  },
});
