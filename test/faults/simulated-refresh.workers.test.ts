// D6, D11 in workerd: the same stories as on Node, inside Durable Objects over their own SQLite.
import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import type { DurableObjectNamespace } from '@cloudflare/workers-types';
import { expect, it } from 'vitest';
import { durableObjectSql } from '../../src/worker/durable-object-sql.ts';
import { workerAuthorizer } from '../../src/worker/policies.ts';
import { playAll, SIMULATION_TIMEOUT_MS } from './simulated-plan.ts';

it(
  'no grant is lost in a Durable Object that the provider lets be kept, whatever dies or stalls in the middle of a refresh',
  async () => {
    const objects = env['TEST'] as DurableObjectNamespace;
    const report = await playAll('workerd', (tell) =>
      runInDurableObject(objects.get(objects.newUniqueId()), (_instance, state) =>
        tell({ authorizer: workerAuthorizer(), sql: durableObjectSql(state.storage) }),
      ),
    );
    expect(report.crashes).toBeGreaterThan(report.stalls);
  },
  SIMULATION_TIMEOUT_MS,
);
