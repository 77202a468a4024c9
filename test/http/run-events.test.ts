// The steps of a run as a stream: complete, resumed where a client left, ended with the run or the token, and bounded.
import { afterEach, describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { prepend, withoutStream } from '../../src/http/response.ts';
import { type EventsAsked, runEvents } from '../../src/http/run-events.ts';
import { revokeWorkload } from '../../src/vault/manage-workloads.ts';
import { type RotationBench, rotationBench } from '../kit/rotation-bench.ts';
import { eventsOf, workloadToken } from '../kit/vaults.ts';

let bench: RotationBench | undefined;
afterEach(() => bench?.close());

async function begin() {
  bench = await rotationBench('overlap');
  const b = bench;
  const admin = () => b.tenant.user(['admin'], 'everywhere', { secondFactorAtMs: b.tenant.clock.now() });
  const run = await b.vault.submit((job) => b.runs.open(job, admin(), 'staging', 'db'));
  const stream = (more: Partial<EventsAsked> = {}) =>
    runEvents(b.vault, {
      environment: 'staging',
      name: 'db',
      runId: run.id,
      caller: admin(),
      after: 0,
      isStillUser: () => true,
      ...more,
    });
  /** Lets the pauses of streams end after this time. */
  const pass = (ms: number) => {
    b.tenant.clock.pass(ms);
    for (const wake of b.tenant.wakes.splice(0)) wake();
  };
  return { b, run, stream, pass };
}

const text = (part: IteratorResult<Uint8Array>) => (part.done === true ? undefined : new TextDecoder().decode(part.value));
const settled = () => new Promise((done) => setImmediate(done));

async function rest(source: AsyncGenerator<Uint8Array>): Promise<string> {
  let whole = '';
  for await (const part of source) whole += new TextDecoder().decode(part);
  return whole;
}

const idsIn = (whole: string) => [...whole.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id));
const kindsIn = (whole: string) => [...whole.matchAll(/^event: (\w+)$/gm)].map(([, kind]) => kind);

describe('the events of a run', () => {
  it('are its journal, each step once, and its end', async () => {
    const { b, run, stream } = await begin();
    await b.runs.advance(run.credential_id);
    const whole = await rest(stream());
    const steps = b.tenant.sql.all('SELECT sequence, step FROM run_step WHERE run_id = ? ORDER BY sequence', run.id);
    expect(idsIn(whole)).toEqual(steps.map(({ sequence }) => sequence));
    expect(kindsIn(whole)).toEqual([...steps.map(() => 'step'), 'end']);
    const end = JSON.parse(/event: end\ndata: (.*)\n/.exec(whole)?.[1] ?? '') as object;
    expect(end).toMatchObject({ id: run.id, state: 'succeeded', new_version: 2 });
    expect(whole).not.toMatch(/made-up-\d|password/);
  });

  it('arrive as they happen, and the stream ends with the run', async () => {
    const { b, run, stream, pass } = await begin();
    const source = stream();
    expect(text(await source.next())).toBe(`retry: ${LIMITS.runEventsRetryMs}\n\n`);
    expect(text(await source.next())).toContain('"step":"queued"');
    const next = source.next();
    await b.runs.advance(run.credential_id);
    pass(LIMITS.runEventsPollMs);
    expect(text(await next)).toContain('"step":"intent"');
    expect(kindsIn(await rest(source)).at(-1)).toBe('end');
  });

  it('resume after the last one that a client has', async () => {
    const { b, run, stream } = await begin();
    await b.runs.advance(run.credential_id);
    const all = idsIn(await rest(stream()));
    for (const after of all) expect(idsIn(await rest(stream({ after })))).toEqual(all.filter((id) => id > after));
  });

  it('are one event in the log, when the stream opens', async () => {
    const { b, run, stream } = await begin();
    await b.runs.advance(run.credential_id);
    await rest(stream());
    expect(eventsOf(b.tenant.sql).filter(({ action }) => action === 'run.read')).toMatchObject([{ details: { run: run.id } }]);
  });

  it('are refused to who may not read runs, and for a run of another credential', async () => {
    const { b, stream } = await begin();
    await expect(stream({ caller: b.tenant.user(['owner'], 'elsewhere') }).next()).rejects.toMatchObject({ code: 'not_found' });
    await expect(stream({ runId: `run_${'0'.repeat(24)}` }).next()).rejects.toMatchObject({ code: 'not_found' });
  });
});

describe('a stream of a run that waits', () => {
  async function waiting(more: Partial<EventsAsked> = {}) {
    const all = await begin();
    const source = all.stream(more);
    await source.next();
    await source.next();
    const pending = source.next();
    await settled();
    return { ...all, source, pending };
  }

  it('says from time to time that it is open, and ends after a while so that the client passes the door again', async () => {
    const { pass, pending, source } = await waiting();
    pass(LIMITS.runEventsBeatMs);
    expect(text(await pending)).toBe(': open\n\n');
    const next = source.next();
    await settled();
    pass(LIMITS.runEventsMaxMs);
    expect(text(await next)).toContain('event: reconnect');
    expect((await source.next()).done).toBe(true);
  });

  it('ends when the token of the user is no longer valid', async () => {
    const { pass, pending } = await waiting({ isStillUser: () => false });
    pass(LIMITS.runEventsCheckMs);
    expect((await pending).done).toBe(true);
  });

  it('ends when the workload is revoked', async () => {
    const { b, run, pass } = await begin();
    const { text: token, id } = await workloadToken(b.tenant, { permissions: ['rotate'] });
    const asked = { environment: 'staging', name: 'db', runId: run.id, after: 0, isStillUser: () => true };
    const source = runEvents(b.vault, { ...asked, caller: b.tenant.token(token) });
    await source.next();
    await source.next();
    const pending = source.next();
    await settled();
    const admin = b.tenant.user(['admin'], 'everywhere', { secondFactorAtMs: b.tenant.clock.now() });
    await b.vault.submit((job) => revokeWorkload(job, admin, id));
    pass(LIMITS.runEventsCheckMs);
    expect((await pending).done).toBe(true);
  });

  it('ends when the tenant closes', async () => {
    const { b, pass, pending } = await waiting();
    b.vault.close();
    pass(LIMITS.runEventsPollMs);
    expect((await pending).done).toBe(true);
    bench = undefined;
  });

  it.each([
    ['of a tenant', LIMITS.runEventStreamsMax, (index: number) => `usr_${index}`],
    ['of one caller', LIMITS.runEventStreamsOfOneMax, () => 'usr_one'],
  ])('is one of a bounded number %s; one that is left makes room', async (_of, max, idOf) => {
    const { b, stream } = await begin();
    const streamOf = (index: number) => {
      const caller = b.tenant.user(['admin'], 'everywhere');
      return stream({ caller: { ...caller, user: caller.user && { ...caller.user, id: idOf(index) } } });
    };
    const open = await Promise.all(
      Array.from({ length: max }, async (_, index) => {
        const source = streamOf(index);
        await source.next();
        return source;
      }),
    );
    await expect(streamOf(max).next()).rejects.toMatchObject({ code: 'rate_limited', retryAfterSeconds: 5 });
    await open[0]?.return(undefined);
    expect((await streamOf(max).next()).done).toBe(false);
  });

  it('makes room when its client leaves before the first part is taken, and when nobody reads it', async () => {
    const { stream } = await begin();
    for (let i = 0; i <= LIMITS.runEventStreamsOfOneMax; i++) {
      const source = stream();
      const first = await source.next();
      const answer = { status: 200, stream: prepend(first.value ?? new Uint8Array(), source) };
      if (i % 2 === 0) await answer.stream.return(undefined);
      else expect(await withoutStream(answer)).toEqual({ status: 200 });
      expect(await source.next()).toEqual({ done: true, value: undefined });
    }
  });
});
