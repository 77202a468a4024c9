// Requests of rotations keep the budget of their provider, and stop when it fails or throttles.
import { describe, expect, it } from 'vitest';
import { type EgressAnswer, EgressFailure, type EgressRequest } from '../../../rotation/connector.ts';
import { gatedEgress } from '../../../rotation/engine/gated-egress.ts';
import { ProviderGate, type Urgency } from '../../../rotation/engine/provider-gate.ts';
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
