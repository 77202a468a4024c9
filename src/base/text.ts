// Plain text: one line that reads in the order in which it is written. Every text field of a request must be plain; secret values need not.
// It must never be checked elsewhere by another rule.

/**
 * Control characters and line breaks; characters that change the reading order (UAX #9) or are invisible; lone surrogates. The joiners that
 * languages and emoji need are allowed.
 */
const MISLEADING =
  /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/u;
const EVERY_MISLEADING = new RegExp(MISLEADING, 'gu');

export function isPlainText(text: string): boolean {
  return !MISLEADING.test(text);
}

/** For foreign text that cannot be refused: every character that is not plain is replaced by a mark. */
export function asPlainText(text: string): string {
  return text.replace(EVERY_MISLEADING, '\ufffd');
}
