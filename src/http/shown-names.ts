// Which names of members and fields an error may repeat. It must never let one out that may be a secret in the wrong place.
import { z } from 'zod';

/** Words of letters, as a slip of the pen leaves them; and the one name of JavaScript that is refused everywhere. */
const WORDS = /^([a-z]{1,15}(_[a-z]{1,15}){0,3}|__proto__)$/;
const KNOWN = new WeakMap<z.ZodType, ReadonlySet<string>>();

/** @param schema whose own names may be shown, whatever they look like */
export function isShownName(name: string, schema?: z.ZodType): boolean {
  return WORDS.test(name) || (schema !== undefined && namesOf(schema).has(name));
}

/** RFC 6901, up to the first name that may not be shown. */
export function shownPointer(path: readonly PropertyKey[], schema: z.ZodType): string {
  const end = path.findIndex((part) => typeof part !== 'number' && !isShownName(String(part), schema));
  return path
    .slice(0, end < 0 ? path.length : end)
    .map((part) => `/${String(part).replaceAll('~', '~0').replaceAll('/', '~1')}`)
    .join('');
}

/** Worked out when something is refused for the first time. */
function namesOf(schema: z.ZodType): ReadonlySet<string> {
  const known = KNOWN.get(schema);
  if (known !== undefined) return known;
  const names = new Set<string>();
  collect(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }), names);
  KNOWN.set(schema, names);
  return names;
}

function collect(node: unknown, names: Set<string>): void {
  if (typeof node !== 'object' || node === null) return;
  for (const [key, member] of Object.entries(node)) {
    if (key === 'properties') for (const name of Object.keys(member as object)) names.add(name);
    collect(member, names);
  }
}
