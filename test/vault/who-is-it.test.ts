// Who somebody is by what they show to the home cell: a person by a token while it is good, the first owner by the operator's own secret.
import { describe, expect, it, vi } from 'vitest';
import { newId } from '../../src/base/ids.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { WriteAccess } from '../../src/cell/access.ts';
import { mintToken } from '../../src/crypto/token.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import type { HomeJob } from '../../src/vault/home-job.ts';
import { createTenant, halfMadeTenant, resolveTenant } from '../../src/vault/manage-tenants.ts';
import { createUser, createUserToken, offboardUser, revokeUserToken } from '../../src/vault/manage-users.ts';
import { identifyOperator } from '../../src/vault/operator-bootstrap.ts';
import { bootstrapPending, enrol, issueUserToken, setUp } from '../../src/vault/set-up.ts';
import { testHome, testTeam, textOf } from '../kit/homes.ts';
import { outcomeOf } from '../kit/outcome.ts';
import { SqlSpy } from '../kit/sql-spy.ts';
import { changing, eventsOf, inside, testEntropy, testTenant, workloadToken } from '../kit/vaults.ts';

const SECRET = `kt_boot_${'s'.repeat(32)}`;

describe('the secret that an operator brings', () => {
  it('stands for the first owner, as they are, while the bootstrap token is unspent', async () => {
    const { home, sql, clock, caller, bootstrap } = await testHome();
    const owner = sql.get<{ id: string }>('SELECT id FROM user');
    const token = sql.get<{ public_id: string }>('SELECT public_id FROM token');
    const identity = {
      id: owner?.id,
      name: 'owner',
      revision: 1,
      bootstrap: true,
      grants: [{ role: 'owner', tenantId: '*' }],
      tokenId: token?.public_id,
    };
    expect(identifyOperator(home, SECRET, SECRET)).toEqual(identity);
    clock.pass(LIMITS.bootstrapSecretTtlMs - 1);
    expect(identifyOperator(home, SECRET, SECRET)).toEqual(identity);
    expect(bootstrapPending(home)).toBe(true);
    clock.pass(1);
    expect(identifyOperator(home, SECRET, SECRET)).toBeUndefined();
    expect(bootstrapPending(home)).toBe(false);
    clock.pass(-LIMITS.bootstrapSecretTtlMs);
    await home.submit((job) => setUp(job, caller(bootstrap), 'ada'));
    expect(identifyOperator(home, SECRET, SECRET)).toBeUndefined();
  });

  it.each<[string, string, string | undefined]>([
    ['none was set', SECRET, undefined],
    ['another was set', SECRET, `${SECRET}x`],
    ['it is too short', SECRET.slice(0, -1), SECRET.slice(0, -1)],
    ['it is too long', `kt_boot_${'s'.repeat(257)}`, `kt_boot_${'s'.repeat(257)}`],
    ['it has another form', `kt_usr_${'s'.repeat(32)}`, `kt_usr_${'s'.repeat(32)}`],
    ['nothing is shown', '', SECRET],
  ])('is nobody where %s', async (_why, presented, secret) => {
    const { home } = await testHome();
    expect(identifyOperator(home, presented, secret)).toBeUndefined();
  });

  it('may be of any length in between', async () => {
    const { home } = await testHome();
    const long = `kt_boot_${'s'.repeat(256)}`;
    expect(identifyOperator(home, long, long)).toMatchObject({ bootstrap: true });
  });
});

describe('a token of a person', () => {
  async function eve() {
    const team = await testTeam();
    const ada = () => team.caller(team.owner);
    const acme = await createTenant(team.home, ada(), { name: 'acme', environments: [], demo: false }, team.provision);
    const grants = [{ role: 'engineer', tenant: 'acme' }] as const;
    const made = await team.home.submit((job) => createUser(job, ada(), { name: 'eve', grants, enrolmentTtlMs: 50 }));
    const enrolment = textOf(made.enrolment.token);
    return { team, ada, acme, made, enrolment };
  }

  it('tells who they are, whole, from the first look on and until its end', async () => {
    const { team, acme, made, enrolment } = await eve();
    const { home, clock } = team;
    const identity = {
      id: made.row.id,
      name: 'eve',
      revision: 1,
      bootstrap: false,
      grants: [{ role: 'engineer', tenantId: acme.id }],
    };
    expect(home.identify(enrolment)).toEqual({ ...identity, tokenId: made.enrolment.publicId });
    const { issued } = await home.submit((job) => enrol(job, team.caller(enrolment), 50));
    const text = textOf(issued.token);
    clock.pass(49);
    for (const _ of ['looked up', 'kept']) expect(home.identify(text)).toEqual({ ...identity, tokenId: issued.publicId });
    clock.pass(1);
    for (const vault of [home, team.reopen()]) expect(vault.identify(text)).toBeUndefined();
    // Clocks may differ by so much.
    clock.pass(-50 - LIMITS.clockSkewMs - 1);
    for (const vault of [home, team.reopen()]) expect(vault.identify(text), 'before it was issued').toBeUndefined();
    clock.pass(1);
    for (const vault of [home, team.reopen()]) expect(vault.identify(text)).toEqual({ ...identity, tokenId: issued.publicId });
  });

  it('tells nothing once it is spent, revoked or its person left, kept or not', async () => {
    const { team, ada, enrolment } = await eve();
    const { home } = team;
    const { issued } = await home.submit((job) => enrol(job, team.caller(enrolment), 60_000));
    const caller = () => team.caller(textOf(issued.token));
    expect(home.identify(enrolment)).toBeUndefined();
    const more = await home.submit((job) => createUserToken(job, caller(), 'eve', 60_000));
    expect(home.identify(textOf(more.token))).toMatchObject({ name: 'eve' });
    await home.submit((job) => revokeUserToken(job, caller(), 'eve', more.publicId));
    for (const vault of [home, team.reopen()]) expect(vault.identify(textOf(more.token))).toBeUndefined();
    expect(home.identify(textOf(issued.token))).toMatchObject({ name: 'eve' });
    await home.submit((job) => offboardUser(job, ada(), 'eve'));
    for (const vault of [home, team.reopen()]) expect(vault.identify(textOf(issued.token))).toBeUndefined();
    expect(home.userIdsNamed('eve')).toHaveLength(1);
    expect(home.userIdsNamed('nobody')).toEqual([]);
  });

  it('is looked up once while it is kept', async () => {
    const { team, enrolment } = await eve();
    const find = vi.spyOn(inside(team.home).core.tokens, 'find');
    for (const _ of [1, 2, 3]) expect(team.home.identify(enrolment)).toMatchObject({ name: 'eve' });
    expect(find).toHaveBeenCalledTimes(1);
    team.home.forgetIdentities();
    team.home.identify(enrolment);
    expect(find).toHaveBeenCalledTimes(2);
  });

  it('with a known id and another secret is nobody', async () => {
    const { team, made } = await eve();
    const { publicId, token } = mintToken('usr');
    const { clock, home } = team;
    const facts = { public_id: publicId, type: 'usr', subject_id: made.row.id, permissions: null } as const;
    const dates = { created_at: clock.now(), expires_at: clock.now() + 60_000 };
    await home.submit((job) =>
      changing(job, (access) => job.core.tokens.insert(access, { ...facts, ...dates, hash: new Uint8Array(32).fill(1) })),
    );
    expect(home.identify(textOf(token))).toBeUndefined();
  });

  it('is not one of another type, nor one of a person who left or is gone or has an unknown role', async () => {
    const { team, made } = await eve();
    const { home } = team;
    const changed = <T>(change: (job: HomeJob, access: WriteAccess) => T) =>
      home.submit((job) => changing(job, (access) => change(job, access)));
    const issued = (type: string, id: string) =>
      changed((job, access) => issueUserToken(job, access, type as 'usr', id, 60_000)).then(({ token }) => textOf(token));
    expect(home.identify(await issued('usr', made.row.id))).toMatchObject({ name: 'eve' });
    for (const type of ['acc', 'wlk', 'cs']) expect(home.identify(await issued(type, made.row.id)), type).toBeUndefined();
    expect(home.identify(await issued('usr', 'usr_none'))).toBeUndefined();
    const person = (id: string, offboarded_at: number | null, role: string) => {
      const row = { id, name: id, revision: 1, bootstrap: 0, created_at: 1, created_by: 'test', offboarded_at };
      return changed((job, access) => job.users.insert(access, row, [{ role, tenant_id: '*' }]));
    };
    await person('usr_left', 5, 'admin');
    await person('usr_odd', null, 'unheard');
    expect(home.identify(await issued('usr', 'usr_left'))).toBeUndefined();
    const odd = await issued('usr', 'usr_odd');
    expect(() => home.identify(odd)).toThrow('a stored role must be one of the roles in access/operations.ts');
  });

  it('is no other text: of a program, of another installation, or of nobody', async () => {
    const { team } = await eve();
    const other = await testTeam();
    const { text } = await workloadToken(await testTenant());
    for (const shown of [text, other.owner, '', 'kt_usr_x', `${team.owner}x`])
      expect(team.home.identify(shown), shown).toBeUndefined();
  });
});

describe('a home cell', () => {
  it('forgets where a name leads and who a token is when a batch fails', async () => {
    const sql = new SqlSpy(openNodeSql(':memory:'));
    const team = await testTeam(sql);
    const { home } = team;
    await createTenant(home, team.caller(team.owner), { name: 'acme', environments: [], demo: false }, team.provision);
    expect(resolveTenant(home, 'acme')).toBeDefined();
    expect(home.routes.size).toBe(1);
    sql.failCommits();
    expect(await outcomeOf(home.submit((job) => createUserToken(job, team.caller(team.owner), 'ada', 1_000)))).toBe(
      'storage_full',
    );
    expect(home.routes.size).toBe(0);
    expect(resolveTenant(home, 'acme')).toBeDefined();
  });

  it('that closes records what it had only counted, and takes no further job', async () => {
    const sql = openNodeSql(':memory:');
    const closed = vi.spyOn(sql, 'close').mockImplementation(() => {});
    const { home } = await testHome(sql);
    home.rejections.count();
    home.close();
    home.close();
    expect(eventsOf(sql).at(-1)).toMatchObject({ action: 'authentication', reason: 'rate_limited', details: { count: 1 } });
    expect(closed).toHaveBeenCalledTimes(1);
    await expect(home.submit(() => {})).rejects.toThrow();
  });
});

describe('a name of a tenant', () => {
  it('leads to one that is active, and to one that is being made only for who makes it', async () => {
    const team = await testTeam();
    const ada = () => team.caller(team.owner);
    const input = { name: 'acme', environments: [], demo: false };
    team.failAt('tenant.after-row');
    await expect(createTenant(team.home, ada(), input, team.provision)).rejects.toThrow('a crash');
    expect(resolveTenant(team.home, 'acme')).toBeUndefined();
    expect(halfMadeTenant(team.home, 'acme')).toMatchObject({ name: 'acme', state: 'creating' });
    expect(halfMadeTenant(team.home, 'none')).toBeUndefined();
    const whole = await createTenant(team.home, ada(), { ...input, name: 'globex' }, team.provision);
    expect(whole.state).toBe('active');
    expect(halfMadeTenant(team.home, 'globex')).toBeUndefined();
    for (const name of ['globex', whole.id, 'globex']) expect(resolveTenant(team.home, name)).toMatchObject({ id: whole.id });
    expect([...team.home.routes.keys()].sort()).toEqual([whole.id, 'globex'].sort());
  });
});

describe('an owner among many people', () => {
  it('is found on whichever page they are', async () => {
    const team = await testTeam();
    const ada = () => team.caller(team.owner);
    const created_at = team.clock.now();
    const add = (job: HomeJob, count: number, last?: string) =>
      changing(job, (access) => {
        for (let i = 0; i < count; i++) {
          const facts = { revision: 1, bootstrap: 0, created_at, created_by: 'x', offboarded_at: null };
          const row = { ...facts, id: newId('user', testEntropy), name: `p${i}` };
          job.users.insert(access, row, [{ role: 'admin', tenant_id: '*' }]);
        }
        // Pages go by id: this one is the last of all.
        const zed = {
          revision: 1,
          bootstrap: 0,
          created_at,
          created_by: 'x',
          offboarded_at: null,
          id: `usr_${'z'.repeat(24)}`,
          name: 'zed',
        };
        if (last !== undefined) job.users.insert(access, zed, [{ role: last, tenant_id: '*' }]);
      });
    const leave = () => outcomeOf(team.home.submit((job) => offboardUser(job, ada(), 'ada')));
    await team.home.submit((job) => add(job, 500));
    expect(await leave()).toBe('conflict');
    await team.home.submit((job) => add(job, 0, 'owner'));
    expect(await leave()).toBe('ok');
  });
});
