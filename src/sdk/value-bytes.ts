// Values as bytes: UTF-8 text is sent as text, other bytes as base64 in a field of their own (`key` or `key_base64`).
// It must never replace a byte by a replacement character.

/** Strict, and keeps a byte order mark: two different byte sequences never decode to the same text. */
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const CHUNK_BYTES = 8_192;

/** The bytes decoded as UTF-8; undefined if they are not valid UTF-8. */
export function textIn(bytes: Uint8Array): string | undefined {
  try {
    return UTF8.decode(bytes);
  } catch {
    return undefined;
  }
}

/** The field for these bytes: `{ key: ... }`, or `{ key_base64: ... }` if they are not UTF-8. */
export function memberOf(name: string, bytes: Uint8Array): Record<string, string> {
  const text = textIn(bytes);
  return text === undefined ? { [`${name}_base64`]: toBase64(bytes) } : { [name]: text };
}

/** The bytes of a text or base64 field; undefined if the value has neither. */
export function bytesOf(value: Readonly<Record<string, unknown>>, name: string): Uint8Array | undefined {
  const text = value[name];
  if (typeof text === 'string') return new TextEncoder().encode(text);
  const encoded = value[`${name}_base64`];
  return typeof encoded === 'string' ? Uint8Array.from(atob(encoded), (char) => char.charCodeAt(0)) : undefined;
}

/** The main field of a value, in text or base64. */
export function mainMember(value: Readonly<Record<string, unknown>>): 'key' | 'access_token' | 'password' | undefined {
  return (['key', 'access_token', 'password'] as const).find((name) => bytesOf(value, name) !== undefined);
}

/** A JSON document that is sent unchanged: parsing and serializing would round its numbers. */
export class JsonText {
  readonly text: string;

  /** @throws SyntaxError if it is not JSON */
  constructor(text: string) {
    JSON.parse(text);
    this.text = text;
  }
}

/** Serializes `body`, with a `value` of type JsonText unchanged. */
export function bodyText(body: Readonly<Record<string, unknown>>): string {
  const { value } = body;
  if (!(value instanceof JsonText)) return JSON.stringify(body);
  const { value: _, ...rest } = body;
  const others = JSON.stringify(rest).slice(1, -1);
  return `{${others === '' ? '' : `${others},`}"value":${value.text}}`;
}

function toBase64(bytes: Uint8Array): string {
  let binary = '';
  for (let at = 0; at < bytes.byteLength; at += CHUNK_BYTES)
    binary += String.fromCharCode(...bytes.subarray(at, at + CHUNK_BYTES));
  return btoa(binary);
}
