// Length-prefixed binary for everything that is hashed, MACed or used as context: different inputs never give the same bytes.
// It must never join texts with a delimiter (two inputs could then collide) or encode text that has no UTF-8 form.
import { fail } from '../base/errors.ts';

const encoder = new TextEncoder();
const START_BYTES = 512;
const MAX_TEXT_BYTES_PER_CHAR = 3;
/** Up to this length, copying ASCII in a loop takes less time than a call of the encoder. */
const SHORT_TEXT_CHARS = 32;

/** Appends frames; every variable part carries its length, every number is big-endian. */
export class FrameWriter {
  #bytes = new Uint8Array(START_BYTES);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  u8(value: number): this {
    this.#reserve(1);
    this.#view.setUint8(this.#length, value);
    this.#length += 1;
    return this;
  }

  u32(value: number): this {
    this.#reserve(4);
    this.#view.setUint32(this.#length, value);
    this.#length += 4;
    return this;
  }

  /** A non-negative safe integer in 8 bytes. @throws internal otherwise */
  u64(value: number): this {
    if (!Number.isSafeInteger(value) || value < 0) fail('internal', 'a counter must be a non-negative safe integer');
    this.#reserve(8);
    this.#view.setUint32(this.#length, Math.floor(value / 2 ** 32));
    this.#view.setUint32(this.#length + 4, value); // takes the low 32 bits
    this.#length += 8;
    return this;
  }

  /** IEEE 754 binary64; -0 is written as 0. @throws internal for NaN and infinities */
  f64(value: number): this {
    if (!Number.isFinite(value)) fail('internal', 'a number must be finite');
    this.#reserve(8);
    this.#view.setFloat64(this.#length, value + 0);
    this.#length += 8;
    return this;
  }

  /** Length in 4 bytes, then UTF-8. @throws internal for a lone surrogate: it would become the same bytes as another text */
  text(value: string): this {
    this.#reserve(4 + value.length * MAX_TEXT_BYTES_PER_CHAR);
    const written = this.#copyAscii(value) ? value.length : this.#encode(value);
    this.#view.setUint32(this.#length, written);
    this.#length += 4 + written;
    return this;
  }

  /** Copies a short text to behind its length; false if it is not ASCII. */
  #copyAscii(value: string): boolean {
    const { length } = value;
    if (length > SHORT_TEXT_CHARS) return false;
    const bytes = this.#bytes;
    const at = this.#length + 4;
    for (let i = 0; i < length; i++) {
      const unit = value.charCodeAt(i);
      if (unit > 0x7f) return false;
      bytes[at + i] = unit;
    }
    return true;
  }

  #encode(value: string): number {
    if (!value.isWellFormed()) fail('internal', 'a text must be well-formed Unicode');
    return encoder.encodeInto(value, this.#bytes.subarray(this.#length + 4)).written;
  }

  /** Length in 4 bytes, then the bytes. */
  blob(value: Uint8Array): this {
    return this.u32(value.byteLength).raw(value);
  }

  /** The bytes alone: only for parts whose length is fixed or written before. */
  raw(value: Uint8Array): this {
    this.#reserve(value.byteLength);
    this.#bytes.set(value, this.#length);
    this.#length += value.byteLength;
    return this;
  }

  /** Removes the written bytes and keeps the buffer. */
  clear(): this {
    this.#length = 0;
    return this;
  }

  /** A copy of what was written. */
  bytes(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  /** What was written, without a copy: valid until the next write or clear. */
  peek(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  #reserve(count: number): void {
    const needed = this.#length + count;
    if (needed <= this.#bytes.byteLength) return;
    const larger = new Uint8Array(Math.max(needed, this.#bytes.byteLength * 2));
    larger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = larger;
    this.#view = new DataView(larger.buffer);
  }
}
