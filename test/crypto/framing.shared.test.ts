import fc from 'fast-check';
import { expect, it } from 'vitest';
import { FrameWriter } from '../../src/crypto/framing.ts';
import { failureOf, hex } from './fixtures.ts';

it('gives different bytes for different lists of texts', () => {
  const texts = fc.array(fc.string({ unit: 'grapheme', maxLength: 6 }), { maxLength: 4 });
  const framed = (list: readonly string[]) => {
    const writer = new FrameWriter().u32(list.length);
    for (const text of list) writer.text(text);
    return hex(writer.bytes());
  };
  fc.assert(fc.property(texts, texts, (a, b) => (framed(a) === framed(b)) === (JSON.stringify(a) === JSON.stringify(b))));
  expect(framed(['ab', 'c'])).not.toBe(framed(['a', 'bc']));
});

it('writes numbers big-endian and keeps all 53 bits of a counter', () => {
  expect(hex(new FrameWriter().u8(1).u32(2).u64(Number.MAX_SAFE_INTEGER).bytes())).toBe('0100000002001fffffffffffff');
  expect(hex(new FrameWriter().f64(-0).bytes())).toBe(hex(new FrameWriter().f64(0).bytes()));
});

it('keeps the written bytes when its buffer grows', () => {
  const writer = new FrameWriter();
  for (let i = 0; i < 1000; i++) writer.text(`part ${i}`);
  const long = 'ü'.repeat(5000);
  expect(writer.text(long).bytes().byteLength).toBeGreaterThan(10_000);
  const again = new FrameWriter();
  for (let i = 0; i < 1000; i++) again.text(`part ${i}`);
  expect(hex(again.text(long).bytes())).toBe(hex(writer.bytes()));
});

it('writes a text as its length and its UTF-8 bytes, whatever its length and wherever it stops being ASCII', () => {
  for (let length = 0; length <= 70; length++) {
    for (const at of [-1, 0, length - 1, Math.floor(length / 2)]) {
      const text = Array.from({ length }, (_, i) => (i === at ? 'é' : String.fromCharCode(i % 128))).join('');
      const bytes = new TextEncoder().encode(text);
      const written = new FrameWriter().u8(9).text(text).bytes();
      expect(hex(written), `${length} characters, é at ${at}`).toBe(
        `09${bytes.byteLength.toString(16).padStart(8, '0')}${hex(bytes)}`,
      );
    }
  }
});

it.each([
  ['a lone surrogate', () => new FrameWriter().text('a\udfff')],
  ['a lone surrogate in a long text', () => new FrameWriter().text(`${'a'.repeat(100)}\ud800`)],
  ['a lone surrogate alone', () => new FrameWriter().text('\ud800')],
  ['a negative counter', () => new FrameWriter().u64(-1)],
  ['a counter past 2^53', () => new FrameWriter().u64(2 ** 53)],
  ['a fraction as counter', () => new FrameWriter().u64(0.5)],
  ['NaN', () => new FrameWriter().f64(Number.NaN)],
])('refuses %s', (_, write) => {
  expect(failureOf(write).code).toBe('internal');
});

it.each<[string, (writer: FrameWriter) => FrameWriter, string]>([
  ['a byte', (writer) => writer.u8(7), '07'],
  ['a length', (writer) => writer.u32(7), '00000007'],
  ['a counter', (writer) => writer.u64(2 ** 40 + 7), '0000010000000007'],
  ['a number', (writer) => writer.f64(1), '3ff0000000000000'],
  ['a text', (writer) => writer.text('\u20ac'.repeat(7)), `00000015${'e282ac'.repeat(7)}`],
  ['bytes', (writer) => writer.raw(new Uint8Array(9).fill(7)), '07'.repeat(9)],
  ['a long part', (writer) => writer.raw(new Uint8Array(5_000).fill(7)), '07'.repeat(5_000)],
])('writes %s wherever its memory ends', (_, write, written) => {
  for (let before = 480; before <= 1_030; before++) {
    const writer = new FrameWriter();
    for (let i = 0; i < before; i++) writer.u8(i & 255);
    const start = hex(writer.bytes());
    expect(hex(write(writer).bytes()), `after ${before} bytes`).toBe(start + written);
  }
});
