// The audit log of one cell: events of a batch become one block row and leaves of an RFC 6962 tree in the transaction of the change
// they describe (D4). It must never sign a head that is not the committed one, nor lose an event that was answered.
import type { Clock } from '../base/clock.ts';
import { type Faults, NO_FAULTS } from '../base/faults.ts';
import { LIMITS } from '../base/limits.ts';
import type { Cell, CellHooks } from '../cell/cell.ts';
import type { Keyring } from '../cell/keyring.ts';
import type { Sql } from '../cell/sql.ts';
import { type Checkpoint, type ExportStatement, signCheckpoint, signExport, signerFrom } from '../crypto/checkpoint.ts';
import { Frontier, leafHashOfText } from '../crypto/merkle.ts';
import { HASH_BYTES } from '../crypto/primitives.ts';
import { type EventInput, eventText } from './event.ts';
import { AuditSources } from './sources.ts';

/** Receives every signed checkpoint once it is durable; a place outside the cell. Must not throw. */
export interface Witness {
  publish(cellId: string, note: string): void;
}

interface HeadRow {
  size: number;
  state_sequence: number;
  frontier: Uint8Array;
}

export interface AuditLogOptions {
  readonly cell: Cell;
  readonly sql: Sql;
  readonly keyring: Keyring;
  readonly clock: Clock;
  readonly incarnationId: string;
  readonly witness: Witness;
  /** Asks for `signDue()` to be submitted after a delay; the composition root owns the timer. */
  readonly later: (delayMs: number, task: () => void) => void;
  readonly faults?: Faults;
}

const encoder = new TextEncoder();

export class AuditLog implements CellHooks {
  readonly sources: AuditSources;
  readonly origin: string;
  readonly #options: AuditLogOptions;
  readonly #signer: ReturnType<typeof signerFrom>;
  #frontier = new Frontier();
  #stateSequence = 0;
  #pending: string[] = [];
  #leaves: Uint8Array[] = [];
  #signedSize = -1;
  #signedAtMs = 0;
  #unpublished: string | undefined;
  #wakeSet = false;

  constructor(options: AuditLogOptions) {
    this.#options = options;
    const { installationId, cellId } = options.keyring.identity;
    this.origin = `keyturn/${installationId}/${cellId}`;
    this.sources = new AuditSources(options.sql, options.keyring);
    this.#signer = signerFrom(options.keyring.current('audit_sign').key.export(), this.origin);
    this.#readHead();
    options.cell.use(this);
  }

  /** The C2SP verifier key of this log: what an auditor pins. */
  get verifierKey(): string {
    return this.#signer.vkey;
  }

  get size(): number {
    return this.#frontier.size;
  }

  /** The signed note that closes an export of this log. */
  closingNote(statement: Omit<ExportStatement, 'origin'>): string {
    return signExport(this.#signer, { origin: this.origin, ...statement });
  }

  get stateSequence(): number {
    return this.#stateSequence;
  }

  root(): Uint8Array {
    return this.#frontier.root();
  }

  /** Adds an event to the running batch; returns its index. Call only inside a job of the cell. */
  record(input: EventInput): number {
    const index = this.#frontier.size;
    const text = eventText(input, index, this.#options.clock.now());
    const leaf = leafHashOfText(text);
    this.#frontier.append(leaf);
    this.#pending.push(text);
    this.#leaves.push(leaf);
    return index;
  }

  beforeCommit(): void {
    const { clock, keyring } = this.#options;
    const now = clock.now();
    if (this.#pending.length > 0) this.#append(now);
    keyring.flushWraps();
    // A clock set back must not silence the log until it has caught up: hence the distance, not the difference.
    const young = Math.abs(now - this.#signedAtMs) < LIMITS.checkpointIntervalMs;
    if (this.#frontier.size > this.#signedSize && !young) this.#sign(now);
  }

  afterCommit(): void {
    this.#pending = [];
    this.#leaves = [];
    if (this.#unpublished !== undefined) this.#publish(this.#unpublished);
    if (this.#frontier.size > this.#signedSize && !this.#wakeSet) {
      this.#wakeSet = true;
      this.#options.later(LIMITS.checkpointIntervalMs, () => {
        this.#wakeSet = false;
        void this.#options.cell.submit(() => {}).catch(() => {});
      });
    }
  }

  afterRollback(): void {
    this.#pending = [];
    this.#leaves = [];
    this.#unpublished = undefined;
    this.#signedAtMs = 0;
    this.sources.forget();
    this.#options.keyring.reload();
    this.#readHead();
  }

  /** There are events that no signed head covers yet. */
  get unsigned(): boolean {
    return this.#frontier.size > this.#signedSize;
  }

  /** Makes the running batch sign its head even if the last one is young. Call inside a job. */
  signNow(): void {
    this.#signedAtMs = 0;
    if (this.#pending.length === 0 && this.#signedSize === this.#frontier.size) this.#signedSize = -1;
  }

  #publish(note: string): void {
    this.#unpublished = undefined;
    try {
      (this.#options.faults ?? NO_FAULTS).at('witness.before-write');
      this.#options.witness.publish(this.#options.keyring.identity.cellId, note);
    } catch {
      // The batch is durable and its callers wait: a witness that fails delays detection, never an answer (AU-01).
    }
  }

  /** A batch without an event changed nothing that decides anything (a heartbeat, a purge), so the sequence stays. */
  #append(nowMs: number): void {
    const { sql } = this.#options;
    this.#stateSequence += 1;
    sql.run(
      'INSERT INTO audit_block (first_index, events, last_at, bytes, leaves) VALUES (?, ?, ?, ?, ?)',
      this.#frontier.size - this.#pending.length,
      this.#pending.length,
      nowMs,
      encoder.encode(`${this.#pending.join('\n')}\n`),
      concatenated(this.#leaves),
    );
    sql.run(
      'INSERT INTO audit_head (id, size, state_sequence, frontier) VALUES (1, ?, ?, ?) ' +
        'ON CONFLICT (id) DO UPDATE SET size = excluded.size, state_sequence = excluded.state_sequence, frontier = excluded.frontier',
      this.#frontier.size,
      this.#stateSequence,
      this.#frontier.toBytes(),
    );
  }

  #sign(nowMs: number): void {
    const checkpoint: Checkpoint = {
      origin: this.origin,
      size: this.#frontier.size,
      root: this.#frontier.root(),
      stateSequence: this.#stateSequence,
      lowestKeyVersion: this.#options.keyring.lowestVersion(),
      incarnation: this.#options.incarnationId,
      at: nowMs,
    };
    const note = signCheckpoint(this.#signer, checkpoint);
    this.#options.sql.run(
      'INSERT INTO checkpoint (size, at, note) VALUES (?, ?, ?) ON CONFLICT (size) DO UPDATE SET at = excluded.at, note = excluded.note',
      checkpoint.size,
      nowMs,
      note,
    );
    this.#signedSize = checkpoint.size;
    this.#signedAtMs = nowMs;
    this.#unpublished = note;
  }

  #readHead(): void {
    const { sql } = this.#options;
    const head = sql.get<HeadRow>('SELECT size, state_sequence, frontier FROM audit_head WHERE id = 1');
    this.#frontier = head === undefined ? new Frontier() : Frontier.fromBytes(head.frontier);
    this.#stateSequence = head?.state_sequence ?? 0;
    this.#signedSize = Number(sql.get('SELECT max(size) AS size FROM checkpoint')?.['size'] ?? -1);
  }
}

function concatenated(leaves: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(leaves.length * HASH_BYTES);
  leaves.forEach((leaf, i) => {
    out.set(leaf, i * HASH_BYTES);
  });
  return out;
}
