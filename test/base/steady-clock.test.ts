// Time only goes forward: what a clock says that jumped, was set back, was put right or stood still; at its latest and at its earliest.
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

/** A process over a cell that committed this; default: what the clock shows. */
function started(committedMs = START) {
  const { clock, pass, set } = machine();
  const time = new SteadyClock(clock);
  time.atLeast(committedMs);
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
    expect(time.state()).toEqual({ state: 'behind', aheadMs: -2 * HOUR, steadyInMs: undefined });
    set(2 * HOUR);
    expect([time.now(), time.state().aheadMs]).toEqual([START + HOUR + 60_000, 0]);
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

  it('is never steady, however long it goes on so', () => {
    const { time, pass, set } = started();
    pass(HOUR);
    set(-HOUR);
    pass(2 * DAY);
    expect(time.isSteady()).toBe(false);
    expect(time.steadyFrom()).toBeGreaterThan(time.now());
    expect(time.now()).toBe(START + HOUR + 2 * DAY);
  });

  it("by less than the bound is nobody's news", () => {
    const { time, told, set } = started();
    set(-LIMITS.clockJumpMaxMs);
    expect(time.now()).toBe(START);
    expect(told).toEqual([]);
  });
});

describe('a clock that jumped ahead', () => {
  it('is believed for what expires, and proven when it went steadily for an hour', () => {
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

  it('and is put right before it was proven leaves no trace but the hour it waits for', () => {
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

  it('and is put right after it was proven is behind: time does not go back', () => {
    const { time, told, pass, set } = started();
    set(DAY);
    time.now();
    pass(HOUR);
    time.now();
    set(-DAY);
    expect(time.now()).toBe(START + DAY + HOUR);
    expect(told.map(({ kind }) => kind)).toEqual(['ahead', 'behind']);
  });

  it('in many steps that are each within the bound has jumped all the same', () => {
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

  it('is steady at once where the platform keeps the time', () => {
    const { clock, set } = machine();
    const time = new SteadyClock(clock, 0);
    expect(time.isSteady()).toBe(true);
    set(YEAR);
    expect([time.isSteady(), time.provenAt()]).toEqual([true, START + YEAR]);
  });
});

describe('a start', () => {
  it('after three days off goes by the clock at once, and proves it in an hour: nothing is told, nothing is destroyed meanwhile', () => {
    const { time, told, pass } = started(START - 3 * DAY);
    expect([time.now(), time.provenAt()]).toEqual([START, START - 3 * DAY]);
    expect(time.state()).toEqual({ state: 'starting', aheadMs: 3 * DAY, steadyInMs: HOUR });
    pass(HOUR);
    expect([time.isSteady(), time.provenAt()]).toEqual([true, START + HOUR]);
    expect(told).toEqual([]);
  });

  it('a few minutes after the last commit has nothing to prove but that nothing is destroyed for an hour', () => {
    const { time, pass } = started(START - LIMITS.clockJumpMaxMs);
    expect([time.provenAt(), time.isSteady()]).toEqual([START, false]);
    pass(HOUR);
    expect(time.isSteady()).toBe(true);
  });

  it('in the middle of a jump waits its own hour, whatever waited before it', () => {
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

  it('over an installation that committed nothing believes what it sees', () => {
    const { clock } = machine();
    const time = new SteadyClock(clock);
    expect(time.provenAt()).toBe(START);
    time.atLeast(START);
    expect([time.now(), time.provenAt()]).toEqual([START, START]);
  });
});

it('proven time never goes back, and the time is never behind the machine nor behind what was proven, whatever is done to the clock', () => {
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
