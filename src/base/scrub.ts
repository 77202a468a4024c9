// Makes an excerpt of a provider's text that is safe to store: plain words only, without any part of a known secret in any encoding.
// It must never keep what is not a plain word or a small number, nor anything that contains a piece of a secret.

import { LIMITS } from './limits.ts';

const GAP = '…';
/** A run of this many letters and digits of a secret counts as a leak; a shorter secret counts as a whole. */
const PIECE_CHARS = 8;
/** A shorter secret would match ordinary words. */
const TELLING_CHARS = 3;

/**
 * A lower-case, upper-case, capitalised or camelCase word, or several joined by `_`, `-`, `.`, `/` or an apostrophe; a number of at most
 * six digits; an upper-case code such as AADSTS700082. Tokens, encodings (base64, hex, percent, JSON escapes) and addresses do not match.
 */
const LETTERS = '(?:[a-z]{1,24}|[A-Z]{1,24}|[A-Z]?[a-z]{2,16}(?:[A-Z][a-z]{2,16}){0,3})';
const PLAIN = new RegExp(`^(?:${LETTERS}(?:[_\\-./'’]${LETTERS}){0,7}|[0-9]{1,6}|[A-Z]{2,10}[-_]?[0-9]{1,6})$`);

/**
 * The plain words of `text`, at most `maxChars`; `…` replaces what was left out.
 * @param secrets every secret of the call; also removed in another case, reversed, in base64, base64url, hex, escaped or split by punctuation
 */
export function excerptOf(text: string, secrets: Iterable<string>, maxChars: number): string {
  const visible = text.slice(0, LIMITS.excerptReadMaxChars).replaceAll(/<(script|style)\b[\s\S]*?<\/\1\s*>|<[^>]{0,500}>/gi, ' ');
  const pieces = visible.split(/[\s"“”„<>()[\]{},;:=|&?!]+/).map((piece) => piece.replaceAll(/^[.'’\-_/]+|[.'’\-_/]+$/g, ''));
  const words = pieces.flatMap((piece) => (piece === '' ? [] : [PLAIN.test(piece) ? piece : GAP]));
  const kept = withoutSecrets(words, secrets);
  let excerpt = '';
  for (const word of kept) {
    if (word === GAP && (excerpt === '' || excerpt.endsWith(GAP))) continue;
    const next = excerpt === '' ? word : `${excerpt} ${word}`;
    if (next.length > maxChars) break;
    excerpt = next;
  }
  return excerpt;
}

/** The plain words of a list that are not part of a secret, each once. */
export function plainWords(words: Iterable<string>, secrets: readonly string[], maxCount: number): string[] {
  const plain = [...new Set(words)].filter((word) => word.length <= 64 && PLAIN.test(word));
  return withoutSecrets(plain, secrets, ' ')
    .filter((word) => word !== GAP)
    .slice(0, maxCount);
}

/**
 * INVARIANT: only letters and digits are compared, across word boundaries (test/base/scrub.test.ts). The pieces of the words are looked up by
 * those of the secrets, so that the work grows with the sum of both lengths and not with their product.
 * @param between what stands between two words; a piece of a secret never contains a sign other than a letter or a digit
 */
function withoutSecrets(words: readonly string[], secrets: Iterable<string>, between: '' | ' ' = ''): string[] {
  const owners: number[] = [];
  let letters = '';
  words.forEach((word, index) => {
    const normal = `${normalised(word)}${between}`;
    letters += normal;
    for (let i = 0; i < normal.length; i++) owners.push(index);
  });
  const kept = [...words];
  if (letters.trim() === '') return kept;
  const remove = (at: number, length: number) => {
    for (let i = at; i < at + length; i++) kept[owners[i] ?? 0] = GAP;
  };
  const pieces = positionsOfPieces(letters);
  for (const secret of secrets) {
    for (const form of formsOf(secret)) removeForm(normalised(form), letters, pieces, remove);
  }
  return kept;
}

function positionsOfPieces(letters: string): Map<string, number[]> {
  const pieces = new Map<string, number[]>();
  for (let at = 0; at + PIECE_CHARS <= letters.length; at++) {
    const piece = letters.slice(at, at + PIECE_CHARS);
    const positions = pieces.get(piece);
    if (positions === undefined) pieces.set(piece, [at]);
    else positions.push(at);
  }
  return pieces;
}

function removeForm(
  form: string,
  letters: string,
  pieces: Map<string, number[]>,
  remove: (at: number, length: number) => void,
): void {
  if (form.length < TELLING_CHARS) return;
  if (form.length < PIECE_CHARS) {
    for (let at = letters.indexOf(form); at >= 0; at = letters.indexOf(form, at + 1)) remove(at, form.length);
    return;
  }
  for (let at = 0; at + PIECE_CHARS <= form.length; at++) {
    const piece = form.slice(at, at + PIECE_CHARS);
    for (const position of pieces.get(piece) ?? []) remove(position, PIECE_CHARS);
    // What was removed once needs no second look.
    pieces.delete(piece);
  }
}

function normalised(text: string): string {
  return text.toLowerCase().replaceAll(/[^a-z0-9]/g, '');
}

/** Every form of a secret that must not occur. */
function formsOf(secret: string): string[] {
  const bytes = new TextEncoder().encode(secret);
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  // The base64 of the same bytes depends on their offset modulo 3; the first and last characters depend on the neighbouring bytes.
  const encoded = [0, 1, 2].map((before) =>
    base64(Uint8Array.from([...new Uint8Array(before), ...bytes])).slice(before === 0 ? 0 : 4),
  );
  return [secret, [...secret].reverse().join(''), hex, ...encoded];
}

function base64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes)).replaceAll('=', '');
}
