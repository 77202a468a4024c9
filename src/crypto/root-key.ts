// The root key of an installation: split by label into subkeys, each for one purpose.
// It must never encrypt anything itself, nor open a tenant key without that tenant's erasure key (D12).
import type { KeyObject } from 'node:crypto';
import { fail } from '../base/errors.ts';
import { SecretValue } from '../base/secret-value.ts';
import { crc32 } from './crc32.ts';
import { open, type Purpose, prepareOpen, type SealContext, type SealingKey, seal } from './envelope.ts';
import { FrameWriter } from './framing.ts';
import { adoptKey, equalBytes, hkdf, hmacSha256, KEY_BYTES, randomBytes, secretKey } from './primitives.ts';

/** Subkeys with a test vector; each is used by one algorithm in one place. */
export const SUBKEYS = ['home-wrap', 'token-pepper', 'cursor-mac', 'grant-fingerprint', 'webhook', 'connect'] as const;
export type SubkeyLabel = (typeof SUBKEYS)[number];
type Label = SubkeyLabel | 'root-check' | 'register-wrap' | 'tenant-wrap' | 'row-tag' | 'previous-root';

/**
 * The keys of the installation: they must outlive a root key, because what they made is kept (hashes of tokens, tags of rows) or is in the
 * hands of others (secrets of webhooks, links). Stored wrapped in the key register (decision 0013).
 */
export const INSTALLATION_KEYS = ['token-pepper', 'cursor-mac', 'grant-fingerprint', 'webhook', 'connect', 'row-tag'] as const;
export type InstallationKeyLabel = (typeof INSTALLATION_KEYS)[number];

export interface InstallationKeyPlace {
  readonly label: InstallationKeyLabel;
  readonly version: number;
}

/** The tenant whose entry of the key register it is. */
export interface RegisterContext {
  readonly installationId: string;
  readonly tenantId: string;
}

/** Which tenant key it is. */
export interface TenantKeyContext extends RegisterContext {
  readonly purpose: Purpose;
  readonly keyId: string;
  readonly version: number;
}

const ROOT_VERSION = 1;
const NO_SALT = new Uint8Array(0);
const encoder = new TextEncoder();

export class RootKey {
  readonly #key: KeyObject;
  readonly #subkeys = new Map<Label, KeyObject>();
  /** The id of the root key in blobs sealed under its subkeys; reveals nothing about the key. */
  readonly #id: string;

  private constructor(key: KeyObject) {
    this.#key = key;
    const name = hmacSha256(this.#labelled('root-check'), encoder.encode('keyturn-root-id-v1'));
    this.#id = `root_${Buffer.from(name.subarray(0, 15)).toString('base64url')}`;
  }

  /** Takes a copy; the caller should wipe its own. @throws sealed unless there are 32 bytes that are not all alike */
  static of(bytes: SecretValue | Uint8Array): RootKey {
    return bytes instanceof SecretValue ? bytes.reveal(fromBytes) : fromBytes(bytes);

    function fromBytes(live: Uint8Array): RootKey {
      const blank = live.every((byte) => byte === live[0]);
      if (live.byteLength !== KEY_BYTES || blank) fail('sealed', 'the root key must be 32 random bytes');
      return new RootKey(secretKey(live));
    }
  }

  /** Its id in the blobs that it seals. */
  get id(): string {
    return this.#id;
  }

  /**
   * The key before this one, sealed under this one for the time of a rotation. Never the reverse: whoever has an old root key must not get
   * the new one from a copy of the file.
   */
  sealPrevious(installationId: string, previous: RootKey): Uint8Array {
    const bytes = new Uint8Array(previous.#key.export());
    try {
      return seal(this.#previousKey(), previousContext(installationId), bytes);
    } finally {
      bytes.fill(0);
    }
  }

  /** @throws integrity */
  openPrevious(installationId: string, sealed: Uint8Array): RootKey {
    const bytes = open(this.#previousKey(), previousContext(installationId), sealed);
    try {
      return RootKey.of(bytes);
    } finally {
      bytes.wipe();
    }
  }

  /** The bytes, for a provider that stores them under a key of its own; they are wiped when `use` has returned. */
  revealTo<T>(use: (bytes: Uint8Array) => T): T {
    const bytes = new Uint8Array(this.#key.export());
    try {
      return use(bytes);
    } finally {
      bytes.fill(0);
    }
  }

  /** A key of the installation for the key register. */
  wrapInstallationKey(installationId: string, place: InstallationKeyPlace, key: KeyObject): Uint8Array {
    const bytes = new Uint8Array(key.export());
    try {
      return seal(this.#registerKey(), installationKeyContext(installationId, place), bytes);
    } finally {
      bytes.fill(0);
    }
  }

  /** @throws integrity */
  unwrapInstallationKey(installationId: string, place: InstallationKeyPlace, wrapped: Uint8Array): KeyObject {
    return adoptKey(prepareOpen(this.#registerKey(), installationKeyContext(installationId, place), wrapped).open());
  }

  /** The same KeyObject for the same label. Version 1 of a key of the installation is the subkey of the first root key. */
  subkey(label: SubkeyLabel | InstallationKeyLabel): KeyObject {
    return this.#labelled(label);
  }

  /** 32 bytes stored at init: they detect a wrong root key at start and reveal nothing about the right one. */
  rootCheck(installationId: string): Uint8Array {
    const input = new FrameWriter().text('keyturn-root-check-v1').text(installationId);
    return hmacSha256(this.#labelled('root-check'), input.peek());
  }

  /** Whether `check` was made by this root key for this installation; constant time. */
  matches(installationId: string, check: Uint8Array): boolean {
    return equalBytes(this.rootCheck(installationId), check);
  }

  newErasureKey(): SecretValue {
    return newErasureKey();
  }

  /** An entry of the key register. */
  wrapErasureKey(context: RegisterContext, key: SecretValue): Uint8Array {
    return key.reveal((bytes) => seal(this.#registerKey(), registerContext(context), bytes));
  }

  /** @throws integrity when the entry is another tenant's, or was made under another root key */
  unwrapErasureKey(context: RegisterContext, wrapped: Uint8Array): SecretValue {
    return open(this.#registerKey(), registerContext(context), wrapped);
  }

  /** Wraps a tenant key under root and erasure key together: neither alone opens it. */
  sealTenantKey(erasureKey: SecretValue, context: TenantKeyContext, key: Uint8Array): Uint8Array {
    if (key.byteLength !== KEY_BYTES) fail('internal', 'a tenant key must have 32 bytes');
    return seal(this.#tenantWrapKey(erasureKey), tenantKeyContext(context), key);
  }

  /** @throws integrity when root key, erasure key or context is another than it was sealed with */
  openTenantKey(erasureKey: SecretValue, context: TenantKeyContext, wrapped: Uint8Array): KeyObject {
    return adoptKey(prepareOpen(this.#tenantWrapKey(erasureKey), tenantKeyContext(context), wrapped).open());
  }

  toJSON(): string {
    return '[redacted]';
  }

  #previousKey(): SealingKey {
    return { id: this.#id, version: ROOT_VERSION, key: this.#labelled('previous-root') };
  }

  #registerKey(): SealingKey {
    return { id: this.#id, version: ROOT_VERSION, key: this.#labelled('register-wrap') };
  }

  // HKDF-Extract keyed by the erasure key over the root subkey: computing it needs both.
  #tenantWrapKey(erasureKey: SecretValue): SealingKey {
    if (erasureKey.byteLength !== KEY_BYTES) fail('internal', 'an erasure key must have 32 bytes');
    const subkey = this.#labelled('tenant-wrap');
    const wrap = erasureKey.reveal((salt) => hkdf('sha512', subkey, salt, encoder.encode('keyturn-tenant-wrap-v1'), KEY_BYTES));
    return { id: this.#id, version: ROOT_VERSION, key: adoptKey(wrap) };
  }

  #labelled(label: Label): KeyObject {
    const known = this.#subkeys.get(label);
    if (known !== undefined) return known;
    const key = adoptKey(hkdf('sha512', this.#key, NO_SALT, encoder.encode(`keyturn-root-v1/${label}`), KEY_BYTES));
    this.#subkeys.set(label, key);
    return key;
  }
}

/** 32 random bytes that live in the key register only. */
export function newErasureKey(): SecretValue {
  return SecretValue.adopt(randomBytes(KEY_BYTES));
}

/** 32 random bytes; wipe them once they are wrapped. */
export function newTenantKey(): Uint8Array {
  return randomBytes(KEY_BYTES);
}

function previousContext(installationId: string): SealContext {
  return {
    installationId,
    tenantId: installationId,
    purpose: 'root',
    field: 'previous_root',
    objectId: installationId,
    version: 1,
  };
}

function installationKeyContext(installationId: string, { label, version }: InstallationKeyPlace): SealContext {
  return {
    installationId,
    tenantId: installationId,
    purpose: 'root',
    field: 'installation_key.wrapped',
    objectId: label,
    version,
  };
}

function registerContext({ installationId, tenantId }: RegisterContext): SealContext {
  return { installationId, tenantId, purpose: 'root', field: 'erasure_key.wrapped', objectId: tenantId, version: 1 };
}

function tenantKeyContext({ installationId, tenantId, purpose, keyId, version }: TenantKeyContext): SealContext {
  return { installationId, tenantId, purpose, field: 'tenant_key.wrapped', objectId: keyId, version };
}

const TEXT = /^keyturn-root-v1:([A-Za-z0-9_-]{43}):([0-9a-f]{8})\n?$/;

/** `keyturn-root-v1:<base64url of 32 bytes>:<CRC-32 of all before the last colon, 8 hex digits>` and a newline. */
export function rootKeyText(bytes: Uint8Array): string {
  const body = `keyturn-root-v1:${Buffer.from(bytes).toString('base64url')}`;
  return `${body}:${checksum(body)}\n`;
}

/**
 * Reads a keyfile's line, with or without its newline.
 * Known hole: the text is a JS string, which cannot be wiped (security-review 2.9).
 * @throws sealed when the text is not such a line or a character of it changed
 */
export function rootKeyFromText(text: string): RootKey {
  const [, encoded, crc] =
    TEXT.exec(text) ??
    fail('sealed', 'the root key must be one line that begins with keyturn-root-v1: restore the file from its copy');
  const bytes = new Uint8Array(Buffer.from(encoded as string, 'base64url'));
  const canonical = Buffer.from(bytes).toString('base64url') === encoded;
  if (!canonical || checksum(`keyturn-root-v1:${encoded}`) !== crc)
    fail('sealed', 'the root key is damaged: its checksum does not match; restore the file from its copy');
  const root = RootKey.of(bytes);
  bytes.fill(0);
  return root;
}

function checksum(body: string): string {
  return crc32(body).toString(16).padStart(8, '0');
}
