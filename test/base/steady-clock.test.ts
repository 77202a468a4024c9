// Time only goes forward: what a clock says that jumped, was set back, or stood still.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { type ClockAnomaly, SteadyClock } from '../../src/base/steady-clock.ts';

const START = Date.UTC(2026, 0, 2);
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const YEAR = 365 * DAY;

/** A machine whose clock can be set; time passes on both, a setting moves only the clock. */
function machine(startMs = START) {
  const state = { wall: startMs, ran: 0 };
  return {
    clock: { now: () => state.wall, ran: () => state.ran },
    pass(ms: number) {
      state.wall += ms;
      state.ran += ms;
    },
    set(ms: number) {
      state.wall += ms;
    },
  };
}

function started(committedMs?: number) {
  const { clock, pass, set } = machine();
  const time = new SteadyClock(clock);
  if (committedMs !== undefined) time.atLeast(committedMs);
  const told: ClockAnomaly[] = [];
  time.onAnomaly((anomaly) => told.push(anomaly));
  return { time, told, pass, set };
}

it('says whole milliseconds, though what a process has been running has fractions', () => {
  const state = { wall: START, ran: 0.25 };
  const time = new SteadyClock({ now: () => state.wall, ran: () => state.ran });
  for (let i = 0; i < 5; i++) {
    state.ran += 1.3;
    expect(Number.isInteger(time.now())).toBe(true);
    expect(Number.isInteger(time.steadyFrom())).toBe(true);
  }
});

describe('a clock that was set back', () => {
  it('does not make time go back: it goes on as the process does, and that is told once', () => {
    const { time, told, pass, set } = started();
    pass(HOUR);
    expect(time.now()).toBe(START + HOUR);
    set(-2 * HOUR);
    expect(time.now()).toBe(START + HOUR);
    pass(60_000);
    expect(time.now()).toBe(START + HOUR + 60_000);
    expect(told).toEqual([{ kind: 'behind', byMs: 2 * HOUR }]);
    expect(time.behindMs()).toBe(2 * HOUR);
    set(2 * HOUR);
    expect([time.now(), time.behindMs()]).toEqual([START + HOUR + 60_000, 0]);
    set(-3 * HOUR);
    time.now();
    expect(told).toHaveLength(2);
  });

  it('before a start is not before what was committed, by any cell', () => {
    const { time, told } = started(START + HOUR);
    expect(time.now()).toBe(START + HOUR);
    expect(told).toEqual([{ kind: 'behind', byMs: HOUR }]);
    time.atLeast(START);
    expect(time.now()).toBe(START + HOUR);
    time.atLeast(START + DAY);
    expect(time.now()).toBe(START + DAY);
  });

  it("by less than the bound is nobody's news", () => {
    const { time, told, set } = started();
    set(-LIMITS.clockJumpMaxMs);
    expect(time.now()).toBe(START);
    expect(told).toEqual([]);
  });
});

describe('a clock that jumped ahead', () => {
  it('is believed for what expires, and for nothing that cannot be undone until it went steadily for an hour', () => {
    const { time, told, pass, set } = started();
    expect(time.isSteady()).toBe(false);
    pass(LIMITS.clockSteadyMs);
    expect(time.isSteady()).toBe(true);
    set(YEAR);
    expect(time.now()).toBe(START + LIMITS.clockSteadyMs + YEAR);
    expect(time.isSteady()).toBe(false);
    expect(told).toEqual([{ kind: 'ahead', byMs: YEAR }]);
    pass(LIMITS.clockSteadyMs - 1);
    expect(time.isSteady()).toBe(false);
    pass(1);
    expect(time.isSteady()).toBe(true);
  });

  it('and back again leaves what expired expired, and is steady no earlier', () => {
    const { time, pass, set } = started();
    set(YEAR);
    time.now();
    set(-YEAR);
    expect(time.now()).toBe(START + YEAR);
    pass(LIMITS.clockSteadyMs - 1);
    expect(time.isSteady()).toBe(false);
  });

  it('while nothing was running is not steady either: a start proves nothing', () => {
    const { time, pass } = started(START - 30 * DAY);
    expect(time.isSteady()).toBe(false);
    pass(LIMITS.clockSteadyMs);
    expect(time.isSteady()).toBe(true);
  });

  it('is steady at once where the platform keeps the time', () => {
    expect(new SteadyClock(machine().clock, 0).isSteady()).toBe(true);
  });
});

it('never goes back, and is never behind the machine, whatever is done to the clock', () => {
  const step = fc.record({ pass: fc.integer({ min: 0, max: DAY }), set: fc.integer({ min: -YEAR, max: YEAR }) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const { clock, pass, set } = machine();
      const time = new SteadyClock(clock);
      let before = time.now();
      for (const taken of steps) {
        pass(taken.pass);
        set(taken.set);
        const now = time.now();
        expect(now).toBeGreaterThanOrEqual(before + taken.pass);
        expect(now).toBeGreaterThanOrEqual(clock.now());
        before = now;
      }
    }),
  );
});
