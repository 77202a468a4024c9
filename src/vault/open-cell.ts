// Opens a cell: checks its database, and builds keys, log and stores for the home cell and tenants.
// It must never write to a database whose keys or witnessed checkpoint do not match.

import type { Authorizer } from '../access/authorizer.ts';
import { AuditLog, type Witness } from '../audit/audit-log.ts';
import { AuditReader } from '../audit/audit-reader.ts';
import type { EventOutcome } from '../audit/event.ts';
import { refuseOtherLog } from '../audit/log-consistency.ts';
import type { Entropy, InstallationClock } from '../base/clock.ts';
import { fail, KeyturnError } from '../base/errors.ts';
import type { Faults } from '../base/faults.ts';
import { newId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { SecretValue } from '../base/secret-value.ts';
import { type AdoptedRows, formerHead, isUnanchored } from '../cell/adopt-rows.ts';
import { Anchor, type LogHead } from '../cell/anchor.ts';
import type { ChunkMemory } from '../cell/anchor-memory.ts';
import { Cell, type CellHooks, type NextTick } from '../cell/cell.ts';
import { IdempotencyStore } from '../cell/idempotency.ts';
import { ensureIdentity } from '../cell/identity.ts';
import { KeyRotationStore } from '../cell/key-rotations.ts';
import { Keyring } from '../cell/keyring.ts';
import { latestSchemaVersion, migrate, schemaVersion } from '../cell/migrations.ts';
import { beginState, completeState } from '../cell/open-state.ts';
import { CellRows } from '../cell/rows.ts';
import { refuseForeignCode, refuseOtherSchema } from '../cell/schema-check.ts';
import type { CellKind } from '../cell/schema-step.ts';
import type { Sql } from '../cell/sql.ts';
import { redateTokens, TokenStore } from '../cell/tokens.ts';
import { type Checkpoint, signerFrom, verifyCheckpoint } from '../crypto/checkpoint.ts';
import type { RootKeys } from '../crypto/root-keys.ts';
import { equalBytes } from '../crypto/token.ts';
import { DamageBook } from './damage-book.ts';

/** The ports that the composition root provides to every cell. */
export interface Platform {
  readonly clock: InstallationClock;
  readonly entropy: Entropy;
  readonly faults: Faults;
  readonly nextTick: NextTick;
  /** As `nextTick`, a few milliseconds later. Default: the next tick. */
  readonly whenCalm?: NextTick;
  readonly later: (delayMs: number, task: () => void) => void;
  readonly witness: Witness;
  /** Called for every durable event of every cell, for metrics. */
  readonly told?: (action: string, outcome: EventOutcome) => void;
  /** The operator declares that the machine's clock is right, although a cell committed a later time. Default: false. */
  readonly acceptsClock?: boolean;
  /** How old an active key of a cell gets before it is rotated. Default: LIMITS.keyPeriodMs. */
  readonly keyPeriodMs?: number | undefined;
  /** The budget that loaded chunks of maps share. Default: the one of this process. */
  readonly chunkMemory?: ChunkMemory;
  readonly root: RootKeys;
  readonly installationId: string;
}

export interface OpenCell {
  readonly cell: Cell;
  readonly keyring: Keyring;
  readonly rows: CellRows;
  readonly damage: DamageBook;
  readonly audit: AuditLog;
  readonly tokens: TokenStore;
  readonly idempotency: IdempotencyStore;
  readonly keyRotations: KeyRotationStore;
  readonly events: AuditReader;
}

/** Facts of a cell from outside its database. */
export interface Opening {
  /** The last checkpoint of the cell in its witness. */
  readonly witnessed?: string | undefined;
  /** The cell was created before, so an empty database is refused. Default: false. */
  readonly mustExist?: boolean | undefined;
  /** The cell had a head before, so rows without a head are refused. Default: false, then rows of an older build are adopted. */
  readonly anchored?: boolean | undefined;
  /** A checkpoint of the cell was published before, as known outside its database. Default: only the database states that. */
  readonly hasWitness?: boolean | undefined;
  /** The operator declares that the witness was lost and that this database is the newest. Default: a missing witness is refused. */
  readonly acceptMissingWitness?: boolean | undefined;
}

/** The options of a vault and of its cell. */
export interface VaultOptions {
  readonly sql: Sql;
  readonly erasureKey: SecretValue;
  readonly platform: Platform;
  readonly authorizer: Authorizer;
  readonly admit: (principalId: string) => void;
  /** The last checkpoint of this cell in its witness. */
  readonly witnessed?: string | undefined;
  /** Further facts of the cell from outside its database. */
  readonly opening?: Omit<Opening, 'witnessed'> | undefined;
}

export interface CellOptions {
  readonly kind: CellKind;
  readonly sql: Sql;
  readonly cellId: string;
  readonly erasureKey: SecretValue;
  readonly platform: Platform;
  readonly opening: Opening;
}

/** Opens the cell of a vault with these options. @throws as `openCell` */
export function cellOf(kind: CellKind, cellId: string, options: VaultOptions): OpenCell {
  const { sql, erasureKey, platform, opening, witnessed } = options;
  return openCell({ kind, sql, cellId, erasureKey, platform, opening: { ...opening, witnessed } });
}

/**
 * Opens one cell, and creates what is missing.
 * @throws integrity when it belongs to another installation or cell, or its head, journal or map fail their check;
 *   rolled_back when it is older than `witnessed` or empty, or its witness is missing
 */
export function openCell(options: CellOptions): OpenCell {
  const { kind, sql, cellId, platform, opening } = options;
  const { clock, entropy, installationId } = platform;
  refuseForeignCode(sql);
  const mayCreate = opening.mustExist !== true && opening.witnessed === undefined;
  // SECURITY: an empty database in place of a lost one would hide the loss (CR-03).
  if (!mayCreate && schemaVersion(sql) === 0) fail('rolled_back', 'the database of this cell is empty: restore it from a copy');
  migrate(sql, kind, clock.now());
  refuseOtherSchema(sql, kind);
  const newIncarnation = mayCreate ? () => newId('incarnation', entropy) : undefined;
  const incarnationId = ensureIdentity(sql, { kind, installationId, cellId }, newIncarnation, clock.now());
  const keyring = new Keyring(sql, platform.root, options.erasureKey, { installationId, cellId }).load();
  const anchor = new Anchor(sql, keyring, platform.chunkMemory);
  const rows = new CellRows(kind, sql, keyring, anchor);
  const cell = new Cell(sql, platform.nextTick, platform.faults, platform.whenCalm);
  const damage = new DamageBook(cell);
  rows.onDamage = (table, id, found) => damage.note({ table, id, damage: found });
  const adoption = Anchor.exists(sql) ? openAnchored(rows, options, incarnationId) : adopt(rows, options, incarnationId);
  // SECURITY: a clock that was set back while the service was stopped must not make expired objects valid again (D17).
  const isClockAccepted = platform.acceptsClock === true && anchor.timeAt > clock.now();
  if (isClockAccepted) anchor.resetTime(clock.now());
  clock.atLeast(anchor.timeAt);
  // A killed process may have left deleted data in a file.
  sql.eraseResidue();
  cell.use(eraseInTime(cell, platform));
  const audit = new AuditLog({
    cell,
    rows,
    clock,
    witness: platform.witness,
    later: platform.later,
    faults: platform.faults,
    told: platform.told,
  });
  const redate = platform.acceptsClock === true ? () => redateTokens(rows, clock.now()) : undefined;
  const isWitnessAccepted =
    opening.acceptMissingWitness === true && adoption === undefined && readWitnessed(keyring, opening) === undefined;
  noteOpening(cell, audit, { adoption, isWitnessAccepted, isClockAccepted, redate });
  return {
    cell,
    keyring,
    rows,
    damage,
    audit,
    tokens: new TokenStore(rows),
    idempotency: new IdempotencyStore(rows),
    keyRotations: new KeyRotationStore(rows),
    events: new AuditReader(rows),
  };
}

/**
 * Opens a cell read-only, with every check of `openCell`.
 * @throws conflict when its schema is not the one of this build or it has no map yet: start the service once; else as `openCell`
 */
export function openForReading(options: CellOptions): CellRows {
  const { kind, sql, cellId, platform, opening } = options;
  refuseForeignCode(sql);
  if (schemaVersion(sql) !== latestSchemaVersion(kind) || isUnanchored(sql))
    fail('conflict', 'this build has not opened this database yet: start the service once');
  refuseOtherSchema(sql, kind);
  const { installationId } = platform;
  const incarnationId = ensureIdentity(sql, { kind, installationId, cellId }, undefined, platform.clock.now());
  const keyring = new Keyring(sql, platform.root, options.erasureKey, { installationId, cellId }).load();
  const rows = new CellRows(kind, sql, keyring, new Anchor(sql, keyring, platform.chunkMemory));
  openMap(rows, opening, incarnationId);
  return rows;
}

/** Removes data from every file a minute after its deletion, where no request waits for it (pruned versions, expired answers and tokens). */
function eraseInTime(cell: Cell, { later }: Platform): CellHooks {
  let planned = false;
  return {
    afterCommit: () => {
      if (planned || !cell.hasResidue) return;
      planned = true;
      later(LIMITS.residueMaxMs, () => {
        // The batch that erases is committed before it does: planned until then, or it would plan another.
        const erased = cell.submit(() => cell.eraseResidue()).catch(() => {});
        void erased.then(() => {
          planned = false;
        });
      });
    },
  };
}

/** Commits queued jobs, signs and publishes the last head, and closes the cell. Idempotent. */
export function closeCell({ cell, audit, rows }: OpenCell): void {
  // SECURITY: events after the last witnessed head could be cut off undetected while the cell is closed (CR-03). Best effort on a full disk.
  if (audit.unsigned) cell.submit(() => audit.signNow()).catch(() => {});
  cell.close();
  rows.anchor.release();
}

/** Returns true if the witness is missing and the operator has accepted that. */
function openMap(rows: CellRows, opening: Opening, incarnationId: string): boolean {
  const { anchor, keyring } = rows;
  const witnessed = readWitnessed(keyring, opening);
  const chain = anchor.open(witnessed?.anchor?.epoch);
  if (anchor.incarnationId !== incarnationId)
    fail('integrity', 'stored data failed its check', { evidence: 'anchor: another incarnation' });
  keyring.bind(rows.of('tenant_key'));
  // SECURITY: a copy from before the first publication does not state that it has a witness, so the fact from outside decides (CR-03).
  const isLost = witnessed === undefined && (opening.hasWitness === true || anchor.publishedEpoch > 0);
  if (witnessed !== undefined) refuseRollback(rows, witnessed, chain);
  // SECURITY: without its witness, the newest database cannot be distinguished from an older copy (D15).
  if (isLost && opening.acceptMissingWitness !== true) refuseWitness(keyring.identity.cellId, 'is missing');
  return isLost;
}

function openAnchored(rows: CellRows, { opening, platform }: CellOptions, incarnationId: string): undefined {
  const isLost = openMap(rows, opening, incarnationId);
  completeState(rows, platform.clock, platform.entropy, isLost ? newId('incarnation', platform.entropy) : undefined);
  return undefined;
}

/** Opens a new cell, or one of a build without a map, whose rows are adopted once. */
function adopt(rows: CellRows, { opening, platform, sql }: CellOptions, incarnationId: string): Adoption {
  const { keyring } = rows;
  const log = formerHead(sql);
  const witnessed = readWitnessed(keyring, opening);
  if (opening.anchored === true || witnessed?.anchor !== undefined || !isUnanchored(sql))
    fail('integrity', 'stored data failed its check', { evidence: 'anchor: the head is missing' });
  if (witnessed !== undefined) refuseOlder(rows, log, witnessed);
  const adoption = beginState(rows, incarnationId, log, platform.clock, platform.entropy);
  return { ...adoption, isNew: log.size === 0 };
}

interface Adoption extends AdoptedRows {
  readonly isNew: boolean;
}

interface Opened {
  readonly adoption: Adoption | undefined;
  /** True also if no witness was missing. */
  readonly isWitnessAccepted: boolean;
  readonly isClockAccepted: boolean;
  /** Set if the operator declares that the clock is right: corrects tokens that were issued while the clock was ahead. */
  readonly redate: (() => number) | undefined;
}

/** Records events that an operator may need later: an accepted missing witness, an accepted clock, adopted rows. */
function noteOpening(cell: Cell, audit: AuditLog, { adoption, isWitnessAccepted, isClockAccepted, redate }: Opened): void {
  const note = (action: string, reason: string, count?: number) =>
    audit.record({
      action,
      actor: { type: 'system', id: 'open' },
      outcome: 'success',
      reason,
      request: `open:${audit.size}`,
      target: { type: 'cell' },
      details: count === undefined ? undefined : { count },
    });
  const isAdopted = adoption !== undefined && !adoption.isNew;
  if (!isWitnessAccepted && !isAdopted && redate === undefined) return;
  cell
    .submit(() => {
      if (isWitnessAccepted) note('witness.accept_missing', 'declared by the operator');
      const redated = redate?.() ?? 0;
      if (isClockAccepted || redated > 0) note('clock.accept', 'declared by the operator', redated);
      if (isAdopted) note('state.adopt', 'rows of an older build', adoption.adopted);
      if (isAdopted && adoption.refused > 0) note('state.refuse', 'rows that failed their old check', adoption.refused);
      audit.signNow();
    })
    .catch(() => {});
}

/** Undefined also for an unreadable witness, if the operator declares it lost. @throws rolled_back */
function readWitnessed(keyring: Keyring, { witnessed: note, acceptMissingWitness }: Opening): Checkpoint | undefined {
  if (note === undefined) return undefined;
  const { installationId, cellId } = keyring.identity;
  const seed = keyring.current('audit_sign').key.export();
  try {
    return verifyCheckpoint(signerFrom(seed, `keyturn/${installationId}/${cellId}`).vkey, note);
  } catch (error) {
    if (!(error instanceof KeyturnError)) throw error;
    if (acceptMissingWitness === true) return undefined;
    return refuseWitness(cellId, 'does not fit it');
  }
}

/** SECURITY: a restored older copy, or a database that diverged, does not continue the witnessed checkpoint (CR-03, D13, D15). */
function refuseRollback(rows: CellRows, witnessed: Checkpoint, chain: Uint8Array | undefined): void {
  const { anchor } = rows;
  const { position, log } = anchor;
  const seen = witnessed.anchor;
  if (seen !== undefined) {
    const isBehind = position.epoch < seen.epoch;
    // A journal that was cut for its size does not reach back to the checkpoint: then only the log's tree proves continuity.
    const isOther = chain !== undefined && !equalBytes(chain, seen.chain);
    if (isBehind || isOther) behind('the state is older than its last witnessed checkpoint, or differs from it');
  }
  if (anchor.incarnationId !== witnessed.incarnation) behind('the database is another incarnation than the witnessed one');
  refuseOlder(rows, log, witnessed);
}

function refuseOlder(rows: CellRows, log: LogHead, witnessed: Checkpoint): void {
  if (log.stateSequence < witnessed.stateSequence) behind('the database is older than its last witnessed checkpoint');
  refuseOtherLog(rows.log, log, witnessed.size, witnessed.root);
  const lowest = rows.keyring.lowestVersion();
  if (lowest === 0 && witnessed.lowestKeyVersion > 0)
    fail('integrity', 'stored data failed its check', { evidence: 'tenant_key: no key passes its check' });
  if (lowest < witnessed.lowestKeyVersion) behind('the database contains a key that was destroyed: it is an older copy');
}

function refuseWitness(cellId: string, why: 'is missing' | 'does not fit it'): never {
  fail(
    'rolled_back',
    `the witness of ${cellId} ${why}: restore it; if it is lost and this database is the newest, start with --accept-missing-witness ${cellId}`,
  );
}

function behind(detail: string): never {
  fail('rolled_back', detail);
}
