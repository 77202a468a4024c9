// The events of the door: one for each answer, with principal, operation and reason, and none for a change that did not happen.
import { describe, expect, it } from 'vitest';
import { Authorizer } from '../../src/access/authorizer.ts';
import type { Found } from '../../src/access/guard.ts';
import type { Caller, UserIdentity } from '../../src/access/principals.ts';
import type { EventTarget } from '../../src/audit/event.ts';
import { KeyturnError } from '../../src/base/errors.ts';
import { sha256OfText } from '../../src/crypto/primitives.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { cedarEngine, shippedPolicies, testAuthorizer } from '../kit/cedar.ts';
import { testTeam } from '../kit/homes.ts';
import { SqlSpy } from '../kit/sql-spy.ts';
import { eventsOf, type TestTenant, testTenant, workloadToken } from '../kit/vaults.ts';

const CREDENTIAL = { type: 'Credential', tenant: 'ten_made-up', environment: 'staging' } as const;
const found = <S>(subject: S): Found<S> => ({
  resource: CREDENTIAL,
  target: { type: 'credential', name: 'stripe', environment: 'staging' },
  subject,
});
const admin = (tenant: TestTenant) => tenant.user(['admin'], 'everywhere');

/** The outcome of `work` in a job of its own, and its events. */
async function left(tenant: TestTenant, work: (job: TenantJob) => unknown) {
  const before = eventsOf(tenant.sql).length;
  const end = await tenant.vault.submit(work).then(
    () => 'ok',
    (error: unknown) => (error instanceof KeyturnError ? error.code : String(error)),
  );
  return { end, events: eventsOf(tenant.sql).slice(before) };
}

const throwing = (error: unknown) => () => {
  throw error;
};

describe('a lookup that fails', () => {
  it.each([
    [new KeyturnError('integrity', 'a changed row'), 'integrity', 'integrity'],
    [new TypeError('not-a-real-secret'), 'internal', 'TypeError: not-a-real-secret'],
  ])('leaves an event: %s', async (error, reason, ended) => {
    const tenant = await testTenant();
    const { end, events } = await left(tenant, (job) =>
      job.door.enter(admin(tenant), 'credential.describe', throwing(error), () => {}),
    );
    expect(end).toBe(ended);
    expect(events).toEqual([
      expect.objectContaining({
        action: 'credential.describe',
        actor: { type: 'user', id: 'usr_admin', token: 'token' },
        outcome: 'failure',
        reason,
        target: { type: 'credential' },
      }),
    ]);
    expect(JSON.stringify(events)).not.toContain('not-a-real-secret');
  });
});

describe('an effect that fails', () => {
  it.each([
    [new KeyturnError('conflict', 'x'), 'conflict', 'conflict'],
    [new RangeError('not-a-real-secret'), 'internal', 'RangeError: not-a-real-secret'],
  ])('leaves a failure event with its code and the details so far: %s', async (error, reason, ended) => {
    const tenant = await testTenant();
    const { end, events } = await left(tenant, (job) =>
      job.door.enter(
        admin(tenant),
        'credential.put',
        () => found(true),
        (_access, _subject, details) => {
          details.version = 7;
          throw error;
        },
      ),
    );
    expect(end).toBe(ended);
    expect(events).toEqual([expect.objectContaining({ outcome: 'failure', reason, details: { version: 7 } })]);
  });

  it('leaves no event when the storage failed: the batch is rolled back', async () => {
    for (const code of ['storage_full', 'storage_unavailable'] as const) {
      const sql = new SqlSpy(openNodeSql(':memory:'));
      const tenant = await testTenant({ sql });
      const caller = { ...admin(tenant), source: { address: '203.0.113.9', userAgent: 'not seen before' } };
      let askedBefore = 0;
      const breaking = () => {
        askedBefore = sql.log.length;
        throw new KeyturnError(code, 'x');
      };
      const ends: unknown[] = [];
      for (const find of [breaking, () => found(true)]) {
        const { end, events } = await left(tenant, (job) => job.door.enter(caller, 'credential.put', find, breaking));
        // INVARIANT: SQLite may have ended the transaction already, so a later write would be kept.
        const asked = sql.log.slice(askedBefore);
        ends.push({ end, events, asked: asked.slice(0, asked.indexOf('rollback') + 1) });
      }
      const nothing = { end: code, events: [], asked: ['rollback'] };
      expect(ends).toEqual([nothing, nothing]);
    }
  });
});

describe('an event', () => {
  it('of a success has the reason `allowed`, and details only if there are any', async () => {
    const tenant = await testTenant();
    const { events } = await left(tenant, (job) =>
      job.door.enter(
        { ...admin(tenant), clientRequest: 'their-id', workflow: 'nightly', workflowRun: 'run-1' },
        'credential.describe',
        () => found(true),
        () => {},
      ),
    );
    expect(events).toEqual([
      expect.objectContaining({
        outcome: 'success',
        reason: 'allowed',
        client_request: 'their-id',
        context: { run: 'run-1', workflow: 'nightly' },
      }),
    ]);
    expect(events[0]).not.toHaveProperty('details');
    expect(events[0]).toHaveProperty('source');
  });

  it('of the system has no source, and a unique request id', async () => {
    const tenant = await testTenant();
    const work = (job: TenantJob) =>
      job.door.enterAsSystem(
        'refresh',
        'credential.rotate',
        () => found(true),
        () => {},
      );
    const { events } = await left(tenant, (job) => {
      work(job);
      work(job);
    });
    expect(events).toHaveLength(2);
    expect(new Set(events.map((event) => event['request'])).size).toBe(2);
    for (const event of events) {
      expect(event['request']).toMatch(/^refresh:\d+$/);
      expect(event).not.toHaveProperty('source');
    }
  });

  it('of a denial has the policy as reason, which the caller does not get', async () => {
    const tenant = await testTenant();
    const auditor = tenant.user(['auditor'], 'everywhere');
    const { end, events } = await left(tenant, (job) =>
      job.door.enter(
        auditor,
        'credential.put',
        () => found(true),
        () => {},
      ),
    );
    expect(end).toBe('forbidden');
    expect(events).toEqual([
      expect.objectContaining({ outcome: 'denied', reason: expect.stringMatching(/^guardrails\/auditor#/) }),
    ]);
  });

  it('of a missing object is a failure for a caller who may know that it is missing, and a denial for others', async () => {
    const tenant = await testTenant();
    const ask = (caller: Caller) =>
      left(tenant, (job) =>
        job.door.enter(
          caller,
          'credential.describe',
          () => found(undefined),
          () => {},
        ),
      );
    const mayKnow = await ask(admin(tenant));
    expect(mayKnow).toMatchObject({ end: 'not_found', events: [{ outcome: 'failure', reason: 'not_found' }] });
    const mayNot = await ask(tenant.user(['engineer'], 'elsewhere'));
    expect(mayNot).toMatchObject({ end: 'not_found', events: [{ outcome: 'denied' }] });
    expect(mayNot.events[0]?.['reason']).not.toBe('not_found');
  });
});

describe('the target of an event', () => {
  const target = { type: 'credential', name: 'stripe', environment: 'staging' };
  const auditor = (tenant: TestTenant) => tenant.user(['auditor'], 'everywhere');
  const targetOf = async (caller: 'auditor' | 'admin', given: Found<true | undefined>) => {
    const tenant = await testTenant();
    const asking = caller === 'admin' ? admin(tenant) : auditor(tenant);
    const { events } = await left(tenant, (job) =>
      job.door.enter(
        asking,
        'credential.put',
        () => given,
        () => {},
      ),
    );
    expect(events).toHaveLength(1);
    return events[0]?.['target'];
  };

  it('has the name of an existing credential, also in a denial', async () => {
    const there = { ...found(true as const), target: { ...target, id: 'crd_made-up' } };
    expect(await targetOf('admin', there)).toEqual(there.target);
    expect(await targetOf('auditor', there)).toEqual(there.target);
  });

  it('has only a hash of the name of a missing credential: it may be a secret in the wrong field', async () => {
    const name_sha256 = Buffer.from(sha256OfText('stripe')).toString('hex');
    const hashed = { type: 'credential', environment: 'staging', name_sha256 };
    for (const caller of ['admin', 'auditor'] as const)
      expect(await targetOf(caller, { ...found(undefined), target })).toEqual(hashed);
  });

  it('has the name of every other type of object that has one', async () => {
    const environment = { type: 'environment', name: 'later' };
    expect(await targetOf('auditor', { ...found(true as const), target: environment })).toEqual(environment);
    expect(await targetOf('admin', { ...found(true as const), target }), 'one that is created').toEqual(target);
    expect(await targetOf('auditor', { ...found(true as const), target: { type: 'credential' } })).toEqual({
      type: 'credential',
    });
  });
});

describe('a caller without permission', () => {
  const ask = (tenant: TestTenant, caller: Caller, operation: 'credential.read' | 'credential.put', there: boolean) =>
    left(tenant, (job) =>
      job.door.enter(
        caller,
        operation,
        () => found(there ? true : undefined),
        () => {},
      ),
    );

  it('gets not_found for a missing object before a demand for a second factor', async () => {
    const tenant = await testTenant();
    const owner = tenant.user(['owner'], 'everywhere');
    expect((await ask(tenant, owner, 'credential.read', true)).end).toBe('insufficient_user_authentication');
    expect((await ask(tenant, owner, 'credential.read', false)).end).toBe('not_found');
    const production = (there: boolean) =>
      left(tenant, (job) =>
        job.door.enter(
          owner,
          'credential.read',
          () => ({ ...found(there ? true : undefined), resource: { ...CREDENTIAL, environment: 'production' } }),
          () => {},
        ),
      );
    expect((await production(true)).end).toBe('insufficient_user_authentication');
    expect((await production(false)).end).toBe('not_found');
  });

  it('gets forbidden for an existing object that it may see, and not_found for a missing one', async () => {
    const tenant = await testTenant();
    const auditor = tenant.user(['auditor'], 'everywhere');
    expect((await ask(tenant, auditor, 'credential.put', true)).end).toBe('forbidden');
    expect((await ask(tenant, auditor, 'credential.put', false)).end).toBe('not_found');
  });

  it('as a workload is refused an object without a name, with any patterns', async () => {
    const tenant = await testTenant();
    const { text } = await workloadToken(tenant);
    const ask = async (operation: 'credential.list' | 'credential.describe', target: EventTarget) => {
      const type = operation === 'credential.list' ? ('Environment' as const) : ('Credential' as const);
      const thing = { resource: { ...CREDENTIAL, type }, target, subject: true };
      const { end } = await left(tenant, (job) =>
        job.door.enter(
          tenant.token(text),
          operation,
          () => thing,
          () => {},
        ),
      );
      return end;
    };
    const environment = 'staging';
    expect(await ask('credential.describe', { type: 'credential', environment, name: 'stripe' })).toBe('ok');
    expect(await ask('credential.describe', { type: 'credential', environment })).toBe('not_found');
    expect(await ask('credential.list', { type: 'environment', environment })).toBe('ok');
    expect(await ask('credential.list', { type: 'environment', environment: 'production' })).toBe('not_found');
  });

  it('as a workload without a request is in none of its networks', async () => {
    const tenant = await testTenant();
    const { text } = await workloadToken(tenant, { networks: ['127.0.0.0/8'] });
    const { end } = await left(tenant, (job) => {
      const principal = job.door.authenticate(tenant.token(text));
      job.door.enterAs(
        principal,
        undefined,
        'credential.read',
        () => found(true),
        () => {},
      );
    });
    expect(['forbidden', 'not_found']).toContain(end);
  });
});

describe('who asks about a person', () => {
  const INSTALLATION = { type: 'Installation' } as const;

  /** An owner or an engineer, at the home of a team, wants to do this to a target that is there. */
  async function answer(role: 'owner' | 'engineer', operation: 'user.offboard' | 'user.token.create', target: EventTarget) {
    const team = await testTeam();
    const owner = team.caller(team.owner);
    const user = { ...(owner.user as UserIdentity), id: `usr_${role}`, grants: [{ role, tenantId: '*' }] } as const;
    const asked = team.home.submit((job) =>
      job.door.enter(
        { ...owner, user },
        operation,
        () => ({ resource: INSTALLATION, target, subject: true as const }),
        () => {},
      ),
    );
    return asked.then(
      () => 'ok',
      (error: unknown) => (error instanceof KeyturnError ? error.code : String(error)),
    );
  }

  it('is told that there is nobody, unless he may list people', async () => {
    const person = { type: 'user', id: 'usr_somebody' };
    expect(await answer('owner', 'user.offboard', person)).toBe('ok');
    expect(await answer('engineer', 'user.offboard', person)).toBe('not_found');
    expect(await answer('engineer', 'user.offboard', { type: 'user' }), 'nobody in particular').toBe('forbidden');
    expect(await answer('engineer', 'user.offboard', { type: 'other', id: 'usr_somebody' }), 'no person').toBe('forbidden');
  });

  it('may do what is personal to himself alone, and is told so of others whom he may know', async () => {
    expect(await answer('owner', 'user.token.create', { type: 'user', id: 'usr_owner' })).toBe('ok');
    expect(await answer('owner', 'user.token.create', { type: 'user', id: 'usr_somebody' })).toBe('forbidden');
  });
});

describe('a caller who is turned away', () => {
  it('leaves an event with the reason, and with the tenant at a tenant but not at the home cell', async () => {
    const tenant = await testTenant();
    const away = await left(tenant, (job) => job.door.turnAway(admin(tenant), 'tenant.read'));
    expect(away).toMatchObject({
      end: 'not_found',
      events: [{ outcome: 'denied', reason: 'no role at this tenant', target: { type: 'tenant', id: tenant.vault.tenant.id } }],
    });
    const team = await testTeam();
    const before = eventsOf(team.sql).length;
    const atHome = team.home.submit((job) => job.door.turnAway(team.caller(team.owner), 'tenant.read'));
    await expect(atHome).rejects.toMatchObject({ code: 'not_found', message: 'no such tenant' });
    const [event] = eventsOf(team.sql).slice(before);
    expect(event).toMatchObject({ outcome: 'denied', reason: 'no such tenant', target: { type: 'tenant' } });
    expect(event?.['target']).not.toHaveProperty('id');
  });
});

describe('a change by the installation', () => {
  const input = { action: 'x', actor: { type: 'system', id: 'x' }, reason: 'x', request: 'x', target: { type: 'x' } } as const;

  it('leaves one event of success, or none if it failed', async () => {
    const tenant = await testTenant();
    const done = await left(tenant, (job) => job.door.record(input, () => {}));
    expect(done.events).toEqual([expect.objectContaining({ action: 'x', outcome: 'success' })]);
    expect((await left(tenant, (job) => job.door.record(input, throwing(new RangeError('made up'))))).events).toEqual([]);
  });

  it('has a source only with a caller', async () => {
    const tenant = await testTenant();
    const note = { ...input, outcome: 'success' } as const;
    const noted = async (caller?: Caller) => (await left(tenant, (job) => job.door.note(note, caller))).events[0];
    expect(await noted(admin(tenant))).toHaveProperty('source');
    expect(await noted()).not.toHaveProperty('source');
  });

  it('has a token id only when a token was presented', async () => {
    const tenant = await testTenant();
    const actorOf = async (tokenId: string) => {
      const caller = tenant.user(['admin'], 'everywhere', { tokenId });
      const { events } = await left(tenant, (job) =>
        job.door.enter(
          caller,
          'credential.describe',
          () => found(true),
          () => {},
        ),
      );
      return events[0]?.['actor'];
    };
    expect(await actorOf('token')).toEqual({ type: 'user', id: 'usr_admin', token: 'token' });
    expect(await actorOf('')).toEqual({ type: 'user', id: 'usr_admin' });
  });
});

describe('the request to Cedar', () => {
  const owner = { type: 'User', id: 'usr_made-up', revision: 1, roles: ['owner'] } as const;
  const context = {
    assigned: true,
    inNetwork: true,
    inScope: true,
    permitted: true,
    mfaFresh: true,
    approved: false,
    demo: false,
    contained: false,
  };

  it.each([
    ['tenant', 'ten_one', 'ten_two'],
    ['environment', 'staging', 'production'],
    ['kind', 'oauth2', 'api_key'],
    ['connector', 'hubspot', 'stripe'],
  ])('includes the %s of the resource, so that a policy can use it', (attribute, one, two) => {
    const forbid = `@id("extra") forbid (principal, action, resource is Credential) when { ${attribute === 'tenant' ? '' : `resource has ${attribute} && `}resource.${attribute} == "${one}" };`;
    const authorizer = testAuthorizer({ 'guardrails/extra': forbid });
    const thing = { type: 'Credential', tenant: 'ten_made-up', environment: 'staging', kind: 'api_key', connector: 'x' } as const;
    const allows = (value: string) =>
      authorizer.decide(owner, 'credential.describe', { ...thing, [attribute]: value }, context).allow;
    expect([allows(one), allows(two)]).toEqual([false, true]);
  });

  it.each(Object.keys(context) as (keyof typeof context)[])('includes the fact %s of the request', (fact) => {
    const seen: unknown[] = [];
    const engine = {
      ...cedarEngine,
      statefulIsAuthorized: (request: Parameters<typeof cedarEngine.statefulIsAuthorized>[0]) => {
        seen.push(request.context[fact]);
        return cedarEngine.statefulIsAuthorized(request);
      },
    };
    const authorizer = new Authorizer(engine, shippedPolicies());
    for (const value of [true, false])
      authorizer.decide(owner, 'credential.describe', { type: 'Credential', tenant: 't' }, { ...context, [fact]: value });
    expect(seen).toEqual([true, false]);
  });
});
