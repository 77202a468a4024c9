// Text that people read: one line, in the order in which it is written. What a request says in words must be such text; secret values may
// be any. It must never be judged again elsewhere by another rule.

/**
 * Control characters and line breaks; what changes the order of reading (UAX #9) or is not seen; halves of a character. Joiners that
 * languages and emoji need are not in it.
 */
const MISLEADING =
  /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/u;
const EVERY_MISLEADING = new RegExp(MISLEADING, 'gu');

export function isPlainText(text: string): boolean {
  return !MISLEADING.test(text);
}

/** Text of others, which nobody here can refuse, with a mark in the place of every character that is not plain. */
export function asPlainText(text: string): string {
  return text.replace(EVERY_MISLEADING, '\ufffd');
}
