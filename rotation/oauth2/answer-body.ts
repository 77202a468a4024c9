// Reads the JSON of an answer without tokens, and finds members in it. It must never throw because of a provider's answer.
import { LIMITS } from '../../src/base/limits.ts';
import type { EgressAnswer } from '../connector.ts';

/** The parsed body, or undefined if it is not JSON; wipes its bytes. */
export function readJson(answer: EgressAnswer): unknown {
  const text = answer.body.reveal((bytes) => new TextDecoder().decode(bytes));
  answer.body.wipe();
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** The members of a JSON object; undefined for any other text. */
export function membersOf(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const parsed: unknown = JSON.parse(text);
    const isObject = typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed);
    return isObject ? (parsed as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** The member at a dotted path; null counts as absent. */
export function memberAt(body: unknown, path: string): unknown {
  let value = body;
  for (const name of path.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined;
    value = (value as Record<string, unknown>)[name];
  }
  return value ?? undefined;
}

/** RFC 6749 section 3.3. */
const SCOPE_TOKEN = /^[\x21\x23-\x5b\x5d-\x7e]{1,256}$/;

/** Scopes from a list or a space-separated text. Undefined if there are none; omits parts that are not valid scopes. */
export function readScopes(value: unknown, separator: ' ' | ','): string | undefined {
  const texts = Array.isArray(value) ? value.filter((part) => typeof part === 'string') : [value];
  const parts = texts.flatMap((text) => (typeof text === 'string' ? text.split(separator) : []));
  const scopes = parts.flatMap((part) => (SCOPE_TOKEN.test(part.trim()) ? [part.trim()] : []));
  const scope = [...new Set(scopes)].join(' ');
  return scope === '' || scope.length > LIMITS.providerScopeMaxChars ? undefined : scope;
}
