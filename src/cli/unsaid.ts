// Masks the secrets that this process received in every message, including messages of libraries.
// It must never be the only protection: messages are written without values in the first place.
import { LIMITS } from '../base/limits.ts';

const held = new Set<string>();
const MASK = '[secret]';

/** Registers a secret, its lines, and its strings if it is JSON; returns the secret. */
export function hold<T extends string | undefined>(secret: T): T {
  if (secret === undefined) return secret;
  for (const part of [secret, ...secret.split(/\r?\n/), ...textsIn(secret)])
    if (part.length >= LIMITS.heldSecretMinChars) held.add(part);
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

/** The text with every registered secret masked, the longest first. */
export function withoutSecrets(text: string): string {
  let left = text;
  for (const secret of [...held].sort((a, b) => b.length - a.length)) left = left.replaceAll(secret, MASK);
  return left;
}
