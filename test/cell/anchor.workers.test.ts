// The same as on Node, inside a Durable Object.
import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import type { DurableObjectNamespace } from '@cloudflare/workers-types';
import { durableObjectSql } from '../../src/worker/durable-object-sql.ts';
import { anchorCases } from './anchor-cases.ts';

anchorCases(async (use) => {
  const objects = env['TEST'] as DurableObjectNamespace;
  await runInDurableObject(objects.get(objects.newUniqueId()), (_instance, state) => use(durableObjectSql(state.storage)));
}, 15);
