// The offline verifier: given an export and, best, the verifier key and a checkpoint kept elsewhere, it says what is wrong and where.
// It must never need the service, a secret or the network.
import { type Checkpoint, verifyCheckpoint } from '../crypto/checkpoint.ts';
import { Frontier, leafHash } from '../crypto/merkle.ts';
import { equalBytes } from '../crypto/token.ts';

export type FindingKind =
  | 'edited' // the event's bytes are not those that were logged
  | 'deleted' // events between two others are missing
  | 'reordered'
  | 'cut_tail' // the newest events are missing
  | 'root_mismatch' // something before a signed head differs, and no leaf hash tells which
  | 'bad_signature'
  | 'malformed'
  | 'rolled_back' // an older log than the one a checkpoint kept elsewhere speaks of
  | 'wrong_log'; // another log's export, or another key

export interface Finding {
  readonly kind: FindingKind;
  readonly from: number;
  readonly to: number;
  readonly explanation: string;
}

export interface VerifyResult {
  readonly ok: boolean;
  readonly origin: string;
  readonly events: number;
  readonly checkpoints: number;
  /** Events after the last signed head: present but not yet covered. */
  readonly uncovered: number;
  readonly findings: readonly Finding[];
}

export interface VerifyOptions {
  /** The verifier key noted when the log was young; without it the export's own is believed, which proves less. */
  readonly verifierKey?: string | undefined;
  /** Signed heads kept outside (a witness file). */
  readonly checkpoints?: readonly string[] | undefined;
}

const encoder = new TextEncoder();
const MAX_FINDINGS = 100;

/**
 * Reads an export line by line; one JSON value a line:
 *
 *     {"export":"keyturn-audit-v1",...}               header
 *     {"action":...}                                  events, exactly their canonical bytes, in order
 *     {"export":"leaves","first":n,"hashes":base64}   RFC 6962 leaf hashes of a block, to name the very event that was edited
 *     {"export":"checkpoint","note":...}              signed heads (C2SP tlog-checkpoint)
 */
export class ExportVerifier {
  readonly #options: VerifyOptions;
  readonly #findings: Finding[] = [];
  readonly #frontier = new Frontier();
  readonly #heads: Checkpoint[] = [];
  readonly #rootsAt = new Map<number, Uint8Array>();
  readonly #stated: { first: number; hashes: Uint8Array }[] = [];
  readonly #leaves: Uint8Array[] = [];
  readonly #indexes: number[] = [];
  #origin = '';
  #verifierKey = '';
  #declaredSize = 0;
  #sawHeader = false;

  constructor(options: VerifyOptions = {}) {
    this.#options = options;
  }

  /** Takes the next line, without its newline. */
  push(text: string): void {
    if (text === '') return;
    let value: Record<string, unknown>;
    try {
      value = JSON.parse(text) as Record<string, unknown>;
    } catch {
      this.#find(
        'malformed',
        this.#leaves.length,
        this.#leaves.length,
        `the line after event ${this.#leaves.length - 1} is not JSON`,
      );
      return;
    }
    if (typeof value['export'] !== 'string') this.#event(text, value);
    else if (value['export'] === 'keyturn-audit-v1') this.#header(value);
    else if (value['export'] === 'leaves') this.#statedLeaves(value);
    else if (value['export'] === 'checkpoint') this.#head(String(value['note']), 'in the export');
    else this.#find('malformed', 0, 0, 'a line of an unknown kind');
  }

  finish(): VerifyResult {
    if (!this.#sawHeader) this.#find('malformed', 0, 0, 'the export has no header line');
    for (const note of this.#options.checkpoints ?? []) this.#head(note, 'kept outside');
    this.#orderFindings();
    this.#editFindings();
    this.#tailFindings();
    const size = this.#leaves.length;
    for (const head of this.#heads) this.#rootsAt.set(head.size, new Uint8Array());
    this.#computeRoots();
    const broken = this.#findings.length > 0;
    for (const head of [...this.#heads].sort((a, b) => a.size - b.size)) {
      const root = this.#rootsAt.get(head.size);
      if (head.size > size || root === undefined || equalBytes(root, head.root)) continue;
      const from = this.#heads
        .filter((other) => other.size < head.size && this.#holds(other))
        .reduce((top, other) => Math.max(top, other.size), 0);
      if (!broken)
        this.#find(
          'root_mismatch',
          from,
          head.size - 1,
          `the signed head over ${head.size} events does not fit: something in ${from}..${head.size - 1} was changed`,
        );
      break;
    }
    const covered = this.#heads.filter((head) => this.#holds(head)).reduce((top, head) => Math.max(top, head.size), 0);
    return {
      ok: this.#findings.length === 0,
      origin: this.#origin,
      events: size,
      checkpoints: this.#heads.length,
      uncovered: Math.max(0, size - covered),
      findings: this.#findings,
    };
  }

  #header(value: Record<string, unknown>): void {
    this.#sawHeader = true;
    this.#origin = String(value['origin']);
    this.#declaredSize = Number(value['size']);
    this.#verifierKey = this.#options.verifierKey ?? String(value['verifier_key']);
    if (this.#options.verifierKey !== undefined && this.#options.verifierKey !== value['verifier_key']) {
      this.#find('wrong_log', 0, 0, 'the export names another verifier key than the one given');
    }
  }

  #event(text: string, value: Record<string, unknown>): void {
    this.#leaves.push(leafHash(encoder.encode(text)));
    this.#indexes.push(typeof value['index'] === 'number' ? value['index'] : -1);
  }

  #statedLeaves(value: Record<string, unknown>): void {
    this.#stated.push({ first: Number(value['first']), hashes: Buffer.from(String(value['hashes']), 'base64') });
  }

  #head(note: string, where: string): void {
    try {
      this.#heads.push(verifyCheckpoint(this.#verifierKey, note));
    } catch {
      this.#find('bad_signature', 0, 0, `a checkpoint ${where} is not signed by this log's key`);
    }
  }

  #orderFindings(): void {
    let expected = 0;
    for (const index of this.#indexes) {
      if (index === expected) expected += 1;
      else if (index > expected) {
        this.#find('deleted', expected, index - 1, `events ${expected}..${index - 1} are missing`);
        expected = index + 1;
      } else {
        this.#find('reordered', index, index, `event ${index} stands after event ${expected - 1}`);
      }
    }
  }

  #editFindings(): void {
    const byIndex = new Map(this.#indexes.map((index, position) => [index, this.#leaves[position]]));
    for (const { first, hashes } of this.#stated) {
      for (let i = 0; i * 32 < hashes.byteLength; i++) {
        const leaf = byIndex.get(first + i);
        if (leaf === undefined || equalBytes(leaf, hashes.subarray(i * 32, i * 32 + 32))) continue;
        this.#find('edited', first + i, first + i, `event ${first + i} is not what was logged`);
      }
    }
  }

  #tailFindings(): void {
    const end = this.#indexes.reduce((top, index) => Math.max(top, index), -1) + 1;
    const promised = this.#heads.reduce((top, head) => Math.max(top, head.size), 0);
    const stated = this.#stated.reduce((top, block) => Math.max(top, block.first + block.hashes.byteLength / 32), 0);
    const wanted = Math.max(promised, stated, this.#declaredSize);
    if (end >= wanted) return;
    const outside = promised > Math.max(stated, this.#declaredSize);
    this.#find(
      outside ? 'rolled_back' : 'cut_tail',
      end,
      wanted - 1,
      outside
        ? `a signed head speaks of ${promised} events, this log ends at ${end}: events ${end}..${wanted - 1} were cut off`
        : `events ${end}..${wanted - 1} were cut off`,
    );
  }

  /** Roots at the sizes the heads speak of, from the leaves in index order. */
  #computeRoots(): void {
    const order = this.#indexes.map((_, position) => position).sort((a, b) => (this.#indexes[a] ?? 0) - (this.#indexes[b] ?? 0));
    for (const position of order) {
      const leaf = this.#leaves[position];
      if (leaf === undefined) continue;
      this.#frontier.append(leaf);
      if (this.#rootsAt.has(this.#frontier.size)) this.#rootsAt.set(this.#frontier.size, this.#frontier.root());
    }
  }

  #holds(head: Checkpoint): boolean {
    const root = this.#rootsAt.get(head.size);
    return root !== undefined && equalBytes(root, head.root);
  }

  #find(kind: FindingKind, from: number, to: number, explanation: string): void {
    if (this.#findings.length < MAX_FINDINGS) this.#findings.push({ kind, from, to, explanation });
  }
}
