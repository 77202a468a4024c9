// What every cell is made of once it is open: database, keys, log, stores. Home and tenant build on it.
// It must never write to a database whose keys or witnessed checkpoint do not fit.
import { AuditLog, type Witness } from '../audit/audit-log.ts';
import { AuditReader } from '../audit/audit-reader.ts';
import type { Clock, Entropy } from '../base/clock.ts';
import { fail } from '../base/errors.ts';
import type { Faults } from '../base/faults.ts';
import { newId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { SecretValue } from '../base/secret-value.ts';
import { Cell, type CellHooks, type NextTick } from '../cell/cell.ts';
import { IdempotencyStore } from '../cell/idempotency.ts';
import { ensureIdentity } from '../cell/identity.ts';
import { KeyRotationStore } from '../cell/key-rotations.ts';
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
  readonly keyRotations: KeyRotationStore;
  readonly events: AuditReader;
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
  const incarnationId = ensureIdentity(sql, { kind, installationId, cellId }, () => newId('incarnation', entropy), now);
  const keyring = new Keyring(sql, around.root, erasureKey, { installationId, cellId }).load();
  keyring.createMissing(clock, entropy);
  // What a process that was killed had deleted.
  sql.eraseResidue();
  const cell = new Cell(sql, around.nextTick, around.faults, around.whenCalm);
  cell.use(eraseInTime(cell, around));
  const audit = new AuditLog({
    cell,
    sql,
    keyring,
    clock,
    incarnationId,
    witness: around.witness,
    later: around.later,
    faults: around.faults,
  });
  if (witnessed !== undefined) refuseRollback(audit, witnessed);
  return {
    cell,
    keyring,
    audit,
    tokens: new TokenStore(sql, keyring),
    idempotency: new IdempotencyStore(sql),
    keyRotations: new KeyRotationStore(sql, keyring),
    events: new AuditReader(sql),
  };
}

/** What was deleted without anybody waiting for it to be gone (pruned versions, expired answers and tokens) is gone a minute later. */
function eraseInTime(cell: Cell, { later }: Surroundings): CellHooks {
  let planned = false;
  return {
    afterCommit: () => {
      if (planned || !cell.hasResidue) return;
      planned = true;
      later(LIMITS.residueMaxMs, () => {
        planned = false;
        void cell.submit(() => cell.eraseResidue()).catch(() => {});
      });
    },
  };
}

/** Commits what is queued, has the last head signed and witnessed, and closes. Idempotent. */
export function closeCell({ cell, audit }: OpenCell): void {
  // SECURITY: what came after the last witnessed head could be cut off unseen while nobody serves it (CR-03). Best effort on a full disk.
  if (audit.unsigned) cell.submit(() => audit.signNow()).catch(() => {});
  cell.close();
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
