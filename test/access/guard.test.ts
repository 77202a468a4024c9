import { describe, expect, it } from 'vitest';
import { OPERATIONS } from '../../src/access/operations.ts';
import type { Caller } from '../../src/access/principals.ts';
import { RateLimit } from '../../src/access/rate-limit.ts';
import { KeyturnError } from '../../src/base/errors.ts';
import { Bookkeeping, Lookup, ReadAccess, takeAccessMint, WriteAccess } from '../../src/cell/access.ts';
import type { CredentialFacts } from '../../src/cell/credentials.ts';
import type { RunRow } from '../../src/cell/runs.ts';
import type { WorkloadRow } from '../../src/cell/workloads.ts';
import { destroyCredential } from '../../src/vault/change-credential.ts';
import { describeCredential } from '../../src/vault/describe-credential.ts';
import { readCredential } from '../../src/vault/read-credential.ts';
import { eventsOf, putKey, type TestTenant, testTenant, workloadToken } from '../kit/vaults.ts';

const CANARY = 'not-a-real-secret-guard';

async function outcome(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'ok',
    (error: unknown) => (error instanceof KeyturnError ? error.code : String(error)),
  );
}

function read(tenant: TestTenant, caller: Parameters<typeof readCredential>[1], name = 'stripe', environment = 'staging') {
  return tenant.vault.submit(() =>
    readCredential(tenant.vault, caller, { environment, name, version: undefined, stage: undefined }),
  );
}

describe('the door', () => {
  it('gives a workload the credential in its scope and records who, what and that it was allowed', async () => {
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

  it('refuses a user a value without a fresh second factor, and says which proof is missing', async () => {
    const tenant = await testTenant();
    await putKey(tenant, 'stripe', CANARY);
    for (const role of ['owner', 'admin'] as const) {
      expect(await outcome(read(tenant, tenant.user([role], 'everywhere')))).toBe('insufficient_user_authentication');
    }
    expect(await outcome(read(tenant, tenant.user(['engineer'])))).toBe('insufficient_user_authentication');
    expect(eventsOf(tenant.sql).at(-1)).toMatchObject({ outcome: 'denied', reason: 'needs step-up' });
  });

  it('says so for a production value, too, where a guardrail asks for the second factor', async () => {
    const tenant = await testTenant();
    await putKey(tenant, 'stripe', CANARY, 'production');
    const admin = tenant.user(['admin'], 'everywhere');
    expect(await outcome(read(tenant, admin, 'stripe', 'production'))).toBe('insufficient_user_authentication');
    const auditor = tenant.user(['auditor'], 'everywhere');
    expect(await outcome(read(tenant, auditor, 'stripe', 'production'))).toBe('forbidden');
  });

  it('lets a second factor younger than five minutes through and an older one not', async () => {
    const tenant = await testTenant();
    await putKey(tenant, 'stripe', CANARY);
    const at = (ageMs: number) => tenant.user(['admin'], 'everywhere', { secondFactorAtMs: tenant.clock.now() - ageMs });
    expect(await outcome(read(tenant, at(299_000)))).toBe('ok');
    expect(await outcome(read(tenant, at(300_000)))).toBe('insufficient_user_authentication');
  });

  it('excuses the bootstrap owner in the demo tenant, and only there', async () => {
    for (const demo of [true, false]) {
      const tenant = await testTenant({ demo });
      await putKey(tenant, 'stripe', CANARY);
      const owner = tenant.user(['owner'], 'everywhere', { bootstrap: true });
      expect(await outcome(read(tenant, owner))).toBe(demo ? 'ok' : 'insufficient_user_authentication');
      const other = tenant.user(['owner'], 'everywhere');
      expect(await outcome(read(tenant, other))).toBe('insufficient_user_authentication');
    }
  });

  it('refuses what needs a second person', async () => {
    const tenant = await testTenant();
    await putKey(tenant, 'stripe', CANARY);
    const destroy = tenant.vault.submit(() =>
      destroyCredential(tenant.vault, tenant.user(['admin'], 'everywhere'), {
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

  it('takes a token only from its networks', async () => {
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
      outcome(tenant.vault.submit(() => describeCredential(tenant.vault, tenant.user(['engineer'], where), 'staging', 'stripe')));
    expect(await describeAs('here')).toBe('ok');
    expect(await describeAs('elsewhere')).toBe('not_found');
    expect(await describeAs('everywhere')).toBe('not_found');
  });

  it('never gives an auditor a value, whatever the second factor', async () => {
    const tenant = await testTenant();
    await putKey(tenant, 'stripe', CANARY);
    const auditor = tenant.user(['auditor'], 'everywhere', { secondFactorAtMs: tenant.clock.now() });
    expect(await outcome(read(tenant, auditor))).toBe('forbidden');
  });

  it('answers every kind of bad token alike', async () => {
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

  it('forgets a token the moment it expires', async () => {
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
  it('can be minted by the guard alone', () => {
    expect(() => takeAccessMint()).toThrow('the access mint is taken');
    const passage = { principalId: 'x', purpose: 'credential.put' };
    for (const Kind of [Lookup, ReadAccess, WriteAccess])
      expect(() => new Kind(Symbol('mint') as never, passage)).toThrow('an access is made by the guard');
    expect(() => new Bookkeeping(Symbol('mint') as never, 'purge')).toThrow('an access is made by the guard');
  });

  it('is worthless once the use case it was made for has returned', async () => {
    const tenant = await testTenant();
    let kept: Lookup | undefined;
    await tenant.vault.submit(() =>
      tenant.vault.door.enter(
        tenant.user(['admin'], 'everywhere'),
        'environment.list',
        () => ({
          resource: { type: 'Tenant', tenant: tenant.vault.tenant.id },
          target: { type: 'tenant' },
          subject: true as const,
        }),
        (access) => {
          kept = access;
          expect(tenant.vault.credentials.environments(access)).toHaveLength(2);
        },
      ),
    );
    expect(() => tenant.vault.credentials.environments(kept as Lookup)).toThrow('this access has ended');
  });
});

// Negative compile tests: `npm run check` fails when one of these lines begins to compile. None of it runs.
function whatDoesNotCompile({ vault }: TestTenant, row: CredentialFacts, caller: Caller): void {
  const find = () => ({ resource: vault.auditResource, target: { type: 'x' }, subject: true as const });
  vault.door.lookup('test', (lookup) => {
    // @ts-expect-error a lookup changes no row
    vault.credentials.save(lookup, row);
    // @ts-expect-error a lookup reads no sealed value
    vault.credentials.findVersion(lookup, row.id, 1);
    // @ts-expect-error a lookup revokes nothing
    vault.core.tokens.revoke(lookup, 'x', 0);
    // @ts-expect-error a lookup begins no run
    vault.runs.insert(lookup, {} as RunRow);
  });
  vault.door.enter(caller, 'credential.read', find, (access) => {
    // @ts-expect-error an operation that reads changes no row
    vault.credentials.save(access, row);
    // @ts-expect-error an operation that reads changes no row
    vault.workloads.revoke(access, {} as WorkloadRow, 0);
    return vault.credentials.findVersion(access, row.id, 1);
  });
  vault.door.keepBooks('purge', (books) => {
    // @ts-expect-error what purges changes no credential
    vault.credentials.save(books, row);
    // @ts-expect-error what purges reads no sealed value
    vault.credentials.findVersion(books, row.id, 1);
    // @ts-expect-error what purges prolongs no lease
    vault.runs.save(books, {} as RunRow);
  });
  vault.door.keepBooks('lease', (books) => {
    // @ts-expect-error what prolongs a lease purges nothing
    vault.core.tokens.purgeExpired(books, 0, 1);
  });
  // @ts-expect-error only what cell/access.ts lists is bookkeeping
  vault.door.keepBooks('anything', () => {});
  // @ts-expect-error no object literal stands in for an access
  vault.credentials.environments({ principalId: 'x', purpose: 'x', check: () => {} });
  // @ts-expect-error the database of a cell is reachable from src/cell only
  vault.core.cell.sql.all('SELECT * FROM credential_version');
}
void whatDoesNotCompile;

describe('how often somebody may ask', () => {
  it('is limited by principal, whichever token and operation: beyond it nothing is looked at, and others go on', async () => {
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
    const describeOnce = tenant.vault.submit(() => describeCredential(tenant.vault, tenant.token(one.text), 'staging', 'stripe'));
    expect(await outcome(describeOnce)).toBe('rate_limited');
    expect(eventsOf(tenant.sql)).toHaveLength(events);
    expect(await outcome(read(tenant, tenant.token(two.text)))).toBe('ok');
    expect(new Set(asked)).toEqual(new Set([one.id, two.id]));
    const user = tenant.user(['engineer'], 'here', { id: 'usr_busy' });
    for (let i = 0; i < 4; i++)
      await outcome(tenant.vault.submit(() => describeCredential(tenant.vault, user, 'staging', 'stripe')));
    expect(asked.filter((id) => id === 'usr_busy')).toHaveLength(4);
    tenant.clock.pass(1_000);
    expect(await outcome(read(tenant, tenant.token(one.text)))).toBe('ok');
  });
});
