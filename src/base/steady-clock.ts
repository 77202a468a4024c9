// The time of an installation: the machine's clock, but never behind a time that was committed, and watched for jumps (D17).
// It must never let what has expired live again, nor let one reading of a clock be enough for what cannot be undone.
import type { InstallationClock, MachineClock } from './clock.ts';
import { LIMITS } from './limits.ts';

export interface ClockAnomaly {
  /** `ahead`: further than the process was running. `behind`: before a time that was committed. */
  readonly kind: 'ahead' | 'behind';
  readonly byMs: number;
}

export class SteadyClock implements InstallationClock {
  readonly #machine: MachineClock;
  readonly #steadyMs: number;
  readonly #untold: ClockAnomaly[] = [];
  #tell: ((anomaly: ClockAnomaly) => void) | undefined;
  #highest: number;
  #steadyAt: number;
  #wall: number;
  #ran: number;
  #isBehind = false;

  /** @param steadyMs how long it must go without a jump before anything is destroyed on its word; 0 where the platform keeps the time */
  constructor(machine: MachineClock, steadyMs: number = LIMITS.clockSteadyMs) {
    this.#machine = machine;
    this.#steadyMs = steadyMs;
    this.#wall = machine.now();
    this.#ran = machine.ran();
    this.#highest = this.#wall;
    this.#steadyAt = this.#wall;
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
      this.#report({ kind: 'ahead', byMs: aheadMs });
    }
    this.#noteBehind();
    // What a process has been running has fractions; an instant of ours is a whole number, and columns take no other.
    return Math.floor(this.#highest);
  }

  atLeast(committedMs: number): void {
    if (committedMs <= this.#highest) return;
    this.#highest = committedMs;
    this.#steadyAt = Math.max(this.#steadyAt, committedMs);
    this.#noteBehind();
  }

  steadyFrom(): number {
    return Math.ceil(this.#steadyAt + this.#steadyMs);
  }

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
  #noteBehind(): void {
    const byMs = this.#highest - this.#wall;
    const isBehind = byMs > LIMITS.clockJumpMaxMs;
    if (isBehind && !this.#isBehind) this.#report({ kind: 'behind', byMs });
    this.#isBehind = isBehind;
  }
}
