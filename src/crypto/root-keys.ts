// The root keys of an open installation: the one that seals and, while a rotation is under way, the one before it.
// It must never seal under the previous root key, nor try both: every blob names the root key that it was sealed under.
import { fail } from '../base/errors.ts';
import type { SecretValue } from '../base/secret-value.ts';
import { headerOf } from './envelope.ts';
import type { KeyObject } from './primitives.ts';
import type { InstallationKeyLabel, InstallationKeyPlace, RegisterContext, RootKey, TenantKeyContext } from './root-key.ts';

/** A key of the installation as the key register stores it. */
export interface WrappedInstallationKey extends InstallationKeyPlace {
  readonly wrapped: Uint8Array;
}

export class RootKeys {
  #current: RootKey;
  #previous: RootKey | undefined;
  readonly #installation = new Map<InstallationKeyLabel, KeyObject>();
  #isLoaded = false;

  private constructor(current: RootKey, previous: RootKey | undefined) {
    this.#current = current;
    this.#previous = previous;
  }

  /** @param previous the root key before this one, while a rotation is under way */
  static of(current: RootKey, previous?: RootKey): RootKeys {
    return new RootKeys(current, previous);
  }

  get current(): RootKey {
    return this.#current;
  }

  /** Whether a rotation is under way. */
  get hasPrevious(): boolean {
    return this.#previous !== undefined;
  }

  /** From now on `next` seals, and the present one only opens. @throws conflict while a rotation is under way */
  turnTo(next: RootKey): void {
    if (this.#previous !== undefined) fail('conflict', 'a rotation of the root key is under way: wait until it has finished');
    // SECURITY: keys of the installation that are not stored yet would change with the root key, and every token would be refused.
    if (!this.#isLoaded) fail('internal', 'the keys of the installation are not loaded');
    this.#previous = this.#current;
    this.#current = next;
  }

  /** Nothing is sealed under the previous root key any more. Idempotent. */
  forgetPrevious(): void {
    this.#previous = undefined;
  }

  /** Takes the keys of the installation from the key register; the newest version of each is used. @throws integrity */
  loadInstallationKeys(installationId: string, stored: readonly WrappedInstallationKey[]): void {
    for (const key of stored.toSorted((a, b) => a.version - b.version))
      this.#installation.set(key.label, this.#by(key.wrapped).unwrapInstallationKey(installationId, key, key.wrapped));
    this.#isLoaded = true;
  }

  /** A key of the installation. Before the register is read: the one that the root key of a new installation derives. */
  subkey(label: InstallationKeyLabel): KeyObject {
    return this.#installation.get(label) ?? this.#firstOf(label);
  }

  #firstOf(label: InstallationKeyLabel): KeyObject {
    if (this.#isLoaded) fail('integrity', 'stored data failed its check', { evidence: `key register: no key ${label}` });
    return this.#current.subkey(label);
  }

  /** The key for the tags of rows without a MAC column. */
  rowTagKey(): KeyObject {
    return this.subkey('row-tag');
  }

  /** Whether a blob of the register or a cell is under the current root key. @throws integrity when it is no envelope */
  isCurrent(wrapped: Uint8Array): boolean {
    return headerOf(wrapped).keyId === this.#current.id;
  }

  wrapErasureKey(context: RegisterContext, key: SecretValue): Uint8Array {
    return this.#current.wrapErasureKey(context, key);
  }

  /** @throws integrity when the entry is another tenant's, or was made under another root key */
  unwrapErasureKey(context: RegisterContext, wrapped: Uint8Array): SecretValue {
    return this.#by(wrapped).unwrapErasureKey(context, wrapped);
  }

  /** The entry under the current root key. @throws integrity */
  rewrapErasureKey(context: RegisterContext, wrapped: Uint8Array): Uint8Array {
    const key = this.unwrapErasureKey(context, wrapped);
    try {
      return this.wrapErasureKey(context, key);
    } finally {
      key.wipe();
    }
  }

  /** The key of the installation under the current root key. @throws integrity */
  rewrapInstallationKey(installationId: string, { wrapped, ...place }: WrappedInstallationKey): Uint8Array {
    const key = this.#by(wrapped).unwrapInstallationKey(installationId, place, wrapped);
    return this.#current.wrapInstallationKey(installationId, place, key);
  }

  /** Wraps a tenant key under root and erasure key together: neither alone opens it. */
  sealTenantKey(erasureKey: SecretValue, context: TenantKeyContext, key: Uint8Array): Uint8Array {
    return this.#current.sealTenantKey(erasureKey, context, key);
  }

  /** @throws integrity when root key, erasure key or context is another than it was sealed with */
  openTenantKey(erasureKey: SecretValue, context: TenantKeyContext, wrapped: Uint8Array): KeyObject {
    return this.#by(wrapped).openTenantKey(erasureKey, context, wrapped);
  }

  /** The tenant key under the current root key. @throws integrity */
  rewrapTenantKey(erasureKey: SecretValue, context: TenantKeyContext, wrapped: Uint8Array): Uint8Array {
    const bytes = new Uint8Array(this.openTenantKey(erasureKey, context, wrapped).export());
    try {
      return this.sealTenantKey(erasureKey, context, bytes);
    } finally {
      bytes.fill(0);
    }
  }

  toJSON(): string {
    return '[redacted]';
  }

  /** The root key that the blob names; the current one refuses a blob of an unknown one. */
  #by(wrapped: Uint8Array): RootKey {
    const { keyId } = headerOf(wrapped);
    return this.#previous?.id === keyId ? this.#previous : this.#current;
  }
}
