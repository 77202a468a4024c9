// How much memory the loaded chunks of all maps of a process take (anchor-chunks.ts): past a budget the least recently used one goes, of
// whatever cell. It must never drop what cannot be loaded again: only chunks that are stored are given to it.
import { LIMITS } from '../base/limits.ts';

/** What may be dropped. The links are this module's own. */
export interface Droppable {
  /** Bytes that it was last counted with. */
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

  /** Bytes of what is loaded now. */
  get bytes(): number {
    return this.#bytes;
  }

  /** It was used, and takes so many bytes. Others go where there is no room for it; it stays itself, however large. */
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

  /** It is no longer counted: somebody else dropped it. */
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

/** Of all cells of this process that are given no other. */
export const chunkMemory = new ChunkMemory(LIMITS.anchorMemoryMaxBytes);
