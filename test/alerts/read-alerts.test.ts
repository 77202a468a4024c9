// Pages of alerts and of deliveries: what each holds, when another follows, and the event that counts the rows shown.
import { describe, expect, it } from 'vitest';
import { createWebhook, deleteWebhook } from '../../src/alerts/manage-webhooks.ts';
import { raiseClockAlert } from '../../src/alerts/raise-alert.ts';
import { listAlerts, listDeliveries } from '../../src/alerts/read-alerts.ts';
import { outcomeOf } from '../kit/outcome.ts';
import { actorOf, leftBy } from '../kit/told.ts';
import { changing, testTenant } from '../kit/vaults.ts';

interface Seen {
  readonly rows: readonly { readonly id: string; readonly at: number }[];
  readonly next: string | undefined;
}

/** A tenant with one webhook and `count` alerts, two of each instant, each with a delivery. */
async function bench(count: number) {
  const tenant = await testTenant();
  const { vault, clock } = tenant;
  const admin = tenant.user(['admin'], 'everywhere');
  const input = { url: 'https://hooks.example/', kinds: [], allowLoopback: false };
  const { row: webhook } = await vault.submit((job) => createWebhook(job, admin, input));
  for (let n = 0; n < count; n++) {
    await vault.submit((job) => changing(job, (access) => raiseClockAlert(job, access, { n })));
    if (n % 2 === 1) clock.pass(1_000);
  }
  const alerts = async (after: string, maxRows: number): Promise<Seen> => {
    const page = await vault.submit((job) => listAlerts(job, admin, { credentialId: undefined, after, maxRows }));
    return { next: page.next, rows: page.rows.map(({ id, at }) => ({ id, at })) };
  };
  const deliveries = async (after: string, maxRows: number): Promise<Seen> => {
    const page = await vault.submit((job) => listDeliveries(job, admin, webhook.id, after, maxRows));
    return { next: page.next, rows: page.rows.map(({ id, created_at: at }) => ({ id, at })) };
  };
  return { tenant, admin, webhook, alerts, deliveries };
}

describe.each(['alerts', 'deliveries'] as const)('%s', (list) => {
  it.each([
    [1, [1, 1, 1, 1, 1]],
    [2, [2, 2, 1]],
    [3, [3, 2]],
    [4, [4, 1]],
    [5, [5]],
    [6, [5]],
  ])('in pages of %i: %j rows, newest first, each once, and no page follows the last row', async (maxRows, sizes) => {
    const made = await bench(5);
    const pages: Seen['rows'][] = [];
    let after: string | undefined = '';
    while (after !== undefined && pages.length < 10) {
      const { rows, next }: Seen = await made[list](after, maxRows);
      pages.push(rows);
      after = next;
    }
    expect(pages.map((page) => page.length)).toEqual(sizes);
    const rows = pages.flat();
    expect(new Set(rows.map(({ id }) => id)).size).toBe(5);
    expect(rows).toEqual(rows.toSorted((a, b) => b.at - a.at || (a.id < b.id ? 1 : -1)));
  });

  it.each([
    [2, 2],
    [3, 3],
    [4, 3],
  ])('in a page of at most %i: the event counts the %i rows shown', async (maxRows, count) => {
    const made = await bench(3);
    const { id } = made.webhook;
    const { events } = await leftBy(made.tenant.sql, () => made[list]('', maxRows));
    expect(events).toEqual([
      {
        actor: actorOf(made.admin),
        outcome: 'success',
        reason: expect.any(String),
        ...(list === 'alerts'
          ? { action: 'alert.list', target: { type: 'alerts' }, details: { count } }
          : { action: 'webhook.list', target: { type: 'webhook', id }, details: { webhook: id, count } }),
      },
    ]);
  });
});

it('the deliveries of a deleted webhook are not found', async () => {
  const { tenant, admin, webhook, deliveries } = await bench(1);
  await tenant.vault.submit((job) => deleteWebhook(job, admin, webhook.id));
  expect(await outcomeOf(deliveries('', 10))).toBe('not_found');
});
