// The time of an installation: the machine's clock, but never behind a time that was committed, and watched for jumps (D17).
// It must never let what has expired live again, nor let one reading of a clock be enough for what cannot be undone.
import type { Clock, MachineClock } from './clock.ts';
import { LIMITS } from './limits.ts';

/** What a cell keeps of the time, in its head. */
export interface TimeMark {
  /** The highest time committed. Milliseconds, as all here. */
  readonly timeAt: number;
  /** Since when the clock went as the process did, without a jump. */
  readonly steadyAt: number;
}

export interface ClockAnomaly {
  /** `ahead`: further than the process was running. `behind`: before a time that was committed. */
  readonly kind: 'ahead' | 'behind';
  readonly byMs: number;
  /** Found at a start. How long nothing was running cannot be known then: `ahead` may be just that. */
  readonly atStart: boolean;
}

export class SteadyClock implements Clock {
  readonly #machine: MachineClock;
  #tell: ((anomaly: ClockAnomaly) => void) | undefined;
  readonly #untold: ClockAnomaly[] = [];
  #highest: number;
  #steadyAt: number;
  #wall: number;
  #ran: number;
  #isBehind = false;

  /** @param mark what was committed last; undefined for a new installation, or to begin anew with what the machine says now */
  constructor(machine: MachineClock, mark?: TimeMark) {
    this.#machine = machine;
    this.#wall = machine.now();
    this.#ran = machine.ran();
    this.#highest = this.#wall;
    this.#steadyAt = this.#wall;
    if (mark === undefined) return;
    this.#highest = Math.max(this.#wall, mark.timeAt);
    const aheadMs = this.#wall - mark.timeAt;
    if (aheadMs > LIMITS.clockJumpMaxMs) this.#report({ kind: 'ahead', byMs: aheadMs, atStart: true });
    else this.#steadyAt = mark.steadyAt;
    this.#noteBehind(true);
  }

  /** Milliseconds since 1970; never less than it was, whatever the machine's clock does. */
  now(): number {
    const wall = this.#machine.now();
    const ran = this.#machine.ran();
    const ranMs = Math.max(0, ran - this.#ran);
    // A clock that was behind and is put right has not jumped ahead of anything.
    const aheadMs = wall - this.#highest - ranMs;
    this.#wall = wall;
    this.#ran = ran;
    this.#highest = Math.max(wall, this.#highest + ranMs);
    if (aheadMs > LIMITS.clockJumpMaxMs) {
      this.#steadyAt = this.#highest;
      this.#report({ kind: 'ahead', byMs: aheadMs, atStart: false });
    }
    this.#noteBehind(false);
    return this.#highest;
  }

  /** A cell committed this time: nothing that expired by then lives again. */
  atLeast(committedMs: number): void {
    if (committedMs <= this.#highest) return;
    this.#highest = committedMs;
    this.#noteBehind(true);
  }

  /** What is to be committed. */
  mark(): TimeMark {
    return { timeAt: this.now(), steadyAt: this.#steadyAt };
  }

  /** From when on what cannot be undone may be done: only once the clock went steadily for `LIMITS.clockSteadyMs`. */
  steadyFrom(): number {
    return this.#steadyAt + LIMITS.clockSteadyMs;
  }

  /** Whether what cannot be undone may be done on the word of this clock. */
  isSteady(): boolean {
    return this.now() >= this.steadyFrom();
  }

  /** How far the machine's clock is behind what was committed; 0 when it is not. */
  behindMs(): number {
    return Math.max(0, this.now() - this.#wall);
  }

  /** Told of every jump, those before this call included. */
  onAnomaly(tell: (anomaly: ClockAnomaly) => void): void {
    this.#tell = tell;
    for (const anomaly of this.#untold.splice(0)) tell(anomaly);
  }

  #report(anomaly: ClockAnomaly): void {
    if (this.#tell === undefined) this.#untold.push(anomaly);
    else this.#tell(anomaly);
  }

  /** Told once for each time the clock falls behind. */
  #noteBehind(atStart: boolean): void {
    const byMs = this.#highest - this.#wall;
    const isBehind = byMs > LIMITS.clockJumpMaxMs;
    if (isBehind && !this.#isBehind) this.#report({ kind: 'behind', byMs, atStart });
    this.#isBehind = isBehind;
  }
}
