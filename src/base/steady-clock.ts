// The time of an installation: the machine's clock, never behind a time that was proven, and watched for jumps (decision 0012).
// It must never let what had expired by a proven time live again, nor let a clock that jumped prove itself in less than an hour.
import type { InstallationClock, MachineClock } from './clock.ts';
import { LIMITS } from './limits.ts';

export interface ClockAnomaly {
  /** `ahead`: further than the process was running. `back`: as much less, and not before a proven time. `behind`: before a proven time. */
  readonly kind: 'ahead' | 'back' | 'behind';
  readonly byMs: number;
}

/** What an operator is told of the clock. */
export interface ClockState {
  /**
   * `steady`: nothing is held back. `starting`: the process has not been running for long enough. `jump_waiting`: it jumped ahead and is
   * not proven yet. `behind`: it shows less than a proven time; only `--accept-clock` or the right time ends that.
   */
  readonly state: 'steady' | 'starting' | 'jump_waiting' | 'behind';
  /** How far the machine's clock is from the proven time: positive when it is ahead. */
  readonly aheadMs: number;
  /** Until it is steady, if nothing happens; undefined where time alone does not help. */
  readonly steadyInMs: number | undefined;
}

export class SteadyClock implements InstallationClock {
  readonly #machine: MachineClock;
  readonly #steadyMs: number;
  readonly #untold: ClockAnomaly[] = [];
  #tell: ((anomaly: ClockAnomaly) => void) | undefined;
  #wall: number;
  #ran: number;
  /** The earliest that it can be; nothing is known of it before a cell was opened. */
  #proven = Number.NEGATIVE_INFINITY;
  /** What the clock showed when the process began to run, as it was last taken for right. */
  #origin: number;
  #originAtRan: number;
  #steadySinceRan: number;
  #hasJumped = false;
  #isBehind = false;

  /** @param steadyMs how long it must go without a jump before it is believed; 0 where the platform keeps the time */
  constructor(machine: MachineClock, steadyMs: number = LIMITS.clockSteadyMs) {
    this.#machine = machine;
    this.#steadyMs = steadyMs;
    this.#wall = machine.now();
    this.#ran = machine.ran();
    this.#origin = this.#wall - this.#ran;
    this.#originAtRan = this.#ran;
    this.#steadySinceRan = this.#ran;
  }

  now(): number {
    this.#read();
    // What a process has been running has fractions; an instant of ours is a whole number, and columns take no other.
    return Math.floor(Math.max(this.#wall, this.#proven));
  }

  provenAt(): number {
    this.#read();
    return Math.floor(this.#proven === Number.NEGATIVE_INFINITY ? this.#wall : this.#proven);
  }

  atLeast(committedMs: number): void {
    this.#proven = Math.max(this.#proven, committedMs);
    this.#read();
  }

  isSteady(): boolean {
    this.#read();
    return this.#leftMs() === 0 && !this.#isBehind;
  }

  steadyFrom(): number {
    if (this.isSteady()) return 0;
    return Math.ceil(this.now() + (this.#isBehind ? LIMITS.clockSteadyMs : this.#leftMs()));
  }

  state(): ClockState {
    this.#read();
    const aheadMs = this.#proven === Number.NEGATIVE_INFINITY ? 0 : Math.round(this.#wall - this.#proven);
    if (this.#isBehind) return { state: 'behind', aheadMs, steadyInMs: undefined };
    const steadyInMs = Math.ceil(this.#leftMs());
    if (steadyInMs === 0) return { state: 'steady', aheadMs, steadyInMs };
    return { state: this.#hasJumped ? 'jump_waiting' : 'starting', aheadMs, steadyInMs };
  }

  /** Told of every jump, those before this call included. */
  onAnomaly(tell: (anomaly: ClockAnomaly) => void): void {
    this.#tell = tell;
    for (const anomaly of this.#untold.splice(0)) tell(anomaly);
  }

  #leftMs(): number {
    return Math.max(0, this.#steadyMs - (this.#ran - this.#steadySinceRan));
  }

  #read(): void {
    const wall = this.#machine.now();
    const ran = Math.max(this.#machine.ran(), this.#ran);
    this.#proven += ran - this.#ran;
    this.#wall = wall;
    this.#ran = ran;
    const jumpedMs = wall - ran - this.#origin;
    if (Math.abs(jumpedMs) > LIMITS.clockJumpMaxMs) this.#jump(jumpedMs);
    // Clocks drift: what is steady is compared with an hour ago, not with the start.
    else if (ran - this.#originAtRan >= this.#steadyMs) this.#setOrigin();
    // INVARIANT: a jump beyond the bound is committed only once it went steadily for so long (test/base/steady-clock.test.ts).
    if (this.#leftMs() === 0) this.#hasJumped = false;
    if (this.#leftMs() === 0 || (this.#agrees() && !this.#hasJumped)) this.#proven = Math.max(this.#proven, wall);
    this.#noteBehind();
  }

  #agrees(): boolean {
    return this.#wall - this.#proven <= LIMITS.clockJumpMaxMs;
  }

  #setOrigin(): void {
    this.#origin = this.#wall - this.#ran;
    this.#originAtRan = this.#ran;
  }

  #jump(byMs: number): void {
    this.#setOrigin();
    this.#steadySinceRan = this.#ran;
    if (byMs < 0) {
      if (this.#agrees()) this.#hasJumped = false;
      if (this.#wall >= this.#proven - LIMITS.clockJumpMaxMs) this.#report({ kind: 'back', byMs: -byMs });
      return;
    }
    // A clock that was behind and is put right has not jumped ahead of anything.
    if (this.#isBehind && this.#agrees()) return;
    this.#hasJumped = true;
    this.#report({ kind: 'ahead', byMs });
  }

  #report(anomaly: ClockAnomaly): void {
    if (this.#tell === undefined) this.#untold.push(anomaly);
    else this.#tell(anomaly);
  }

  /** Told once for each time the clock falls behind. */
  #noteBehind(): void {
    const byMs = this.#proven - this.#wall;
    const isBehind = byMs > LIMITS.clockJumpMaxMs;
    if (isBehind && !this.#isBehind) this.#report({ kind: 'behind', byMs });
    this.#isBehind = isBehind;
  }
}
