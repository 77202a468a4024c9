// First set-up and the team: one first owner, no user grants more than their own rights, and offboarding takes effect at once.
import { describe, expect, it } from 'vitest';
import type { Role } from '../../src/access/operations.ts';
import type { Caller } from '../../src/access/principals.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { parseToken } from '../../src/crypto/token.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { createTenant } from '../../src/vault/manage-tenants.ts';
import {
  createUser,
  createUserToken,
  type GrantInput,
  listUsers,
  offboardUser,
  revokeUserToken,
} from '../../src/vault/manage-users.ts';
import { bootstrapPending, createBootstrapSecret, enrol, setUp } from '../../src/vault/set-up.ts';
import { type TestHome, testHome, testTeam, textOf } from '../kit/homes.ts';
import { outcomeOf } from '../kit/outcome.ts';
import { eventsOf } from '../kit/vaults.ts';

describe('the first set-up', () => {
  it('exchanges the bootstrap secret for a named owner with a token', async () => {
    const first = await testHome();
    expect(first.bootstrap).toMatch(/^kt_boot_/);
    expect(bootstrapPending(first.home)).toBe(true);
    const { user, issued } = await first.home.submit((job) => setUp(job, first.caller(first.bootstrap), 'ada'));
    expect(user.name).toBe('ada');
    expect(first.home.identify(textOf(issued.token))).toMatchObject({ name: 'ada', bootstrap: true });
    expect(first.home.identify(first.bootstrap)).toBeUndefined();
    expect(bootstrapPending(first.home)).toBe(false);
    expect(eventsOf(first.sql).at(-1)).toMatchObject({ action: 'installation.setup', outcome: 'success' });
  });

  it('succeeds once, also with concurrent calls', async () => {
    const first = await testHome();
    const callers = Array.from({ length: 50 }, () => first.caller(first.bootstrap));
    const ends = await Promise.all(
      callers.map((caller, i) => outcomeOf(first.home.submit((job) => setUp(job, caller, `ada-${i}`)))),
    );
    expect(ends.filter((end) => end === 'ok')).toHaveLength(1);
    expect(first.sql.get('SELECT count(*) AS n FROM user')?.['n']).toBe(1);
    expect(first.sql.get("SELECT count(*) AS n FROM token WHERE type = 'usr'")?.['n']).toBe(1);
  });

  it('creates its secret once per installation, also across restarts', async () => {
    const first = await testHome();
    expect(await createBootstrapSecret(first.home)).toBeUndefined();
    const again = first.reopen();
    expect(await createBootstrapSecret(again)).toBeUndefined();
    expect(again.identify(first.bootstrap)?.bootstrap).toBe(true);
  });

  it('refuses an ordinary token, also of an owner', async () => {
    const team = await testTeam();
    expect(await outcomeOf(team.home.submit((job) => setUp(job, team.caller(team.owner), 'eve')))).not.toBe('ok');
    expect(await outcomeOf(team.home.submit((job) => setUp(job, team.caller(team.bootstrap), 'eve')))).toBe('unauthenticated');
  });

  it('is refused after its secret has expired', async () => {
    const first = await testHome();
    first.clock.pass(LIMITS.bootstrapSecretTtlMs);
    expect(first.home.identify(first.bootstrap)).toBeUndefined();
    expect(bootstrapPending(first.home)).toBe(false);
  });
});

/** A team of ada (owner) and one user for each of the given roles, with a tenant `acme`. */
async function team(...roles: Role[]) {
  const made = await testTeam();
  await createTenant(
    made.home,
    made.caller(made.owner),
    { name: 'acme', environments: ['staging'], demo: false },
    made.provision,
  );
  const tokens: Record<string, string> = { owner: made.owner };
  for (const role of roles) {
    const tenant = role === 'engineer' ? 'acme' : undefined;
    tokens[role] = await join(made, `the-${role}`, [{ role, tenant }]);
  }
  return { made, token: (role: Role) => tokens[role] ?? '' };
}

function add(made: TestHome, token: string, name: string, grants: readonly GrantInput[]) {
  return made.home.submit((job) => createUser(job, made.caller(token), { name, grants, enrolmentTtlMs: 3_600_000 }));
}

/** The token of a new user, exchanged for the enrolment token. */
async function join(made: TestHome & { owner: string }, name: string, grants: readonly GrantInput[]): Promise<string> {
  const enrolment = textOf((await add(made, made.owner, name, grants)).enrolment.token);
  const { issued } = await made.home.submit((job) => enrol(job, made.caller(enrolment), 3_600_000));
  return textOf(issued.token);
}

const tokenIdOf = (text: string) => parseToken(text)?.publicId;
const everywhere = (role: Role): GrantInput => ({ role, tenant: undefined });

describe('a new user', () => {
  it('can be made an owner by an owner only', async () => {
    const { made, token } = await team('admin');
    expect(await outcomeOf(add(made, token('admin'), 'eve', [everywhere('owner')]))).toBe('forbidden');
    expect(await outcomeOf(add(made, token('admin'), 'eve', [everywhere('admin'), everywhere('owner')]))).toBe('forbidden');
    expect(await outcomeOf(add(made, token('admin'), 'eve', [everywhere('admin')]))).toBe('ok');
    expect(await outcomeOf(add(made, token('owner'), 'bob', [everywhere('owner')]))).toBe('ok');
  });

  it.each(['engineer', 'auditor', 'rotation-operator'] as const)('cannot be created by an %s', async (role) => {
    const { made, token } = await team(role);
    expect(await outcomeOf(add(made, token(role), 'eve', [everywhere('auditor')]))).not.toBe('ok');
    expect(made.sql.get("SELECT count(*) AS n FROM user WHERE name = 'eve'")?.['n']).toBe(0);
  });

  it('with the role engineer must have existing tenants', async () => {
    const { made } = await team();
    expect(await outcomeOf(add(made, made.owner, 'eve', [everywhere('engineer')]))).toBe('invalid_request');
    expect(await outcomeOf(add(made, made.owner, 'eve', [{ role: 'engineer', tenant: 'nowhere' }]))).toBe('not_found');
    expect(await outcomeOf(add(made, made.owner, 'eve', [{ role: 'engineer', tenant: 'acme' }]))).toBe('ok');
  });

  it('must not have the role workload, auditor with another role, or a taken name', async () => {
    const { made } = await team();
    expect(await outcomeOf(add(made, made.owner, 'eve', [everywhere('workload')]))).toBe('invalid_request');
    expect(await outcomeOf(add(made, made.owner, 'eve', [everywhere('auditor'), everywhere('admin')]))).toBe('invalid_request');
    expect(await outcomeOf(add(made, made.owner, 'eve', [everywhere('auditor')]))).toBe('ok');
    expect(await outcomeOf(add(made, made.owner, 'eve', [everywhere('admin')]))).toBe('conflict');
  });

  it('must not have a grant twice, with the tenant by name or by id', async () => {
    const { made } = await team();
    const [id] = [...made.tenants.keys()];
    const twice = ['acme', id].map((tenant): GrantInput => ({ role: 'engineer', tenant }));
    expect(await outcomeOf(add(made, made.owner, 'eve', twice))).toBe('invalid_request');
    expect(made.sql.get("SELECT count(*) AS n FROM user WHERE name = 'eve'")?.['n']).toBe(0);
  });
});

describe('offboarding', () => {
  const leave = (made: TestHome, token: string, name: string) =>
    outcomeOf(made.home.submit((job) => offboardUser(job, made.caller(token), name)));

  it('revokes every token of a user at once, also a cached one, and is idempotent', async () => {
    const { made, token } = await team('admin');
    const second = await made.home.submit((job) => createUserToken(job, made.caller(token('admin')), 'the-admin', 3_600_000));
    const tokens = [token('admin'), textOf(second.token)];
    for (const one of tokens) expect(made.home.identify(one)?.name).toBe('the-admin');
    expect(await leave(made, made.owner, 'the-admin')).toBe('ok');
    for (const one of tokens) expect(made.home.identify(one)).toBeUndefined();
    const { id } = made.sql.get<{ id: string }>("SELECT id FROM user WHERE name = 'the-admin'") ?? { id: '' };
    expect(await leave(made, made.owner, id)).toBe('ok');
    expect(await leave(made, made.owner, 'the-admin')).toBe('not_found');
    const more = made.home.submit((job) => createUserToken(job, made.caller(made.owner), id, 3_600_000));
    expect(await outcomeOf(more)).toBe('forbidden');
  });

  it('frees the name, and a new user with it has no rights of the old one', async () => {
    const { made, token } = await team('admin');
    await leave(made, made.owner, 'the-admin');
    await add(made, made.owner, 'the-admin', [everywhere('auditor')]);
    expect(made.home.identify(token('admin'))).toBeUndefined();
  });

  it('of an owner needs an owner, and the last owner cannot be offboarded', async () => {
    const { made, token } = await team('admin');
    expect(await leave(made, token('admin'), 'ada')).toBe('forbidden');
    expect(await leave(made, made.owner, 'ada')).toBe('conflict');
    await add(made, made.owner, 'bob', [everywhere('owner')]);
    expect(await leave(made, made.owner, 'ada')).toBe('ok');
    expect(made.home.identify(made.owner)).toBeUndefined();
  });

  it('leaves one owner when two offboard each other at the same time', async () => {
    const { made } = await team();
    const bob = await join(made, 'bob', [everywhere('owner')]);
    const ends = await Promise.all([leave(made, made.owner, 'bob'), leave(made, bob, 'ada')]);
    expect(ends).toContain('ok');
    expect(ends.filter((end) => end === 'ok')).toHaveLength(1);
    expect(made.sql.get('SELECT count(*) AS n FROM user WHERE offboarded_at IS NULL')?.['n']).toBe(1);
  });
});

describe('a token of a user', () => {
  it('expires, and can be created by that user only: not by an admin for an owner, nor by an owner for an admin', async () => {
    const { made, token } = await team('admin');
    const tokenFor = (by: string, name: string) => made.home.submit((job) => createUserToken(job, made.caller(by), name, 60_000));
    expect(await outcomeOf(tokenFor(token('admin'), 'ada'))).toBe('forbidden');
    expect(await outcomeOf(tokenFor(made.owner, 'the-admin'))).toBe('forbidden');
    await expect(tokenFor(made.owner, 'the-admin')).rejects.toThrow(/only the person themselves/);
    expect(eventsOf(made.sql).at(-1)).toMatchObject({
      action: 'user.token.create',
      outcome: 'denied',
      actor: { token: tokenIdOf(made.owner) },
    });
    const issued = await tokenFor(token('admin'), 'the-admin');
    made.clock.pass(59_999);
    expect(made.home.identify(textOf(issued.token))?.name).toBe('the-admin');
    made.clock.pass(1);
    expect(made.home.identify(textOf(issued.token))).toBeUndefined();
  });

  it('is stored for the operator before the owner is: if that fails, there is no owner, and the next start makes another secret', async () => {
    const { home, sql } = await testHome(openNodeSql(':memory:'), false);
    const refuse = () => {
      throw new Error('the disk is full');
    };
    await expect(createBootstrapSecret(home, refuse)).rejects.toThrow('the disk is full');
    expect(sql.get('SELECT count(*) AS n FROM user')?.['n']).toBe(0);
    const kept: string[] = [];
    const secret = await createBootstrapSecret(home, (made) => void kept.push(textOf(made)));
    expect(kept).toEqual([secret === undefined ? '' : textOf(secret)]);
    expect(home.identify(kept[0] ?? '')?.bootstrap).toBe(true);
  });

  it('is first exchanged for an enrolment token, which works once and ends with its lifetime and its user', async () => {
    const { made } = await team();
    const newcomer = async (name: string) => textOf((await add(made, made.owner, name, [everywhere('auditor')])).enrolment.token);
    const spend = (text: string) => {
      const caller = made.caller(text);
      return outcomeOf(made.home.submit((job) => enrol(job, caller, 60_000)));
    };
    const eve = await newcomer('eve');
    const ends = await Promise.all(Array.from({ length: 20 }, () => spend(eve)));
    expect(ends.filter((end) => end === 'ok')).toHaveLength(1);
    expect(await spend(eve)).toBe('unauthenticated');
    const late = await newcomer('late');
    made.clock.pass(3_600_000);
    expect(await spend(late)).toBe('unauthenticated');
    const gone = await newcomer('gone');
    await made.home.submit((job) => offboardUser(job, made.caller(made.owner), 'gone'));
    expect(await spend(gone)).toBe('unauthenticated');
    expect(await spend(made.owner)).toBe('conflict');
  });

  it('can be revoked by that user, at once, also if it was cached', async () => {
    const { made, token } = await team('admin');
    const issued = await made.home.submit((job) => createUserToken(job, made.caller(made.owner), 'ada', 60_000));
    const revoke = (by: string, name: string) =>
      outcomeOf(made.home.submit((job) => revokeUserToken(job, made.caller(by), name, issued.publicId)));
    expect(made.home.identify(textOf(issued.token))?.name).toBe('ada');
    expect(await revoke(token('admin'), 'ada')).toBe('forbidden');
    expect(await revoke(token('admin'), 'the-admin')).toBe('not_found');
    expect(made.home.identify(textOf(issued.token))?.name).toBe('ada');
    expect(await revoke(made.owner, 'ada')).toBe('ok');
    expect(made.home.identify(textOf(issued.token))).toBeUndefined();
    expect(made.home.identify(made.owner)?.name).toBe('ada');
  });

  it('is not a token of a workload, a client secret or an unknown token', async () => {
    const { made } = await team();
    for (const text of ['', 'kt_usr_', made.owner.replace('kt_usr_', 'kt_wlk_'), `${made.owner} `, made.owner.slice(0, -1)]) {
      expect(made.home.identify(text)).toBeUndefined();
    }
  });
});

describe('the list of users', () => {
  it('has pages that contain every user once', async () => {
    const { made } = await team();
    for (let i = 0; i < 11; i++) await add(made, made.owner, `user-${i}`, [everywhere('auditor')]);
    const names: string[] = [];
    let after: string | undefined = '';
    while (after !== undefined) {
      const from: string = after;
      const page = await made.home.submit((job) => listUsers(job, made.caller(made.owner), from, 5));
      names.push(...page.rows.map(({ row }) => row.name));
      after = page.next;
    }
    expect(names).toHaveLength(12);
    expect(new Set(names).size).toBe(12);
  });
});

describe('a one-time token', () => {
  it('is exchanged once, and never by a caller whose token is of another type or not stored', async () => {
    const made = await testHome();
    const { home, caller, bootstrap } = made;
    const other = (text: string, tokenId: string): Caller => {
      const found = caller(text);
      return { ...found, user: found.user === undefined ? undefined : { ...found.user, tokenId } };
    };
    const setsUp = (by: Caller) => outcomeOf(home.submit((job) => setUp(job, by, 'ada')));
    expect(await setsUp(other(bootstrap, 'gone'))).toBe('conflict');
    const asBootstrap = caller(bootstrap);
    const { issued } = await home.submit((job) => setUp(job, asBootstrap, 'ada'));
    expect(await setsUp(asBootstrap)).toBe('conflict');
    const owner = textOf(issued.token);
    const input = { name: 'eve', grants: [{ role: 'auditor' as const, tenant: undefined }], enrolmentTtlMs: 60_000 };
    const eve = await home.submit((job) => createUser(job, caller(owner), input));
    const enrolment = textOf(eve.enrolment.token);
    const enrols = (by: Caller) => outcomeOf(home.submit((job) => enrol(job, by, 60_000)));
    expect(await enrols(other(enrolment, 'gone'))).toBe('conflict');
    expect(await enrols(other(enrolment, issued.publicId))).toBe('conflict');
    const asEve = caller(enrolment);
    expect([await enrols(asEve), await enrols(asEve)]).toEqual(['ok', 'conflict']);
  });
});
