// Random sequences of puts, roll-backs, deletions, restorations and sweeps, with restarts and rolled-back batches, against a small model.
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { deleteCredential, destroyExpired, restoreCredential, rollBack } from '../../src/vault/change-credential.ts';
import { describeCredential } from '../../src/vault/describe-credential.ts';
import { putCredential } from '../../src/vault/put-credential.ts';
import { readCredential } from '../../src/vault/read-credential.ts';
import type { TenantVault } from '../../src/vault/tenant-vault.ts';
import { outcomeOf } from '../kit/outcome.ts';
import { SqlSpy } from '../kit/sql-spy.ts';
import { type TestTenant, testTenant } from '../kit/vaults.ts';

const NAMES = ['a', 'b'] as const;
const DAY = 86_400_000;

type Step =
  | { do: 'put'; name: string; cas: number | undefined }
  | { do: 'rollback'; name: string; to: number | undefined }
  | { do: 'delete' | 'restore'; name: string }
  | { do: 'pass' | 'sweep' | 'restart'; name: string };

interface Model {
  values: string[];
  current: number;
  previous: number | undefined;
  deletedAtMs: number | undefined;
}

const name = fc.constantFrom(...NAMES);
const steps: fc.Arbitrary<{ step: Step; lost: boolean }> = fc.record({
  lost: fc.boolean(),
  step: fc.oneof(
    { weight: 4, arbitrary: fc.record({ do: fc.constant('put' as const), name, cas: fc.option(fc.nat(3), { nil: undefined }) }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('rollback' as const), name, to: fc.option(fc.integer({ min: 1, max: 4 }), { nil: undefined }) }) }, // biome-ignore format: one line
    { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('delete' as const, 'restore' as const), name }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('pass' as const, 'sweep' as const, 'restart' as const), name }) },
  ),
});

/** The expected outcome, and the model afterwards. */
function expected(model: Map<string, Model>, step: Step, nowMs: number, value: string): string {
  const one = model.get(step.name);
  switch (step.do) {
    case 'put':
      if (step.cas !== undefined && step.cas !== (one?.current ?? 0)) return 'version_conflict';
      if (one?.deletedAtMs !== undefined) return 'conflict';
      if (one === undefined) model.set(step.name, { values: [value], current: 1, previous: undefined, deletedAtMs: undefined });
      else Object.assign(one, { previous: one.current, current: one.values.push(value) });
      return 'ok';
    case 'rollback': {
      if (one === undefined) return 'not_found';
      if (one.deletedAtMs !== undefined) return 'gone';
      const to = step.to ?? one.previous;
      if (to === undefined || to === one.current) return 'conflict';
      if (to > one.values.length) return 'not_found';
      Object.assign(one, { previous: one.current, current: to });
      return 'ok';
    }
    case 'delete':
      if (one === undefined) return 'not_found';
      one.deletedAtMs ??= nowMs;
      return 'ok';
    case 'restore':
      if (one === undefined) return 'not_found';
      if (one.deletedAtMs === undefined) return 'conflict';
      if (nowMs >= one.deletedAtMs + 7 * DAY) return 'gone';
      one.deletedAtMs = undefined;
      return 'ok';
    case 'sweep':
      for (const [key, { deletedAtMs }] of model)
        if (deletedAtMs !== undefined && nowMs >= deletedAtMs + 7 * DAY) model.delete(key);
      return 'ok';
    default:
      return 'ok';
  }
}

function perform(tenant: TestTenant, vault: TenantVault, step: Step, value: string): Promise<unknown> {
  const admin = tenant.user(['admin'], 'everywhere');
  const named = { environment: 'staging', name: step.name, precondition: {} };
  switch (step.do) {
    case 'put':
      return vault.submit((job) =>
        putCredential(job, admin, {
          ...named,
          kind: 'api_key',
          value: { key: value },
          connector: undefined,
          config: undefined,
          labels: undefined,
          description: undefined,
          expiresAtMs: undefined,
          precondition: { version: step.cas },
        }),
      );
    case 'rollback':
      return vault.submit((job) => rollBack(job, admin, { ...named, toVersion: step.to }));
    case 'delete':
      return vault.submit((job) => deleteCredential(job, admin, { ...named, recoveryWindowMs: 7 * DAY }));
    case 'restore':
      return vault.submit((job) => restoreCredential(job, admin, named));
    case 'sweep':
      return vault.submit((job) => destroyExpired(job, 10));
    default:
      return Promise.resolve();
  }
}

async function compare(tenant: TestTenant, vault: TenantVault, model: Map<string, Model>): Promise<void> {
  const proven = () => tenant.user(['admin'], 'everywhere', { secondFactorAtMs: tenant.clock.now() });
  for (const key of NAMES) {
    const one = model.get(key);
    const read = (version?: number) =>
      vault.submit((job) => readCredential(job, proven(), { environment: 'staging', name: key, version, stage: undefined }));
    if (one === undefined || one.deletedAtMs !== undefined) {
      expect(await outcomeOf(read())).toBe(one === undefined ? 'not_found' : 'gone');
      continue;
    }
    const { row } = await vault.submit((job) => describeCredential(job, proven(), 'staging', key));
    expect([row.current_version, row.previous_version ?? undefined, row.latest_version]).toEqual([
      one.current,
      one.previous,
      one.values.length,
    ]);
    for (const version of [undefined, one.current, 1, one.values.length]) {
      const { body } = await read(version);
      const { value } = JSON.parse(new TextDecoder().decode(body)) as { value: { key: string } };
      expect(value.key).toBe(one.values[(version ?? one.current) - 1]);
    }
  }
  const live = [...model.values()].reduce((sum, one) => sum + one.values.length, 0);
  expect(tenant.sql.get('SELECT count(*) AS n FROM credential_version')?.['n']).toBe(live);
}

it('credentials behave as the model does', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(steps, { maxLength: 18 }), async (given) => {
      const sql = new SqlSpy(openNodeSql(':memory:'));
      const tenant = await testTenant({ sql });
      const model = new Map<string, Model>();
      let vault = tenant.vault;
      for (const [i, { step, lost }] of given.entries()) {
        const value = `not-a-real-secret-${i}`;
        if (step.do === 'restart') vault = tenant.reopen(tenant.notes.at(-1));
        if (step.do === 'pass') tenant.clock.pass(3 * DAY);
        if (lost && i % 4 === 3 && step.do !== 'restart' && step.do !== 'pass') {
          sql.failCommits();
          expect(await outcomeOf(perform(tenant, vault, step, 'not-a-real-secret-lost'))).toBe('storage_full');
        } else {
          const want = expected(model, step, tenant.clock.now(), value);
          expect(await outcomeOf(perform(tenant, vault, step, value)), JSON.stringify(step)).toBe(want);
        }
        await compare(tenant, vault, model);
      }
    }),
    { numRuns: 60 },
  );
});
