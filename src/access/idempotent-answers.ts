// Idempotency-Key: stores the answer to a caller's POST, sealed, for a day, to repeat it on a retry. Called by guard.ts only.
// It must never return one caller's answer to another, nor to the same caller after a change of rights.
import type { InstallationClock } from '../base/clock.ts';
import { LIMITS } from '../base/limits.ts';
import type { Bookkeeping, Lookup } from '../cell/access.ts';
import type { IdempotencyStore } from '../cell/idempotency.ts';
import type { Keyring } from '../cell/keyring.ts';
import { prepareValue, sealUnderDataKey } from '../crypto/data-key.ts';
import { equalBytes } from '../crypto/token.ts';
import type { Principal } from './principals.ts';

/** The Idempotency-Key of a request, and the hash of the request. */
export interface Repeatable {
  /** Chosen by the caller. */
  readonly key: string;
  /** SHA-256 over the request, so that a key never answers a different request. */
  readonly hash: Uint8Array;
}

export interface StoredAnswer {
  readonly status: number;
  /** JSON. */
  readonly body: Uint8Array;
}

const FIELD = 'idempotency.value';
const PURGE_ROWS = 100;

export class IdempotentAnswers {
  readonly #store: IdempotencyStore;
  readonly #keyring: Keyring;
  readonly #clock: InstallationClock;

  constructor(store: IdempotencyStore, keyring: Keyring, clock: InstallationClock) {
    this.#store = store;
    this.#keyring = keyring;
    this.#clock = clock;
  }

  find(lookup: Lookup, principal: Principal, { key, hash }: Repeatable): StoredAnswer | 'mismatch' | undefined {
    const known = this.#store.find(lookup, holderOf(principal), key);
    // A request that ran twice cannot be undone, so an answer expires by proven time only (decision 0012).
    if (known === undefined || known.expires_at <= this.#clock.provenAt()) return undefined;
    if (!equalBytes(known.request_hash, hash)) return 'mismatch';
    const tenantKey = this.#keyring.byId('api_key', known.key_id);
    return {
      status: known.status,
      body: prepareValue(tenantKey, this.#context(principal, key), known.wrapped_key, known.value).open(),
    };
  }

  keep(books: Bookkeeping<'idempotency'>, principal: Principal, { key, hash }: Repeatable, { status, body }: StoredAnswer): void {
    const now = this.#clock.now();
    const tenantKey = this.#keyring.current('api_key');
    const { wrappedKey, sealed } = sealUnderDataKey(tenantKey, this.#context(principal, key), body);
    this.#keyring.countWrap('api_key');
    this.#store.purgeExpired(books, this.#clock.provenAt(), PURGE_ROWS);
    this.#store.save(books, {
      principal_id: holderOf(principal),
      idempotency_key: key,
      request_hash: hash,
      status,
      wrapped_key: wrappedKey,
      key_id: tenantKey.id,
      value: sealed,
      expires_at: now + LIMITS.idempotencyKeepMs,
    });
  }

  #context(principal: Principal, key: string) {
    return this.#keyring.context('api_key', FIELD, `${holderOf(principal)}/${key}`, 0);
  }
}

/** SECURITY: an answer belongs to one revision of the principal: after a change of rights the request runs again. */
function holderOf(principal: Principal): string {
  return `${principal.id}@${principal.revision}`;
}
