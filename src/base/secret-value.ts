// A secret in memory. It cannot be printed, joined into text or turned into JSON by accident;
// the bytes are its own (not a slice of a shared pool) and can be wiped.

const REDACTED = '[redacted]';

export class SecretValue {
  #bytes: Uint8Array;

  private constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Takes a private copy of `bytes`; the caller may wipe its own. */
  static of(bytes: Uint8Array): SecretValue {
    const own = new Uint8Array(new ArrayBuffer(bytes.byteLength));
    own.set(bytes);
    return new SecretValue(own);
  }

  /** Takes ownership of `bytes` without a copy: the caller must not use them again. */
  static adopt(bytes: Uint8Array): SecretValue {
    return new SecretValue(bytes);
  }

  static fromText(text: string): SecretValue {
    return new SecretValue(new TextEncoder().encode(text));
  }

  get byteLength(): number {
    return this.#bytes.byteLength;
  }

  /** Passes the live bytes to `use` and returns its result; `use` must not keep them. */
  reveal<T>(use: (bytes: Uint8Array) => T): T {
    return use(this.#bytes);
  }

  /** Overwrites the bytes with zeros; later reveals see zeros. Idempotent. */
  wipe(): void {
    this.#bytes.fill(0);
  }

  toString(): string {
    return REDACTED;
  }

  toJSON(): string {
    return REDACTED;
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return REDACTED;
  }

  [Symbol.toPrimitive](): string {
    return REDACTED;
  }
}
