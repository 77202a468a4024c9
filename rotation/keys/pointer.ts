// Finds members of a parsed answer by JSON pointer (RFC 6901), with `*` for every element of a list.
// It must never throw because of a provider's answer.
import type { JsonPointer } from '../connector.ts';

/** Undefined if nothing is there; null counts as nothing. */
export function valueAt(body: unknown, pointer: JsonPointer): unknown {
  const segments = pointer === '' ? [] : pointer.slice(1).split('/');
  return walk(
    body,
    segments.map((segment) => segment.replaceAll('~1', '/').replaceAll('~0', '~')),
  );
}

function walk(value: unknown, segments: readonly string[]): unknown {
  const [segment, ...rest] = segments;
  if (segment === undefined) return value ?? undefined;
  if (typeof value !== 'object' || value === null) return undefined;
  if (Array.isArray(value) && segment !== '*' && !/^\d+$/.test(segment)) return undefined;
  if (segment === '*') {
    if (!Array.isArray(value)) return undefined;
    const found = value.map((item) => walk(item, rest));
    return found.includes(undefined) ? undefined : found;
  }
  return Object.hasOwn(value, segment) ? walk((value as Record<string, unknown>)[segment], rest) : undefined;
}

/** A copy without nulls, empty texts, lists and objects at any depth; undefined if nothing is left. */
export function withoutEmpty(value: unknown): unknown {
  if (value === null || value === undefined || value === '') return undefined;
  if (typeof value !== 'object') return value;
  if (Array.isArray(value)) {
    const items = value.map(withoutEmpty).filter((item) => item !== undefined);
    return items.length === 0 ? undefined : items;
  }
  const members = Object.entries(value).flatMap(([name, member]) => {
    const kept = withoutEmpty(member);
    return kept === undefined ? [] : [[name, kept] as const];
  });
  return members.length === 0 ? undefined : Object.fromEntries(members);
}
