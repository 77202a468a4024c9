// The audit log of one cell: the events of a batch become one block row and leaves of an RFC 6962 tree, in the transaction of the changes
// they describe (D4). It must never sign a head other than the committed one, nor lose the event of a request that was answered.
import type { InstallationClock } from '../base/clock.ts';
import { fail } from '../base/errors.ts';
import { type Faults, NO_FAULTS } from '../base/faults.ts';
import { LIMITS } from '../base/limits.ts';
import type { Anchor, AnchorPosition } from '../cell/anchor.ts';
import type { Cell, CellHooks } from '../cell/cell.ts';
import type { Keyring } from '../cell/keyring.ts';
import type { LogRows } from '../cell/log-rows.ts';
import type { CellRows } from '../cell/rows.ts';
import {
  type Checkpoint,
  type ExportStatement,
  type ReceiptStatement,
  signCheckpoint,
  signExport,
  signerFrom,
  signReceipt,
} from '../crypto/checkpoint.ts';
import { Frontier, leafHashOfText } from '../crypto/merkle.ts';
import { HASH_BYTES } from '../crypto/primitives.ts';
import { type EventInput, type EventOutcome, eventText } from './event.ts';
import { AuditSources } from './sources.ts';

/** A place outside the cell that receives every signed checkpoint once the checkpoint is durable. Must not throw. */
export interface Witness {
  /**
   * `urgent`: answers wait for this checkpoint, so it must be stored durably. True when it was stored where the next open of the cell will
   * read it; any other result: not stored, or unknown.
   */
  // biome-ignore lint/suspicious/noConfusingVoidType: a witness that stores nothing returns nothing
  publish(cellId: string, note: string, urgent?: boolean): void | boolean | Promise<boolean>;
}

export interface AuditLogOptions {
  readonly cell: Cell;
  readonly rows: CellRows;
  readonly clock: InstallationClock;
  readonly witness: Witness;
  /** Runs `task` after a delay; the composition root owns the timer. */
  readonly later: (delayMs: number, task: () => void) => void;
  readonly faults?: Faults;
  /** Called for every durable event, for metrics. */
  readonly told?: ((action: string, outcome: EventOutcome) => void) | undefined;
}

const encoder = new TextEncoder();

export class AuditLog implements CellHooks {
  readonly sources: AuditSources;
  readonly origin: string;
  readonly #options: AuditLogOptions;
  readonly #signer: ReturnType<typeof signerFrom>;
  readonly #rows: LogRows;
  readonly #keyring: Keyring;
  readonly #anchor: Anchor;
  #frontier = new Frontier();
  #stateSequence = 0;
  #pending: string[] = [];
  #recorded: EventInput[] = [];
  #leaves: Uint8Array[] = [];
  #signedSize = -1;
  #signedAtMs = 0;
  #unpublished: { readonly note: string; readonly position: AnchorPosition } | undefined;
  /** The answers of the running batch wait until the witness has its checkpoint. */
  #urgent = false;
  #held: Promise<void> | undefined;
  #wakeSet = false;

  constructor(options: AuditLogOptions) {
    this.#options = options;
    const { log, keyring, anchor } = options.rows;
    this.#rows = log;
    this.#keyring = keyring;
    this.#anchor = anchor;
    const { installationId, cellId } = keyring.identity;
    this.origin = `keyturn/${installationId}/${cellId}`;
    this.sources = new AuditSources(options.rows);
    this.#signer = signerFrom(keyring.current('audit_sign').key.export(), this.origin);
    this.#readHead();
    options.cell.use(this);
  }

  /** The C2SP verifier key of this log, for auditors to pin. */
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

  /** The signed note of a receipt of this log. */
  receiptNote(statement: Omit<ReceiptStatement, 'origin'>): string {
    return signReceipt(this.#signer, { origin: this.origin, ...statement });
  }

  get stateSequence(): number {
    return this.#stateSequence;
  }

  root(): Uint8Array {
    return this.#frontier.root();
  }

  /** Adds an event to the running batch; returns its index. @throws internal outside a batch of the cell */
  record(input: EventInput): number {
    this.#options.cell.requireBatch();
    this.#recorded.push(input);
    const index = this.#frontier.size;
    const text = eventText(input, index, this.#options.clock.now());
    const leaf = leafHashOfText(text);
    this.#frontier.append(leaf);
    this.#pending.push(text);
    this.#leaves.push(leaf);
    return index;
  }

  beforeCommit(): void {
    const now = this.#options.clock.now();
    const isPending = this.#pending.length > 0;
    if (isPending) this.#append(now);
    this.#keyring.flushWraps();
    this.#anchor.raiseTime(this.#options.clock.provenAt());
    this.#anchor.flush({
      size: this.#frontier.size,
      stateSequence: this.#stateSequence,
      frontier: isPending ? this.#frontier.toBytes() : this.#anchor.log.frontier,
    });
    // The absolute difference, because after the clock is set back the log must not wait for the old time before it signs.
    const young = Math.abs(now - this.#signedAtMs) < LIMITS.checkpointIntervalMs;
    if (this.#frontier.size > this.#signedSize && !young) this.#sign(now);
  }

  afterCommit(): void {
    const { told } = this.#options;
    if (told !== undefined) for (const { action, outcome } of this.#recorded) told(action, outcome);
    this.#recorded = [];
    this.#pending = [];
    this.#leaves = [];
    this.#anchor.afterCommit();
    this.sources.afterCommit();
    const isUrgent = this.#urgent;
    this.#urgent = false;
    const kept = this.#unpublished === undefined ? undefined : this.#publish(this.#unpublished, isUrgent);
    this.#held = isUrgent ? kept : undefined;
    if (this.#frontier.size > this.#signedSize && !this.#wakeSet) {
      this.#wakeSet = true;
      this.#options.later(LIMITS.checkpointIntervalMs, () => {
        this.#wakeSet = false;
        void this.#options.cell.submit(() => {}).catch(() => {});
      });
    }
  }

  holdAnswers(): Promise<void> | undefined {
    return this.#held;
  }

  mark(): () => void {
    const [changes, sources] = [this.#anchor.mark(), this.sources.mark()];
    return () => {
      this.#anchor.undoTo(changes);
      this.sources.undoTo(sources);
    };
  }

  afterRollback(): void {
    this.#recorded = [];
    this.#pending = [];
    this.#leaves = [];
    this.#unpublished = undefined;
    this.#urgent = false;
    this.#signedAtMs = 0;
    this.sources.forget();
    this.#anchor.afterRollback();
    this.#keyring.reload();
    this.#readHead();
  }

  /** Whether there are events that no signed head covers. */
  get unsigned(): boolean {
    return this.#frontier.size > this.#signedSize;
  }

  /** Makes the running batch sign its head even if the last signed head is recent. @throws internal outside a batch */
  signNow(): void {
    this.#options.cell.requireBatch();
    this.#signedAtMs = 0;
    this.#signedSize = -1;
  }

  /**
   * As `signNow`; in addition the answers of the running batch wait until the witness has that head.
   * SECURITY: for changes that restoring a copy of one second ago must not undo: a revocation, an offboarding, the use of a
   * one-time token, the destruction of a key.
   */
  publishNow(): void {
    this.signNow();
    this.#urgent = true;
  }

  #publish({ note, position }: { note: string; position: AnchorPosition }, urgent: boolean): Promise<void> | undefined {
    this.#unpublished = undefined;
    try {
      (this.#options.faults ?? NO_FAULTS).at('witness.before-write');
      const kept = this.#options.witness.publish(this.#keyring.identity.cellId, note, urgent);
      if (kept === true) this.#anchor.notePublished(position);
      if (typeof kept !== 'object') return undefined;
      return kept.then(
        (isStored) => (isStored ? this.#anchor.notePublished(position) : undefined),
        () => undefined,
      );
    } catch {
      // The batch is durable and its callers wait: a failing witness must delay detection only, never an answer (AU-01).
      return undefined;
    }
  }

  /** Called only for a batch with events: one without (a heartbeat, a purge) changed no state that decides, so it keeps the sequence. */
  #append(nowMs: number): void {
    this.#stateSequence += 1;
    const block = {
      first_index: this.#frontier.size - this.#pending.length,
      events: this.#pending.length,
      bytes: encoder.encode(`${this.#pending.join('\n')}\n`),
      leaves: concatenated(this.#leaves),
    };
    this.#rows.append(block, nowMs);
  }

  #sign(nowMs: number): void {
    const position = this.#anchor.staged;
    const checkpoint: Checkpoint = {
      origin: this.origin,
      size: this.#frontier.size,
      root: this.#frontier.root(),
      stateSequence: this.#stateSequence,
      anchor: position,
      lowestKeyVersion: this.#keyring.lowestVersion(),
      incarnation: this.#anchor.incarnationId,
      at: nowMs,
    };
    const note = signCheckpoint(this.#signer, checkpoint);
    this.#rows.saveHead({ size: checkpoint.size, at: nowMs, note }, this.#frontier.toBytes());
    this.#signedSize = checkpoint.size;
    this.#signedAtMs = nowMs;
    this.#unpublished = { note, position };
  }

  #readHead(): void {
    const { size, stateSequence, frontier } = this.#anchor.log;
    this.#frontier = Frontier.fromBytes(frontier);
    // SECURITY: the head has a MAC, but signing with a frontier of another size would sign another log.
    if (this.#frontier.size !== size)
      fail('integrity', 'stored data failed its check', { evidence: 'anchor: frontier and size' });
    this.#stateSequence = stateSequence;
    this.#signedSize = this.#rows.signedSizeUpTo(size) ?? -1;
  }
}

function concatenated(leaves: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(leaves.length * HASH_BYTES);
  leaves.forEach((leaf, i) => {
    out.set(leaf, i * HASH_BYTES);
  });
  return out;
}
