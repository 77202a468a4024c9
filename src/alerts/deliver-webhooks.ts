// Delivers alerts to a tenant's webhooks, signed according to Standard Webhooks 1.0.0: at least once, in no guaranteed order.
// It must never send a value or follow a redirect, nor let a dead endpoint delay another one or the tenant's refreshes.

import { EgressFailure, type EgressRequest } from '../../rotation/connector.ts';
import { type BackOff, backOffMs, retryAt } from '../../rotation/engine/back-off.ts';
import type { DueWorkPorts, JobPorts } from '../../rotation/engine/due-work.ts';
import { callPorts, makeCall } from '../../rotation/engine/outside-call.ts';
import { inPool, sumOf, type Turn } from '../../rotation/engine/pool.ts';
import { recordFailure } from '../../src/access/guard.ts';
import { toTimestamp } from '../../src/base/clock.ts';
import { KeyturnError } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import type { Lookup, WriteAccess } from '../../src/cell/access.ts';
import type { AlertRow, DeliveryRow, DueDelivery } from '../../src/cell/alerts.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { endWebhook, isLoopback, webhookKey } from './manage-webhooks.ts';
import { describeAlert } from './raise-alert.ts';
import { signMessage } from './sign-message.ts';

interface Failed {
  readonly kind: 'failed';
  readonly cause: string;
  readonly waitMs: number;
  /** Other deliveries to this endpoint are not tried now. */
  readonly endpointDown: boolean;
}
/** `gone`: the receiver answered 410, so it wants no further deliveries. */
type Outcome = { readonly kind: 'delivered' } | { readonly kind: 'gone' } | Failed;

interface Attempt {
  readonly delivery: DeliveryRow;
  /** When the row of the webhook or of the alert failed its integrity check: which of them. */
  readonly request: EgressRequest | 'damaged_webhook' | 'damaged_alert';
}

/** Tries due deliveries, all webhooks in parallel; returns how many were due. Throws internal failures after every webhook had its turn. */
export async function deliverDue(ports: DueWorkPorts): Promise<number> {
  const { vault } = ports;
  const now = vault.platform.clock.now();
  const due = vault.lookup('webhooks', (lookup, view) => view.alerts.dueDeliveries(lookup, now, LIMITS.dueWorkBatchRows));
  const queues = [...Map.groupBy(due, ({ webhook_id }) => webhook_id).values()];
  sumOf(await Promise.allSettled(queues.map((queue) => deliverQueue(ports, queue, now + LIMITS.webhookTimeoutMs))));
  return due.length;
}

/** One delivery at a time, fewest attempts first, so that one rejected alert cannot block the rest. */
function deliverQueue(ports: DueWorkPorts, queue: readonly DueDelivery[], stopAtMs: number): Promise<number> {
  const { clock } = ports.vault.platform;
  const tries = Math.max(...queue.map(({ attempts }) => attempts)) + 1;
  const fewestFirst = queue.toSorted((a, b) => a.attempts - b.attempts);
  // A slow receiver must not delay this tenant's refreshes: the remaining deliveries stay due and run after the refreshes (RO-16).
  return inPool(fewestFirst, 1, async ({ id }) => (clock.now() > stopAtMs ? 'stop' : deliver(ports, id, tries)));
}

/** `stop`: do not try other deliveries to this receiver now. */
function deliver(ports: DueWorkPorts, id: string, tries: number): Promise<Turn> {
  const { vault } = ports;
  return makeCall<Attempt, Outcome, Turn>(callPorts(vault), {
    points: { before: 'webhook.before-call', after: 'webhook.after-call' },
    begin: (job) => {
      const attempt = begin({ ...ports, job }, id);
      return attempt === undefined ? { kind: 'stop', as: 'done' } : { kind: 'go', attempt };
    },
    call: (attempt) => call(ports, attempt, tries),
    book: (job, { delivery }, outcome) => {
      book(job, delivery, outcome);
      return outcome.kind === 'failed' && outcome.endpointDown ? 'stop' : 'done';
    },
  });
}

/** Journals the attempt: after a crash it is repeated once its timeout has passed. Without an event: nothing was delivered yet. */
function begin(ports: JobPorts, id: string): Attempt | undefined {
  const { job } = ports;
  return job.door.keepBooks('delivery', (access) => {
    const now = job.platform.clock.now();
    const row = job.alerts.findDelivery(access, id);
    if (typeof row?.next_attempt_at !== 'number' || row.next_attempt_at > now) return undefined;
    const delivery = { ...row, attempts: row.attempts + 1, next_attempt_at: now + 2 * LIMITS.webhookTimeoutMs };
    job.alerts.saveDelivery(access, delivery);
    job.dueChanged();
    return { delivery, request: requestFor(ports, access, delivery) };
  });
}

function requestFor(ports: JobPorts, access: Lookup, delivery: DeliveryRow): Attempt['request'] {
  const { job } = ports;
  const webhook = intact(() => job.alerts.findWebhook(access, delivery.webhook_id));
  if (webhook === undefined) return 'damaged_webhook';
  const alert = intact(() => job.alerts.find(access, delivery.alert_id));
  if (alert === undefined) return 'damaged_alert';
  const url = new URL(webhook.url);
  const body = new TextEncoder().encode(JSON.stringify(messageOf(job, alert)));
  const seconds = Math.floor(job.platform.clock.now() / 1_000);
  return {
    url: webhook.url,
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'user-agent': 'keyturn',
      'webhook-id': alert.id,
      'webhook-timestamp': String(seconds),
      'webhook-signature': SecretValue.fromText(signMessage(webhookKey(job, webhook), alert.id, seconds, body)),
    },
    body,
    allowedHosts: [url.host],
    timeoutMs: LIMITS.webhookTimeoutMs,
    maxBytes: LIMITS.providerAnswerMaxBytes,
    allowLoopback: ports.sandboxAllowed && isLoopback(url),
  };
}

/** SECURITY: undefined for a damaged row, which may contain any URL or text, so nothing is sent (CR-01). */
function intact<T>(find: () => T): T | undefined {
  try {
    return find();
  } catch (error) {
    if (error instanceof KeyturnError && error.code === 'integrity') return undefined;
    throw error;
  }
}

function messageOf(job: TenantJob, alert: AlertRow) {
  const { id, kind, at, credential, facts } = describeAlert(alert);
  return { id, kind, at: toTimestamp(at), tenant: job.tenant.id, credential, facts };
}

async function call(ports: DueWorkPorts, { request }: Attempt, tries: number): Promise<Outcome> {
  const waitMs = Math.round(backOffMs(BACK_OFF, tries, ports.vault.platform.entropy.fraction()));
  if (typeof request === 'string')
    return { kind: 'failed', cause: 'integrity', waitMs, endpointDown: request === 'damaged_webhook' };
  try {
    const { status, headers, body } = await ports.egress.send(request);
    body.wipe();
    if (status >= 200 && status < 300) return { kind: 'delivered' };
    if (status === 410) return { kind: 'gone' };
    const asked = /^[0-9]{1,6}$/.test(headers['retry-after'] ?? '') ? Number(headers['retry-after']) * 1_000 : 0;
    const longer = Math.max(waitMs, Math.min(asked, LIMITS.webhookBackoffMaxMs));
    // Any other 4xx is about this message; the endpoint may accept the next one.
    const endpointDown = status < 400 || status >= 500 || [401, 403, 404, 429].includes(status);
    return { kind: 'failed', cause: `http_${status}`, waitMs: longer, endpointDown };
  } catch (error) {
    if (!(error instanceof EgressFailure)) throw error;
    return { kind: 'failed', cause: error.reason, waitMs, endpointDown: true };
  }
}

const BACK_OFF: BackOff = { baseMs: LIMITS.webhookBackoffBaseMs, maxMs: LIMITS.webhookBackoffMaxMs };

/** One event for a final outcome, none for an attempt that will be repeated. */
function book(job: TenantJob, attempted: DeliveryRow, outcome: Outcome): void {
  const now = job.platform.clock.now();
  const found = job.door.lookup('webhooks', (access) => job.alerts.findDelivery(access, attempted.id));
  // During the call the webhook may have been deleted or another attempt may have begun.
  if (found?.state !== 'waiting' || found.attempts !== attempted.attempts) return;
  job.dueChanged();
  const isLast = attempted.created_at <= job.platform.clock.provenAt() - LIMITS.webhookGiveUpMs;
  if (outcome.kind === 'failed' && !isLast) {
    retryLater(job, attempted, outcome, now);
    return;
  }
  const step = { delivered: 'delivered', gone: 'webhook_gone', failed: 'given_up' }[outcome.kind];
  job.door.enterAsSystem(
    'webhooks',
    'webhook.deliver',
    () => webhookSubject(job, attempted.webhook_id),
    (access, _subject, details) => {
      details.step = step;
      details.webhook = attempted.webhook_id;
      details.alert = attempted.alert_id;
      details.attempts = attempted.attempts;
      if (outcome.kind === 'failed') {
        details.cause = outcome.cause;
        recordFailure(details, 'provider_unavailable');
      }
      details.count = finish(job, access, attempted, outcome, now);
    },
  );
}

function webhookSubject(job: TenantJob, id: string) {
  return {
    resource: { type: 'Tenant' as const, tenant: job.tenant.id },
    target: { type: 'webhook', id },
    subject: id,
  };
}

/** Returns how many deliveries ended: this one, and others to a dead endpoint that waited as long, or all to a webhook that is gone. */
function finish(job: TenantJob, access: WriteAccess, attempted: DeliveryRow, outcome: Outcome, now: number): number {
  const { webhook_id } = attempted;
  if (outcome.kind === 'gone') {
    const webhook = job.alerts.findWebhook(access, webhook_id);
    return webhook === undefined ? 0 : endWebhook(job, access, webhook, 'http_410');
  }
  const ended = { ...attempted, next_attempt_at: null, finished_at: now };
  if (outcome.kind === 'delivered') {
    job.alerts.saveDelivery(access, { ...ended, state: 'delivered', cause: null });
    return 1;
  }
  const { cause, endpointDown } = outcome;
  job.alerts.saveDelivery(access, { ...ended, state: 'given_up', cause });
  if (!endpointDown) return 1;
  const madeBefore = job.platform.clock.provenAt() - LIMITS.webhookGiveUpMs + 1;
  return 1 + job.alerts.giveUp(access, webhook_id, cause, now, madeBefore);
}

function retryLater(job: TenantJob, attempted: DeliveryRow, outcome: Failed, now: number): void {
  job.door.keepBooks('delivery', (access) => {
    const nextAtMs = retryAt(now, outcome.waitMs, attempted.created_at + LIMITS.webhookGiveUpMs);
    job.alerts.saveDelivery(access, { ...attempted, next_attempt_at: nextAtMs, cause: outcome.cause });
    if (outcome.endpointDown) job.alerts.postpone(access, attempted.webhook_id, now, now + outcome.waitMs);
  });
}
