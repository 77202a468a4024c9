// Rotations of keys as resources: planned, followed, resumed, cancelled, retried, proved by a receipt; against a provider on this machine.
import { afterAll, beforeAll, expect, it } from 'vitest';
import { verifyReceipt } from '../../src/audit/receipt.ts';
import { isOnWorker, type KeyProvider, startKeyProvider } from './key-provider.ts';
import { at, eventually, type Json, must, type Reply, type World } from './world.ts';

const NAMES = ['key-rotated', 'key-refused', 'key-unreachable'] as const;
type Name = (typeof NAMES)[number];

export function keyRotationCases(world: () => World): void {
  const providers = new Map<Name, KeyProvider>();
  const call = (...[method, path, ask = {}]: Parameters<World['call']>) =>
    world().call(method, path, { token: world().acme.token, ...ask });
  const providerOf = (name: Name) => providers.get(name) ?? expect.fail(name);
  const pathOf = (name: Name) => at('acme', name);
  const coded = ({ status, body }: Reply) => ({ status, code: body?.code });
  const CONFLICT = { status: 409, code: 'conflict' };

  beforeAll(async () => {
    for (const name of NAMES) providers.set(name, await startKeyProvider());
    for (const name of NAMES) await must(call('PUT', pathOf(name), { body: providerOf(name).body }), 201);
  });
  afterAll(async () => {
    await Promise.all([...providers.values()].map((provider) => provider.stop()));
  });

  const start = async (name: Name, body: unknown = {}) => (await must(call('POST', `${pathOf(name)}/runs`, { body }), 202)).body;
  const look = async (name: Name, run: string) => (await must(call('GET', `${pathOf(name)}/runs/${run}`), 200)).body;
  const act = (name: Name, run: string, action: 'cancel' | 'resume' | 'retry', token?: string) =>
    call('POST', `${pathOf(name)}/runs/${run}/${action}`, { body: {}, ...(token === undefined ? {} : { token }) });
  const reaches = (name: Name, run: string, isThere: (run: Json) => boolean) =>
    eventually(async () => {
      const found = await look(name, run);
      return isThere(found) ? found : undefined;
    });
  const finished = (name: Name, run: string) => reaches(name, run, ({ state }) => state !== 'open');
  const key = async (name: Name) => (await must(call('GET', `${pathOf(name)}/value`), 200)).body.value.key as string;

  it('rotates a key as planned: the new one works, the old one is proved dead, and a signed receipt says so', async () => {
    const name = 'key-rotated';
    const provider = providerOf(name);
    expect(await key(name)).toBe(provider.firstKey);
    const { body: plan } = await must(call('GET', `${pathOf(name)}/plan`), 200);
    expect(plan).toMatchObject({ ready: true, plan: { strategy: 'overlap', version: 1, grace_seconds: 0 } });
    expect(plan.checks.filter((check: Json) => !check.ok)).toEqual([]);
    const another = await call('POST', `${pathOf(name)}/runs`, { body: { plan: '0'.repeat(64) } });
    expect(coded(another)).toEqual(CONFLICT);

    const run = await start(name, { plan: plan.hash, reason: 'leaked in a log' });
    expect(await finished(name, run.id)).toMatchObject({
      state: 'succeeded',
      kind: 'rotation',
      outcome: 'rotated',
      new_version: 2,
      plan: plan.hash,
      reason: 'leaked in a log',
    });
    const fresh = await key(name);
    expect(fresh).not.toBe(provider.firstKey);
    expect(await provider.isAlive(fresh)).toBe(true);

    const receipt = await eventually(async () => {
      const reply = await call('GET', `${pathOf(name)}/runs/${run.id}/receipt`, { token: world().admin });
      expect([200, 409]).toContain(reply.status);
      return reply.status === 200 ? reply.text : undefined;
    });
    expect(await provider.isAlive(provider.firstKey)).toBe(false);
    const log = await must(call('GET', '/v1/tenants/acme/audit/checkpoint', { token: world().auditor }), 200);
    const verified = verifyReceipt(receipt, log.body.verifier_key);
    expect(verified).toMatchObject({ ok: true, refused: undefined, key: 'pinned' });
    expect(verified.statement).toMatchObject({
      credential: { environment: 'staging', name },
      connector: 'local-sandbox-key',
      plan: plan.hash,
      rotation: { run: run.id, trigger: 'request' },
      old_version: 1,
      new_version: 2,
      new_value: { verdict: 'works' },
      old_value: { verdict: 'proved_dead' },
    });
    for (const secret of [fresh, provider.firstKey]) expect(receipt).not.toContain(secret);
    expect(verifyReceipt(receipt.replace('proved_dead', 'unproven')).ok).toBe(false);
    for (const action of ['cancel', 'resume', 'retry'] as const)
      expect(coded(await act(name, run.id, action)), action).toEqual(CONFLICT);
  });

  it('lists who received which version, for those who may see it', async () => {
    const { acme, admin, engineer } = world();
    const path = `${pathOf('key-rotated')}/readers`;
    const { body } = await must(call('GET', path, { token: admin }), 200);
    expect(body.items).toMatchObject([{ id: acme.workload, type: 'workload', name: 'sync', version: 2, live: true }]);
    await must(call('GET', path, { token: engineer }), 200);
    expect((await call('GET', path)).status).toBe(403);
  });

  it('needs a person where the provider refuses, and continues on request after the cause is gone', async () => {
    const name = 'key-refused';
    const provider = providerOf(name);
    provider.failWith(403);
    const run = await start(name);
    await reaches(name, run.id, ({ step }) => step === 'needs_manual');
    expect(await key(name)).toBe(provider.firstKey);
    expect((await act(name, run.id, 'resume', world().auditor)).status).toBe(403);
    provider.failWith(undefined);
    expect((await must(act(name, run.id, 'resume', world().operator), 202)).body).toMatchObject({ id: run.id, state: 'open' });
    const ended = await finished(name, run.id);
    expect(ended).toMatchObject({ state: 'succeeded', outcome: 'rotated', new_version: 2 });
    expect(ended.steps.map((one: Json) => one.step)).toContain('resumed');
    expect(await provider.isAlive(await key(name))).toBe(true);
  });

  it('cancels a run that cannot reach its provider, and a retry of it succeeds', async () => {
    const name = 'key-unreachable';
    const provider = providerOf(name);
    provider.failWith(503);
    const run = await start(name);
    await reaches(name, run.id, ({ attempts, step }) => attempts > 0 && step === 'waiting');
    expect((await start(name)).id).toBe(run.id);
    expect(coded(await act(name, run.id, 'retry'))).toEqual(CONFLICT);
    expect(coded(await call('GET', `${pathOf(name)}/runs/${run.id}/receipt`, { token: world().admin }))).toEqual(CONFLICT);
    expect((await act(name, run.id, 'cancel', world().auditor)).status).toBe(403);
    const cancelled = await must(act(name, run.id, 'cancel'), 200);
    expect(cancelled.body).toMatchObject({ id: run.id, state: 'cancelled', outcome: 'cancelled', new_version: null });
    for (const action of ['cancel', 'resume'] as const) expect(coded(await act(name, run.id, action)), action).toEqual(CONFLICT);
    expect(await key(name)).toBe(provider.firstKey);

    provider.failWith(undefined);
    const { body: again } = await must(act(name, run.id, 'retry'), 202);
    expect(again).toMatchObject({ state: 'open', retry_of: run.id });
    expect(again.id).not.toBe(run.id);
    expect(await finished(name, again.id)).toMatchObject({ state: 'succeeded', new_version: 2 });
    expect(await provider.isAlive(await key(name))).toBe(true);
  });

  it('gives the runs of one credential to no other one, and knows none that does not exist', async () => {
    const { body } = await must(call('GET', `${pathOf('key-rotated')}/runs`), 200);
    const { id } = body.items.find((run: Json) => run.kind === 'rotation');
    for (const run of [id, `run_${'0'.repeat(24)}`]) {
      for (const action of ['cancel', 'resume', 'retry'] as const)
        expect((await act('key-refused', run, action)).status, action).toBe(404);
      expect((await call('GET', `${pathOf('key-refused')}/runs/${run}/receipt`, { token: world().admin })).status).toBe(404);
    }
  });

  it('plans the rotation of a database password where the platform reaches databases, and refuses it elsewhere', async () => {
    const path = at('acme', 'db-password');
    const value = { engine: 'postgresql', host: 'db.example', username: 'app', password: 'not-a-real-secret' };
    await must(call('PUT', path, { body: { kind: 'database', connector: 'postgresql', value } }), 201);
    const { body: plan } = await must(call('GET', `${path}/plan`), 200);
    const isWorker = await isOnWorker(world());
    expect(plan.checks.find((check: Json) => check.check === 'platform').ok).toBe(!isWorker);
    if (!isWorker) return;
    // A Worker has no connection to a database.
    const refused = await call('POST', `${path}/runs`, { body: {} });
    expect(coded(refused)).toEqual({ status: 422, code: 'not_rotatable' });
    expect(refused.body.detail).toContain('this platform cannot reach the target');
  });
}
