// Pieces of wire shapes that several resources share.
import { z } from 'zod';
import { LIMITS } from '../../base/limits.ts';

export const seconds = (maxMs: number, minSeconds = 60) =>
  z
    .int()
    .min(minSeconds)
    .max(maxMs / 1_000);
export const cursor = z.string().min(1).max(512);

export const name = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, 'must be a name: lower case letters, digits, . _ -');
export const timestamp = z.iso.datetime({ precision: 3 }).describe('RFC 3339, UTC');
export const nullableTime = timestamp.nullable();
export const limit = z.coerce.number().int().min(1).max(LIMITS.pageMaxRows).default(LIMITS.pageDefaultRows);
export const page = z.strictObject({ cursor: cursor.optional(), limit });

export const empty = z.strictObject({});
export const listOf = <T extends z.ZodType>(item: T) => z.object({ items: z.array(item), next_cursor: z.string().nullable() });
export interface WirePage<T> {
  readonly items: readonly T[];
  readonly next_cursor: string | null;
}
