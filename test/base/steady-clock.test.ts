// Time only goes forward: both bounds of the time after a clock jumped ahead, was set back, was corrected or stopped.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { type ClockAnomaly, SteadyClock } from '../../src/base/steady-clock.ts';

const START = Date.UTC(2026, 0, 2);
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const YEAR = 365 * DAY;

/** A machine whose clock can be set: passing time moves both clocks, setting moves only the wall clock. */
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

/** A process with a cell that committed `committedMs`; default: the time of the clock. */
function started(committedMs = START) {
  const { clock, pass, set } = machine();
  const time = new SteadyClock(clock);
  time.atLeast(committedMs);
  const told: ClockAnomaly[] = [];
  time.onAnomaly((anomaly) => told.push(anomaly));
  return { time, told, pass, set };
}

it('returns whole milliseconds, although running time has fractions', () => {
  const state = { wall: START, ran: 0.25 };
  const time = new SteadyClock({ now: () => state.wall, ran: () => state.ran });
  for (let i = 0; i < 5; i++) {
    state.ran += 1.3;
    expect(Number.isInteger(time.now())).toBe(true);
    expect(Number.isInteger(time.steadyFrom())).toBe(true);
  }
});

describe('a clock that was set back', () => {
  it('does not make time go back: time advances with running time, and the anomaly is reported once', () => {
    const { time, told, pass, set } = started();
    pass(HOUR);
    expect(time.now()).toBe(START + HOUR);
    set(-2 * HOUR);
    expect(time.now()).toBe(START + HOUR);
    pass(60_000);
    expect(time.now()).toBe(START + HOUR + 60_000);
    expect(told).toEqual([{ kind: 'behind', byMs: 2 * HOUR }]);
    expect(time.state()).toEqual({ state: 'behind', aheadMs: -2 * HOUR, steadyInMs: undefined });
    set(2 * HOUR);
    expect([time.now(), time.state().aheadMs]).toEqual([START + HOUR + 60_000, 0]);
    set(-3 * HOUR);
    time.now();
    expect(told).toHaveLength(2);
  });

  it('before a start gives no time before the last one that any cell committed', () => {
    const { time, told } = started(START + HOUR);
    expect(time.now()).toBe(START + HOUR);
    expect(told).toEqual([{ kind: 'behind', byMs: HOUR }]);
    time.atLeast(START);
    expect(time.now()).toBe(START + HOUR);
    time.atLeast(START + DAY);
    expect(time.now()).toBe(START + DAY);
  });

  it('never becomes steady by itself', () => {
    const { time, pass, set } = started();
    pass(HOUR);
    set(-HOUR);
    pass(2 * DAY);
    expect(time.isSteady()).toBe(false);
    expect(time.steadyFrom()).toBeGreaterThan(time.now());
    expect(time.now()).toBe(START + HOUR + 2 * DAY);
  });

  it('by less than the limit is not reported', () => {
    const { time, told, set } = started();
    set(-LIMITS.clockJumpMaxMs);
    expect(time.now()).toBe(START);
    expect(told).toEqual([]);
  });
});

describe('a clock that jumped ahead', () => {
  it('counts for expiry at once, and is proven after an hour without another jump', () => {
    const { time, told, pass, set } = started();
    pass(HOUR);
    expect([time.isSteady(), time.steadyFrom()]).toEqual([true, 0]);
    set(YEAR);
    expect([time.now(), time.provenAt()]).toEqual([START + HOUR + YEAR, START + HOUR]);
    expect(time.isSteady()).toBe(false);
    expect(told).toEqual([{ kind: 'ahead', byMs: YEAR }]);
    pass(HOUR - 1);
    expect([time.isSteady(), time.provenAt()]).toEqual([false, START + 2 * HOUR - 1]);
    expect(time.state()).toEqual({ state: 'jump_waiting', aheadMs: YEAR, steadyInMs: 1 });
    expect(time.steadyFrom()).toBe(time.now() + 1);
    pass(1);
    expect([time.isSteady(), time.provenAt()]).toEqual([true, time.now()]);
    expect(time.state()).toEqual({ state: 'steady', aheadMs: 0, steadyInMs: 0 });
  });

  it('and is corrected before it was proven has no effect except another hour until it is steady', () => {
    const { time, told, pass, set } = started();
    set(YEAR);
    time.now();
    pass(HOUR - 1);
    set(-YEAR);
    expect([time.now(), time.provenAt()]).toEqual([START + HOUR - 1, START + HOUR - 1]);
    expect(told.map(({ kind }) => kind)).toEqual(['ahead', 'back']);
    expect(time.state()).toEqual({ state: 'jump_waiting', aheadMs: 0, steadyInMs: HOUR });
    pass(HOUR);
    expect(time.isSteady()).toBe(true);
  });

  it('and is put nearly right, again and again, proves no more than the time that the process ran', () => {
    const { time, pass, set } = started();
    pass(HOUR);
    time.now();
    let offset = 0;
    for (let i = 1; i <= 200; i++) {
      set(YEAR - offset);
      time.now();
      pass(5);
      const corrected = i * 9 * 60_000;
      set(corrected - YEAR);
      time.now();
      pass(5);
      offset = corrected;
    }
    expect(time.provenAt()).toBe(START + HOUR + 2_000);
    expect(time.isSteady()).toBe(false);
  });

  it('and is corrected after it was proven is behind: time does not go back', () => {
    const { time, told, pass, set } = started();
    set(DAY);
    time.now();
    pass(HOUR);
    time.now();
    set(-DAY);
    expect(time.now()).toBe(START + DAY + HOUR);
    expect(told.map(({ kind }) => kind)).toEqual(['ahead', 'behind']);
  });

  it('in many steps, each below the limit, has jumped', () => {
    const { time, told, set, pass } = started();
    pass(HOUR);
    time.now();
    for (let step = 0; step < 3; step++) {
      set(LIMITS.clockJumpMaxMs - 1);
      time.now();
    }
    expect(time.isSteady()).toBe(false);
    expect(told.map(({ kind }) => kind)).toEqual(['ahead']);
    expect(time.provenAt()).toBe(START + HOUR + LIMITS.clockJumpMaxMs - 1);
  });

  it('is steady at once on a platform that guarantees its clock', () => {
    const { clock, set } = machine();
    const time = new SteadyClock(clock, 0);
    expect(time.isSteady()).toBe(true);
    set(YEAR);
    expect([time.isSteady(), time.provenAt()]).toEqual([true, START + YEAR]);
  });
});

describe('a start', () => {
  it('after three days off uses the clock at once and proves it in an hour, without an anomaly; nothing may be destroyed until then', () => {
    const { time, told, pass } = started(START - 3 * DAY);
    expect([time.now(), time.provenAt()]).toEqual([START, START - 3 * DAY]);
    expect(time.state()).toEqual({ state: 'starting', aheadMs: 3 * DAY, steadyInMs: HOUR });
    pass(HOUR);
    expect([time.isSteady(), time.provenAt()]).toEqual([true, START + HOUR]);
    expect(told).toEqual([]);
  });

  it('a few minutes after the last commit proves the clock at once, but is steady only after an hour', () => {
    const { time, pass } = started(START - LIMITS.clockJumpMaxMs);
    expect([time.provenAt(), time.isSteady()]).toEqual([START, false]);
    pass(HOUR);
    expect(time.isSteady()).toBe(true);
  });

  it('in the middle of a jump waits an hour of its own', () => {
    const first = started();
    first.set(DAY);
    first.time.now();
    first.pass(HOUR - 1);
    const committed = first.time.provenAt();
    const { clock, pass, set } = machine(START + DAY + HOUR);
    const second = new SteadyClock(clock);
    second.atLeast(committed);
    pass(HOUR - 1);
    expect(second.provenAt()).toBe(committed + HOUR - 1);
    set(-DAY);
    expect([second.now(), second.state().state]).toEqual([START + 2 * HOUR - 1, 'starting']);
  });

  it('without any committed time uses the clock', () => {
    const { clock } = machine();
    const time = new SteadyClock(clock);
    expect(time.provenAt()).toBe(START);
    time.atLeast(START);
    expect([time.now(), time.provenAt()]).toEqual([START, START]);
  });
});

it('proven time never goes back, and the time is never behind the machine or the proven time, for any changes of the clock', () => {
  const step = fc.record({ pass: fc.integer({ min: 0, max: DAY }), set: fc.integer({ min: -YEAR, max: YEAR }) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const { clock, pass, set } = machine();
      const time = new SteadyClock(clock);
      time.atLeast(START);
      let before = time.provenAt();
      for (const taken of steps) {
        pass(taken.pass);
        set(taken.set);
        const [now, proven] = [time.now(), time.provenAt()];
        expect(proven).toBeGreaterThanOrEqual(before + taken.pass);
        expect(now).toBeGreaterThanOrEqual(proven);
        expect(now).toBeGreaterThanOrEqual(clock.now());
        before = proven;
      }
    }),
  );
});
