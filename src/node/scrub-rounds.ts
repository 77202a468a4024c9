// The scrub of a running service: checks all open cells, one after the other, in slices, in rounds. It finds damage that no request would read,
// such as a deleted row of due work. It must never delay requests, nor stop at a cell that fails.
import { LIMITS } from '../base/limits.ts';

/** A home vault or a tenant vault. */
export interface Scrubbed {
  scrub(): Generator<number>;
}

export interface ScrubRoundsOptions {
  /** The cells that are open now. */
  readonly cells: () => readonly Scrubbed[];
  /** Milliseconds of a monotonic clock. */
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

  /** Rows and log blocks checked since the start. */
  get checked(): number {
    return this.#checked;
  }

  /** Milliseconds since the end of the last round; undefined before the first. */
  get sinceRoundMs(): number | undefined {
    return this.#endedAtMs === undefined ? undefined : this.#o.ranMs() - this.#endedAtMs;
  }

  /** Runs rounds until `stop`; resolves when the current round has stopped. */
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
