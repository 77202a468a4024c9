// Runs on request: cancelled without anything left at the target, resumed, retried, and refused with what can be done instead.
import { afterEach, describe, expect, it } from 'vitest';
import { deleteCredential } from '../../../src/vault/change-credential.ts';
import { cancelRun, resumeRun } from '../../../src/vault/change-run.ts';
import { putCredential } from '../../../src/vault/put-credential.ts';
import { requestOf } from '../../../src/vault/run-request.ts';
import { type RotationBench, rotationBench, STRATEGIES } from '../../kit/rotation-bench.ts';
import { eventsOf } from '../../kit/vaults.ts';

let bench: RotationBench | undefined;
afterEach(() => bench?.close());

async function begin(strategy: (typeof STRATEGIES)[number]): Promise<RotationBench> {
  bench = await rotationBench(strategy);
  return bench;
}

const WHERE = { environment: 'staging', name: 'db' };
const admin = (b: RotationBench) => b.tenant.user(['admin'], 'everywhere', { secondFactorAtMs: b.tenant.clock.now() });
const last = (b: RotationBench) => b.rows('rotation').at(-1) as ReturnType<RotationBench['rows']>[number];
const cancel = (b: RotationBench, runId = last(b).id) => b.vault.submit((job) => cancelRun(job, admin(b), { ...WHERE, runId }));
const resume = (b: RotationBench, runId = last(b).id) => b.vault.submit((job) => resumeRun(job, admin(b), { ...WHERE, runId }));
const open = (b: RotationBench, request = {}) => b.vault.submit((job) => b.runs.open(job, admin(b), 'staging', 'db', request));
const accepted = (b: RotationBench) => [...b.target.accepted.values()].flatMap((passwords) => [...passwords]);
const outcome = (act: () => Promise<unknown>) =>
  act().then(
    () => 'done',
    (error: { code: string }) => error.code,
  );

const current = (b: RotationBench) => {
  const row = b.tenant.sql.get("SELECT current_version AS v, pending_version AS p FROM credential WHERE name = 'db'");
  return [row?.['v'], row?.['p']];
};

describe.each(STRATEGIES)('a run with the strategy %s', (strategy) => {
  it('is cancelled at any point before its new value may be in use, also after a crash, and leaves nothing at the target', async () => {
    const whole = await begin(strategy);
    await whole.rotate();
    const points = whole.passed.length;
    whole.close();
    const ends = new Set<string>();
    for (let nth = 1; nth <= points; nth++) {
      const b = await begin(strategy);
      b.killAt(nth);
      await b.rotate();
      b.restart();
      const ended = await outcome(() => cancel(b));
      ends.add(ended);
      await b.finish();
      await b.finish();
      expect(b.target.works(await b.read()), `the current value, cancelled after point ${nth}`).toBe(true);
      expect(accepted(b).length, `values that work, cancelled after point ${nth}`).toBe(1);
      expect(b.rows('rotation').map(({ state }) => state)).toEqual([ended === 'done' ? 'cancelled' : 'succeeded']);
      if (ended === 'done') expect(current(b)).toEqual([1, null]);
      b.close();
    }
    // The first intent of a target that makes and replaces the value at once puts the current value in doubt.
    if (strategy !== 'in_place') expect(ends).toContain('done');
    expect(ends).toContain('conflict');
    bench = undefined;
  });

  it('is cancelled while its call is under way, or says that it cannot', async () => {
    for (const step of ['create', 'set', 'test'] as const) {
      const b = await begin(strategy);
      let ended = '';
      b.target.during.set(step, async () => {
        ended = await outcome(() => cancel(b));
      });
      await b.rotate();
      for (let rounds = 0; rounds < 2; rounds++) await b.finish();
      if (ended === '') continue;
      expect(b.target.works(await b.read()), `cancelled during ${step}`).toBe(true);
      expect(accepted(b).length, `values that work, cancelled during ${step}`).toBe(1);
      expect(last(b).state).toBe(ended === 'done' ? 'cancelled' : 'succeeded');
      b.close();
    }
    bench = undefined;
  });

  it('that is superseded by a put or a deletion at any point leaves no key that nothing refers to', async () => {
    const whole = await begin(strategy);
    await whole.rotate();
    const points = whole.passed.length;
    whole.close();
    bench = undefined;
    // A target that replaces at once keeps what the interrupted call set: nobody knows its value, and the put names what works.
    if (strategy === 'in_place' || strategy === 'single_user') return;
    for (const act of ['put', 'delete'] as const) {
      for (let nth = 1; nth <= points; nth++) {
        const b = await begin(strategy);
        b.killAt(nth);
        await b.rotate();
        b.restart();
        if (last(b).state !== 'open') break;
        b.target.accepted.get('app')?.add('put meanwhile');
        const value = { engine: 'postgresql', host: 'db.example', username: 'app', password: 'put meanwhile' };
        const rest = { labels: undefined, description: undefined, expiresAtMs: undefined, precondition: {} };
        await b.vault.submit((job) =>
          act === 'put'
            ? putCredential(job, admin(b), {
                ...WHERE,
                kind: 'database',
                value,
                connector: undefined,
                config: undefined,
                ...rest,
              })
            : deleteCredential(job, admin(b), { ...WHERE, recoveryWindowMs: undefined, precondition: {} }),
        );
        for (let rounds = 0; rounds < 2; rounds++) await b.finish();
        expect(accepted(b).toSorted(), `after a ${act} at point ${nth}`).toEqual(['first', 'put meanwhile']);
        b.close();
      }
    }
    bench = undefined;
  });
});

describe('a run that waits for a person', () => {
  const refused = { kind: 'refused', means: 'configuration', cause: 'no_permission' } as const;

  it('is resumed at once after the cause was removed', async () => {
    const b = await begin('overlap');
    b.target.failures.push({ step: 'create', outcome: refused });
    await b.rotate();
    expect(last(b)).toMatchObject({ state: 'open', step: 'needs_manual' });
    await resume(b);
    expect(last(b).next_attempt_at).toBe(b.tenant.clock.now());
    await b.runs.runDueWork();
    expect(last(b)).toMatchObject({ state: 'succeeded' });
    const steps = eventsOf(b.tenant.sql).filter(({ details }) => (details as { step?: string } | undefined)?.step === 'resumed');
    expect(steps).toMatchObject([
      { action: 'credential.rotate', outcome: 'success', details: { run: last(b).id, trigger: 'request' } },
    ]);
  });

  it('is cancelled, with an event, and its retry names it', async () => {
    const b = await begin('overlap');
    b.target.failures.push({ step: 'create', outcome: refused });
    await b.rotate();
    const first = last(b);
    await cancel(b);
    expect(last(b)).toMatchObject({ state: 'cancelled', outcome: 'cancelled', step: 'cancelled', next_attempt_at: null });
    const cancelled = eventsOf(b.tenant.sql).filter(
      ({ details }) => (details as { step?: string } | undefined)?.step === 'cancelled',
    );
    expect(cancelled).toMatchObject([{ action: 'credential.rotate', outcome: 'success', actor: { type: 'user' } }]);
    await open(b, { retryOf: first.id, reason: 'the permission is there now' });
    expect(requestOf(last(b))).toEqual({ retryOf: first.id, reason: 'the permission is there now', plan: undefined });
    await b.finish();
    expect(b.rows('rotation').map(({ state }) => state)).toEqual(['cancelled', 'succeeded']);
    expect(requestOf(last(b)).reason).toBe('the permission is there now');
  });
});

describe('what is not possible is refused with what is', () => {
  it('for a run that has succeeded, and for the revocation that follows', async () => {
    const b = await begin('overlap');
    await b.rotate();
    await expect(cancel(b)).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringMatching(/version 2 is current.*rollback/),
    });
    await expect(resume(b)).rejects.toMatchObject({ code: 'conflict' });
    await expect(open(b, { retryOf: last(b).id })).rejects.toMatchObject({
      message: expect.stringMatching(/request a new rotation/),
    });
    const [revocation] = b.rows('revocation');
    await expect(cancel(b, revocation?.id)).rejects.toMatchObject({ message: expect.stringMatching(/must not stay valid/) });
    await expect(resume(b, revocation?.id)).rejects.toMatchObject({ message: expect.stringMatching(/grace period/) });
  });

  it('for a run of another credential, as if it did not exist', async () => {
    const b = await begin('overlap');
    await expect(cancel(b, `run_${'0'.repeat(24)}`)).rejects.toMatchObject({ code: 'not_found' });
  });

  it('for a retry while another run is open, and for an open run with another plan', async () => {
    const b = await begin('overlap');
    const plan = await b.vault.submit((job) => b.runs.plan(job, admin(b), 'staging', 'db'));
    await open(b, { plan: plan.hash });
    const first = last(b).id;
    await expect(open(b, { retryOf: first })).rejects.toMatchObject({
      message: expect.stringMatching(/resume it, or cancel it/),
    });
    await expect(open(b, { plan: 'b'.repeat(64) })).rejects.toMatchObject({ message: expect.stringMatching(/another plan/) });
    expect((await open(b, { plan: plan.hash })).id).toBe(first);
    await cancel(b);
    await open(b);
    await expect(open(b, { retryOf: first })).rejects.toMatchObject({ message: expect.stringMatching(/another run/) });
  });
});

describe('a key that a cancelled run may have made, while the next run replaces the same version', () => {
  async function replaced(): Promise<RotationBench> {
    const b = await begin('overlap');
    b.target.failures.push({ step: 'create', outcome: { kind: 'lost', cause: 'made_up' }, applied: true });
    await b.rotate();
    await cancel(b);
    b.target.failures.push({ step: 'remove', outcome: { kind: 'lost', cause: 'made_up' } });
    await b.runs.runDueWork();
    expect(b.rows('revocation')).toMatchObject([{ generation: 1, state: 'open', attempts: 1 }]);
    await b.rotate();
    expect(last(b)).toMatchObject({ state: 'succeeded', outcome: 'rotated' });
    expect(b.target.calls.filter((step) => step === 'create').length).toBe(2);
    expect(b.rows('revocation')).toMatchObject([{ state: 'cancelled' }, { generation: 1, state: 'open', step: 'grace' }]);
    return b;
  }

  it('is ended with that version', async () => {
    const b = await replaced();
    await b.finish();
    expect(b.rows('revocation').at(-1)).toMatchObject({ outcome: 'revoked', cause: 'proved_dead' });
    expect(accepted(b)).toEqual([(await b.read())['password']]);
  });

  it('is ended although somebody puts the value of that version again', async () => {
    const b = await replaced();
    const value = { engine: 'postgresql', host: 'db.example', username: 'app', password: 'first' };
    const facts = { ...WHERE, kind: 'database', value, connector: 'made-up-target', config: {} } as const;
    const rest = { labels: undefined, description: undefined, expiresAtMs: undefined, precondition: {} };
    await b.vault.submit((job) => putCredential(job, admin(b), { ...facts, ...rest }));
    await b.finish();
    expect(b.rows('revocation').map(({ cause }) => cause)).toEqual(['replaced', 'in_use', 'nothing_left']);
    expect(accepted(b)).toContain('first');
    expect(accepted(b)).not.toContain('made-up-1');
  });
});
