// Time only goes forward: what a clock says that jumped, was set back, or stood still.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { type ClockAnomaly, SteadyClock, type TimeMark } from '../../src/base/steady-clock.ts';

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

function started(mark?: TimeMark, startMs = START) {
  const { clock, pass, set } = machine(startMs);
  const time = new SteadyClock(clock, mark);
  const told: ClockAnomaly[] = [];
  time.onAnomaly((anomaly) => told.push(anomaly));
  return { time, told, pass, set };
}

describe('a clock that was set back', () => {
  it('does not make time go back: it goes on as the process does, and that is told once', () => {
    const { time, told, pass, set } = started();
    pass(HOUR);
    expect(time.now()).toBe(START + HOUR);
    set(-2 * HOUR);
    expect(time.now()).toBe(START + HOUR);
    pass(60_000);
    expect(time.now()).toBe(START + HOUR + 60_000);
    expect(told).toEqual([{ kind: 'behind', byMs: 2 * HOUR, atStart: false }]);
    expect(time.behindMs()).toBe(2 * HOUR);
    set(2 * HOUR);
    expect([time.now(), time.behindMs()]).toEqual([START + HOUR + 60_000, 0]);
    set(-3 * HOUR);
    time.now();
    expect(told).toHaveLength(2);
  });

  it('before a start is not before what was committed', () => {
    const { time, told } = started({ timeAt: START + HOUR, steadyAt: START - YEAR });
    expect(time.now()).toBe(START + HOUR);
    expect(told).toEqual([{ kind: 'behind', byMs: HOUR, atStart: true }]);
    const other = started({ timeAt: START, steadyAt: START });
    other.time.atLeast(START + DAY);
    expect(other.time.now()).toBe(START + DAY);
    expect(other.told).toEqual([{ kind: 'behind', byMs: DAY, atStart: true }]);
  });

  it("by less than the bound is nobody's news", () => {
    const { time, told, set } = started();
    set(-LIMITS.clockJumpMaxMs);
    expect(time.now()).toBe(START);
    expect(told).toEqual([]);
  });
});

describe('a clock that jumped ahead', () => {
  it('is believed for what expires, and for nothing that cannot be undone until it went steadily for a day', () => {
    const { time, told, pass, set } = started({ timeAt: START, steadyAt: START - YEAR });
    expect(time.isSteady()).toBe(true);
    set(YEAR);
    expect(time.now()).toBe(START + YEAR);
    expect(time.isSteady()).toBe(false);
    expect(told).toEqual([{ kind: 'ahead', byMs: YEAR, atStart: false }]);
    pass(LIMITS.clockSteadyMs - 1);
    expect(time.isSteady()).toBe(false);
    pass(1);
    expect(time.isSteady()).toBe(true);
  });

  it('and back again leaves what expired expired, and is steady no earlier', () => {
    const { time, pass, set } = started({ timeAt: START, steadyAt: START - YEAR });
    set(YEAR);
    time.now();
    set(-YEAR);
    expect(time.now()).toBe(START + YEAR);
    pass(HOUR);
    expect(time.isSteady()).toBe(false);
  });

  it('while nothing was running is told as such, and is not steady either', () => {
    const { time, told } = started({ timeAt: START - 30 * DAY, steadyAt: START - YEAR });
    expect(time.isSteady()).toBe(false);
    expect(told).toEqual([{ kind: 'ahead', byMs: 30 * DAY, atStart: true }]);
    const restarted = started({ timeAt: START - 60_000, steadyAt: START - YEAR });
    expect([restarted.time.isSteady(), restarted.told]).toEqual([true, []]);
  });

  it('in a new installation has nothing to be compared with', () => {
    expect(started().time.isSteady()).toBe(false);
    expect(started().told).toEqual([]);
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
