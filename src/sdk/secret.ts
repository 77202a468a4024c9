// A value received from the vault. It prints as nothing; `reveal` is the one way to it.
import type { WireCredentialValue } from '../http/v1/wire.ts';

const REDACTED = '[redacted]';

export class Secret<T> {
  readonly #value: T;

  constructor(value: T) {
    this.#value = value;
  }

  /** The value itself: keep it as short as you can. */
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
