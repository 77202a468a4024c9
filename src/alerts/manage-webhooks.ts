// Webhooks: the endpoints that receive a tenant's alerts. The secret of each is derived, never stored, and shown once.
// It must never accept a URL with credentials, nor plain http except to a sandbox on the same machine.
import type { Caller } from '../access/principals.ts';
import { fail } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import { SecretValue } from '../base/secret-value.ts';
import type { Lookup, WriteAccess } from '../cell/access.ts';
import type { Webhook, WebhookRow } from '../cell/alerts.ts';
import { FrameWriter } from '../crypto/framing.ts';
import { hmacSha256, type KeyObject, secretKey } from '../crypto/primitives.ts';
import { tenantTarget } from '../vault/targets.ts';
import type { TenantJob } from '../vault/tenant-job.ts';
import type { AlertKind } from './raise-alert.ts';

export interface CreateWebhookInput {
  readonly url: string;
  /** Empty: all kinds. */
  readonly kinds: readonly AlertKind[];
  /** Whether plain http to this machine is allowed. */
  readonly allowLoopback: boolean;
  /** Whether the egress would ever call it, as far as the URL shows. Default: it is not asked here, and each call is judged. */
  readonly mayReach?: (url: URL, allowLoopback: boolean) => boolean;
}

export interface CreatedWebhook {
  readonly row: Webhook;
  /** `whsec_<base64>`, the form of Standard Webhooks 1.0.0. */
  readonly secret: SecretValue;
}

/** @throws invalid_request | conflict when the tenant has the maximum number of webhooks */
export function createWebhook(job: TenantJob, caller: Caller, input: CreateWebhookInput): CreatedWebhook {
  return job.door.enter(
    caller,
    'webhook.create',
    () => ({ ...tenantTarget(job), target: { type: 'webhook' } }),
    (access, _subject, details) => {
      const url = checkedUrl(input);
      if (job.alerts.webhooks(access).length >= LIMITS.webhooksMaxCount)
        fail('conflict', `a tenant may have at most ${LIMITS.webhooksMaxCount} webhooks: delete one first`);
      const row: Webhook = {
        id: newId('webhook', job.platform.entropy),
        url,
        kinds: JSON.stringify([...new Set(input.kinds)]),
        created_at: job.platform.clock.now(),
        created_by: access.principalId,
        deleted_at: null,
        url_bound: 1,
      };
      job.alerts.insertWebhook(access, row);
      details.webhook = row.id;
      return { row, secret: shownSecret(job, row) };
    },
  );
}

/**
 * The normalized URL. SECURITY: only the text is checked here; the egress checks the addresses that the host resolves to, on every call.
 */
function checkedUrl({ url: text, allowLoopback, mayReach }: CreateWebhookInput): string {
  const pointer = '/url';
  // SECURITY: a URL parser drops line breaks, so the URL called would differ from the one shown, logged and approved.
  if (/[\s\p{C}]/u.test(text))
    fail('invalid_request', 'the URL of a webhook must not contain spaces, line breaks or hidden characters', { pointer });
  const url = URL.parse(text) ?? fail('invalid_request', 'the URL of a webhook must be absolute', { pointer });
  if (url.username !== '' || url.password !== '')
    fail('invalid_request', 'the URL of a webhook must not contain a user name or password', { pointer });
  if (url.hash !== '') fail('invalid_request', 'the URL of a webhook must not contain a fragment', { pointer });
  if (url.protocol !== 'https:' && (url.protocol !== 'http:' || !isLoopback(url) || !allowLoopback))
    fail('invalid_request', 'the URL of a webhook must begin with https://', { pointer });
  if (mayReach?.(url, allowLoopback && isLoopback(url)) === false)
    fail(
      'invalid_request',
      'the URL of a webhook must lead to a public address, not to a loopback, private, link-local or metadata address',
      { pointer },
    );
  return url.href;
}

/** Whether the host in the URL is this machine. */
export function isLoopback(url: URL): boolean {
  return /^(127\.[0-9.]+|\[::1\]|localhost)$/.test(url.hostname);
}

/** Without deleted webhooks, oldest first. */
export function listWebhooks(job: TenantJob, caller: Caller): WebhookRow[] {
  return job.door.enter(
    caller,
    'webhook.list',
    () => ({ ...tenantTarget(job), target: { type: 'webhooks' } }),
    (access, _subject, details) => {
      const rows = job.alerts.webhooks(access);
      details.count = rows.length;
      return rows;
    },
  );
}

export function webhookTarget(job: TenantJob, lookup: Lookup, id: string) {
  return {
    resource: { type: 'Tenant' as const, tenant: job.tenant.id },
    target: { type: 'webhook', id },
    subject: job.alerts.findWebhook(lookup, id),
  };
}

/** Deletes a webhook and ends its waiting deliveries. @throws not_found also for a deleted one */
export function deleteWebhook(job: TenantJob, caller: Caller, id: string): WebhookRow {
  return job.door.enter(
    caller,
    'webhook.delete',
    (lookup) => webhookTarget(job, lookup, id),
    (access, row, details) => {
      details.webhook = row.id;
      details.count = endWebhook(job, access, row, 'webhook_deleted');
      return row;
    },
  );
}

/** Deletes the row and ends its waiting deliveries; returns their number. Called inside a use case. */
export function endWebhook(job: TenantJob, access: WriteAccess, row: WebhookRow, cause: string): number {
  const now = job.platform.clock.now();
  job.alerts.deleteWebhook(access, row, now);
  job.dueChanged();
  return job.alerts.giveUp(access, row.id, cause, now);
}

type KeySource = Pick<Webhook, 'id' | 'url' | 'url_bound'>;

/** The key that signs the messages to one webhook. Derived, so that no copy of the database contains it. */
export function webhookKey(job: TenantJob, webhook: KeySource): KeyObject {
  const bytes = keyBytes(job, webhook);
  const key = secretKey(bytes);
  bytes.fill(0);
  return key;
}

/** SECURITY: the key depends on the URL, so a tampered row never makes Keyturn sign for a URL with the secret of another URL (D14). */
function keyBytes(job: TenantJob, { id, url, url_bound }: KeySource): Uint8Array {
  const version = url_bound === 1 ? 'keyturn-webhook-v2' : 'keyturn-webhook-v1';
  const context = new FrameWriter().text(version).text(job.tenant.id).text(id);
  if (url_bound === 1) context.text(url);
  return hmacSha256(job.platform.root.subkey('webhook'), context.peek());
}

function shownSecret(job: TenantJob, webhook: KeySource): SecretValue {
  const bytes = keyBytes(job, webhook);
  const secret = SecretValue.fromText(`whsec_${Buffer.from(bytes).toString('base64')}`);
  bytes.fill(0);
  return secret;
}
