// The account behind a credential, when the same credential is connected or refreshed with another one.
// Every value is made up; not-a-real-secret.
import { describe, expect, it } from 'vitest';
import type { OAuth2Spec } from '../../../rotation/connector.ts';
import { RefreshEngine } from '../../../rotation/grants/refresh-runs.ts';
import { type ConsentBench, CRM, consentBench, tokens } from '../../kit/consent-bench.ts';
import { connectors } from '../../kit/oauth-connectors.ts';

const WATCHED = { oauth2: { ...(CRM.oauth2 as OAuth2Spec), accountId: 'hub_id' } };

const alerts = (bench: ConsentBench) =>
  bench.tenant.sql
    .all<{ facts: string }>("SELECT facts FROM alert WHERE kind = 'credential.account_changed' ORDER BY at")
    .map(({ facts }) => JSON.parse(facts));

async function reconnect(bench: ConsentBench, hubId: unknown): Promise<void> {
  bench.replies.push(tokens({ hub_id: hubId }));
  await bench.connect('crm');
}

describe('the account of a credential', () => {
  it('is told when somebody connects another one in its place, without a byte of what the provider said', async () => {
    const bench = await consentBench(WATCHED);
    await reconnect(bench, 'portal-one-marker');
    await reconnect(bench, 'portal-one-marker');
    expect(alerts(bench)).toEqual([]);
    await reconnect(bench, 'portal-two-marker');
    expect(alerts(bench)).toMatchObject([{ name: 'crm', field: 'hub_id' }]);
    expect(bench.facts('crm')).toMatchObject({ accountId: 'portal-two-marker', account: { hub_id: 'portal-two-marker' } });
    expect(bench.events('stored').map(({ details }) => (details as { account_changed?: string }).account_changed)).toEqual([
      undefined,
      undefined,
      'hub_id',
    ]);
    expect(JSON.stringify([alerts(bench), bench.events()])).not.toContain('marker');
  });

  it('is told when the provider hands out tokens of another one at a refresh, once', async () => {
    const bench = await consentBench(WATCHED);
    await reconnect(bench, 1);
    const { tenant, ports } = bench;
    const engine = new RefreshEngine({ ...ports, vault: tenant.vault, owner: 'one', every: () => () => {} });
    for (const hubId of [1, 2, 2]) {
      bench.replies.push(tokens({ hub_id: hubId }));
      await engine.refreshNow(bench.row('crm').id, 'request', true);
      tenant.clock.pass(60_000);
    }
    expect(bench.row('crm').current_version).toBe(5);
    expect(alerts(bench)).toHaveLength(1);
  });

  it('is not judged where the answer does not tell it, nor at a connector that does not say what tells it', async () => {
    const silent = await consentBench(WATCHED);
    await reconnect(silent, 1);
    await reconnect(silent, undefined);
    await reconnect(silent, 1);
    expect(alerts(silent)).toEqual([]);
    const unwatched = await consentBench();
    await reconnect(unwatched, 1);
    await reconnect(unwatched, 2);
    expect(alerts(unwatched)).toEqual([]);
  });

  it('is told by a field that the connector reads from the answer', async () => {
    for (const { id, oauth2 } of connectors.values()) {
      if (oauth2.accountId !== undefined) expect(Object.keys(oauth2.accountFields ?? {}), id).toContain(oauth2.accountId);
    }
  });
});
