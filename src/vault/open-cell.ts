// What every cell is made of once it is open: database, keys, log, stores. Home and tenant build on it.
// It must never write to a database whose keys or witnessed checkpoint do not fit.
import { AuditLog, type Witness } from '../audit/audit-log.ts';
import type { Clock, Entropy } from '../base/clock.ts';
import { fail } from '../base/errors.ts';
import type { Faults } from '../base/faults.ts';
import { newId } from '../base/ids.ts';
import type { SecretValue } from '../base/secret-value.ts';
import { Cell, type NextTick } from '../cell/cell.ts';
import { IdempotencyStore } from '../cell/idempotency.ts';
import { Keyring } from '../cell/keyring.ts';
import { type CellKind, migrate } from '../cell/migrations.ts';
import type { Sql } from '../cell/sql.ts';
import { TokenStore } from '../cell/tokens.ts';
import { verifyCheckpoint } from '../crypto/checkpoint.ts';
import type { RootKey } from '../crypto/root-key.ts';
import { equalBytes } from '../crypto/token.ts';

/** What the composition root lends to every cell. */
export interface Surroundings {
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly faults: Faults;
  readonly nextTick: NextTick;
  /** As `nextTick`, a few milliseconds later. Default: the next tick. */
  readonly whenCalm?: NextTick;
  readonly later: (delayMs: number, task: () => void) => void;
  readonly witness: Witness;
  readonly root: RootKey;
  readonly installationId: string;
}

export interface OpenCell {
  readonly cell: Cell;
  readonly keyring: Keyring;
  readonly audit: AuditLog;
  readonly tokens: TokenStore;
  readonly idempotency: IdempotencyStore;
}

interface IdentityRow {
  installation_id: string;
  cell_id: string;
  kind: string;
  incarnation_id: string;
}

/**
 * Opens (creating what is missing) one cell.
 * @throws integrity when it belongs to another installation or cell; rolled_back when it is older than `witnessed`
 */
export function openCell(
  kind: CellKind,
  sql: Sql,
  cellId: string,
  erasureKey: SecretValue,
  around: Surroundings,
  witnessed: string | undefined,
): OpenCell {
  const { clock, entropy, installationId } = around;
  const now = clock.now();
  migrate(sql, kind, now);
  const identity = ensureIdentity(kind, sql, cellId, around);
  const keyring = new Keyring(sql, around.root, erasureKey, { installationId, cellId }).load();
  sql.transaction(() => keyring.createMissing(clock, entropy));
  const cell = new Cell(sql, around.nextTick, around.faults, around.whenCalm);
  const audit = new AuditLog({
    cell,
    keyring,
    clock,
    incarnationId: identity.incarnation_id,
    witness: around.witness,
    later: around.later,
    faults: around.faults,
  });
  if (witnessed !== undefined) refuseRollback(audit, witnessed);
  return { cell, keyring, audit, tokens: new TokenStore(sql, keyring), idempotency: new IdempotencyStore(sql) };
}

/** Commits what is queued, has the last head signed and witnessed, and closes. Idempotent. */
export function closeCell({ cell, audit }: OpenCell): void {
  // SECURITY: what came after the last witnessed head could be cut off unseen while nobody serves it (CR-03). Best effort on a full disk.
  if (audit.unsigned) cell.submit(() => audit.signNow()).catch(() => {});
  cell.close();
}

function ensureIdentity(kind: CellKind, sql: Sql, cellId: string, around: Surroundings): IdentityRow {
  const present = sql.get<IdentityRow>('SELECT installation_id, cell_id, kind, incarnation_id FROM cell WHERE id = 1');
  if (present !== undefined) {
    if (present.installation_id !== around.installationId || present.cell_id !== cellId || present.kind !== kind) {
      fail('integrity', 'this database belongs to another cell', { evidence: 'cell identity mismatch' });
    }
    return present;
  }
  const incarnation = newId('incarnation', around.entropy);
  sql.run(
    'INSERT INTO cell (id, kind, installation_id, cell_id, incarnation_id, created_at) VALUES (1, ?, ?, ?, ?, ?)',
    kind,
    around.installationId,
    cellId,
    incarnation,
    around.clock.now(),
  );
  return { installation_id: around.installationId, cell_id: cellId, kind, incarnation_id: incarnation };
}

/** SECURITY: a database put back from yesterday is older than what was already shown outside (CR-03, D13). */
function refuseRollback(audit: AuditLog, witnessedNote: string): void {
  const witnessed = verifyCheckpoint(audit.verifierKey, witnessedNote);
  const behind = audit.size < witnessed.size || audit.stateSequence < witnessed.stateSequence;
  const forked = audit.size === witnessed.size && !equalBytes(audit.root(), witnessed.root);
  if (behind || forked) {
    fail('rolled_back', 'the database is older than its last witnessed checkpoint', {
      extra: { size: audit.size, witnessed_size: witnessed.size },
    });
  }
}
