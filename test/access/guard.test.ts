import { describe, expect, it } from 'vitest';
import { OPERATIONS } from '../../src/access/operations.ts';
import type { Caller } from '../../src/access/principals.ts';
import { RateLimit } from '../../src/access/rate-limit.ts';
import { KeyturnError } from '../../src/base/errors.ts';
import { Bookkeeping, Lookup, ReadAccess, takeAccessMint, WriteAccess } from '../../src/cell/access.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import type { RunRow } from '../../src/cell/runs.ts';
import type { WorkloadRow } from '../../src/cell/workloads.ts';
import { destroyCredential } from '../../src/vault/change-credential.ts';
import { describeCredential } from '../../src/vault/describe-credential.ts';
import { readCredential } from '../../src/vault/read-credential.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { testTeam } from '../kit/homes.ts';
import { eventsOf, inside, putKey, type TestTenant, testTenant, workloadToken } from '../kit/vaults.ts';

const CANARY = 'not-a-real-secret-guard';

async function outcome(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'ok',
    (error: unknown) => (error instanceof KeyturnError ? error.code : String(error)),
  );
}

function read(tenant: TestTenant, caller: Parameters<typeof readCredential>[1], name = 'stripe', environment = 'staging') {
  return tenant.vault.submit((job) => readCredential(job, caller, { environment, name, version: undefined, stage: undefined }));
}

describe('the door', () => {
  it('gives a workload a credential in its scope and records principal, operation and success', async () => {
    const tenant = await testTenant();
    await putKey(tenant, 'stripe', CANARY);
    const workload = await workloadToken(tenant);
    const result = await read(tenant, tenant.token(workload.text));
    expect(new TextDecoder().decode(result.body)).toContain(CANARY);
    expect(eventsOf(tenant.sql).at(-1)).toMatchObject({
      action: 'credential.read',
      actor: { type: 'workload', id: workload.id },
      outcome: 'success',
      target: { type: 'credential', name: 'stripe', environment: 'staging' },
      details: { version: 1 },
    });
  });

  it('refuses a value to a user without a fresh second factor, and says so', async () => {
    const tenant = await testTenant();
    await putKey(tenant, 'stripe', CANARY);
    for (const role of ['owner', 'admin'] as const) {
      expect(await outcome(read(tenant, tenant.user([role], 'everywhere')))).toBe('insufficient_user_authentication');
    }
    expect(await outcome(read(tenant, tenant.user(['engineer'])))).toBe('insufficient_user_authentication');
    expect(eventsOf(tenant.sql).at(-1)).toMatchObject({ outcome: 'denied', reason: 'needs step-up' });
  });

  it('says so for a production value, too, where a guardrail requires the second factor', async () => {
    const tenant = await testTenant();
    await putKey(tenant, 'stripe', CANARY, 'production');
    const admin = tenant.user(['admin'], 'everywhere');
    expect(await outcome(read(tenant, admin, 'stripe', 'production'))).toBe('insufficient_user_authentication');
    const auditor = tenant.user(['auditor'], 'everywhere');
    expect(await outcome(read(tenant, auditor, 'stripe', 'production'))).toBe('forbidden');
  });

  it('accepts a second factor for five minutes', async () => {
    const tenant = await testTenant();
    await putKey(tenant, 'stripe', CANARY);
    const at = (ageMs: number) => tenant.user(['admin'], 'everywhere', { secondFactorAtMs: tenant.clock.now() - ageMs });
    expect(await outcome(read(tenant, at(299_000)))).toBe('ok');
    expect(await outcome(read(tenant, at(300_000)))).toBe('insufficient_user_authentication');
  });

  it('needs no second factor of the bootstrap owner in the demo tenant, and only there', async () => {
    for (const demo of [true, false]) {
      const tenant = await testTenant({ demo });
      await putKey(tenant, 'stripe', CANARY);
      const owner = tenant.user(['owner'], 'everywhere', { bootstrap: true });
      expect(await outcome(read(tenant, owner))).toBe(demo ? 'ok' : 'insufficient_user_authentication');
      const other = tenant.user(['owner'], 'everywhere');
      expect(await outcome(read(tenant, other))).toBe('insufficient_user_authentication');
      expect(await outcome(read(tenant, tenant.token((await workloadToken(tenant)).text)))).toBe('ok');
    }
  });

  it('refuses an operation that needs an approval', async () => {
    const tenant = await testTenant();
    await putKey(tenant, 'stripe', CANARY);
    const destroy = tenant.vault.submit((job) =>
      destroyCredential(job, tenant.user(['admin'], 'everywhere'), {
        environment: 'staging',
        name: 'stripe',
        precondition: {},
      }),
    );
    expect(await outcome(destroy)).toBe('approval_required');
    expect(OPERATIONS['credential.destroy'].userNeeds).toBe('approval');
    expect(OPERATIONS['tenant.erase'].userNeeds).toBe('approval');
  });

  it.each([
    ['another environment', { environment: 'production' }],
    ['a pattern that does not match', { patterns: ['hub*'] }],
    ['a permission that does not include reading', { permissions: ['rotate'] as const }],
  ])('answers a workload bound to %s as if the credential did not exist, unless it may see it', async (what, bound) => {
    const tenant = await testTenant();
    await putKey(tenant, 'stripe', CANARY);
    const workload = await workloadToken(tenant, bound);
    const refused = await outcome(read(tenant, tenant.token(workload.text)));
    expect(refused).toBe(what.startsWith('a permission') ? 'forbidden' : 'not_found');
    expect(await outcome(read(tenant, tenant.token(workload.text), 'missing'))).toBe('not_found');
  });

  it('accepts a token only from its networks', async () => {
    const tenant = await testTenant();
    await putKey(tenant, 'stripe', CANARY);
    const workload = await workloadToken(tenant, { networks: ['10.1.0.0/16', '127.0.0.1/32'] });
    expect(await outcome(read(tenant, tenant.token(workload.text, '10.1.2.3')))).toBe('ok');
    expect(await outcome(read(tenant, tenant.token(workload.text, '10.2.0.1')))).not.toBe('ok');
    expect(await outcome(read(tenant, tenant.token(workload.text, 'garbage')))).not.toBe('ok');
  });

  it('hides a tenant from an engineer who is not assigned to it', async () => {
    const tenant = await testTenant();
    await putKey(tenant, 'stripe', CANARY);
    const describeAs = (where: 'here' | 'elsewhere' | 'everywhere') =>
      outcome(tenant.vault.submit((job) => describeCredential(job, tenant.user(['engineer'], where), 'staging', 'stripe')));
    expect(await describeAs('here')).toBe('ok');
    expect(await describeAs('elsewhere')).toBe('not_found');
    expect(await describeAs('everywhere')).toBe('not_found');
  });

  it('never gives an auditor a value, even with a second factor', async () => {
    const tenant = await testTenant();
    await putKey(tenant, 'stripe', CANARY);
    const auditor = tenant.user(['auditor'], 'everywhere', { secondFactorAtMs: tenant.clock.now() });
    expect(await outcome(read(tenant, auditor))).toBe('forbidden');
  });

  it('gives the same answer to every kind of bad token', async () => {
    const tenant = await testTenant();
    await putKey(tenant, 'stripe', CANARY);
    const { text } = await workloadToken(tenant);
    const flipped = `${text.slice(0, -8)}${text.at(-8) === 'a' ? 'b' : 'a'}${text.slice(-7)}`;
    const answers: unknown[] = [];
    for (const bad of [undefined, '', 'kt_acc_', flipped, `${text} `, ` ${text}`, text.toUpperCase(), `${text}0`]) {
      await read(tenant, tenant.token(bad)).catch((error: KeyturnError) => answers.push([error.code, error.message]));
    }
    expect(answers).toHaveLength(8);
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
  });

  it('accepts no token of a workload in the home cell', async () => {
    const { home, caller } = await testTeam();
    const token = `kt_acc_${'0'.repeat(61)}`;
    for (const bad of [token, ''])
      expect(await outcome(home.submit((job) => job.door.authenticate({ ...caller(''), token: bad, user: undefined })))).toBe('unauthenticated'); // biome-ignore format: one line
  });

  it('refuses a token from the millisecond at which it expires', async () => {
    const tenant = await testTenant();
    await putKey(tenant, 'stripe', CANARY);
    const { text } = await workloadToken(tenant);
    tenant.clock.pass(15 * 60_000 - 1);
    expect(await outcome(read(tenant, tenant.token(text)))).toBe('ok');
    tenant.clock.pass(1);
    expect(await outcome(read(tenant, tenant.token(text)))).toBe('unauthenticated');
  });

  it('writes exactly one event for every answer, allowed, denied or failed', async () => {
    const tenant = await testTenant();
    await putKey(tenant, 'stripe', CANARY);
    const { text } = await workloadToken(tenant);
    const before = eventsOf(tenant.sql).length;
    const calls = [
      read(tenant, tenant.token(text)),
      read(tenant, tenant.token(text), 'missing'),
      read(tenant, tenant.user(['auditor'], 'everywhere')),
      read(tenant, tenant.user(['admin'], 'everywhere')),
      putKey(tenant, 'hubspot', CANARY),
    ];
    const outcomes = await Promise.all(calls.map(outcome));
    const events = eventsOf(tenant.sql).slice(before);
    expect(outcomes).toEqual(['ok', 'not_found', 'forbidden', 'insufficient_user_authentication', 'ok']);
    expect(events.map((event) => event['outcome'])).toEqual(['success', 'failure', 'denied', 'denied', 'success']);
    expect(new Set(events.map((event) => event['request'])).size).toBe(events.length);
  });
});

describe('an access', () => {
  it('can be made by the guard only', () => {
    expect(() => takeAccessMint()).toThrow('the access mint was taken already');
    const passage = { principalId: 'x', purpose: 'credential.put' };
    for (const Kind of [Lookup, ReadAccess, WriteAccess])
      expect(() => new Kind(Symbol('mint') as never, passage)).toThrow('only the guard may make an access');
    expect(() => new Bookkeeping(Symbol('mint') as never, 'purge')).toThrow('only the guard may make an access');
  });

  it('is refused once the use case that it was made for has returned', async () => {
    const tenant = await testTenant();
    let kept: Lookup | undefined;
    await tenant.vault.submit((job) =>
      job.door.enter(
        tenant.user(['admin'], 'everywhere'),
        'environment.list',
        () => ({
          resource: { type: 'Tenant', tenant: job.tenant.id },
          target: { type: 'tenant' },
          subject: true as const,
        }),
        (access) => {
          kept = access;
          expect(job.credentials.environments(access)).toHaveLength(2);
        },
      ),
    );
    expect(() => inside(tenant.vault).credentials.environments(kept as Lookup)).toThrow('this access has ended');
    expect(() => kept?.end(Symbol('mint') as never)).toThrow('only the guard may end an access');
  });
});

describe('a job', () => {
  it('that is used outside a batch is refused by every function of its door, and leaves nothing', async () => {
    const tenant = await testTenant();
    await putKey(tenant, 'stripe', CANARY);
    const { vault } = tenant;
    const job = await vault.submit((given) => given);
    const caller = tenant.user(['admin'], 'everywhere');
    const find = () => ({ resource: job.auditResource, target: { type: 'x' }, subject: true as const });
    const repeat = { key: 'x', hash: new Uint8Array(32) };
    const written = {
      action: 'x',
      actor: { type: 'system', id: 'x' },
      reason: 'x',
      request: 'x',
      target: { type: 'x' },
    } as const;
    const uses: Record<string, () => unknown> = {
      'a use case': () => destroyCredential(job, caller, { environment: 'staging', name: 'stripe', precondition: {} }),
      enter: () => job.door.enter(caller, 'audit.read', find, () => {}),
      enterAsSystem: () => job.door.enterAsSystem('x', 'credential.review', find, () => {}),
      turnAway: () => job.door.turnAway(caller, 'tenant.read'),
      keepBooks: () => job.door.keepBooks('purge', () => {}),
      record: () => job.door.record(written, () => {}),
      note: () => job.door.note({ ...written, outcome: 'success' }),
      once: () => job.door.once(caller, 'key.rotate', repeat, () => expect.unreachable()),
      'authenticate by token': () => job.door.authenticate(tenant.token('kt_acc_x')),
      'the log': () => job.core.audit.record({ ...written, outcome: 'success' }),
      'signing the head': () => job.core.audit.publishNow(),
      'a savepoint': () => job.core.cell.savepoint(() => {}),
      'cleaning the files': () => job.core.cell.eraseResidue(),
    };
    const [events, size] = [eventsOf(tenant.sql).length, job.core.audit.size];
    for (const [name, use] of Object.entries(uses))
      expect(use, name).toThrow('no batch of this cell is running: submit the work to it');
    await vault.submit(() => {});
    expect([eventsOf(tenant.sql).length, job.core.audit.size]).toEqual([events, size]);
    // Inside a batch the kept job works: each vault has one.
    await vault.submit((given) => expect(given).toBe(job));
  });

  it('ends every access at its end, also when it throws', async () => {
    const tenant = await testTenant();
    const { door, auditResource } = inside(tenant.vault);
    const input = { action: 'x', actor: { type: 'system', id: 'x' }, reason: 'x', request: 'x', target: { type: 'x' } } as const;
    const kept: Lookup[] = [];
    const keep = (access: Lookup) => {
      access.check();
      kept.push(access);
      throw new RangeError('made up');
    };
    for (const enter of [
      () => door.lookup('x', keep),
      () => door.keepBooks('purge', keep),
      () => door.record(input, keep),
      () => door.enterAsSystem('refresh', 'credential.rotate', () => ({ resource: auditResource, target: { type: 'x' }, subject: true }), keep), // biome-ignore format: one line
    ])
      await outcome(tenant.vault.submit(enter));
    expect(kept.length).toBeGreaterThanOrEqual(3);
    for (const access of kept) expect(() => access.check()).toThrow('this access has ended');
  });

  it.each([
    ['a defect', new RangeError('made up')],
    ['a damaged row', new KeyturnError('integrity', 'made up')],
  ])('undoes what a bookkeeping wrote before %s, and nothing else of its batch', async (_, error) => {
    const tenant = await testTenant();
    await putKey(tenant, 'stripe', CANARY);
    const row = tenant.sql.get<CredentialRow>('SELECT * FROM credential') as CredentialRow;
    const save = (job: TenantJob, access: Lookup, reviewAt: number) =>
      job.credentials.save(access as Bookkeeping<'review'>, { ...row, review_due_at: reviewAt });
    const tasks = [
      'idempotency',
      'purge',
      'lease',
      'delivery',
      'review',
      'provision',
      'witness',
      'reading',
      'key-destruction',
    ] as const;
    for (const [at, task] of tasks.entries()) {
      const another = tenant.vault.submit((job) => job.door.keepBooks('review', (books) => save(job, books, at)));
      const failed = tenant.vault.submit((job) =>
        job.door.keepBooks(task, (books) => {
          save(job, books, 99);
          throw error;
        }),
      );
      await expect(failed, task).rejects.toBe(error);
      await another;
      expect(tenant.sql.get('SELECT review_due_at FROM credential'), task).toEqual({ review_due_at: at });
      // The row and its place in the map agree.
      tenant.vault.lookup('test', (lookup, view) => expect(view.credentials.byId(lookup, row.id).review_due_at).toBe(at));
    }
  });

  it('changes rows only for an operation that changes state', async () => {
    const tenant = await testTenant();
    const caller = tenant.user(['admin'], 'everywhere');
    const find = () => ({
      resource: { type: 'Credential', tenant: tenant.vault.tenant.id, environment: 'staging' } as const,
      target: { type: 'credential' },
      subject: true as const,
    });
    await tenant.vault.submit((job) => {
      job.door.enter(caller, 'credential.describe', find, (access) => {
        expect(access).toBeInstanceOf(ReadAccess);
        expect(access).not.toBeInstanceOf(WriteAccess);
      });
      job.door.enter(caller, 'credential.put', find, (access) => expect(access).toBeInstanceOf(WriteAccess));
    });
  });
});

// Negative compile tests: `npm run check` fails when one of these lines begins to compile. None of it runs.
function whatDoesNotCompile({ vault }: TestTenant, job: TenantJob, row: CredentialRow, caller: Caller): void {
  const find = () => ({ resource: job.auditResource, target: { type: 'x' }, subject: true as const });
  job.door.lookup('test', (lookup) => {
    // @ts-expect-error a lookup changes no row
    job.credentials.save(lookup, row);
    // @ts-expect-error a lookup reads no sealed value
    job.credentials.findVersion(lookup, row.id, 1);
    // @ts-expect-error a lookup revokes nothing
    job.core.tokens.revoke(lookup, 'x', 0);
    // @ts-expect-error a lookup begins no run
    job.runs.insert(lookup, {} as RunRow);
  });
  job.door.enter(caller, 'credential.read', find, (access) => {
    // @ts-expect-error an operation that reads changes no row
    job.credentials.save(access, row);
    // @ts-expect-error an operation that reads changes no row
    job.workloads.revoke(access, {} as WorkloadRow, 0);
    return job.credentials.findVersion(access, row.id, 1);
  });
  job.door.keepBooks('purge', (books) => {
    // @ts-expect-error a purge changes no credential
    job.credentials.save(books, row);
    // @ts-expect-error a purge reads no sealed value
    job.credentials.findVersion(books, row.id, 1);
    // @ts-expect-error a purge extends no lease
    job.runs.save(books, {} as RunRow);
  });
  job.door.keepBooks('lease', (books) => {
    // @ts-expect-error extending a lease purges nothing
    job.core.tokens.purgeExpired(books, 0, 1);
  });
  // @ts-expect-error only the kinds listed in cell/access.ts are bookkeeping
  job.door.keepBooks('anything', () => {});
  // @ts-expect-error an object literal is not an access
  job.credentials.environments({ principalId: 'x', purpose: 'x', check: () => {} });
  // @ts-expect-error the database of a cell is reachable from src/cell only
  job.core.cell.sql.all('SELECT * FROM credential_version');
  // @ts-expect-error a use case needs a job, which exists only inside a batch
  readCredential(vault, caller, { environment: 'staging', name: 'x', version: undefined, stage: undefined });
  // @ts-expect-error the door is private to a job
  vault.door.enter(caller, 'credential.read', find, () => {});
  // @ts-expect-error the stores are private to a job
  vault.credentials.environments({} as Lookup);
  // @ts-expect-error so are the log, the keys and the cell
  vault.core.audit.signNow();
  vault.lookup('test', (_lookup, view) => {
    // @ts-expect-error a lookup without a job has no door
    view.door.note({});
    // @ts-expect-error a lookup is not enough for a use case
    readCredential(view, caller, { environment: 'staging', name: 'x', version: undefined, stage: undefined });
  });
}
void whatDoesNotCompile;

describe('the request rate', () => {
  it('is limited per principal over all tokens and operations: beyond it nothing is looked up, and others are not affected', async () => {
    const limit = new RateLimit({ burst: 3, perSecond: 1, maxKeys: 10 });
    const asked: string[] = [];
    const tenant = await testTenant({
      admit: (id) => {
        asked.push(id);
        if (!limit.take(id, tenant.clock.now()).ok) throw new KeyturnError('rate_limited', 'too many requests');
      },
    });
    await putKey(tenant, 'stripe', CANARY);
    limit.take('nobody', 0);
    const [one, two] = [await workloadToken(tenant), await workloadToken(tenant)];
    tenant.clock.pass(60_000);
    asked.length = 0;
    const ends = [];
    for (let i = 0; i < 4; i++) ends.push(await outcome(read(tenant, tenant.token(one.text))));
    expect(ends).toEqual(['ok', 'ok', 'ok', 'rate_limited']);
    const events = eventsOf(tenant.sql).length;
    const describeOnce = tenant.vault.submit((job) => describeCredential(job, tenant.token(one.text), 'staging', 'stripe'));
    expect(await outcome(describeOnce)).toBe('rate_limited');
    expect(eventsOf(tenant.sql)).toHaveLength(events);
    expect(await outcome(read(tenant, tenant.token(two.text)))).toBe('ok');
    expect(new Set(asked)).toEqual(new Set([one.id, two.id]));
    const user = tenant.user(['engineer'], 'here', { id: 'usr_busy' });
    for (let i = 0; i < 4; i++) await outcome(tenant.vault.submit((job) => describeCredential(job, user, 'staging', 'stripe')));
    expect(asked.filter((id) => id === 'usr_busy')).toHaveLength(4);
    const kept = await tenant.vault.submit((job) => job);
    expect(() => describeCredential(kept, user, 'staging', 'stripe')).toThrow('no batch of this cell is running');
    expect(
      asked.filter((id) => id === 'usr_busy'),
      'what is refused outside a batch costs nobody a request',
    ).toHaveLength(4);
    tenant.clock.pass(1_000);
    expect(await outcome(read(tenant, tenant.token(one.text)))).toBe('ok');
  });
});
