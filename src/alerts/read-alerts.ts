// Lists alerts and their deliveries. They contain texts, numbers and instants, never a value.
import type { Caller } from '../access/principals.ts';
import type { AlertRow, Before, DeliveryRow } from '../cell/alerts.ts';
import type { Page } from '../vault/describe-credential.ts';
import { tenantTarget } from '../vault/targets.ts';
import type { TenantJob } from '../vault/tenant-job.ts';
import { webhookTarget } from './manage-webhooks.ts';

export interface ListAlertsInput {
  /** Id of a credential; undefined means all. */
  readonly credentialId: string | undefined;
  /** The cursor from the previous page; '' starts at the newest. */
  readonly after: string;
  readonly maxRows: number;
}

/** Newest first. */
export function listAlerts(job: TenantJob, caller: Caller, input: ListAlertsInput): Page<AlertRow> {
  return job.door.enter(
    caller,
    'alert.list',
    () => ({ ...tenantTarget(job), target: { type: 'alerts' } }),
    (access, _subject, details) => {
      const found = job.alerts.list(access, input.credentialId, beforeOf(input.after), input.maxRows + 1);
      details.count = Math.min(found.length, input.maxRows);
      return pageOf(found, input.maxRows, (row) => row.at);
    },
  );
}

/** The deliveries of one webhook, newest first. @throws not_found also for a deleted webhook */
export function listDeliveries(
  job: TenantJob,
  caller: Caller,
  webhookId: string,
  after: string,
  maxRows: number,
): Page<DeliveryRow> {
  return job.door.enter(
    caller,
    'webhook.list',
    (lookup) => webhookTarget(job, lookup, webhookId),
    (access, webhook, details) => {
      const found = job.alerts.deliveries(access, webhook.id, beforeOf(after), maxRows + 1);
      details.webhook = webhook.id;
      details.count = Math.min(found.length, maxRows);
      return pageOf(found, maxRows, (row) => row.created_at);
    },
  );
}

function beforeOf(after: string): Before {
  const [at, id = ''] = after.split('\n');
  return after === '' ? { at: Number.MAX_SAFE_INTEGER, id: '' } : { at: Number(at), id };
}

function pageOf<R extends { readonly id: string }>(found: R[], maxRows: number, atOf: (row: R) => number): Page<R> {
  const rows = found.slice(0, maxRows);
  const last = rows.at(-1);
  return { rows, next: found.length > maxRows && last !== undefined ? `${atOf(last)}\n${last.id}` : undefined };
}
