// CRC-32 (ISO-HDLC, as in zip): distinguishes a mistyped secret from a wrong one without a database read.
// It must never replace a MAC: anyone can compute it.

const TABLE = new Uint32Array(256).map((_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** Of the first `length` characters of an ASCII text; unsigned. */
export function crc32(text: string, length: number = text.length): number {
  let crc = 0xffffffff;
  for (let i = 0; i < length; i++) crc = (TABLE[(crc ^ text.charCodeAt(i)) & 0xff] as number) ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}
