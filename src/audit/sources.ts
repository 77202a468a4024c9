// The sources of requests: address and user agent are personal data, so they are sealed under the audit-PII key, and an event contains
// only the row's id, which is a hash of the sealed bytes. It must never put an address into an event in clear.

import { LRUCache } from 'lru-cache';
import { growingTo } from '../base/growing-to.ts';
import { SourceRows } from '../cell/audit-sources.ts';
import type { Keyring } from '../cell/keyring.ts';
import type { CellRows } from '../cell/rows.ts';
import { dataKeyOf, prepareValue, sealUnderDataKey } from '../crypto/data-key.ts';
import { sha256 } from '../crypto/primitives.ts';

export interface RequestSource {
  readonly address: string;
  readonly userAgent: string;
}

const encoder = new TextEncoder();

export class AuditSources {
  readonly #keyring: Keyring;
  readonly #rows: SourceRows;
  /** Added since the last commit, in order. */
  readonly #added: string[] = [];
  readonly #known = new LRUCache<string, string>(growingTo(5_000));

  constructor(rows: CellRows) {
    this.#keyring = rows.keyring;
    this.#rows = new SourceRows(rows);
  }

  /** The id of this source; inserts its sealed row if it is new. */
  idFor(source: RequestSource): string {
    const memo = `${source.address}\n${source.userAgent}`;
    const known = this.#known.get(memo);
    if (known !== undefined) return known;
    const tenantKey = this.#keyring.current('audit_pii');
    const context = this.#keyring.context('audit_pii', 'audit_source.value', 'source', 0);
    const { wrappedKey, sealed } = sealUnderDataKey(tenantKey, context, encoder.encode(JSON.stringify(source)));
    this.#keyring.countWrap('audit_pii');
    const id = idOf(sealed);
    this.#rows.insert({ source_id: id, wrapped_key: wrappedKey, key_id: tenantKey.id, value: sealed });
    this.#known.set(memo, id);
    this.#added.push(memo);
    return id;
  }

  /**
   * Undefined when the row is missing or damaged or its key was destroyed; the event stays valid without it.
   * SECURITY: the id is a hash of the sealed bytes, so the address of one event cannot be put under another.
   */
  find(sourceId: string): RequestSource | undefined {
    const row = this.#rows.find(sourceId);
    if (row === undefined || idOf(row.value) !== sourceId) return undefined;
    try {
      const tenantKey = this.#keyring.byId('audit_pii', dataKeyOf(row.wrapped_key).keyId);
      const context = this.#keyring.context('audit_pii', 'audit_source.value', 'source', 0);
      return JSON.parse(new TextDecoder().decode(prepareValue(tenantKey, context, row.wrapped_key, row.value).open()));
    } catch {
      return undefined;
    }
  }

  /** The number of rows inserted since the last commit; `undoTo` removes later ones from the cache. */
  mark(): number {
    return this.#added.length;
  }

  undoTo(mark: number): void {
    for (const memo of this.#added.splice(mark)) this.#known.delete(memo);
  }

  afterCommit(): void {
    this.#added.length = 0;
  }

  /** Empties the cache: after a rollback or a key rotation its entries may be wrong. */
  forget(): void {
    this.#known.clear();
    this.#added.length = 0;
  }
}

function idOf(sealed: Uint8Array): string {
  return `src_${Buffer.from(sha256(sealed)).toString('base64url').slice(0, 22)}`;
}
