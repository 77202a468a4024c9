// A value received from the vault. It must never be printed: only `reveal` returns the value.
import type { WireCredentialValue } from '../http/v1/wire.ts';

const REDACTED = '[redacted]';

export class Secret<T> {
  readonly #value: T;

  constructor(value: T) {
    this.#value = value;
  }

  /** The value. Keep it only as long as needed. */
  reveal(): T {
    return this.#value;
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
}

export interface ReadValue extends Omit<WireCredentialValue, 'value'> {
  readonly value: Secret<Readonly<Record<string, unknown>>>;
}
