import { afterEach, describe, expect, it } from 'vitest';
import { type RefreshBench, refreshBench } from '../../kit/refresh-bench.ts';

const TTL_MS = 600_000;
/** An object that begins and does not end: the answer was cut on its way. */
const CUT = '{"access_token": "cut';
let bench: RefreshBench;
afterEach(async () => {
  await bench.stop();
});

/** One answer is lost, and the one to the send that follows it is `body` with `status`. */
async function lostThen(status: number, body: string): Promise<RefreshBench> {
  const { sandbox } = await stale();
  sandbox.nextToken({ kind: 'answer', status: 200, body: CUT });
  sandbox.alwaysToken({ kind: 'answer', status, body });
  return bench;
}

async function stale(): Promise<RefreshBench> {
  bench = await refreshBench();
  await bench.connect('crm', { lost_answer: 'unsafe' });
  bench.tenant.clock.pass(TTL_MS + 1);
  return bench;
}

async function nextTurn(): Promise<void> {
  const { clock, vault } = bench.tenant;
  clock.atMs = Math.max(clock.atMs, vault.nextDueAt() ?? clock.atMs);
  await bench.engine.runDueWork();
}

describe('the send that follows a lost answer, at a provider that turns its tokens', () => {
  it.each([
    ['a page', 400, '<html>Bad Request</html>'],
    ['an error nobody knows', 400, '{"error":"somebody_invented_this"}'],
    ['nothing', 400, ''],
  ])('ends in consent when it is refused with %s, and is not made again hour by hour', async (_, status, body) => {
    const { sandbox, refused, row, runs } = await lostThen(status, body);
    expect(await refused('crm')).toMatchObject({ code: 'needs_consent', extra: { cause: 'answer_lost' } });
    for (let turn = 0; turn < 4; turn++) await nextTurn();
    expect(sandbox.counters.tokenCalls).toBe(2);
    expect(row('crm')).toMatchObject({ health: 'needs_consent', health_cause: 'answer_lost' });
    expect(runs('crm')).toMatchObject([{ state: 'failed', outcome: 'dead', lost_answers: 2 }]);
  });

  it('leaves the grant alone when it is the client that is refused, and goes on once that was put right', async () => {
    const { sandbox, refused, row, runs } = await lostThen(401, '{"error":"invalid_client"}');
    expect((await refused('crm')).code).not.toBe('needs_consent');
    expect(row('crm')).toMatchObject({ health: 'degraded', health_cause: 'invalid_client' });
    expect(runs('crm')).toMatchObject([{ state: 'open', lost_answers: 1 }]);
    sandbox.alwaysToken({ kind: 'normal' });
    await nextTurn();
    expect(row('crm')).toMatchObject({ health: 'ready', current_version: 2 });
  });

  it('is no second loss where no answer was lost before: unknown words are a matter of settings then', async () => {
    const { sandbox, refused, row } = await stale();
    sandbox.alwaysToken({ kind: 'answer', status: 400, body: '<html>Bad Request</html>' });
    await refused('crm');
    expect(row('crm')).toMatchObject({ health: 'degraded', health_cause: 'http_400' });
    expect(sandbox.counters.tokenCalls).toBe(1);
  });
});
