// Reports damaged rows of a cell: each once, as one event and one alert in the next batch. It must never stop the work that found the
// damage.
import { KeyturnError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { type Cell, type CellHooks, isStorageFailure } from '../cell/cell.ts';
import type { Damage } from '../cell/rows.ts';

export interface FoundDamage {
  readonly table: string;
  /** The row's id, if it begins with an id made by Keyturn. */
  readonly id: string | undefined;
  readonly damage: Damage;
}

export class DamageBook implements CellHooks {
  readonly #cell: Cell;
  readonly #reported = new Set<string>();
  readonly #waiting = new Map<string, FoundDamage>();
  /** Records the damage; called inside a batch. Set by the owner of the door. */
  tell: (found: FoundDamage) => void = () => {};

  constructor(cell: Cell) {
    this.#cell = cell;
    cell.use(this);
  }

  note(found: FoundDamage): void {
    const key = [found.table, found.id, found.damage].join(' ');
    if (this.#reported.has(key) || this.#waiting.has(key)) return;
    if (this.#reported.size + this.#waiting.size >= LIMITS.damageToldMax) return;
    this.#waiting.set(key, found);
    // Damage found outside a batch needs a batch to be recorded.
    this.#cell.submit(() => {}).catch(() => {});
  }

  beforeCommit(): void {
    for (const found of this.#waiting.values()) {
      try {
        this.tell(found);
      } catch (error) {
        if (isStorageFailure(error) || !(error instanceof KeyturnError)) throw error;
        // The alert may itself need the damaged row; then the event of the failed request reports the damage.
      }
    }
  }

  afterCommit(): void {
    for (const key of this.#waiting.keys()) this.#reported.add(key);
    this.#waiting.clear();
  }
}
