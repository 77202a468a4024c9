// Values as bytes: text goes as text, bytes that are no text as base64 beside it (`key` or `key_base64`), and neither is ever changed.
// It must never put a replacement character in place of a byte.

/** Strict, and a byte order mark stays: two different byte sequences never become one text. */
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const CHUNK_BYTES = 8_192;

/** The text that these bytes are in UTF-8; undefined where they are none. */
export function textIn(bytes: Uint8Array): string | undefined {
  try {
    return UTF8.decode(bytes);
  } catch {
    return undefined;
  }
}

/** The member of a value that holds these bytes: `{ key: ... }`, or `{ key_base64: ... }` where they are not UTF-8. */
export function memberOf(name: string, bytes: Uint8Array): Record<string, string> {
  const text = textIn(bytes);
  return text === undefined ? { [`${name}_base64`]: toBase64(bytes) } : { [name]: text };
}

/** The bytes of a member that was put as text or as base64; undefined where the value has neither. */
export function bytesOf(value: Readonly<Record<string, unknown>>, name: string): Uint8Array | undefined {
  const text = value[name];
  if (typeof text === 'string') return new TextEncoder().encode(text);
  const encoded = value[`${name}_base64`];
  return typeof encoded === 'string' ? Uint8Array.from(atob(encoded), (char) => char.charCodeAt(0)) : undefined;
}

/** The member a value is used by, whether it is text or bytes. */
export function mainMember(value: Readonly<Record<string, unknown>>): 'key' | 'access_token' | 'password' | undefined {
  return (['key', 'access_token', 'password'] as const).find((name) => bytesOf(value, name) !== undefined);
}

/** A document as it stands, which goes out without being read and written anew: a parser would round its numbers. */
export class JsonText {
  readonly text: string;

  /** @throws SyntaxError when it is not JSON */
  constructor(text: string) {
    JSON.parse(text);
    this.text = text;
  }
}

/** `body` as JSON, with a `value` that is JsonText as it stands. */
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
