// Runs before each test file in workerd: every test is inside a Durable Object of its own, whose database is the one it opens.
// It must never give a test another one: an object has one, and what needs two is skipped here and runs on Node.
import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import type { DurableObjectNamespace, DurableObjectStorage } from '@cloudflare/workers-types';
import { aroundEach } from 'vitest';
import type { Sql } from '../../src/cell/sql.ts';
import { durableObjectSql } from '../../src/worker/durable-object-sql.ts';

/** On the global object: this file is loaded anew before each test file, the kit that opens databases is not. */
const shared = globalThis as { unusedStorage?: DurableObjectStorage | undefined; skipTest?: (why: string) => void };

/** In workerd this stands for `openNodeSql` of src/node/sqlite.ts (vitest.config.ts says so). */
export function openNodeSql(path: string): Sql {
  const storage = shared.unusedStorage;
  // A test that needs a second database, or a file, is told as skipped: it ran on Node.
  if (path !== ':memory:' || storage === undefined) shared.skipTest?.('an object has one database');
  if (storage === undefined) throw new Error('in workerd databases are opened by tests only, one each');
  shared.unusedStorage = undefined;
  return durableObjectSql(storage);
}

aroundEach(async (runTest, context) => {
  shared.skipTest = context.skip;
  const objects = env['TEST'] as DurableObjectNamespace;
  await runInDurableObject(objects.get(objects.newUniqueId()), async (_instance, state) => {
    shared.unusedStorage = state.storage;
    await runTest();
  });
});
