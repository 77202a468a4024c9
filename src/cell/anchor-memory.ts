// Limits the memory of the loaded chunks of all maps of a process (anchor-chunks.ts): above the budget, the least recently used chunk of any
// cell is dropped. It must never drop a chunk that cannot be loaded again: callers pass stored chunks only.
import { LIMITS } from '../base/limits.ts';

/** A chunk that may be dropped. Only this module uses the links. */
export interface Droppable {
  /** Its bytes in the present count. */
  held: number;
  older: Droppable | undefined;
  newer: Droppable | undefined;
  drop(): void;
}

export class ChunkMemory {
  readonly #maxBytes: number;
  #bytes = 0;
  #oldest: Droppable | undefined;
  #newest: Droppable | undefined;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Bytes of all loaded chunks. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Marks a chunk as used, with its present size. Drops others if the budget is exceeded, never this one. */
  use(chunk: Droppable, bytes: number): void {
    if (bytes !== chunk.held) {
      this.#bytes += bytes - chunk.held;
      chunk.held = bytes;
    }
    if (chunk !== this.#newest) {
      this.#unlink(chunk);
      this.#link(chunk);
    }
    while (this.#bytes > this.#maxBytes && this.#oldest !== undefined && this.#oldest !== chunk) {
      const oldest = this.#oldest;
      this.release(oldest);
      oldest.drop();
    }
  }

  /** Removes a chunk from the count, after the caller dropped it. */
  release(chunk: Droppable): void {
    this.#unlink(chunk);
    this.#bytes -= chunk.held;
    chunk.held = 0;
  }

  #link(chunk: Droppable): void {
    chunk.older = this.#newest;
    if (this.#newest === undefined) this.#oldest = chunk;
    else this.#newest.newer = chunk;
    this.#newest = chunk;
  }

  #unlink(chunk: Droppable): void {
    const { older, newer } = chunk;
    if (older !== undefined) older.newer = newer;
    else if (this.#oldest === chunk) this.#oldest = newer;
    if (newer !== undefined) newer.older = older;
    else if (this.#newest === chunk) this.#newest = older;
    chunk.older = undefined;
    chunk.newer = undefined;
  }
}

/** The default budget, shared by the cells of this process. */
export const chunkMemory = new ChunkMemory(LIMITS.anchorMemoryMaxBytes);
