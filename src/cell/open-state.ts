// The first transaction of a cell: creates missing keys, adopts or migrates rows of an older build, and starts a new incarnation after a
// declared restore. It must never run before the state was compared with its witness (vault/open-cell.ts).
import type { Entropy, InstallationClock } from '../base/clock.ts';
import { type AdoptedRows, adoptRows } from './adopt-rows.ts';
import type { LogHead } from './anchor.ts';
import { carryRows } from './carry-rows.ts';
import { changeIncarnation } from './identity.ts';
import type { CellRows } from './rows.ts';

/** Creates keys of new purposes and migrates rows; with `restartAs` the state continues as that incarnation. */
export function completeState(rows: CellRows, clock: InstallationClock, entropy: Entropy, restartAs?: string): void {
  const { sql, anchor, keyring } = rows;
  sql.transaction(() => {
    keyring.createMissing(clock, entropy);
    carryRows(rows, clock, entropy);
    anchor.flush(anchor.log);
    if (restartAs === undefined) return;
    anchor.afterCommit();
    changeIncarnation(sql, restartAs);
    anchor.restart(restartAs);
    anchor.flush(anchor.log);
  });
  anchor.afterCommit();
}

/** Creates the keys of a cell without a map, and adopts its rows. */
export function beginState(
  rows: CellRows,
  incarnationId: string,
  log: LogHead,
  clock: InstallationClock,
  entropy: Entropy,
): AdoptedRows {
  const { sql, anchor, keyring } = rows;
  const adopted = sql.transaction(() => {
    keyring.createMissing(clock, entropy);
    anchor.begin(incarnationId, log);
    const done = adoptRows(rows);
    carryRows(rows, clock, entropy);
    anchor.raiseTime(clock.provenAt());
    anchor.flush(log);
    return done;
  });
  anchor.afterCommit();
  keyring.bind(rows.of('tenant_key'));
  return adopted;
}
