// Parses a request body as strict JSON: rejects whatever two parsers could read differently, in one linear pass whose cost is bounded
// before JSON.parse runs. It must never put a value, or a name that may be a pasted secret, into an error.
import { type ErrorCode, fail } from '../base/errors.ts';
import { isShownName } from './shown-names.ts';

export interface JsonLimits {
  readonly maxBytes: number;
  /** Nesting of objects and arrays; a bare string has depth 0. */
  readonly maxDepth: number;
  /** Total of members of all objects and elements of all arrays. */
  readonly maxMembers: number;
}

// INVARIANT: fatal, so that no two byte sequences decode to the same text; ignoreBOM keeps the byte order mark, which is then rejected.
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
/** SECURITY: JSON.parse keeps these as own keys, and the next Object.assign would make them the prototype (AZ-05). */
const FORBIDDEN_NAMES = new Set(['__proto__', 'constructor', 'prototype']);
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const BEYOND_NUMBER = /[0-9a-zA-Z.+-]/;
const NONZERO_DIGIT = /^-?[0.]*[1-9]/;
const FOUR_HEX = /[0-9a-fA-F]{4}/y;

interface OpenObject {
  readonly names: Set<string>;
  name: string;
}
interface OpenArray {
  readonly names: undefined;
  index: number;
}

/**
 * The parsed body. Beyond RFC 8259: no byte order mark, no duplicate names, no `__proto__`, `constructor` or `prototype` member, no
 * lone surrogates, no number that a double cannot represent exactly (beyond 2^53-1, too many digits, or that would become 0 or infinite). RFC 7493 (I-JSON) section 2.
 * @throws payload_too_large | malformed_json (not JSON) | invalid_request (JSON that is rejected); `pointer` is the position (RFC 6901)
 */
export function parseStrictJson(bytes: Uint8Array, limits: JsonLimits): unknown {
  if (bytes.byteLength > limits.maxBytes) fail('payload_too_large', `the body must be at most ${limits.maxBytes} bytes`);
  const text = decode(bytes);
  new Scanner(text, limits).scanDocument();
  return JSON.parse(text);
}

function decode(bytes: Uint8Array): string {
  try {
    return UTF8.decode(bytes);
  } catch {
    return fail('malformed_json', 'the body is not valid UTF-8', { pointer: '' });
  }
}

/** Whether a double represents the literal exactly; up to 15 digits always round-trip (IEEE 754, DBL_DIG). */
function isKept(literal: string, value: number): boolean {
  return literal.length <= 15 || plainDigits(literal) === plainDigits(String(value));
}

/** The digits without leading and trailing zeros, and the exponent: one text for each number. */
function plainDigits(literal: string): string {
  const [mantissa = '', exponent = '0'] = literal.toLowerCase().split('e');
  const [whole = '', fraction = ''] = mantissa.replace('-', '').split('.');
  const digits = `${whole}${fraction}`;
  let start = 0;
  let end = digits.length;
  // SECURITY: a loop, since /0+$/ takes quadratic time over a long run of zeros (DS-05).
  while (digits[start] === '0') start++;
  while (end > start && digits[end - 1] === '0') end--;
  return `${digits.slice(start, end)}e${Number(exponent) - fraction.length + (digits.length - end)}`;
}

class Scanner {
  readonly #text: string;
  readonly #limits: JsonLimits;
  readonly #open: (OpenObject | OpenArray)[] = [];
  #at = 0;
  #members = 0;

  constructor(text: string, limits: JsonLimits) {
    this.#text = text;
    this.#limits = limits;
  }

  /** INVARIANT: a loop over an explicit stack, never recursion: depth costs memory only up to maxDepth. */
  scanDocument(): void {
    if (this.#text.charCodeAt(0) === 0xfeff) this.#refuse('malformed_json', 'the body starts with a byte order mark');
    do {
      while (this.#scanValueOrOpen()) this.#startMember();
      this.#closeFinished();
    } while (this.#open.length > 0);
    if (this.#at < this.#text.length) this.#refuse('malformed_json', 'the body has text after the JSON value');
  }

  /** True if a container with members was opened: its first value follows. */
  #scanValueOrOpen(): boolean {
    this.#skipSpace();
    const text = this.#text;
    switch (text[this.#at]) {
      case '{':
        return this.#openContainer({ names: new Set(), name: '' }, '}');
      case '[':
        return this.#openContainer({ names: undefined, index: -1 }, ']');
      case '"':
        this.#scanString();
        return false;
      case 't':
        return this.#scanWord('true');
      case 'f':
        return this.#scanWord('false');
      case 'n':
        return this.#scanWord('null');
      case undefined:
        return this.#refuse('malformed_json', 'the JSON is incomplete');
      default:
        this.#scanNumber();
        return false;
    }
  }

  #openContainer(container: OpenObject | OpenArray, closer: string): boolean {
    if (this.#open.length >= this.#limits.maxDepth) {
      this.#refuse('invalid_request', `the JSON must be nested at most ${this.#limits.maxDepth} levels deep`);
    }
    this.#at++;
    this.#skipSpace();
    if (this.#text[this.#at] === closer) {
      this.#at++;
      return false;
    }
    this.#open.push(container);
    return true;
  }

  /** Counts the member that starts here and, in an object, reads its name and colon. */
  #startMember(): void {
    const container = this.#open.at(-1)!;
    if (container.names === undefined) container.index++;
    else container.name = '';
    if (++this.#members > this.#limits.maxMembers) {
      this.#refuse('invalid_request', `the JSON must have at most ${this.#limits.maxMembers} members`);
    }
    if (container.names === undefined) return;
    this.#skipSpace();
    if (this.#text[this.#at] !== '"') this.#refuse('malformed_json', 'a member name must be in double quotes');
    const start = this.#at;
    const escaped = this.#scanString();
    const raw = this.#text.slice(start, this.#at);
    const name = escaped ? (JSON.parse(raw) as string) : raw.slice(1, -1);
    container.name = name;
    if (FORBIDDEN_NAMES.has(name))
      this.#refuse('invalid_request', 'a member must not be named __proto__, constructor or prototype');
    // SECURITY: parsers disagree on which duplicate counts, so a proxy may have checked the other one.
    if (container.names.has(name)) this.#refuse('invalid_request', 'the member is given twice in one object: give it once');
    container.names.add(name);
    this.#skipSpace();
    if (this.#text[this.#at] !== ':') this.#refuse('malformed_json', 'a colon must follow a member name');
    this.#at++;
  }

  /** After a value: closes the containers that end here, up to the next comma or the end of the document. */
  #closeFinished(): void {
    for (;;) {
      this.#skipSpace();
      const container = this.#open.at(-1);
      if (container === undefined) return;
      const next = this.#text[this.#at];
      const closer = container.names === undefined ? ']' : '}';
      if (next !== ',' && next !== closer)
        this.#refuse('malformed_json', 'a comma or the end of the object or array must follow a value');
      this.#at++;
      if (next === ',') {
        this.#startMember();
        return;
      }
      this.#open.pop();
    }
  }

  /** Moves past the string; true if it has escapes. Lone surrogates are rejected: UTF-8 cannot encode them. */
  #scanString(): boolean {
    const text = this.#text;
    let escaped = false;
    for (let at = this.#at + 1; at < text.length; at++) {
      const code = text.charCodeAt(at);
      if (code === 0x22) {
        this.#at = at + 1;
        return escaped;
      }
      if (code < 0x20) this.#refuse('malformed_json', 'a control character in a string must be escaped');
      if (code !== 0x5c) continue;
      escaped = true;
      at = this.#skipEscape(at + 1);
    }
    return this.#refuse('malformed_json', 'a string is not closed');
  }

  /** `at` is the character after the backslash; returns the last character of the escape, or of the surrogate pair. */
  #skipEscape(at: number): number {
    const kind = this.#text[at];
    if (kind !== 'u') {
      if (kind === undefined || !'"\\/bfnrt'.includes(kind))
        this.#refuse('malformed_json', 'a string contains an unknown escape sequence');
      return at;
    }
    const unit = this.#hexUnit(at + 1);
    if (unit < 0xd800 || unit > 0xdfff) return at + 4;
    const isPair = unit < 0xdc00 && this.#text[at + 5] === '\\' && this.#text[at + 6] === 'u';
    const low = isPair ? this.#hexUnit(at + 7) : 0;
    if (low < 0xdc00 || low > 0xdfff) this.#refuse('malformed_json', 'a string contains half of a surrogate pair');
    return at + 10;
  }

  #hexUnit(at: number): number {
    FOUR_HEX.lastIndex = at;
    const digits = FOUR_HEX.exec(this.#text);
    return digits === null
      ? this.#refuse('malformed_json', 'a string contains an incomplete \\u escape')
      : Number.parseInt(digits[0], 16);
  }

  #scanWord(word: string): false {
    if (!this.#text.startsWith(word, this.#at)) this.#refuse('malformed_json', 'the body has text that is not a JSON value');
    this.#at += word.length;
    return false;
  }

  #scanNumber(): void {
    NUMBER.lastIndex = this.#at;
    const literal = NUMBER.exec(this.#text)?.[0];
    if (literal === undefined) this.#refuse('malformed_json', 'the body has text that is not a JSON value');
    const next = this.#text[this.#at + literal.length];
    if (next !== undefined && BEYOND_NUMBER.test(next))
      this.#refuse('malformed_json', 'a number does not follow the JSON syntax');
    const value = Number(literal);
    const isLost =
      Math.abs(value) > Number.MAX_SAFE_INTEGER || (value === 0 && NONZERO_DIGIT.test(literal)) || !isKept(literal, value);
    if (isLost) this.#refuse('invalid_request', 'a number cannot be represented exactly: use fewer digits or a string');
    this.#at += literal.length;
  }

  #skipSpace(): void {
    for (; ; this.#at++) {
      const code = this.#text.charCodeAt(this.#at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
    }
  }

  #refuse(code: ErrorCode, detail: string): never {
    return fail(code, detail, { pointer: this.#pointer() });
  }

  #pointer(): string {
    let pointer = '';
    for (const container of this.#open) {
      if (container.names !== undefined && !isShownName(container.name)) return pointer;
      pointer += `/${container.names === undefined ? Math.max(container.index, 0) : container.name}`;
    }
    return pointer;
  }
}
