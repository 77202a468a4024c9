// Wire schemas of schedules: rules, a credential's own, pauses and previews. Names are snake_case; unknown fields are rejected.
import { z } from 'zod';
import { LIMITS } from '../../base/limits.ts';
import { pauseReason, scheduleSpec } from '../../vault/schedule.ts';
import { name, nullableTime, timestamp } from './wire-parts.ts';

const spec = scheduleSpec.meta({ id: 'ScheduleSpec' });
const pause = z.object({ reason: z.string(), at: timestamp, by: z.string() }).nullable();
const labelCondition = z.object({
  name: z.string().min(1).max(64),
  value: z.string().min(1).max(LIMITS.labelMaxChars),
});

export const putRule = z.strictObject({
  schedule: spec,
  environment: name.optional().describe('Only credentials of this environment'),
  connector: name.optional().describe('Only credentials with this connector'),
  label: z.strictObject(labelCondition.shape).optional().describe('Only credentials with this label'),
  priority: z.int().min(-1_000).max(1_000).default(0).describe('Among equally specific rules the highest applies'),
});
export const rule = z
  .object({
    name: z.string(),
    environment: z.string().nullable(),
    connector: z.string().nullable(),
    label: labelCondition.nullable(),
    priority: z.int(),
    schedule: spec,
    pause,
    set_at: timestamp,
    created_at: timestamp,
    created_by: z.string(),
    applied: z.boolean().describe('False while the credentials that it covers or covered are planned again'),
  })
  .meta({ id: 'ScheduleRule' });
export type WireRule = z.infer<typeof rule>;

export const putPause = z.strictObject({ reason: pauseReason });
export const putSchedule = z.strictObject({ schedule: spec });

const next = z.array(timestamp).describe('The next dates, if each rotation succeeds');
export const preview = z.object({ next }).meta({ id: 'SchedulePreview' });
export type WirePreview = z.infer<typeof preview>;

export const schedule = z
  .object({
    schedule: spec.nullable().describe('The schedule that applies; null: it is rotated on request only'),
    source: z.enum(['own', 'rule']).nullable(),
    rule: z.string().nullable().describe('The rule that gives the schedule'),
    pause,
    due_at: nullableTime.describe('When the next rotation begins; null while one is open or a pause lasts'),
    promised_at: nullableTime.describe('The date by which the schedule wanted a new value; it stays until there is one'),
    next,
  })
  .meta({ id: 'Schedule' });
export type WireSchedule = z.infer<typeof schedule>;
