// Wire schemas of what is due, and of calendar feeds. Names are snake_case; unknown fields are rejected.
import { z } from 'zod';
import { cursor, digits, limit, name, timestamp } from './wire-parts.ts';

export const listDue = z.strictObject({
  cursor: cursor.optional(),
  limit,
  within_days: digits(0, 3_650).optional().describe('Absent: everything that is planned'),
  environment: name.optional(),
});
export const dueEntry = z
  .object({
    id: z.string(),
    environment: z.string(),
    name: z.string(),
    kind: z.string(),
    connector: z.string().nullable(),
    what: z
      .enum(['rotation', 'end'])
      .describe('rotation: a schedule wants a new value. end: the credential ends unless somebody acts'),
    due_at: timestamp,
    overdue: z.boolean(),
    days_left: z.int().describe('Whole days; negative when it is overdue'),
    cause: z.string().describe('Of an end as in the forecast; of a rotation: schedule, or rule and its name'),
    certain: z.boolean().describe('False: the end may come later or not at all'),
    state: z.string().describe('Of a rotation: planned, paused, or the step of its open run; of an end: its health'),
    remedy: z.string().describe('What to do, in one sentence'),
  })
  .meta({ id: 'DueEntry' });
export type WireDueEntry = z.infer<typeof dueEntry>;

export const feed = z.object({ id: z.string(), created_at: timestamp, created_by: z.string() }).meta({ id: 'CalendarFeed' });
export type WireFeed = z.infer<typeof feed>;
export const createdFeed = feed.extend({
  url: z.string().describe('Shown once: the address of the feed with its key; whoever has it sees what is due'),
});
export type WireCreatedFeed = z.infer<typeof createdFeed>;
export const feedQuery = z.strictObject({
  feed: z.string().regex(/^cal_[0-9a-z]{24}$/, 'must be the id of a calendar feed'),
  key: z.string().regex(/^[A-Za-z0-9_-]{43}$/, 'must be the key of the feed'),
});
