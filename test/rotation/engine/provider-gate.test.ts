import { beforeEach, describe, expect, it } from 'vitest';
import { ProviderGate, togetherAfter } from '../../../rotation/engine/provider-gate.ts';
import { LIMITS } from '../../../src/base/limits.ts';

const A = 'https://a.example/token';
const B = 'https://b.example/token';
let nowMs = 0;
let gate: ProviderGate;
beforeEach(() => {
  nowMs = 1_000_000;
  gate = new ProviderGate({ now: () => nowMs });
});

const admit = (endpoint = A) => gate.admit(endpoint, undefined, 0).kind;
const heldMs = (endpoint = A) => {
  const admission = gate.admit(endpoint, undefined, 0);
  return admission.kind === 'held' ? admission.forMs : 0;
};
const PROBE_MAX_MS = 2 * LIMITS.providerTimeoutMs;
const fail = (times: number, endpoint = A) => {
  for (let i = 0; i < times; i++) gate.report(endpoint, { kind: 'failed' });
};

describe('the breaker of a provider', () => {
  it('opens after so many failures in a row, lets one request find out, and closes when it comes back', () => {
    admit();
    fail(LIMITS.breakerFailures - 1);
    expect(admit()).toBe('go');
    fail(1);
    expect(admit()).toBe('held');
    nowMs += LIMITS.breakerOpenMs;
    expect([admit(), admit(), admit()]).toEqual(['go', 'held', 'held']);
    gate.report(A, { kind: 'alive' });
    expect([admit(), admit()]).toEqual(['go', 'go']);
  });

  it('stays open twice as long each time the probe fails, ten minutes at most', () => {
    admit();
    fail(LIMITS.breakerFailures);
    const held: number[] = [];
    for (let i = 0; i < 8; i++) {
      const admission = gate.admit(A, undefined, 0);
      held.push(admission.kind === 'held' ? admission.forMs : 0);
      nowMs += held.at(-1) ?? 0;
      expect(admit()).toBe('go');
      fail(1);
    }
    expect(held.slice(0, 3)).toEqual([30_000, 60_000, 120_000]);
    expect(held.at(-1)).toBe(LIMITS.breakerOpenMaxMs);
  });

  it('does not stay open for a day because the clock was put back by one', () => {
    nowMs += 86_400_000;
    admit();
    fail(LIMITS.breakerFailures);
    expect(admit()).toBe('held');
    nowMs -= 86_400_000;
    expect(admit()).toBe('go');
    gate.report(A, { kind: 'throttled', retryAfterMs: 2_000 });
    expect(admit()).toBe('held');
    nowMs += 2_000;
    expect(admit()).toBe('go');
  });

  it('counts failures in a row only, and failures of others not at all', () => {
    admit();
    admit(B);
    for (let i = 0; i < 5; i++) {
      fail(LIMITS.breakerFailures - 1);
      gate.report(A, { kind: 'alive' });
    }
    fail(LIMITS.breakerFailures, B);
    expect([admit(A), admit(B)]).toEqual(['go', 'held']);
  });

  it('is not kept shut by a probe that left nothing or never reported back', () => {
    admit();
    fail(LIMITS.breakerFailures);
    nowMs += LIMITS.breakerOpenMs;
    expect(admit()).toBe('go');
    gate.report(A, { kind: 'none' });
    expect([admit(), admit()]).toEqual(['go', 'held']);
    nowMs += 2 * LIMITS.providerTimeoutMs + 1;
    expect(admit()).toBe('go');
  });

  it('is not opened further by what was under way when it opened', () => {
    admit();
    fail(LIMITS.breakerFailures + 5);
    expect(heldMs()).toBe(LIMITS.breakerOpenMs);
    nowMs += LIMITS.breakerOpenMs;
    expect(admit()).toBe('go');
    fail(1);
    expect(heldMs()).toBe(2 * LIMITS.breakerOpenMs);
  });

  it('says when to ask again while its probe is under way', () => {
    admit();
    fail(LIMITS.breakerFailures);
    nowMs += LIMITS.breakerOpenMs;
    expect(admit()).toBe('go');
    expect(heldMs()).toBe(LIMITS.breakerOpenMs / 10);
    nowMs += PROBE_MAX_MS - 1;
    expect(admit()).toBe('held');
    nowMs += 1;
    expect(admit()).toBe('go');
  });

  it('has its probe taken by what goes only, not by what the budget of the host holds back', () => {
    const budget = { requests: 1, perSeconds: 60 };
    const ask = () => gate.admit(A, budget, 0).kind;
    ask();
    fail(LIMITS.breakerFailures);
    nowMs += LIMITS.breakerOpenMs;
    expect(ask()).toBe('held');
    nowMs += 90_000;
    expect([ask(), ask()]).toEqual(['go', 'held']);
  });

  it('does not wait for a probe that a clock ahead of this one began', () => {
    admit();
    fail(LIMITS.breakerFailures);
    nowMs += LIMITS.breakerOpenMs;
    expect(admit()).toBe('go');
    nowMs -= 1;
    expect(heldMs()).toBe(1);
    expect(gate.admit(A, undefined, 0, 'read').kind).toBe('go');
  });

  it('learns nothing of an endpoint that nobody asked for', () => {
    fail(LIMITS.breakerFailures);
    gate.report(A, { kind: 'throttled', retryAfterMs: 60_000 });
    expect(admit()).toBe('go');
  });

  it('stays open over a clock put back by no more than clocks differ, and over no more than that', () => {
    admit();
    fail(LIMITS.breakerFailures);
    nowMs -= LIMITS.clockSkewMs;
    expect(heldMs()).toBe(LIMITS.clockSkewMs + LIMITS.breakerOpenMs);
    nowMs -= 1;
    expect(admit()).toBe('go');
  });

  it('does not stay open for ever when the clock is put back', () => {
    nowMs += 30 * 86_400_000;
    admit();
    fail(LIMITS.breakerFailures);
    nowMs -= 30 * 86_400_000;
    expect(admit()).toBe('go');
  });
});

describe('somebody who waits for a token', () => {
  const open = () => {
    admit();
    fail(LIMITS.breakerFailures);
  };

  it('by a read finds out every few seconds whether the provider is back, one at a time, however long it was away', () => {
    open();
    for (let i = 0; i < 100; i++) {
      nowMs += LIMITS.breakerOpenMaxMs;
      if (admit() === 'go') fail(1);
    }
    expect(admit()).toBe('held');
    const probedAt: number[] = [];
    for (const end = nowMs + 60_000; nowMs < end; nowMs += 1_000) {
      const readers = [1, 2, 3].map(() => gate.admit(A, undefined, 0, 'read').kind);
      if (!readers.includes('go')) continue;
      expect(readers.filter((kind) => kind === 'go')).toHaveLength(1);
      probedAt.push(nowMs);
      fail(1);
    }
    expect(probedAt).toHaveLength(60_000 / LIMITS.breakerProbeMs - 1);
    nowMs += LIMITS.breakerProbeMs;
    expect(gate.admit(A, undefined, 0, 'read').kind).toBe('go');
    gate.report(A, { kind: 'alive' });
    expect([admit(), admit()]).toEqual(['go', 'go']);
  });

  it('by a read is told when to come again, and does not cut short what the provider asked for', () => {
    open();
    nowMs += 2_000;
    expect(gate.admit(A, undefined, 0, 'read')).toEqual({ kind: 'held', forMs: LIMITS.breakerProbeMs - 2_000 });
    nowMs += LIMITS.breakerProbeMs;
    gate.report(A, { kind: 'throttled', retryAfterMs: 60_000 });
    expect(gate.admit(A, undefined, 0, 'read')).toEqual({ kind: 'held', forMs: 60_000 });
  });

  it('by a read looks at once where the last failure was noted by a clock ahead of this one', () => {
    open();
    for (let turn = 0; turn < 20; turn++) {
      nowMs += LIMITS.breakerOpenMaxMs;
      if (admit() === 'go') fail(1);
    }
    const openedAtMs = nowMs;
    nowMs += 5 * 60_000;
    expect(gate.admit(A, undefined, 0, 'read').kind).toBe('go');
    fail(1);
    expect(gate.admit(A, undefined, 0, 'read')).toEqual({ kind: 'held', forMs: LIMITS.breakerProbeMs });
    nowMs = openedAtMs;
    expect([admit(), gate.admit(A, undefined, 0, 'read').kind]).toEqual(['held', 'go']);
  });

  it('by a read is told the end of the outage where that comes before the next probe', () => {
    open();
    nowMs += LIMITS.breakerOpenMs - 1_000;
    expect(gate.admit(A, undefined, 0, 'read').kind).toBe('go');
    fail(1);
    expect(gate.admit(A, undefined, 0, 'read')).toEqual({ kind: 'held', forMs: 1_000 });
  });

  it('by a request is never held, for it is one call that somebody asked for', () => {
    open();
    expect(gate.admit(A, undefined, 0, 'request').kind).toBe('go');
    gate.report(A, { kind: 'throttled', retryAfterMs: 60_000 });
    expect(gate.admit(A, undefined, 0, 'request').kind).toBe('go');
  });
});

describe('two endpoints of one host', () => {
  it('fail one by one, and share what the host allows', () => {
    const [one, two] = ['https://a.example/one/token', 'https://a.example/two/token'];
    admit(one);
    admit(two);
    fail(LIMITS.breakerFailures, one);
    expect([admit(one), admit(two)]).toEqual(['held', 'go']);
    gate.report(two, { kind: 'throttled', retryAfterMs: 60_000 });
    nowMs += LIMITS.breakerOpenMs;
    expect([admit(one), admit(two)]).toEqual(['held', 'held']);
  });
});

describe('a provider that throttles', () => {
  it('is left alone by everybody as long as it asked, whatever another credential was answered', () => {
    admit();
    gate.report(A, { kind: 'throttled', retryAfterMs: 60_000 });
    gate.report(A, { kind: 'alive' });
    nowMs += 59_999;
    expect([admit(A), admit(B)]).toEqual(['held', 'go']);
    nowMs += 1;
    expect(admit()).toBe('go');
  });
});

describe('a provider that throttles twice', () => {
  it('is left alone after a good answer, too', () => {
    admit();
    gate.report(A, { kind: 'alive' });
    admit();
    gate.report(A, { kind: 'throttled', retryAfterMs: 60_000 });
    expect(heldMs()).toBe(60_000);
  });

  it('is left alone until the later of the two ends', () => {
    admit();
    gate.report(A, { kind: 'throttled', retryAfterMs: 60_000 });
    admit(A);
    gate.admit(A, undefined, 0, 'request');
    gate.report(A, { kind: 'throttled', retryAfterMs: 5_000 });
    expect(heldMs()).toBe(60_000);
    gate.admit(A, undefined, 0, 'request');
    gate.report(A, { kind: 'throttled', retryAfterMs: 90_000 });
    expect(heldMs()).toBe(90_000);
  });

  it('is left alone by a clock put back no further than clocks differ, and by no other', () => {
    admit();
    gate.report(A, { kind: 'throttled', retryAfterMs: 60_000 });
    nowMs -= LIMITS.clockSkewMs;
    expect(heldMs()).toBe(60_000 + LIMITS.clockSkewMs);
    nowMs -= 1;
    expect(admit()).toBe('go');
  });
});

describe('the memory of the gate', () => {
  const KEPT = 10_000;
  const others = (count: number, report: 'alive' | 'none') => {
    for (let i = 0; i < count; i++) {
      admit(`https://other-${i}.example/token`);
      gate.report(`https://other-${i}.example/token`, { kind: report });
    }
  };

  it.each([
    [KEPT - 1, 'held'],
    [KEPT, 'go'],
  ])('is bounded: with %i endpoints beside it, a failing one is %s', (count, kind) => {
    admit();
    fail(LIMITS.breakerFailures);
    others(count, 'none');
    expect(admit()).toBe(kind);
  });

  it('may have lost the host of a report, which then says nothing', () => {
    admit();
    others(KEPT, 'alive');
    expect(() => gate.report(A, { kind: 'throttled', retryAfterMs: 60_000 })).not.toThrow();
    expect(admit()).toBe('go');
  });
});

describe('going together', () => {
  it.each([0, 1, 99, 100, 101, 12_345])(
    'is never before the own place in line, and within a tenth of a second (%i)',
    (startMs) => {
      for (let afterMs = 0; afterMs < 250; afterMs++) {
        const together = togetherAfter(startMs, afterMs);
        expect((startMs + together) % 100).toBe(0);
        expect(together).toBeGreaterThan(afterMs);
        expect(together).toBeLessThanOrEqual(afterMs + 100);
      }
    },
  );
});

describe('the budget of a provider', () => {
  it.each([
    [undefined, 200, 1],
    [{ requests: 100, perSeconds: 10 }, 100, 10],
    [{ requests: 30, perSeconds: 1 }, 30, 1],
    [{ requests: 1, perSeconds: 2 }, 1, 2],
  ])('of %j is never exceeded in any span, and used up to at least half', (budget, requests, perSeconds) => {
    const wentAt: number[] = [];
    const end = nowMs + 60_000;
    while (nowMs < end) {
      if (gate.admit(A, budget, 0).kind === 'go') wentAt.push(nowMs);
      else nowMs += 1;
    }
    const spanMs = perSeconds * 1_000;
    const most = Math.max(...wentAt.map((from) => wentAt.filter((at) => at >= from && at < from + spanMs).length));
    expect(most).toBeLessThanOrEqual(requests);
    expect(wentAt.length).toBeGreaterThan((60 / perSeconds) * requests * 0.5 - 1);
  });

  it('is not refilled by a clock that was put back', () => {
    const budget = { requests: 10, perSeconds: 1 };
    expect(gate.admit(A, budget, 0).kind).toBe('go');
    nowMs -= 500;
    expect(gate.admit(A, budget, 0).kind).toBe('held');
    nowMs += 112;
    expect(gate.admit(A, budget, 0).kind).toBe('go');
  });

  it('says how long to wait where the line is longer than the caller accepts', () => {
    const budget = { requests: 1, perSeconds: 2 };
    expect(gate.admit(A, budget, 0)).toEqual({ kind: 'go', afterMs: 0 });
    expect(gate.admit(A, budget, 3_999)).toEqual({ kind: 'held', forMs: 1 });
    expect(gate.admit(A, budget, 4_000)).toEqual({ kind: 'go', afterMs: 4_000 });
  });

  it.each([
    [undefined, 200, 1],
    [{ requests: 100, perSeconds: 10 }, 100, 10],
    [{ requests: 30, perSeconds: 1 }, 30, 1],
  ])('of %j is kept by those who wait to go together, too, whenever they come', (budget, requests, perSeconds) => {
    const wentAt: number[] = [];
    const waits: number[] = [];
    const end = nowMs + 60_000;
    for (let step = 0; nowMs < end; step++) {
      const admission = gate.admit(A, budget, 1_000);
      if (admission.kind === 'go') {
        const { afterMs } = admission;
        waits.push(afterMs === 0 ? 0 : togetherAfter(nowMs, afterMs) - afterMs);
        wentAt.push(afterMs === 0 ? nowMs : nowMs + togetherAfter(nowMs, afterMs));
      } else nowMs += [1, 7, 350, 1_300][step % 4] ?? 1; // now in a throng, now after a pause that fills the burst
    }
    const spanMs = perSeconds * 1_000;
    const most = Math.max(...wentAt.map((from) => wentAt.filter((at) => at >= from && at < from + spanMs).length));
    expect(most).toBeLessThanOrEqual(requests);
    expect(Math.max(...waits)).toBeLessThanOrEqual(100);
    const together = wentAt.filter((at) => at % 100 === 0).length;
    expect(together).toBeGreaterThan(wentAt.length / 2);
  });

  it('lets callers take a place in line, one after the other, up to the wait they accept', () => {
    const waits: number[] = [];
    for (;;) {
      const admission = gate.admit(A, { requests: 10, perSeconds: 1 }, 1_000);
      if (admission.kind === 'held') break;
      waits.push(admission.afterMs);
    }
    expect(waits[0]).toBe(0);
    expect(waits.at(-1)).toBeLessThanOrEqual(1_000);
    expect(waits).toEqual([...waits].sort((a, b) => a - b));
  });
});
