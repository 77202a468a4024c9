// Canonical JSON (RFC 8785): one text for one value, so that it can be hashed and signed.
// It must never drop or coerce a value that JSON cannot express: such a value is refused.
import { fail } from '../base/errors.ts';

const DEPTH_MAX = 64;

/** @throws invalid_request for anything but null, booleans, finite numbers, well-formed strings, dense arrays and plain objects of these */
export function canonicalJson(value: unknown): string {
  return write(value, 0);
}

function write(value: unknown, depth: number): string {
  if (depth > DEPTH_MAX) refuse('too many levels of nesting');
  switch (typeof value) {
    case 'string':
      if (!value.isWellFormed()) refuse('a string with a lone surrogate');
      return JSON.stringify(value);
    case 'number':
      if (!Number.isFinite(value)) refuse('a number that is not finite');
      return JSON.stringify(value);
    case 'boolean':
      return value ? 'true' : 'false';
    case 'object':
      if (value === null) return 'null';
      return Array.isArray(value) ? writeArray(value, depth) : writeObject(value, depth);
    default:
      return refuse(`a ${typeof value}`);
  }
}

function writeArray(items: readonly unknown[], depth: number): string {
  let text = '[';
  // By index: a hole reads as undefined and is refused.
  for (let i = 0; i < items.length; i++) text += (i === 0 ? '' : ',') + write(items[i], depth + 1);
  return `${text}]`;
}

function writeObject(object: object, depth: number): string {
  const prototype = Object.getPrototypeOf(object);
  if (prototype !== null && prototype !== Object.prototype) refuse('an object that is not plain');
  if (Object.getOwnPropertySymbols(object).length > 0) refuse('a symbol');
  const members = object as Record<string, unknown>;
  // Array sort compares UTF-16 code units, as RFC 8785 section 3.2.3 asks.
  const names = Object.keys(members).sort();
  let text = '{';
  for (const name of names) text += `${text === '{' ? '' : ','}${write(name, depth)}:${write(members[name], depth + 1)}`;
  return `${text}}`;
}

function refuse(what: string): never {
  fail('invalid_request', `canonical JSON cannot hold ${what}`);
}
