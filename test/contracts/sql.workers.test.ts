import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import type { DurableObjectNamespace } from '@cloudflare/workers-types';
import { durableObjectSql } from '../../src/worker/durable-object-sql.ts';
import { sqlContract } from './sql.contract.ts';

sqlContract('Durable Object', async (use) => {
  const objects = env['TEST'] as DurableObjectNamespace;
  await runInDurableObject(objects.get(objects.newUniqueId()), (_instance, state) => use(durableObjectSql(state.storage)));
});
