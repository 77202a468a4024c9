// Tenants: each has its own cell and keys, is finished after a crash, is visible to users with a role there, and cannot be opened without its
// register entry.
import { describe, expect, it, vi } from 'vitest';
import { fail } from '../../src/base/errors.ts';
import { newId } from '../../src/base/ids.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import type { HomeJob } from '../../src/vault/home-job.ts';
import { createTenant, finishTenant, listTenants, resolveTenant } from '../../src/vault/manage-tenants.ts';
import { createUser } from '../../src/vault/manage-users.ts';
import { putCredential } from '../../src/vault/put-credential.ts';
import { type TestHome, testTeam, textOf } from '../kit/homes.ts';
import { caughtCode, outcomeOf } from '../kit/outcome.ts';
import { changing, inside, testEntropy } from '../kit/vaults.ts';

const create = (team: TestHome & { owner: string }, name: string, environments = ['staging', 'production']) =>
  createTenant(team.home, team.caller(team.owner), { name, environments, demo: false }, team.provision);

const environmentsOf = (team: TestHome, id: string) =>
  team.tenants
    .get(id)
    ?.sql.all('SELECT name FROM environment ORDER BY name')
    .map((row) => row['name']);

/** The work of a start for tenants whose creation a crash interrupted. */
async function finishAll(team: TestHome): Promise<number> {
  const half = team.home.lookup('start', (access, view) => view.tenants.inState(access, 'creating'));
  for (const row of half) await finishTenant(team.home, row, team.provision);
  return half.length;
}

describe('a new tenant', () => {
  it('has its own database with its environments, found by name and by id', async () => {
    const team = await testTeam();
    const row = await create(team, 'acme', ['staging', 'qa']);
    expect(environmentsOf(team, row.id)).toEqual(['qa', 'staging']);
    expect(resolveTenant(team.home, 'acme')?.id).toBe(row.id);
    expect(resolveTenant(team.home, row.id)?.name).toBe('acme');
    expect(resolveTenant(team.home, 'nowhere')).toBeUndefined();
    // Each request asks, so the answer is read once.
    expect(resolveTenant(team.home, 'acme')).toBe(resolveTenant(team.home, 'acme'));
  });

  it('needs a free name, which is not the id of another tenant', async () => {
    const team = await testTeam();
    const row = await create(team, 'acme');
    expect(await outcomeOf(create(team, 'acme'))).toBe('conflict');
    expect(await outcomeOf(create(team, row.id))).toBe('conflict');
    const ends = await Promise.all([1, 2, 3].map(() => outcomeOf(create(team, 'globex'))));
    expect(ends.sort()).toEqual(['conflict', 'conflict', 'ok']);
  });

  it.each(['tenant.after-row', 'tenant.after-cell'] as const)(
    'cut off at %s is not there, holds its name, and is finished with all it was asked for',
    async (point) => {
      const team = await testTeam();
      team.failAt(point);
      await expect(create(team, 'acme', ['staging', 'qa'])).rejects.toThrow('a crash');
      expect(resolveTenant(team.home, 'acme')).toBeUndefined();
      expect(await outcomeOf(create(team, 'acme'))).toBe('conflict');
      expect(await finishAll(team)).toBe(1);
      const made = resolveTenant(team.home, 'acme');
      expect(made?.state).toBe('active');
      expect(environmentsOf(team, made?.id ?? '')).toEqual(['qa', 'staging']);
      expect(await finishAll(team)).toBe(0);
    },
  );

  it('whose cell cannot be made is not there, and the caller learns why', async () => {
    const team = await testTeam();
    const input = { name: 'acme', environments: [], demo: false };
    const failing = async () => fail('storage_full', 'the disk is full');
    expect(await outcomeOf(createTenant(team.home, team.caller(team.owner), input, failing))).toBe('storage_full');
    expect(resolveTenant(team.home, 'acme')).toBeUndefined();
    expect(await finishAll(team)).toBe(1);
    expect(resolveTenant(team.home, 'acme')?.state).toBe('active');
  });

  it('finished twice has every environment once', async () => {
    const team = await testTeam();
    const row = await create(team, 'acme');
    await finishTenant(team.home, row, team.provision);
    expect(environmentsOf(team, row.id)).toEqual(['production', 'staging']);
  });
});

describe('the list of tenants', () => {
  it('contains the tenants at which the caller has a role, in pages', async () => {
    const team = await testTeam();
    const names = Array.from({ length: 9 }, (_, i) => `client-${i}`);
    for (const name of names) await create(team, name);
    const grants = ['client-2', 'client-7', 'client-8'].map((tenant) => ({ role: 'engineer' as const, tenant }));
    const eve = await team.home.submit((job) =>
      createUser(job, team.caller(team.owner), { name: 'eve', grants, enrolmentTtlMs: 3_600_000 }),
    );
    const listed = async (token: string, rows: number) => {
      const found: string[] = [];
      let after: string | undefined = '';
      while (after !== undefined) {
        const from: string = after;
        const page = await team.home.submit((job) => listTenants(job, team.caller(token), from, rows));
        expect(page.rows.length).toBeLessThanOrEqual(rows);
        found.push(...page.rows.map((row) => row.name));
        after = page.next;
      }
      return found;
    };
    for (const rows of [1, 2, 3, 50]) {
      expect(await listed(team.owner, rows)).toEqual(names);
      expect(await listed(textOf(eve.enrolment.token), rows)).toEqual(['client-2', 'client-7', 'client-8']);
    }
  });
});

describe('the list of very many tenants', () => {
  it('is read no further than a page needs, and as far as it needs for who sees few of them', async () => {
    const team = await testTeam();
    const { home } = team;
    const count = LIMITS.pageMaxRows + 20;
    const name = (i: number) => `client-${String(i).padStart(4, '0')}`;
    await home.submit((job) =>
      changing(job, (access) => {
        for (let i = 0; i < count; i++) {
          const row = { id: newId('tenant', testEntropy), name: name(i), state: 'active', demo: 0, environments: '[]' };
          job.tenants.insert(access, { ...row, created_at: team.clock.now(), created_by: 'test' });
        }
      }),
    );
    const grants = [0, count - 1].map((i) => ({ role: 'engineer' as const, tenant: name(i) }));
    const input = { name: 'eve', grants, enrolmentTtlMs: 60_000 };
    const eve = await home.submit((job) => createUser(job, team.caller(team.owner), input));
    const { tenants } = inside<unknown, HomeJob>(home as never);
    const read = vi.spyOn(tenants, 'list');
    const page = async (token: string, after: string, maxRows: number) => {
      read.mockClear();
      const { rows, next } = await home.submit((job) => listTenants(job, team.caller(token), after, maxRows));
      return [rows.map((row) => row.name), next, read.mock.calls.length];
    };
    expect(await page(team.owner, '', 2)).toEqual([[name(0), name(1)], name(1), 1]);
    expect(await page(team.owner, name(count - 3), 2)).toEqual([[name(count - 2), name(count - 1)], undefined, 1]);
    const token = textOf(eve.enrolment.token);
    expect(await page(token, '', 1)).toEqual([[name(0)], name(0), 2]);
    expect(await page(token, name(0), 1)).toEqual([[name(count - 1)], undefined, 2]);
  });
});

describe('two tenants', () => {
  it('cannot be opened with each other’s database, keys or register entry', async () => {
    const team = await testTeam();
    const [a, b] = [await create(team, 'acme'), await create(team, 'globex')];
    const sqlOf = (id: string) => team.tenants.get(id)?.sql ?? openNodeSql(':memory:');
    const keys = (id: string) =>
      sqlOf(id)
        .all('SELECT key_id FROM tenant_key')
        .map((row) => row['key_id']);
    expect(keys(a.id).filter((key) => keys(b.id).includes(key))).toEqual([]);
    // The database of one in place of the other, as after a mixed-up restore.
    const swapped = async () => team.provision({ ...a, id: b.id, name: 'globex' }, []);
    expect(await outcomeOf(swapped())).toBe('ok');
    team.tenants.get(b.id)?.sql.run('UPDATE cell SET cell_id = ?', a.id);
    expect(await outcomeOf(swapped())).toBe('integrity');
  });

  it('with wrapped keys copied from one to the other cannot be opened', async () => {
    const team = await testTeam();
    const [a, b] = [await create(team, 'acme'), await create(team, 'globex')];
    const from = team.tenants.get(a.id)?.sql.get("SELECT key_id, wrapped FROM tenant_key WHERE purpose = 'api_key'");
    const to = team.tenants.get(b.id)?.sql;
    to?.run(
      "UPDATE tenant_key SET key_id = ?, wrapped = ? WHERE purpose = 'api_key'",
      from?.['key_id'] ?? '',
      from?.['wrapped'] ?? '',
    );
    expect(await outcomeOf(team.provision({ ...b, environments: '[]' }, []))).toBe('integrity');
  });
});

describe('the destroyed register entry of a tenant', () => {
  it('makes the tenant unreadable, even with its database and the root key', async () => {
    const team = await testTeam();
    const row = await create(team, 'acme');
    const vault = team.tenants.get(row.id)?.vault;
    const input = { environment: 'staging', name: 'stripe', kind: 'api_key', value: { key: 'not-a-real-secret' }, connector: undefined, config: undefined, labels: undefined, description: undefined, expiresAtMs: undefined, precondition: {} } as const; // biome-ignore format: one line
    await vault?.submit((job) => putCredential(job, team.caller(team.owner), input));
    expect(await outcomeOf(team.provision(row, []))).toBe('ok');
    team.register.destroy(row.id, team.clock.now());
    expect(caughtCode(() => team.register.open(row.id))).toBe('key_destroyed');
    expect(await outcomeOf(team.provision(row, []))).toBe('key_destroyed');
  });
});
