// Wire schemas of alerts, webhooks, deliveries and the forecast. Names are snake_case; unknown fields are rejected.
import { z } from 'zod';
import { ALERT_KINDS } from '../../alerts/raise-alert.ts';
import { LIMITS } from '../../base/limits.ts';
import { cursor, digits, limit, name, nullableTime, timestamp } from './wire-parts.ts';

const alertKind = z.enum(ALERT_KINDS);
const fact = z.union([z.string(), z.number(), z.boolean(), z.null()]);

export const listAlerts = z.strictObject({
  cursor: cursor.optional(),
  limit,
  credential: z
    .string()
    .regex(/^crd_[0-9a-z]{24}$/, 'must be a credential id: "crd_" followed by 24 characters of 0-9 and a-z')
    .optional(),
});
export const alert = z
  .object({
    id: z.string(),
    kind: z.string().describe('Ignore unknown kinds: later versions may add some'),
    at: timestamp,
    credential: z
      .object({ id: z.string(), environment: z.string(), name: z.string() })
      .nullable()
      .describe('Null if the alert does not concern one credential'),
    facts: z.record(z.string(), fact).describe('Words, numbers and instants; never a secret value'),
  })
  .meta({ id: 'Alert' });
export type WireAlert = z.infer<typeof alert>;

export const createWebhook = z.strictObject({
  url: z
    .string()
    .min(1)
    .max(1_024)
    .describe('An https URL without user name, password and fragment')
    .meta({ format: 'uri', examples: ['https://ops.example/keyturn'] }),
  kinds: z.array(alertKind).max(ALERT_KINDS.length).default([]).describe('Empty: all kinds, including future ones'),
});
export const webhook = z
  .object({
    id: z.string(),
    url: z.string(),
    kinds: z.array(z.string()),
    created_at: timestamp,
    created_by: z.string(),
  })
  .meta({ id: 'Webhook' });
export type WireWebhook = z.infer<typeof webhook>;
export const createdWebhook = webhook.extend({
  secret: z.string().describe('Shown once: "whsec_" and the key in base64, in the Standard Webhooks form'),
});
export type WireCreatedWebhook = z.infer<typeof createdWebhook>;

export const delivery = z
  .object({
    id: z.string(),
    alert: z.string().describe('The alert id, sent as webhook-id in every attempt'),
    state: z.enum(['waiting', 'delivered', 'given_up']),
    attempts: z.int(),
    next_attempt_at: nullableTime,
    cause: z.string().nullable().describe('Why the last attempt failed'),
    created_at: timestamp,
    finished_at: nullableTime,
  })
  .meta({ id: 'Delivery' });
export type WireDelivery = z.infer<typeof delivery>;

export const listForecast = z.strictObject({
  cursor: cursor.optional(),
  limit,
  within_days: digits(0, 3_650).optional(),
  environment: name.optional(),
});
export const forecastEntry = z
  .object({
    id: z.string(),
    environment: z.string(),
    name: z.string(),
    kind: z.string(),
    connector: z.string().nullable(),
    health: z.enum(['ready', 'degraded', 'needs_consent', 'expired']),
    ends_at: timestamp.describe('When it ends or ended, unless somebody acts'),
    days_left: z
      .int()
      .min(0)
      .describe(`Whole days; an alert is raised at ${LIMITS.noticeDays.join(', ')}`),
    cause: z.enum([
      'ended',
      'idle_limit',
      'absolute_limit',
      'refresh_token_expiry',
      'access_token_expiry',
      'client_secret_expiry',
      'token_cap',
      'provider_change',
      'end_date',
    ]),
    certain: z.boolean().describe('False: the end may come later or not at all'),
    remedy: z.string(),
    reconnect: z.string().nullable().describe('The path to POST to for a link to connect it again; null while the grant is live'),
  })
  .meta({ id: 'ForecastEntry' });
export type WireForecastEntry = z.infer<typeof forecastEntry>;
