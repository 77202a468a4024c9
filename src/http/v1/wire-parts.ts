// Schema parts that several resources share.
import { z } from 'zod';
import { NAME_GLOB_PATTERN, NAME_PATTERN, nameFault, nameGlobFault } from '../../base/ids.ts';
import { LIMITS } from '../../base/limits.ts';

export { instant } from '../../vault/credential-kinds.ts';

export const seconds = (maxMs: number, minSeconds = 60) =>
  z
    .int()
    .min(minSeconds)
    .max(maxMs / 1_000);
export const cursor = z.string().regex(/^[A-Za-z0-9_-]{1,512}$/, 'must be the next_cursor of an earlier page');

/** The rule and the kind of character that violates it; never the text itself. */
const messageOf = (fault: (text: string) => string) => (issue: { readonly input?: unknown }) => fault(String(issue.input));
export const name = z.string().regex(NAME_PATTERN, { error: messageOf(nameFault) });
export const namePattern = z
  .string()
  .regex(NAME_GLOB_PATTERN, { error: messageOf(nameGlobFault) })
  .max(LIMITS.credentialNameMaxChars);
export const timestamp = z.iso.datetime({ precision: 3 }).describe('RFC 3339, UTC');
export const nullableTime = timestamp.nullable();
/** A whole number in a query, in decimal digits. */
export const digits = (minimum: number, maximum: number) =>
  z
    .string()
    .regex(/^(?:0|[1-9][0-9]{0,15})$/, 'must be a whole number in decimal digits')
    .transform(Number)
    .pipe(z.int().min(minimum).max(maximum))
    .meta({ type: 'integer', minimum, maximum });
export const limit = digits(1, LIMITS.pageMaxRows)
  .default(LIMITS.pageDefaultRows)
  .meta({ type: 'integer', minimum: 1, maximum: LIMITS.pageMaxRows, default: LIMITS.pageDefaultRows });
export const page = z.strictObject({ cursor: cursor.optional(), limit });

export const empty = z.strictObject({});
export const listOf = <T extends z.ZodType>(item: T) => z.object({ items: z.array(item), next_cursor: z.string().nullable() });
export interface WirePage<T> {
  readonly items: readonly T[];
  readonly next_cursor: string | null;
}
