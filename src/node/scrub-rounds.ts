// The scrub in service: all open cells, one after the other, a slice at a time, again and again. It finds what a request would never read,
// such as a deleted row of due work. It must never hold up requests, nor stop at a cell that fails.
import { LIMITS } from '../base/limits.ts';

/** What is scrubbed: a home vault or a tenant vault. */
export interface Scrubbed {
  scrub(): Generator<number>;
}

export interface ScrubRoundsOptions {
  /** Those that are open now. */
  readonly cells: () => readonly Scrubbed[];
  /** Milliseconds of a clock that never jumps. */
  readonly ranMs: () => number;
  /** Resolves after `ms`. */
  readonly rest: (ms: number) => Promise<void>;
  readonly onFailure: (error: unknown) => void;
}

export class ScrubRounds {
  readonly #o: ScrubRoundsOptions;
  #isStopped = false;
  #checked = 0;
  #endedAtMs: number | undefined;

  constructor(options: ScrubRoundsOptions) {
    this.#o = options;
  }

  /** Rows and blocks of the log that were checked since the start. */
  get checked(): number {
    return this.#checked;
  }

  /** Milliseconds since the last round ended; undefined before the first has. */
  get sinceRoundMs(): number | undefined {
    return this.#endedAtMs === undefined ? undefined : this.#o.ranMs() - this.#endedAtMs;
  }

  /** Begins the rounds; resolves when the one under way sees that it was stopped. */
  async run(): Promise<void> {
    const { ranMs, rest } = this.#o;
    while (!this.#isStopped) {
      const startedAtMs = ranMs();
      for (const cell of this.#o.cells()) await this.#scrub(cell);
      if (this.#isStopped) return;
      this.#endedAtMs = ranMs();
      await rest(Math.max(LIMITS.scrubEveryMs - (ranMs() - startedAtMs), 0));
    }
  }

  stop(): void {
    this.#isStopped = true;
  }

  async #scrub(cell: Scrubbed): Promise<void> {
    const { ranMs, rest, onFailure } = this.#o;
    try {
      const slices = cell.scrub();
      for (;;) {
        const startedAtMs = ranMs();
        const slice = slices.next();
        if (slice.done === true || this.#isStopped) return;
        this.#checked += slice.value;
        await rest(LIMITS.scrubRestFactor * (ranMs() - startedAtMs));
      }
    } catch (error) {
      onFailure(error);
    }
  }
}
