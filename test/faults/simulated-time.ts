// Chance from a seed, and time that passes only when something happens: one thread, one order, the same again for the same seed.
import type { Clock, Entropy } from '../../src/base/clock.ts';

/** mulberry32: small, seeded and good enough to choose by. Never for secrets. */
export class Chance implements Entropy {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  fraction(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number in [0, limit). */
  below(limit: number): number {
    return Math.floor(this.fraction() * limit);
  }

  /** A whole number in [from, to]. */
  between(from: number, to: number): number {
    return from + this.below(to - from + 1);
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }

  /** True about once in `times`. */
  once(times: number): boolean {
    return this.below(times) === 0;
  }

  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.below(256));
  }
}

/** Who a task belongs to; while it is stopped, its tasks wait. 0: it runs. */
export interface Actor {
  stoppedUntilMs: number;
}

interface Task {
  readonly atMs: number;
  readonly run: () => void;
  readonly actor: Actor | undefined;
}

/** More than any chain of promises between two things that take time. */
const MICROTASKS = 48;

/** What is still to happen. `ranMs` never jumps; the clock shows it with an offset that does. */
export class Agenda implements Clock {
  ranMs = 0;
  #wallMs: number;
  #tasks: Task[] = [];
  readonly #chance: Chance;

  constructor(chance: Chance, startMs: number) {
    this.#chance = chance;
    this.#wallMs = startMs;
  }

  now(): number {
    return this.#wallMs + this.ranMs;
  }

  /** The machine's clock is set to another time; nothing runs meanwhile. */
  jump(ms: number): void {
    this.#wallMs += ms;
  }

  /** @returns takes it back */
  add(delayMs: number, run: () => void, actor?: Actor): () => void {
    const task: Task = { atMs: this.ranMs + delayMs, run, actor };
    this.#tasks.push(task);
    return () => {
      this.#tasks = this.#tasks.filter((other) => other !== task);
    };
  }

  /** Runs `beat` every so often until it returns false or the returned function is called. */
  every(everyMs: number, beat: () => boolean, actor?: Actor): () => void {
    let stopped = false;
    let cancel = () => {};
    const again = () => {
      cancel = this.add(everyMs, () => void (beat() && !stopped && again()), actor);
    };
    again();
    return () => {
      stopped = true;
      cancel();
    };
  }

  /** Runs the earliest task, chance deciding between those of one instant, and what follows from it at once. False: none is left. */
  async turn(notAfterMs = Number.POSITIVE_INFINITY): Promise<boolean> {
    let next: Task | undefined;
    let nextMs = Number.POSITIVE_INFINITY;
    let ties = 0;
    for (const task of this.#tasks) {
      const atMs = Math.max(task.atMs, task.actor?.stoppedUntilMs ?? 0);
      if (atMs > nextMs) continue;
      ties = atMs === nextMs ? ties + 1 : 1;
      if (ties > 1 && !this.#chance.once(ties)) continue;
      next = task;
      nextMs = atMs;
    }
    if (next === undefined || nextMs > notAfterMs) return false;
    this.#tasks.splice(this.#tasks.indexOf(next), 1);
    this.ranMs = Math.max(this.ranMs, nextMs);
    if (next.actor !== undefined && next.actor.stoppedUntilMs <= this.ranMs) next.actor.stoppedUntilMs = 0;
    next.run();
    await settled();
    return true;
  }

  /** Lets so much time pass, and happen what falls into it. */
  async pass(ms: number): Promise<void> {
    const untilMs = this.ranMs + ms;
    while (await this.turn(untilMs));
    this.ranMs = Math.max(this.ranMs, untilMs);
  }
}

/** Lets run what waits for nothing but its turn. */
export async function settled(): Promise<void> {
  for (let i = 0; i < MICROTASKS; i++) await undefined;
}
