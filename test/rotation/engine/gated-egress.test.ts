// Requests of rotations keep the budget of their provider, and stop when it fails or throttles.
import { describe, expect, it } from 'vitest';
import { type EgressAnswer, EgressFailure, type EgressRequest } from '../../../rotation/connector.ts';
import { gatedEgress } from '../../../rotation/engine/gated-egress.ts';
import { type Admission, type GateReport, ProviderGate, type Urgency } from '../../../rotation/engine/provider-gate.ts';
import { LIMITS } from '../../../src/base/limits.ts';
import { SecretValue } from '../../../src/base/secret-value.ts';

function bench(answers: (nth: number) => Partial<EgressAnswer> | EgressFailure = () => ({}), requests = 2) {
  let nowMs = 1_000_000;
  const sentAt: number[] = [];
  const gate = new ProviderGate({ now: () => nowMs });
  const egress = (urgency: Urgency) =>
    gatedEgress(
      {
        send: async () => {
          sentAt.push(nowMs);
          const given = answers(sentAt.length);
          if (given instanceof EgressFailure) throw given;
          return { status: 200, headers: {}, body: SecretValue.fromText(''), sentAtMs: nowMs, ...given };
        },
      },
      {
        gate,
        budget: { requests, perSeconds: 1 },
        urgency,
        nowMs: () => nowMs,
        wait: async (ms) => {
          nowMs += ms;
        },
      },
    );
  const send = (urgency: Urgency = 'schedule', more: Partial<EgressRequest> = {}, url = 'https://api.example/keys/1') =>
    egress(urgency).send({
      url,
      method: 'GET',
      headers: {},
      allowedHosts: ['api.example'],
      timeoutMs: 1,
      maxBytes: 1,
      allowLoopback: false,
      ...more,
    });
  const pass = (ms: number) => {
    nowMs += ms;
  };
  return { gate, send, sentAt, pass };
}

describe('an egress behind the gate', () => {
  it('sends no more than the budget in any second', async () => {
    const { send, sentAt } = bench();
    for (let i = 0; i < 12; i++) await send();
    for (const at of sentAt) expect(sentAt.filter((other) => other >= at && other < at + 1_000).length).toBeLessThanOrEqual(2);
  });

  it('refuses what would wait too long, before anything is sent', async () => {
    const { gate, send, sentAt } = bench(undefined, 1);
    for (let i = 0; i < 100; i++) gate.admit('https://api.example', { requests: 1, perSeconds: 1 }, Number.MAX_SAFE_INTEGER);
    await expect(send()).rejects.toMatchObject({ reason: 'held', sent: 'not_sent' });
    expect(sentAt).toEqual([]);
    expect(gate.heldForMs('https://api.example', { requests: 1, perSeconds: 1 }, LIMITS.gateLineMaxMs)).toBeGreaterThan(0);
  });

  it('waits as long as the provider says, and only a request of a person is sent nevertheless', async () => {
    const { gate, send, sentAt, pass } = bench((nth) => (nth === 1 ? { status: 429, headers: { 'retry-after': '120' } } : {}));
    await send();
    await expect(send()).rejects.toMatchObject({ reason: 'held' });
    expect(gate.heldForMs('https://api.example', undefined, 0)).toBe(120_000);
    expect(gate.heldForMs('https://other.example', undefined, 0)).toBe(0);
    await send('request');
    pass(120_000);
    await send();
    expect(sentAt.length).toBe(3);
  });

  it.each([
    ['server errors', { status: 500 }, 'held'],
    ['lost connections', new EgressFailure('connection_lost'), 'held'],
    ['refusals', { status: 403 }, 'sent'],
    ['addresses that are not allowed', new EgressFailure('address_blocked'), 'sent'],
  ])('after many %s in a row the next request is %3$s', async (_what, result, then) => {
    const { send, pass } = bench(() => result, 100);
    for (let i = 0; i < LIMITS.breakerFailures; i++) await send().catch(() => {});
    pass(1_000);
    const next = await send().then(
      () => 'sent',
      (error: EgressFailure) => (error.reason === 'held' ? 'held' : 'sent'),
    );
    expect(next).toBe(then);
  });

  it('withdraws a request that may no longer leave after its wait', async () => {
    const { send, sentAt } = bench();
    await expect(send('schedule', { mayLeave: () => false })).rejects.toMatchObject({ reason: 'withdrawn' });
    expect(sentAt).toEqual([]);
  });
});

describe('the line before a request', () => {
  const MAX = LIMITS.gateLineMaxMs;

  /** A gate that gives these admissions, in turn, and what was asked and reported. */
  function line(admissions: readonly Admission[], result: Partial<EgressAnswer> | Error = {}) {
    const log: unknown[] = [];
    const left = [...admissions];
    const gate = {
      admit: (endpoint: string, _budget: unknown, maxWaitMs: number, urgency: Urgency) => {
        log.push(['ask', endpoint, maxWaitMs, urgency]);
        return left.shift() ?? { kind: 'go', afterMs: 0 };
      },
      report: (endpoint: string, report: GateReport) => void log.push(['report', endpoint, report]),
    } as unknown as ProviderGate;
    const send = async (urgency: Urgency, url = 'https://api.example:8443/keys/1?x=1', mayLeave = true) => {
      const egress = gatedEgress(
        {
          send: async () => {
            log.push('sent');
            if (result instanceof Error) throw result;
            return { status: 200, headers: {}, body: SecretValue.fromText(''), sentAtMs: 0, ...result };
          },
        },
        { gate, budget: undefined, urgency, nowMs: () => 0, wait: async (ms) => void log.push(['wait', ms]) },
      );
      const rest = { method: 'GET', headers: {}, allowedHosts: [], timeoutMs: 1, maxBytes: 1, allowLoopback: false } as const;
      await egress.send({ ...rest, url, mayLeave: () => mayLeave }).catch((error: Error) => log.push(error));
      return log;
    };
    return { send };
  }
  const HOST = 'https://api.example:8443';
  const ALIVE = ['report', HOST, { kind: 'alive' }];
  const held = expect.objectContaining({ reason: 'held' });

  it('is one for all paths of a host, and is passed at once or after the wait that the gate says', async () => {
    expect(await line([{ kind: 'go', afterMs: 0 }]).send('schedule')).toEqual([['ask', HOST, MAX, 'schedule'], 'sent', ALIVE]);
    const waited = [['ask', HOST, MAX, 'schedule'], ['wait', 1], 'sent', ALIVE];
    expect(await line([{ kind: 'go', afterMs: 1 }]).send('schedule')).toEqual(waited);
    expect((await line([]).send('schedule', 'no url'))[0]).toEqual(['ask', '', MAX, 'schedule']);
  });

  it('is joined again by those who wait for an answer, as long as their patience lasts; never by due work', async () => {
    const twice: Admission[] = [
      { kind: 'held', forMs: MAX - 10 },
      { kind: 'held', forMs: 10 },
    ];
    expect(await line(twice).send('read')).toEqual([
      ['ask', HOST, MAX, 'read'],
      ['wait', MAX - 10],
      ['ask', HOST, 10, 'read'],
      ['wait', 10],
      ['ask', HOST, 0, 'read'],
      'sent',
      ALIVE,
    ]);
    expect(await line([{ kind: 'held', forMs: MAX + 1 }]).send('read')).toEqual([['ask', HOST, MAX, 'read'], held]);
    expect(await line([{ kind: 'held', forMs: 1 }]).send('schedule')).toEqual([['ask', HOST, MAX, 'schedule'], held]);
  });

  it.each<[string, Partial<EgressAnswer> | Error, GateReport]>([
    ['an answer', { status: 200 }, { kind: 'alive' }],
    ['a refusal', { status: 499 }, { kind: 'alive' }],
    ['throttling with a time', { status: 429, headers: { 'retry-after': '7' } }, { kind: 'throttled', retryAfterMs: 7_000 }],
    ['a pause with a time', { status: 503, headers: { 'retry-after': '8' } }, { kind: 'throttled', retryAfterMs: 8_000 }],
    ['a failure with a time', { status: 500, headers: { 'retry-after': '9' } }, { kind: 'failed' }],
    ['an answer with a time', { status: 200, headers: { 'retry-after': '9' } }, { kind: 'alive' }],
    ['throttling without a time', { status: 429 }, { kind: 'failed' }],
    ['a pause without a time', { status: 503 }, { kind: 'failed' }],
    ['a failure of a server', { status: 500 }, { kind: 'failed' }],
    ['a lost connection', new EgressFailure('connection_lost'), { kind: 'failed' }],
    ['an address that is not allowed', new EgressFailure('address_blocked'), { kind: 'none' }],
    ['a host that is not allowed', new EgressFailure('host_not_allowed'), { kind: 'none' }],
    ['a request that is none', new EgressFailure('request_refused'), { kind: 'none' }],
    ['a request that was withdrawn', new EgressFailure('withdrawn'), { kind: 'none' }],
    ['a defect', new RangeError('no'), { kind: 'failed' }],
  ])('is told of %s', async (_what, result, report) => {
    const log = await line([], result).send('schedule');
    expect(log.slice(2)).toEqual([['report', HOST, report], ...(result instanceof Error ? [result] : [])]);
  });

  it('is told that nothing was sent of a request that was withdrawn in it', async () => {
    expect((await line([]).send('schedule', undefined, false)).slice(1)).toEqual([
      ['report', HOST, { kind: 'none' }],
      expect.objectContaining({ reason: 'withdrawn' }),
    ]);
  });
});
