// Lists alerts and their deliveries. They contain texts, numbers and instants, never a value.
import type { Caller } from '../access/principals.ts';
import type { AlertRow, Before, DeliveryRow } from '../cell/alerts.ts';
import { type Page, pageFrom } from '../vault/describe-credential.ts';
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
      const before = beforeOf(input.after);
      const page = pageFrom(
        input.maxRows,
        (rows) => job.alerts.list(access, input.credentialId, before, rows),
        ({ at, id }) => `${at}\n${id}`,
      );
      details.count = page.rows.length;
      return page;
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
      const before = beforeOf(after);
      const page = pageFrom(
        maxRows,
        (rows) => job.alerts.deliveries(access, webhook.id, before, rows),
        ({ created_at, id }) => `${created_at}\n${id}`,
      );
      details.webhook = webhook.id;
      details.count = page.rows.length;
      return page;
    },
  );
}

function beforeOf(after: string): Before {
  const [at, id = ''] = after.split('\n');
  return after === '' ? { at: Number.MAX_SAFE_INTEGER, id: '' } : { at: Number(at), id };
}
