// Which rows the stores of the home cell return, users and tenants, and what their changes leave; and tokens from a clock that was ahead.
import { beforeEach, describe, expect, it } from 'vitest';
import type { Lookup, WriteAccess } from '../../src/cell/access.ts';
import type { Tenant } from '../../src/cell/tenants.ts';
import { redateTokens } from '../../src/cell/tokens.ts';
import type { GrantRow, User } from '../../src/cell/users.ts';
import type { HomeJob } from '../../src/vault/home-job.ts';
import { type TestHome, testHome } from '../kit/homes.ts';
import { caughtCode } from '../kit/outcome.ts';
import { changing } from '../kit/vaults.ts';

let team: TestHome;

const look = <T>(at: (lookup: Lookup, view: HomeJob) => T): T =>
  team.home.lookup('test', (lookup, view) => at(lookup, view as HomeJob));
const change = <T>(at: (access: WriteAccess, job: HomeJob) => T): Promise<T> =>
  team.home.submit((job) => changing(job, (access) => at(access, job)));

beforeEach(async () => {
  team = await testHome(undefined, false);
});

describe('users', () => {
  const ROLES: readonly GrantRow[] = [
    { role: 'engineer', tenant_id: 'ten_b' },
    { role: 'engineer', tenant_id: 'ten_a' },
    { role: 'auditor', tenant_id: '*' },
  ];
  const aUser = (id: string, changed: Partial<User> = {}): User => ({
    ...{ id, name: id, revision: 1, bootstrap: 0, created_at: 1, created_by: 'usr_0', offboarded_at: null },
    ...changed,
  });
  const insert = (...users: readonly User[]) =>
    change((access, job) => {
      for (const user of users) job.users.insert(access, user, ROLES);
    });
  const find = (idOrName: string) => look((lookup, { users }) => users.find(lookup, idOrName));

  it('are found by id, or by the name of one who is not offboarded, with their roles in any order of writing', async () => {
    await insert(
      aUser('usr_1', { name: 'ada', offboarded_at: 5 }),
      aUser('usr_2', { name: 'ada' }),
      aUser('usr_3', { offboarded_at: 5 }),
    );
    expect([find('usr_1')?.row.id, find('ada')?.row.id, find('usr_3')?.row.id, find('none')]).toEqual([
      'usr_1',
      'usr_2',
      'usr_3',
      undefined,
    ]);
    expect(find('ada')?.grants).toEqual([ROLES[2], ROLES[1], ROLES[0]]);
    look((lookup, { users }) => {
      expect(users.get(lookup, 'ada').row.id).toBe('usr_2');
      expect(caughtCode(() => users.get(lookup, 'none'))).toBe('not_found');
      expect([users.idsNamed(lookup, 'ada').sort(), users.idsNamed(lookup, 'none')]).toEqual([['usr_1', 'usr_2'], []]);
      expect(users.names(lookup, ['usr_3', 'usr_9', 'usr_1'])).toEqual([
        ['usr_3', 'usr_3'],
        ['usr_1', 'ada'],
      ]);
    });
  });

  it('are listed by id, after the last one of a page', async () => {
    await insert(aUser('usr_3'), aUser('usr_1'), aUser('usr_2'));
    const list = (after: string, maxRows = 9) =>
      look((lookup, { users }) => users.list(lookup, after, maxRows).map(({ row }) => row.id));
    expect([list(''), list('usr_1'), list('', 2)]).toEqual([
      ['usr_1', 'usr_2', 'usr_3'],
      ['usr_2', 'usr_3'],
      ['usr_1', 'usr_2'],
    ]);
    team.sql.run("UPDATE user SET revision = 9 WHERE id IN ('usr_1', 'usr_2')");
    expect(list('', 1), 'a page is filled up in place of damaged rows').toEqual(['usr_3']);
  });

  it('are changed with their roles, free the name that they leave, and the caches are told', async () => {
    await insert(aUser('usr_1', { name: 'ada' }), aUser('usr_2', { name: 'eve' }));
    let told = 0;
    look((_lookup, { users }) =>
      users.whenChanged(() => {
        told += 1;
      }),
    );
    const grants = [{ role: 'owner', tenant_id: '*' }];
    await change((access, { users }) => users.save(access, aUser('usr_1', { name: 'ada2', revision: 2 }), grants));
    expect([told, find('usr_1')?.grants, find('ada2')?.row.revision, find('ada')]).toEqual([1, grants, 2, undefined]);
    expect(find('eve')?.grants).toHaveLength(3);
    await change((access, { users }) => users.save(access, aUser('usr_2', { name: 'ada' }), grants));
    expect(find('ada')?.row.id).toBe('usr_2');
    await change((access, { users }) => users.save(access, aUser('usr_2', { name: 'ada', revision: 3 }), grants));
    expect(find('ada')?.row.revision).toBe(3);
  });

  it('never existed if neither a row nor the map knows one', async () => {
    const isEmpty = () => look((lookup, { users }) => users.isEmpty(lookup));
    expect(isEmpty()).toBe(true);
    await insert(aUser('usr_1', { name: 'ada' }));
    expect(isEmpty()).toBe(false);
    team.sql.script('DELETE FROM user_grant; DELETE FROM user;');
    expect(isEmpty()).toBe(false);
    expect([caughtCode(() => find('usr_1')), caughtCode(() => find('ada'))]).toEqual(['integrity', 'integrity']);
  });

  it('that were put in the database are no reason for a first start', () => {
    team.sql.run(
      "INSERT INTO user (id, name, revision, bootstrap, created_at, created_by, mac, mac_key_id) VALUES ('usr_x', 'x', 1, 1, 1, 'x', x'00', 'x')",
    );
    expect(look((lookup, { users }) => users.isEmpty(lookup))).toBe(false);
  });
});

describe('tenants', () => {
  const aTenant = (id: string, changed: Partial<Tenant> = {}): Tenant => ({
    ...{ id, name: id, state: 'active', demo: 0, environments: '[]', created_at: 1, created_by: 'usr_0' },
    ...changed,
  });
  const insert = (...tenants: readonly Tenant[]) =>
    change((access, job) => {
      for (const tenant of tenants) job.tenants.insert(access, tenant);
    });
  const find = (idOrName: string) => look((lookup, { tenants }) => tenants.find(lookup, idOrName));

  it('are found by id, or by the name of one that is not erased', async () => {
    await insert(
      aTenant('ten_1', { name: 'acme', state: 'erased' }),
      aTenant('ten_2', { name: 'acme' }),
      aTenant('ten_3', { state: 'erased', name: 'old' }),
    );
    expect([find('ten_1')?.id, find('acme')?.id, find('ten_3')?.id, find('old'), find('none')]).toEqual([
      'ten_1',
      'ten_2',
      'ten_3',
      undefined,
      undefined,
    ]);
    team.sql.script('DELETE FROM tenant;');
    expect([caughtCode(() => find('ten_1')), caughtCode(() => find('acme'))]).toEqual(['integrity', 'integrity']);
  });

  it('are listed by name without those that were erased, and by state in the order of their creation', async () => {
    await insert(
      aTenant('ten_1', { name: 'c', created_at: 3 }),
      aTenant('ten_2', { name: 'a', created_at: 2 }),
      aTenant('ten_3', { name: 'b' }),
    );
    await insert(aTenant('ten_4', { name: 'd', state: 'erased' }), aTenant('ten_5', { name: 'e', state: 'creating' }));
    const list = (after: string, maxRows = 9) =>
      look((lookup, { tenants }) => tenants.list(lookup, after, maxRows).map(({ name }) => name));
    expect([list(''), list('a'), list('', 2)]).toEqual([
      ['a', 'b', 'c', 'e'],
      ['b', 'c', 'e'],
      ['a', 'b'],
    ]);
    const inState = (state: string) => look((lookup, { tenants }) => tenants.inState(lookup, state).map(({ id }) => id));
    expect([inState('active'), inState('creating'), inState('erased')]).toEqual([
      ['ten_3', 'ten_2', 'ten_1'],
      ['ten_5'],
      ['ten_4'],
    ]);
    team.sql.run("UPDATE tenant SET demo = 1 WHERE name IN ('a', 'b')");
    expect(list('', 1), 'a page is filled up in place of damaged rows').toEqual(['c']);
    expect(inState('active')).toEqual(['ten_1']);
  });

  it('change their state, their witnessed head and their anchor, and nothing else', async () => {
    await insert(aTenant('ten_1', { name: 'acme', state: 'creating' }), aTenant('ten_2'));
    const witness = (work: (books: Parameters<HomeJob['tenants']['setWitnessed']>[0], job: HomeJob) => void) =>
      team.home.submit((job) => job.door.keepBooks('witness', (books) => work(books, job)));
    const before = find('ten_1');
    expect(before).toMatchObject({ anchored: 0, witnessed: null });
    await change((access, { tenants }) => tenants.setState(access, 'acme', 'active'));
    await witness((books, { tenants }) => {
      tenants.setWitnessed(books, 'ten_1', 'a note');
      tenants.setAnchored(books, 'ten_1');
      tenants.setAnchored(books, 'ten_1');
    });
    expect(find('ten_1')).toMatchObject({
      id: 'ten_1',
      name: 'acme',
      state: 'active',
      witnessed: 'a note',
      anchored: 1,
      demo: 0,
    });
    expect(find('ten_2')).toMatchObject({ state: 'active', witnessed: null, anchored: 0 });
    await expect(change((access, { tenants }) => tenants.setState(access, 'none', 'active'))).rejects.toMatchObject({
      code: 'not_found',
    });
    await expect(witness((books, { tenants }) => tenants.setWitnessed(books, 'none', 'x'))).rejects.toMatchObject({
      code: 'not_found',
    });
    await expect(witness((books, { tenants }) => tenants.setAnchored(books, 'none'))).rejects.toMatchObject({
      code: 'not_found',
    });
  });
});

describe('tokens of a clock that was ahead', () => {
  it('keep their lifetime from the declared time on; all others stay', async () => {
    const token = (id: string, createdAt: number, expiresAt: number) =>
      ({ ...{ public_id: id, type: 'ses', hash: new Uint8Array(32), subject_id: 'usr_1', created_by: 'usr_0' }, created_at: createdAt, expires_at: expiresAt }); // biome-ignore format: one line
    const now = 1_000;
    const redated = await change((_access, { core }) => {
      const rows = core.rows.of<object>('token');
      for (const [
        id,
        createdAt,
        expiresAt,
      ] of [['ahead', now + 5, now + 25], ['next', now + 1, now + 2], ['present', now, now + 9], ['past', now - 9, now + 9]] as const) // biome-ignore format: one line
        rows.insert(token(id, createdAt, expiresAt));
      return redateTokens(core.rows, now);
    });
    expect(redated).toBe(2);
    const times = (id: string) =>
      look((lookup, { core }) => {
        const row = core.tokens.find(lookup, id);
        return [row?.created_at, row?.expires_at];
      });
    expect([times('ahead'), times('next'), times('present'), times('past')]).toEqual([
      [now, now + 20],
      [now, now + 1],
      [now, now + 9],
      [now - 9, now + 9],
    ]);
  });
});
