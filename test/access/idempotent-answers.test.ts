// A repeated request passes authentication, rate limit and authorization as any other; only then it gets the stored answer.
import { describe, expect, it } from 'vitest';
import { Door } from '../../src/access/guard.ts';
import { IdempotentAnswers } from '../../src/access/idempotent-answers.ts';
import type { Caller } from '../../src/access/principals.ts';
import { fail, KeyturnError } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { authorizer, eventsOf, inside, type TestTenant, testTenant } from '../kit/vaults.ts';

const REPEAT = { key: 'k1', hash: new Uint8Array(32) };
const bytes = (text: string) => new TextEncoder().encode(text);

async function doorOf(tenant: TestTenant) {
  const { vault, clock } = tenant;
  const state = { contained: false, admitted: 0, admissionsMax: Number.POSITIVE_INFINITY, made: 0 };
  const door = new Door({
    cell: inside(vault).core.cell,
    audit: inside(vault).core.audit,
    authorizer,
    clock,
    place: { cellId: vault.tenant.id, tenantId: vault.tenant.id, demo: false, contained: () => state.contained },
    later: () => {},
    admit: () => {
      state.admitted += 1;
      if (state.admitted > state.admissionsMax) fail('rate_limited', 'too many requests');
    },
    answers: new IdempotentAnswers(inside(vault).core.idempotency, inside(vault).core.keyring, clock),
  });
  const find = () => ({
    resource: { type: 'Tenant' as const, tenant: vault.tenant.id },
    target: { type: 'environment', name: 'later' },
    subject: true as const,
  });
  const ask = (caller: Caller, repeat = REPEAT) =>
    vault.submit(() =>
      door.once(caller, 'environment.create', repeat, () => {
        const value = door.enter(caller, 'environment.create', find, () => ++state.made);
        return { kept: { status: 201, body: bytes(`{"made":${value}}`) }, value };
      }),
    );
  /** The same request, without a key. */
  const askPlainly = (caller: Caller) => vault.submit(() => door.enter(caller, 'environment.create', find, () => ++state.made));
  return { state, ask, askPlainly };
}

const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'ok',
    (error: unknown) => (error instanceof KeyturnError ? error.code : 'other'),
  );

describe('a repeated request', () => {
  it('gets the stored answer once the door allowed it, and leaves an event', async () => {
    const tenant = await testTenant();
    const { state, ask } = await doorOf(tenant);
    const admin = tenant.user(['admin'], 'everywhere');
    expect(await ask(admin)).toEqual({ kind: 'first', value: 1 });
    const again = await ask(admin);
    expect(again.kind === 'repeated' && new TextDecoder().decode(again.answer.body)).toBe('{"made":1}');
    expect(state).toMatchObject({ made: 1, admitted: 2 });
    expect(eventsOf(tenant.sql).at(-1)).toMatchObject({
      action: 'environment.create',
      outcome: 'success',
      reason: 'idempotent replay',
      target: { type: 'environment', name: 'later' },
    });
  });

  it('is refused where the request itself would be: in a contained tenant, and beyond the rate limit', async () => {
    const tenant = await testTenant();
    const { state, ask } = await doorOf(tenant);
    const admin = tenant.user(['admin'], 'everywhere');
    await ask(admin);
    state.contained = true;
    expect(await codeOf(ask(admin))).toBe('sealed');
    state.contained = false;
    expect((await ask(admin)).kind).toBe('repeated');
    state.admissionsMax = state.admitted;
    expect(await codeOf(ask(admin))).toBe('rate_limited');
    expect(state.made).toBe(1);
  });

  it('of another principal, or of the same one with changed rights, runs as a new request', async () => {
    const tenant = await testTenant();
    const { state, ask } = await doorOf(tenant);
    const admin = tenant.user(['admin'], 'everywhere');
    await ask(admin);
    expect(await ask(tenant.user(['owner'], 'everywhere'))).toEqual({ kind: 'first', value: 2 });
    const changed = { ...admin, user: { ...admin.user!, revision: admin.user!.revision + 1 } };
    expect(await ask(changed)).toEqual({ kind: 'first', value: 3 });
    const demoted = { ...admin, user: { ...admin.user!, grants: [{ role: 'auditor' as const, tenantId: '*' }] } };
    expect(await codeOf(ask(demoted))).toBe('forbidden');
    expect(state.made).toBe(3);
  });

  it('needs the key: the same request without a key runs again', async () => {
    const tenant = await testTenant();
    const { ask, askPlainly } = await doorOf(tenant);
    const admin = tenant.user(['admin'], 'everywhere');
    await ask(admin);
    await ask(admin);
    expect(await askPlainly(admin)).toBe(2);
    expect(await ask(admin, { ...REPEAT, key: 'k2' })).toEqual({ kind: 'first', value: 3 });
  });

  it('gets the stored answer for exactly a day; then it runs again, and the old answer is deleted', async () => {
    const tenant = await testTenant();
    const { ask } = await doorOf(tenant);
    const admin = tenant.user(['admin'], 'everywhere');
    const kept = () => tenant.sql.all('SELECT idempotency_key FROM idempotency').map((row) => row['idempotency_key']);
    await ask(admin);
    tenant.clock.pass(LIMITS.idempotencyKeepMs - 1);
    expect((await ask(admin)).kind).toBe('repeated');
    tenant.clock.pass(1);
    expect(await ask(admin)).toEqual({ kind: 'first', value: 2 });
    tenant.clock.pass(LIMITS.idempotencyKeepMs + 1);
    await ask(admin, { ...REPEAT, key: 'k2' });
    expect(kept()).toEqual(['k2']);
  });

  it('counts one wrap of the key that seals the answer, and its repetitions none', async () => {
    const tenant = await testTenant();
    const { ask } = await doorOf(tenant);
    const { keyring } = inside(tenant.vault).core;
    const uses = () => keyring.rows().map((row) => (row.purpose === 'api_key' ? keyring.usedWraps(row) : 0)).reduce((sum, n) => sum + n); // biome-ignore format: one line
    const before = uses();
    const admin = tenant.user(['admin'], 'everywhere');
    await ask(admin);
    await ask(admin);
    expect(uses()).toBe(before + 1);
  });

  it('with other content is refused, which leaves an event', async () => {
    const tenant = await testTenant();
    const { ask } = await doorOf(tenant);
    const admin = tenant.user(['admin'], 'everywhere');
    await ask(admin);
    expect(await codeOf(ask(admin, { key: 'k1', hash: new Uint8Array(32).fill(1) }))).toBe('idempotency_mismatch');
    expect(eventsOf(tenant.sql).at(-1)).toMatchObject({ outcome: 'failure', reason: 'idempotency_mismatch' });
  });
});
