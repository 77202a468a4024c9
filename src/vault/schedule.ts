// A schedule of rotations: what a person may ask for. Schemas and their rules; the dates are computed in schedule-dates.ts.
// It must never accept a schedule whose dates depend on the machine it runs on.
import { Cron } from 'croner';
import { z } from 'zod';
import { LIMITS } from '../base/limits.ts';
import { isDate, isZone } from '../base/zoned-time.ts';

export const WEEKDAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] as const;

const time = z.string().regex(/^([01][0-9]|2[0-3]):[0-5][0-9]$/, 'must be a time of day such as 02:30');
const blackoutDay = z
  .string()
  .refine(
    (text) => isDate(text) || isDate(`2000-${text}`),
    'must be a date such as 2027-12-24, or 12-24 for this day of every year',
  );
const seconds = (min: number, max: number) => z.int().min(min).max(max);

/** When rotations may begin: on these days, from `from` until `to` on the clock; past midnight if `to` is earlier. */
const scheduleWindow = z
  .strictObject({
    days: z.array(z.enum(WEEKDAYS)).min(1).max(7).optional().describe('Absent: every day'),
    from: time,
    to: time,
  })
  .refine(({ from, to }) => from !== to, 'from and to must differ: omit the window for the whole day');

/** Days on which no rotation begins, first and last day included. */
const blackout = z
  .strictObject({ from: blackoutDay, to: blackoutDay.optional() })
  .refine(
    ({ from, to = from }) => from.length === to.length && (from.length === 5 || from <= to),
    'from and to must have the same form, and from must not be after to',
  );

export const scheduleSpec = z
  .strictObject({
    every_seconds: seconds(LIMITS.rotateEveryMinSeconds, LIMITS.rotateEveryMaxSeconds)
      .optional()
      .describe('A period, from the last new value or from when the schedule was set, whichever is later'),
    max_age_seconds: seconds(LIMITS.rotateEveryMinSeconds, LIMITS.rotateEveryMaxSeconds)
      .optional()
      .describe('The age that the current value must not exceed: the rotation begins before'),
    cron: z.string().min(1).max(LIMITS.cronMaxChars).optional().describe('Minute, hour, day of month, month, day of week'),
    zone: z.string().max(64).optional().describe('IANA name, for cron, windows and blackouts. Default: UTC'),
    windows: z.array(scheduleWindow).min(1).max(LIMITS.scheduleWindowsMaxCount).optional(),
    blackouts: z.array(blackout).min(1).max(LIMITS.scheduleBlackoutsMaxCount).optional(),
    jitter_seconds: seconds(0, LIMITS.scheduleJitterMaxSeconds)
      .optional()
      .describe(
        'The dates of different credentials are spread over this time: later with cron, else earlier. Default: none with cron, else a tenth of the period',
      ),
    catch_up_seconds: seconds(60, LIMITS.scheduleCatchUpMaxSeconds)
      .optional()
      .describe('Rotations that were due while the service was down are spread over this time. Default: an hour'),
    overdue_after_seconds: seconds(60, LIMITS.scheduleOverdueMaxSeconds)
      .optional()
      .describe('An alert is raised this long after the date if there is no new value. Default: a day'),
  })
  .superRefine((spec, context) => {
    const refuse = (name: string, message: string) => context.addIssue({ code: 'custom', path: [name], message });
    const kinds = [spec.every_seconds, spec.max_age_seconds, spec.cron].filter((one) => one !== undefined);
    if (kinds.length !== 1)
      context.addIssue({
        code: 'custom',
        message: 'a schedule must have exactly one of every_seconds, max_age_seconds and cron',
      });
    if (spec.zone !== undefined && !isZone(spec.zone)) refuse('zone', 'must be an IANA time zone such as Europe/Berlin');
    if (spec.cron !== undefined && !isCron(spec.cron)) refuse('cron', CRON_RULE);
  });
export type ScheduleSpec = z.infer<typeof scheduleSpec>;

const CRON_RULE =
  'must have five fields: minute, hour, day of month, month, day of week, such as "30 2 * * sun"; or @hourly, @daily, @weekly, @monthly, @yearly';

/** SECURITY: only the characters of cron fields, so that a pattern cannot be an instant or have more fields. */
function isCron(text: string): boolean {
  if (/^@(hourly|daily|weekly|monthly|yearly|annually)$/.test(text)) return true;
  if (!/^[0-9A-Za-z*/,#? -]+$/.test(text)) return false;
  try {
    return cronOf(text, 'UTC').getPattern() !== undefined;
  } catch {
    return false;
  }
}

/** @throws for a pattern that is not one */
export function cronOf(pattern: string, zone: string): Cron {
  return new Cron(pattern.startsWith('@') ? pattern : pattern.trim(), { timezone: zone, paused: true, mode: '5-part' });
}

/** Why rotations of a rule or a credential do not begin. */
export interface Pause {
  readonly reason: string;
  readonly at: number;
  readonly by: string;
}

export const pauseReason = z.string().trim().min(1).max(LIMITS.pauseReasonMaxChars);
