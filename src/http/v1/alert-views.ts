// Wire forms of alerts, webhooks, deliveries and forecasts. It must never copy a whole row: each field is named.

import { daysLeft } from '../../../rotation/grants/forecast.ts';
import type { ForecastEntry } from '../../../rotation/grants/read-forecast.ts';
import { describeAlert } from '../../alerts/raise-alert.ts';
import { toTimestamp } from '../../base/clock.ts';
import type { AlertRow, DeliveryRow, Webhook } from '../../cell/alerts.ts';
import { healthNow } from '../../vault/end-date.ts';
import { reconnectPath } from '../../vault/reconnect.ts';
import type { WireAlert, WireDelivery, WireForecastEntry, WireWebhook } from './wire.ts';

const time = (atMs: number | null): string | null => (atMs === null ? null : toTimestamp(atMs));

export function alertView(row: AlertRow): WireAlert {
  const { id, kind, at, credential, facts } = describeAlert(row);
  return { id, kind, at: toTimestamp(at), credential, facts };
}

export function webhookView(row: Webhook): WireWebhook {
  return {
    id: row.id,
    url: row.url,
    kinds: JSON.parse(row.kinds) as string[],
    created_at: toTimestamp(row.created_at),
    created_by: row.created_by,
  };
}

export function deliveryView(row: DeliveryRow): WireDelivery {
  return {
    id: row.id,
    alert: row.alert_id,
    state: row.state,
    attempts: row.attempts,
    next_attempt_at: time(row.next_attempt_at),
    cause: row.cause,
    created_at: toTimestamp(row.created_at),
    finished_at: time(row.finished_at),
  };
}

export function forecastView(tenantId: string, { environment, row, forecast }: ForecastEntry, nowMs: number): WireForecastEntry {
  return {
    id: row.id,
    environment: environment.name,
    name: row.name,
    kind: row.kind,
    connector: row.connector,
    health: healthNow(row, nowMs).state as WireForecastEntry['health'],
    ends_at: toTimestamp(forecast.endsAt),
    days_left: daysLeft(forecast.endsAt, nowMs),
    cause: forecast.cause,
    certain: forecast.certain,
    remedy: forecast.remedy,
    reconnect: reconnectPath(tenantId, environment.name, row) ?? null,
  };
}
