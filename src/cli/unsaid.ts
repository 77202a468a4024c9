// Secrets this process was given, so that no message repeats one, whoever made the message.
// It must never be the only guard: a message is made without values in the first place.
const held = new Set<string>();
/** Shorter ones would hide parts of ordinary words. */
const HELD_MIN_CHARS = 8;
const INSTEAD = '[secret]';

/** Remembers a secret, and each text in it when it is JSON or has several lines; returns it. */
export function hold<T extends string | undefined>(secret: T): T {
  if (secret === undefined) return secret;
  for (const part of [secret, ...secret.split(/\r?\n/), ...textsIn(secret)]) if (part.length >= HELD_MIN_CHARS) held.add(part);
  return secret;
}

function textsIn(secret: string): string[] {
  const texts: string[] = [];
  try {
    JSON.parse(secret, (_name, value: unknown) => {
      if (typeof value === 'string') texts.push(value);
      return value;
    });
  } catch {
    // Not JSON: the text itself is the secret.
  }
  return texts;
}

/** The text without any secret that was held, the longest first. */
export function withoutSecrets(text: string): string {
  let left = text;
  for (const secret of [...held].sort((a, b) => b.length - a.length)) left = left.replaceAll(secret, INSTEAD);
  return left;
}
