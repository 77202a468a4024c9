import { cloudflareTest } from '@cloudflare/vitest-plugin';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'node',
          include: ['test/**/*.test.ts'],
          exclude: ['test/**/*.workers.test.ts'],
          pool: 'forks',
          isolate: false,
          testTimeout: 30_000,
        },
      },
      {
        plugins: [
          cloudflareTest({
            main: './test/kit/worker-test-object.ts',
            wrangler: { configPath: './wrangler.toml' },
            miniflare: {
              durableObjects: { TEST: { className: 'TestObject', useSQLite: true } },
            },
          }),
        ],
        test: {
          name: 'workerd',
          include: ['test/**/*.shared.test.ts', 'test/**/*.workers.test.ts'],
          testTimeout: 30_000,
        },
      },
    ],
  },
});
