// A receipt: the signed proof of one finished rotation, as one line of JSON, and its offline check (docs/receipts.md).
// The check must never need the service, a secret or the network, nor accept a receipt in another spelling than the one signed.
import { KeyturnError } from '../base/errors.ts';
import { type Checkpoint, isReceiptSigned, verifyCheckpoint } from '../crypto/checkpoint.ts';
import { leafHashOfText, verifyInclusion } from '../crypto/merkle.ts';
import { sha256OfText } from '../crypto/primitives.ts';
import type { AuditEvent } from './event.ts';

const FORMAT = 'keyturn-receipt-v1';

export interface ReceiptStep {
  readonly run: string;
  readonly step: string;
  readonly status: string;
  readonly at: string;
  /** HTTP status of the provider's answer. */
  readonly provider_status: number | null;
}

/** A use of a value at the target. */
export interface ReceiptTest {
  readonly at: string;
  readonly provider_status: number | null;
}

export interface ReceiptReader {
  readonly id: string;
  readonly name: string | null;
  /** The version that it had received last when the old value was ended. */
  readonly version: number;
  /** When it first received that version. */
  readonly at: string;
}

/** What a receipt states. Nothing here is secret. */
export interface RotationStatement {
  readonly credential: { readonly id: string; readonly environment: string; readonly name: string; readonly kind: string };
  readonly connector: string;
  readonly strategy: string;
  /** The hash of the plan that was approved or requested; null: it was requested without one. */
  readonly plan: string | null;
  readonly rotation: {
    readonly run: string;
    readonly trigger: string;
    readonly requested_by: string;
    readonly started_at: string;
  };
  readonly approved_by: readonly string[];
  readonly new_version: number;
  readonly new_value: ReceiptTest & { readonly verdict: string };
  readonly old_version: number;
  readonly revocation: { readonly run: string; readonly finished_at: string };
  /** `exposed_at`: when it still worked after it should have been ended. */
  readonly old_value: ReceiptTest & { readonly verdict: 'proved_dead' | 'unproven'; readonly exposed_at: string | null };
  readonly readers: { readonly count: number; readonly listed: readonly ReceiptReader[] };
  readonly late_readers: { readonly count: number; readonly names: readonly string[] };
  readonly steps: readonly ReceiptStep[];
  /** Steps that are not listed. */
  readonly steps_omitted: number;
}

/** The members before the signature, in this order. */
export interface ReceiptBody {
  readonly origin: string;
  readonly verifier_key: string;
  readonly statement: RotationStatement;
  /** The event of the revocation's end, as in the log. */
  readonly event: string;
  /** Base64 of the 32-byte siblings from the leaf of that event to the root of the checkpoint (RFC 9162 section 2.1.3). */
  readonly proof: readonly string[];
  /** A signed head of the log that covers the event. */
  readonly checkpoint: string;
}

function bodyText({ origin, verifier_key, statement, event, proof, checkpoint }: ReceiptBody): string {
  return JSON.stringify({ receipt: FORMAT, origin, verifier_key, statement, event, proof, checkpoint });
}

/** The receipt with its newline. @param sign makes the note over the run and the digest of everything before the signature */
export function receiptOf(body: ReceiptBody, sign: (signed: { run: string; sha256: Uint8Array }) => string): string {
  const text = bodyText(body);
  const note = sign({ run: body.statement.rotation.run, sha256: sha256OfText(text) });
  return `${text.slice(0, -1)},"signature":${JSON.stringify(note)}}\n`;
}

export interface VerifiedReceipt {
  readonly ok: boolean;
  /** Why it is refused; undefined if it is valid. */
  readonly refused: string | undefined;
  /** `receipt`: no key was given, so the key in the receipt was used, which a forger could replace. */
  readonly key: 'pinned' | 'receipt';
  readonly origin: string | undefined;
  /** When the checkpoint was signed. */
  readonly checkpointAtMs: number | undefined;
  readonly statement: RotationStatement | undefined;
}

/** @param text the whole file @param pinned the verifier key of the log, from elsewhere. Never throws. */
export function verifyReceipt(text: string, pinned?: string): VerifiedReceipt {
  const key = pinned === undefined ? 'receipt' : 'pinned';
  try {
    const { body, checkpoint } = verified(text, pinned);
    const { origin, statement } = body;
    return { ok: true, refused: undefined, key, origin, checkpointAtMs: checkpoint.at, statement };
  } catch (error) {
    const refused = error instanceof Refused ? error.message : 'it is not a receipt in the form of docs/receipts.md';
    return { ok: false, refused, key, origin: undefined, checkpointAtMs: undefined, statement: undefined };
  }
}

class Refused extends Error {}

function refuse(why: string): never {
  throw new Refused(why);
}

function verified(text: string, pinned: string | undefined): { body: ReceiptBody; checkpoint: Checkpoint } {
  const whole = JSON.parse(text) as ReceiptBody & { readonly receipt: unknown; readonly signature: string };
  const { receipt, signature, ...members } = whole;
  const body: ReceiptBody = members;
  // INVARIANT: exactly one text is valid for what was signed, so no byte can differ (test/audit/receipt.test.ts).
  if (receipt !== FORMAT || receiptOf(body, () => signature) !== text)
    refuse('its text is not the one form that a receipt has: it was edited, or it is of another version');
  const key = pinned ?? body.verifier_key;
  if (body.verifier_key !== key) refuse('it names another verifier key than the given one: it is of another log, or forged');
  const { rotation } = body.statement;
  const statement = { origin: body.origin, run: rotation.run, sha256: sha256OfText(bodyText(body)) };
  if (!isReceiptSigned(key, signature, statement)) refuse('its signature does not fit: it was edited, or another key signed it');
  const checkpoint = checkpointIn(key, body);
  checkEvent(body, checkpoint);
  return { body, checkpoint };
}

function checkpointIn(key: string, { checkpoint }: ReceiptBody): Checkpoint {
  try {
    return verifyCheckpoint(key, checkpoint);
  } catch (error) {
    if (error instanceof KeyturnError) refuse('its checkpoint is not signed by the key');
    throw error;
  }
}

/** The event is in the log, and it is about what is stated. */
function checkEvent({ event: text, proof, statement }: ReceiptBody, checkpoint: Checkpoint): void {
  const event = JSON.parse(text) as AuditEvent;
  const path = proof.map((hash) => new Uint8Array(Buffer.from(hash, 'base64')));
  if (!verifyInclusion(leafHashOfText(text), event.index, checkpoint.size, path, checkpoint.root))
    refuse('its proof does not show the event in the log');
  const { credential, revocation, old_version, old_value } = statement;
  const isAbout =
    event.action === 'credential.revoke' &&
    event.outcome === 'success' &&
    event.target.id === credential.id &&
    event.details?.run === revocation.run &&
    event.details.version === old_version &&
    event.details.cause === old_value.verdict;
  if (!isAbout) refuse('the event in the log says something else than the receipt');
}
