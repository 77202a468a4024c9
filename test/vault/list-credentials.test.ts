// Lists and searches of credentials: filters are literal, pages contain every name once during writes, and only visible credentials are listed.
import { describe, expect, it, vi } from 'vitest';
import type { Caller } from '../../src/access/principals.ts';
import { newId } from '../../src/base/ids.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { deleteCredential } from '../../src/vault/change-credential.ts';
import { filledPage, type ListCredentialsInput, listCredentials } from '../../src/vault/describe-credential.ts';
import { putCredential } from '../../src/vault/put-credential.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { changing, eventsOf, inside, putKey, type TestTenant, testEntropy, testTenant, workloadToken } from '../kit/vaults.ts';

const SECRET = 'not-a-real-secret';

interface Facts {
  readonly labels?: Record<string, string>;
  readonly description?: string;
  readonly kind?: 'api_key' | 'json';
}

const put = (tenant: TestTenant, name: string, facts: Facts = {}) =>
  tenant.vault.submit((job) =>
    putCredential(job, tenant.user(['admin'], 'everywhere'), {
      environment: 'staging',
      name,
      kind: facts.kind ?? 'api_key',
      value: { key: SECRET },
      connector: undefined,
      config: undefined,
      labels: facts.labels,
      description: facts.description,
      expiresAtMs: undefined,
      precondition: {},
    }),
  );

async function list(
  tenant: TestTenant,
  filter: Partial<ListCredentialsInput['filter']> = {},
  caller = tenant.user(['admin'], 'everywhere'),
  pageSize = 50,
) {
  const names: string[] = [];
  let after: string | undefined = '';
  while (after !== undefined) {
    const afterName: string = after;
    const page = await tenant.vault.submit((job) =>
      listCredentials(job, caller, {
        environment: 'staging',
        filter: { deleted: false, ...filter },
        afterName,
        maxRows: pageSize,
      }),
    );
    expect(page.rows.length).toBeLessThanOrEqual(pageSize);
    names.push(...page.rows.map(({ row }) => row.name));
    after = page.next;
  }
  return names;
}

describe('a search', () => {
  it('matches its text literally in names and descriptions, including SQL wildcards', async () => {
    const tenant = await testTenant();
    await put(tenant, 'per-cent', { description: '100% of it' });
    await put(tenant, 'per_cent', { description: 'it\'s "quoted"; DROP TABLE credential; --' });
    await put(tenant, 'percent', { description: 'back\\slash [a-z]* ?' });
    for (const [text, names] of [
      ['%', ['per-cent']],
      ['_', ['per_cent']],
      ['r_c', ['per_cent']],
      ['\'s "', ['per_cent']],
      ['drop table', ['per_cent']],
      ['\\', ['percent']],
      ['[a-z]*', ['percent']],
      ['?', ['percent']],
      ['cent', ['per-cent', 'per_cent', 'percent']],
      ['nowhere', []],
    ] as const) {
      expect.soft(await list(tenant, { text }), text).toEqual(names);
    }
  });

  it('ignores case in a description', async () => {
    const tenant = await testTenant();
    await put(tenant, 'a', { description: 'Billing of ACME' });
    expect(await list(tenant, { text: 'acme' })).toEqual(['a']);
    expect(await list(tenant, { text: 'billing of' })).toEqual(['a']);
  });

  it('filters by kind, by health and by one exact label', async () => {
    const tenant = await testTenant();
    await put(tenant, 'a', { labels: { team: 'x', 'a.b': '1' } });
    await put(tenant, 'b', { labels: { team: 'xy' }, kind: 'json' });
    await put(tenant, 'c', { labels: { other: 'x' } });
    expect(await list(tenant, { kind: 'json' })).toEqual(['b']);
    expect(await list(tenant, { kind: 'oauth2' })).toEqual([]);
    expect(await list(tenant, { health: 'ready' })).toEqual(['a', 'b', 'c']);
    expect(await list(tenant, { health: 'needs_consent' })).toEqual([]);
    expect(await list(tenant, { label: { name: 'team', value: 'x' } })).toEqual(['a']);
    expect(await list(tenant, { label: { name: 'a.b', value: '1' } })).toEqual(['a']);
    expect(await list(tenant, { label: { name: 'a', value: '1' } })).toEqual([]);
    expect(await list(tenant, { label: { name: "team' OR 1=1 --", value: '%' } })).toEqual([]);
    expect(await list(tenant, { kind: 'api_key', label: { name: 'team', value: 'x' }, text: 'a' })).toEqual(['a']);
  });

  it('lists deleted credentials separately', async () => {
    const tenant = await testTenant();
    await put(tenant, 'a');
    await put(tenant, 'b');
    const input = { environment: 'staging', name: 'a', precondition: {}, recoveryWindowMs: undefined };
    await tenant.vault.submit((job) => deleteCredential(job, tenant.user(['admin'], 'everywhere'), input));
    expect(await list(tenant)).toEqual(['b']);
    expect(await list(tenant, { deleted: true })).toEqual(['a']);
  });
});

describe('pages', () => {
  it.each([1, 2, 3, 7, 50])('of %i contain every name once and in order', async (size) => {
    const tenant = await testTenant();
    const names = Array.from({ length: 23 }, (_, i) => `key-${String((i * 7) % 23).padStart(2, '0')}`);
    for (const name of names) await put(tenant, name);
    expect(await list(tenant, {}, undefined, size)).toEqual([...names].sort());
  });

  it('neither miss nor repeat an existing credential while others are put and deleted', async () => {
    const tenant = await testTenant();
    const steady = Array.from({ length: 20 }, (_, i) => `key-${String(i * 10).padStart(3, '0')}`);
    for (const name of steady) await put(tenant, name);
    const admin = tenant.user(['admin'], 'everywhere');
    const seen: string[] = [];
    let after: string | undefined = '';
    for (let turn = 0; after !== undefined; turn++) {
      const afterName: string = after;
      const page = await tenant.vault.submit((job) =>
        listCredentials(job, admin, { environment: 'staging', filter: { deleted: false }, afterName, maxRows: 3 }),
      );
      seen.push(...page.rows.map(({ row }) => row.name));
      after = page.next;
      await Promise.all([put(tenant, `key-00${turn}x`), put(tenant, `key-19${turn}x`), put(tenant, `zzz-${turn}`)]);
    }
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen).toEqual([...seen].sort());
    expect(seen.filter((name) => steady.includes(name))).toEqual(steady);
  });

  it('of a workload contain only names that match its patterns, in full pages', async () => {
    const tenant = await testTenant();
    for (let i = 0; i < 12; i++) {
      await putKey(tenant, `hub-${String(i).padStart(2, '0')}`, SECRET);
      await putKey(tenant, `other-${String(i).padStart(2, '0')}`, SECRET);
    }
    const { text } = await workloadToken(tenant, { patterns: ['*-1*', 'hub-0*'] });
    const mine = [...Array.from({ length: 12 }, (_, i) => `hub-${String(i).padStart(2, '0')}`), 'other-10', 'other-11'];
    for (const size of [1, 3, 5, 50]) expect(await list(tenant, {}, tenant.token(text), size)).toEqual(mine);
    const page = await tenant.vault.submit((job) =>
      listCredentials(job, tenant.token(text), {
        environment: 'staging',
        filter: { deleted: false },
        afterName: '',
        maxRows: 5,
      }),
    );
    expect(page.next).toBe('hub-04');
  });
});

describe('a list of which few names fit', () => {
  const COUNT = LIMITS.listScanMaxRows * 2 + 100;
  const nameOf = (i: number) => `n${String(i).padStart(4, '0')}`;
  // The model is the first of all, so the first turn ends between the second and the third.
  const ODD = [3, 498, 499, 500, 1_099].map(nameOf);

  /** Rows as they are inserted, without versions: nobody reads them here. */
  async function many() {
    const tenant = await testTenant();
    await putKey(tenant, 'a-model', SECRET);
    await tenant.vault.submit((job) =>
      changing(job, (access) => {
        const environment = job.credentials.findEnvironment(access, 'staging');
        const model = job.credentials.find(access, environment?.id ?? '', 'a-model');
        if (model === undefined) throw new Error('no model');
        for (let i = 0; i < COUNT; i++) {
          const name = nameOf(i);
          const description = ODD.includes(name) ? 'odd' : '';
          job.credentials.insert(access, { ...model, id: newId('credential', testEntropy), name, description });
        }
      }),
    );
    return tenant;
  }

  const filled = async (
    tenant: TestTenant,
    caller: Caller,
    filter: Partial<ListCredentialsInput['filter']>,
    maxRows: number,
    afterName = '',
  ) => {
    const input = { environment: 'staging', filter: { deleted: false, ...filter }, afterName, maxRows };
    const first = await tenant.vault.submit((job) => listCredentials(job, caller, input));
    const details = eventsOf(tenant.sql).at(-1)?.['details'];
    const page = await filledPage(tenant.vault, first, input);
    return { first: first.rows.length, names: page.rows.map(({ row }) => row.name), next: page.next, details };
  };

  it('is filled turn by turn, and says how many they are only where one turn told', async () => {
    const tenant = await many();
    const admin = () => tenant.user(['admin'], 'everywhere');
    const odd = { text: 'odd' };
    expect(await filled(tenant, admin(), odd, 9)).toEqual({ first: 2, names: ODD, next: undefined, details: undefined });
    const [first, second, third] = ODD;
    const page = await filled(tenant, admin(), odd, 4);
    expect(page.names).toEqual(ODD.slice(0, 4));
    expect(await filled(tenant, admin(), odd, 4, page.next)).toMatchObject({ names: ODD.slice(4), next: undefined });
    expect(await filled(tenant, admin(), odd, 1)).toEqual({ first: 1, names: [first], next: first, details: { count: 1 } });
    expect(await filled(tenant, admin(), odd, 2)).toMatchObject({ names: [first, second], details: { count: 2 } });
    expect(third).toBe(nameOf(LIMITS.listScanMaxRows - 1));
    expect(await filled(tenant, admin(), {}, 3)).toEqual({
      first: 3,
      names: ['a-model', nameOf(0), nameOf(1)],
      next: nameOf(1),
      details: { count: 3 },
    });
    const last = nameOf(COUNT - 2);
    expect(await filled(tenant, admin(), {}, 3, last)).toEqual({
      first: 1,
      names: [nameOf(COUNT - 1)],
      next: undefined,
      details: { count: 1 },
    });
  });

  it('of a workload holds what its patterns match, however far apart', async () => {
    const tenant = await many();
    const { text } = await workloadToken(tenant, { patterns: ['*99'] });
    const names = Array.from({ length: COUNT }, (_, i) => nameOf(i)).filter((name) => name.endsWith('99'));
    expect(await filled(tenant, tenant.token(text), {}, 99)).toMatchObject({ names, next: undefined });
    expect(await filled(tenant, tenant.token(text), {}, 7)).toMatchObject({ names: names.slice(0, 7), next: names[6] });
    expect(await filled(tenant, tenant.token(text), {}, 7, names[6])).toMatchObject({ names: names.slice(7), next: undefined });
  });
});

describe('a page of few visible credentials', () => {
  const input: ListCredentialsInput = { environment: 'staging', filter: { deleted: false }, afterName: '', maxRows: 2 };

  async function turnsOf(pages: readonly { readonly scannedTo: string | undefined }[]) {
    const tenant = await testTenant();
    const { credentials } = inside<unknown, TenantJob>(tenant.vault as never);
    let turn = 0;
    const listed = vi
      .spyOn(credentials, 'list')
      .mockImplementation(() => ({ rows: [], ...(pages[turn++] ?? pages[0]) }) as never);
    const admin = tenant.user(['admin'], 'everywhere');
    const first = await tenant.vault.submit((job) => listCredentials(job, admin, input));
    const page = await filledPage(tenant.vault, first, input);
    return { page, calls: listed.mock.calls.map(([, , afterName, rows]) => [afterName, rows]) };
  }

  it('is filled in at most so many turns, and then goes on where they ended', async () => {
    const { page, calls } = await turnsOf([{ scannedTo: 'm' }]);
    expect(page).toEqual({ rows: [], next: 'm' });
    expect(calls).toEqual([['', 3], ...Array(LIMITS.listTurnsMax - 1).fill(['m', 3])]);
  });

  it('ends with the credentials: nothing more is read', async () => {
    const { page, calls } = await turnsOf([{ scannedTo: 'm' }, { scannedTo: undefined }]);
    expect(page).toEqual({ rows: [], next: undefined });
    expect(calls).toHaveLength(2);
  });
});
