// Tends the keys of the home cell, which has no engine: rotates them by age, rewraps rows and destroys retired keys when that is due.
import { LIMITS } from '../base/limits.ts';

interface KeyedHome {
  keysDueAt(): number;
  tendKeys(): Promise<void>;
}

export class HomeKeys {
  #dueAtMs = 0;
  #isWorking = false;

  /** The due times changed: they are read again at the next tick. */
  noteDue(): void {
    this.#dueAtMs = 0;
  }

  /** Does what is due. After a failure, which it throws, it pauses. */
  async tick(home: KeyedHome, nowMs: number): Promise<void> {
    if (this.#isWorking || nowMs < this.#dueAtMs) return;
    this.#isWorking = true;
    try {
      if (home.keysDueAt() <= nowMs) await home.tendKeys();
      // A clock that was set back must not leave the keys untended for long.
      this.#dueAtMs = Math.min(home.keysDueAt(), nowMs + LIMITS.homeKeysLookEveryMs);
    } catch (error) {
      this.#dueAtMs = nowMs + LIMITS.refreshCoolDownMs;
      throw error;
    } finally {
      this.#isWorking = false;
    }
  }
}
