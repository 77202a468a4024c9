// Signed heads of a log in the C2SP forms (signed-note, tlog-checkpoint), so that other people's tools can check them.
// It must never accept a note in another spelling than the one signed here, nor parse a text before its signature is verified.
import type { KeyObject } from 'node:crypto';
import { toTimestamp } from '../base/clock.ts';
import { fail } from '../base/errors.ts';
import { SecretValue } from '../base/secret-value.ts';
import {
  ed25519Private,
  ed25519PublicBytes,
  ed25519Sign,
  ed25519Verify,
  equalBytes,
  HASH_BYTES,
  randomBytes,
  sha256,
} from './primitives.ts';

/**
 * A head of one log. As note text, every line ended by a newline:
 *
 *     <origin>
 *     <size>
 *     <base64 root>
 *     keyturn-seq <stateSequence>
 *     keyturn-anchor <anchor.epoch> <base64 anchor.chain>      (only where the state of the cell is anchored)
 *     keyturn-incarnation <incarnation>
 *     keyturn-min-key-version <lowestKeyVersion>
 *     keyturn-at <RFC 3339, UTC, milliseconds>
 */
export interface Checkpoint {
  /** The log's name, also its key's name; no spaces, no `+`. */
  readonly origin: string;
  readonly size: number;
  readonly root: Uint8Array;
  readonly stateSequence: number;
  /** The head of the cell's anchored state: how many changes, and the 32-byte hash over all of them. */
  readonly anchor?: { readonly epoch: number; readonly chain: Uint8Array } | undefined;
  readonly lowestKeyVersion: number;
  readonly incarnation: string;
  /** Milliseconds since 1970-01-01T00:00:00Z. */
  readonly at: number;
}

export interface CheckpointSigner {
  readonly name: string;
  readonly privateKey: KeyObject;
  /** C2SP verifier key: `<name>+<8 hex key id>+<base64(0x01 | 32-byte public key)>`. */
  readonly vkey: string;
}

const SEED_BYTES = 32;
const ED25519_TYPE = 0x01;
const KEY_ID_BYTES = 4;
const NOTE_MAX_CHARS = 128 * 1024; // room for 16 witnesses' post-quantum signatures
const SIGNATURES_MAX = 32;
const NAME = /^[^\s+\p{Z}\p{C}]{1,256}$/u;
const WORD = /^[!-~]{1,128}$/;
const AT_MAX_MS = 253_402_300_799_999; // the end of year 9999: later instants have another text form
const SIGNATURE_LINE = /^— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})$/u;
const encoder = new TextEncoder();

/** A signer with a fresh key. Keep the 32-byte seed secret; publish `vkey`. */
export function newSigner(name: string): CheckpointSigner & { readonly seed: SecretValue } {
  const seed = randomBytes(SEED_BYTES);
  return { ...signerFrom(seed, name), seed: SecretValue.adopt(seed) };
}

/** The signer of a 32-byte seed; the same seed and name give the same signer. @throws internal for a name that a note cannot contain */
export function signerFrom(seed: Uint8Array, name: string): CheckpointSigner {
  if (!NAME.test(name)) fail('internal', "a signer's name must have no spaces, controls or plus signs");
  const privateKey = ed25519Private(seed);
  const publicBytes = ed25519PublicBytes(privateKey);
  const typed = Buffer.concat([Uint8Array.of(ED25519_TYPE), publicBytes]);
  const id = Buffer.from(keyId(name, typed)).toString('hex');
  return { name, privateKey, vkey: `${name}+${id}+${typed.toString('base64')}` };
}

/** The signed note. @throws internal when the checkpoint has no text form or is another log's */
export function signCheckpoint(signer: CheckpointSigner, checkpoint: Checkpoint): string {
  // SECURITY: one key signs for one log only; a note of another origin would be believed by its verifiers.
  if (signer.name !== checkpoint.origin)
    fail(
      'internal',
      'the origin of the checkpoint is not the name of the signer: the key of a log signs its own checkpoints only',
    );
  if (!hasText(checkpoint)) fail('internal', 'a checkpoint must have whole counts, 32-byte hashes and plain names');
  return signNote(signer, toText(checkpoint));
}

/** The last line of an export: the number of events and lines, and the SHA-256 of every byte before this line. */
export interface ExportStatement {
  readonly origin: string;
  readonly events: number;
  readonly lines: number;
  readonly sha256: Uint8Array;
}

/**
 * The signed note of an export. Its text, every line ended by a newline; the second line is not a number, so no parser of checkpoints
 * accepts it as one:
 *
 *     keyturn-export-v1
 *     <origin>
 *     events <events>
 *     lines <lines>
 *     sha256 <lower-case hex>
 */
export function signExport(signer: CheckpointSigner, statement: ExportStatement): string {
  if (signer.name !== statement.origin)
    fail('internal', 'the origin of the export is not the name of the signer: the key of a log signs its own exports only');
  return signNote(signer, exportText(statement));
}

/** Whether the note is this key's signature of exactly this statement. @throws invalid_request when `vkey` is not a verifier key */
export function isExportSigned(vkey: string, note: string, statement: ExportStatement): boolean {
  const verifier = parseVerifierKey(vkey);
  if (verifier.name !== statement.origin) return false;
  try {
    return verifiedText(verifier, note) === exportText(statement);
  } catch {
    return false;
  }
}

/** The last member of a receipt: the run, and the SHA-256 of every byte before the signature (src/audit/receipt.ts). */
export interface ReceiptStatement {
  readonly origin: string;
  readonly run: string;
  readonly sha256: Uint8Array;
}

/**
 * The signed note of a receipt. Its text, every line ended by a newline; no other note of this key begins with its first line:
 *
 *     keyturn-receipt-v1
 *     <origin>
 *     run <run>
 *     sha256 <lower-case hex>
 */
export function signReceipt(signer: CheckpointSigner, statement: ReceiptStatement): string {
  if (signer.name !== statement.origin)
    fail('internal', 'the origin of the receipt is not the name of the signer: the key of a log signs its own receipts only');
  return signNote(signer, receiptText(statement));
}

/** Whether the note is this key's signature of exactly this statement. @throws invalid_request when `vkey` is not a verifier key */
export function isReceiptSigned(vkey: string, note: string, statement: ReceiptStatement): boolean {
  const verifier = parseVerifierKey(vkey);
  if (verifier.name !== statement.origin) return false;
  try {
    const text = receiptText(statement);
    // One signature: a line of another key would be a second spelling of the same receipt.
    return verifiedText(verifier, note) === text && note.split('\n').length === text.split('\n').length + 2;
  } catch {
    return false;
  }
}

function receiptText({ origin, run, sha256: digest }: ReceiptStatement): string {
  return `keyturn-receipt-v1\n${origin}\nrun ${run}\nsha256 ${Buffer.from(digest).toString('hex')}\n`;
}

function exportText({ origin, events, lines, sha256: digest }: ExportStatement): string {
  return `keyturn-export-v1\n${origin}\nevents ${events}\nlines ${lines}\nsha256 ${Buffer.from(digest).toString('hex')}\n`;
}

function signNote(signer: CheckpointSigner, text: string): string {
  const { id } = parseVerifierKey(signer.vkey);
  const signature = Buffer.concat([id, ed25519Sign(signer.privateKey, encoder.encode(text))]);
  return `${text}\n— ${signer.name} ${signature.toString('base64')}\n`;
}

/**
 * The checkpoint of a note signed by this key; signatures of other keys (witnesses) are skipped.
 * @throws integrity, with the reason as evidence; invalid_request when `vkey` is not a verifier key
 */
export function verifyCheckpoint(vkey: string, note: string): Checkpoint {
  const verifier = parseVerifierKey(vkey);
  const text = verifiedText(verifier, note);
  const checkpoint = parseText(text);
  if (checkpoint.origin !== verifier.name) refuse('another origin');
  return checkpoint;
}

interface Verifier {
  readonly name: string;
  readonly id: Uint8Array;
  readonly publicBytes: Uint8Array;
}

function parseVerifierKey(vkey: string): Verifier {
  const [, name, idHex, encoded] = /^([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})$/.exec(vkey) ?? [];
  const typed = encoded === undefined ? undefined : decodeBase64(encoded);
  if (name === undefined || !NAME.test(name) || typed?.[0] !== ED25519_TYPE) return refuseKey();
  const id = keyId(name, typed);
  if (Buffer.from(id).toString('hex') !== idHex) refuseKey();
  return { name, id, publicBytes: typed.subarray(1) };
}

/** C2SP signed-note, "Signatures". */
function keyId(name: string, typed: Uint8Array): Uint8Array {
  return sha256(Buffer.concat([encoder.encode(`${name}\n`), typed])).slice(0, KEY_ID_BYTES);
}

function verifiedText(verifier: Verifier, note: string): string {
  if (note.length > NOTE_MAX_CHARS || !note.isWellFormed() || hasControl(note)) refuse('malformed');
  const textEnd = note.lastIndexOf('\n\n') + 1;
  if (!note.endsWith('\n')) refuse('malformed');
  const text = note.slice(0, textEnd);
  const lines = note.slice(textEnd + 1, -1).split('\n');
  if (lines.length > SIGNATURES_MAX) refuse('malformed');
  const signatures = lines.flatMap((line) => signatureIn(line, verifier) ?? []);
  if (signatures.length === 0) refuse('no signature of this key');
  const signed = encoder.encode(text);
  if (!signatures.every((signature) => ed25519Verify(verifier.publicBytes, signed, signature))) refuse('bad signature');
  return text;
}

/** Undefined if the signature is of another key. @throws integrity */
function signatureIn(line: string, verifier: Verifier): Uint8Array | undefined {
  const [, name, encoded] = SIGNATURE_LINE.exec(line) ?? refuse('malformed');
  const blob = decodeBase64(encoded as string);
  if (blob === undefined || blob.byteLength <= KEY_ID_BYTES) return refuse('malformed');
  const isOurs = name === verifier.name && equalBytes(blob.subarray(0, KEY_ID_BYTES), verifier.id);
  return isOurs ? blob.subarray(KEY_ID_BYTES) : undefined;
}

function hasText({ origin, size, root, stateSequence, anchor, lowestKeyVersion, incarnation, at }: Checkpoint): boolean {
  const counts = [size, stateSequence, lowestKeyVersion, at, ...(anchor === undefined ? [] : [anchor.epoch])];
  const hashes = [root, ...(anchor === undefined ? [] : [anchor.chain])];
  return (
    counts.every((count) => Number.isSafeInteger(count) && count >= 0) &&
    hashes.every((hash) => hash.byteLength === HASH_BYTES) &&
    NAME.test(origin) &&
    WORD.test(incarnation) &&
    at <= AT_MAX_MS
  );
}

/** Of a checkpoint that `hasText`. */
function toText(checkpoint: Checkpoint): string {
  const { origin, size, root, stateSequence, anchor, lowestKeyVersion, incarnation, at } = checkpoint;
  return (
    `${origin}\n${size}\n${Buffer.from(root).toString('base64')}\n` +
    `keyturn-seq ${stateSequence}\n` +
    (anchor === undefined ? '' : `keyturn-anchor ${anchor.epoch} ${Buffer.from(anchor.chain).toString('base64')}\n`) +
    `keyturn-incarnation ${incarnation}\n` +
    `keyturn-min-key-version ${lowestKeyVersion}\nkeyturn-at ${toTimestamp(at)}\n`
  );
}

const TEXT =
  /^([^\n]+)\n(0|[1-9]\d{0,15})\n([A-Za-z0-9+/]{43}=)\nkeyturn-seq (0|[1-9]\d{0,15})\n(?:keyturn-anchor (0|[1-9]\d{0,15}) ([A-Za-z0-9+/]{43}=)\n)?keyturn-incarnation ([!-~]{1,128})\nkeyturn-min-key-version (0|[1-9]\d{0,15})\nkeyturn-at (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)\n$/;

function parseText(text: string): Checkpoint {
  const [, origin, size, root, sequence, epoch, chain, incarnation, lowest, at] = (TEXT.exec(text) ??
    refuse('malformed')) as unknown as string[];
  const checkpoint: Checkpoint = {
    origin: origin as string,
    size: Number(size),
    root: decodeBase64(root as string) ?? refuse('malformed'),
    stateSequence: Number(sequence),
    ...(chain === undefined ? {} : { anchor: { epoch: Number(epoch), chain: decodeBase64(chain) ?? refuse('malformed') } }),
    lowestKeyVersion: Number(lowest),
    incarnation: incarnation as string,
    at: Date.parse(at as string),
  };
  if (!hasText(checkpoint) || toText(checkpoint) !== text) refuse('malformed');
  return checkpoint;
}

/** Strict RFC 4648 section 4: undefined unless the text is the canonical encoding of its bytes. */
function decodeBase64(text: string): Uint8Array | undefined {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? Uint8Array.from(bytes) : undefined;
}

function hasControl(note: string): boolean {
  return [...note].some((char) => char < ' ' && char !== '\n');
}

function refuse(evidence: string): never {
  fail('integrity', 'the checkpoint failed its check', { evidence });
}

function refuseKey(): never {
  fail('invalid_request', 'the verifier key is malformed', { pointer: '/verifier_key' });
}
