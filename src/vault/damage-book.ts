// What was found damaged in a cell, told once: one event, one alert, in the next batch. It must never stop the work that found it, nor tell
// the same thing again and again.
import { KeyturnError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { type Cell, type CellHooks, isStorageFailure } from '../cell/cell.ts';
import type { Damage } from '../cell/rows.ts';

export interface FoundDamage {
  readonly table: string;
  /** Where the row's id begins with one of ours. */
  readonly id: string | undefined;
  readonly damage: Damage;
}

export class DamageBook implements CellHooks {
  readonly #cell: Cell;
  readonly #told = new Set<string>();
  readonly #waiting = new Map<string, FoundDamage>();
  /** Records it; inside a batch. The owner of the door sets it. */
  tell: (found: FoundDamage) => void = () => {};

  constructor(cell: Cell) {
    this.#cell = cell;
    cell.use(this);
  }

  note(found: FoundDamage): void {
    const key = `${found.table} ${found.id ?? ''} ${found.damage}`;
    if (this.#told.has(key) || this.#waiting.has(key)) return;
    if (this.#told.size + this.#waiting.size >= LIMITS.damageToldMax) return;
    this.#waiting.set(key, found);
    // What was found outside of a batch needs one.
    this.#cell.submit(() => {}).catch(() => {});
  }

  beforeCommit(): void {
    for (const found of this.#waiting.values()) {
      try {
        this.tell(found);
      } catch (error) {
        if (isStorageFailure(error) || !(error instanceof KeyturnError)) throw error;
        // The alert may need what is damaged, too: the event of the request that failed says it.
      }
    }
  }

  afterCommit(): void {
    for (const key of this.#waiting.keys()) this.#told.add(key);
    this.#waiting.clear();
  }
}
