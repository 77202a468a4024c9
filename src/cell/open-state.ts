// The first transaction of an open cell: keys that are missing are made, rows of an older build are taken over or changed as a
// schema step says, a declared restore begins another incarnation. It must never run before what was witnessed was compared (vault/open-cell.ts).
import type { Entropy, InstallationClock } from '../base/clock.ts';
import { type AdoptedRows, adoptRows } from './adopt-rows.ts';
import type { LogHead } from './anchor.ts';
import { carryRows } from './carry-rows.ts';
import { changeIncarnation } from './identity.ts';
import type { CellRows } from './rows.ts';

/** Makes keys of new purposes and carries rows over; with `restartAs` the state goes on as another incarnation. */
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

/** Makes the keys of a new cell, and takes over what rows there are. */
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
