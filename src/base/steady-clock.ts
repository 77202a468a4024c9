// The time of an installation: the machine's clock, never behind a proven time, and checked for jumps (decision 0012).
// It must never make valid again what had expired by a proven time, nor take the time of a clock that jumped as proven in less than an hour.
import type { InstallationClock, MachineClock } from './clock.ts';
import { LIMITS } from './limits.ts';

export interface ClockAnomaly {
  /** `ahead`: advanced by more than the running time. `back`: by less, but not behind a proven time. `behind`: behind a proven time. */
  readonly kind: 'ahead' | 'back' | 'behind';
  readonly byMs: number;
}

/** The state of the clock, for operators. */
export interface ClockState {
  /**
   * `steady`: irreversible work is allowed. `starting`: the process has not been running for long enough. `jump_waiting`: the clock jumped
   * ahead less than an hour ago, corrected or not, and its time is not proven yet. `behind`: the clock is behind a proven time, until it is
   * corrected or `--accept-clock` is given.
   */
  readonly state: 'steady' | 'starting' | 'jump_waiting' | 'behind';
  /** How far the machine's clock is from the proven time: positive when it is ahead. */
  readonly aheadMs: number;
  /** Time until the clock is steady if it does not jump again; undefined when it will not become steady by itself. */
  readonly steadyInMs: number | undefined;
}

export class SteadyClock implements InstallationClock {
  readonly #machine: MachineClock;
  readonly #steadyMs: number;
  readonly #unreported: ClockAnomaly[] = [];
  #tell: ((anomaly: ClockAnomaly) => void) | undefined;
  #wall: number;
  #ran: number;
  /** The lower bound of the time; unknown before the first cell is opened. */
  #proven = Number.NEGATIVE_INFINITY;
  /** Wall time minus running time, at the last moment the clock was taken to be right: a jump is a change of this difference. */
  #origin: number;
  #originAtRan: number;
  #steadySinceRan: number;
  #hasJumped = false;
  #isBehind = false;

  /** @param steadyMs how long the clock must run without a jump before its time is proven; 0 on a platform that guarantees its clock */
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
    // Running time has fractions; instants are whole numbers, and columns refuse others.
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

  /** Calls `tell` for every jump, including those before this call. */
  onAnomaly(tell: (anomaly: ClockAnomaly) => void): void {
    this.#tell = tell;
    for (const anomaly of this.#unreported.splice(0)) tell(anomaly);
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
    // Clocks drift: a steady clock is compared with its state an hour ago, not at the start.
    else if (ran - this.#originAtRan >= this.#steadyMs) this.#setOrigin();
    // INVARIANT: a jump beyond the bound is proven only after `steadyMs` without another (test/base/steady-clock.test.ts).
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
    // SECURITY: a corrected clock stays unproven for the hour, too: otherwise each pair of jumps could advance the proven time by the limit.
    if (byMs < 0) {
      if (this.#wall >= this.#proven - LIMITS.clockJumpMaxMs) this.#report({ kind: 'back', byMs: -byMs });
      return;
    }
    // Correcting a clock that was behind is not a jump ahead.
    if (this.#isBehind && this.#agrees()) return;
    this.#hasJumped = true;
    this.#report({ kind: 'ahead', byMs });
  }

  #report(anomaly: ClockAnomaly): void {
    if (this.#tell === undefined) this.#unreported.push(anomaly);
    else this.#tell(anomaly);
  }

  /** Reports each time the clock falls behind, once. */
  #noteBehind(): void {
    const byMs = this.#proven - this.#wall;
    const isBehind = byMs > LIMITS.clockJumpMaxMs;
    if (isBehind && !this.#isBehind) this.#report({ kind: 'behind', byMs });
    this.#isBehind = isBehind;
  }
}
