import { describe, expect, it } from 'vitest';
import { Grants } from '../../src/sdk/grants.ts';
import type { Call } from '../../src/sdk/transport.ts';

/** What each call would have asked for. */
function recorded() {
  const calls: Call[] = [];
  const ask = async <T>(call: Call): Promise<T> => {
    calls.push(call);
    return { items: [] } as T;
  };
  return { calls, grants: new Grants(ask, () => '/v1/tenants/acme') };
}

const CREDENTIAL = '/v1/tenants/acme/environments/staging/credentials/hubspot';

describe('the client over grants', () => {
  it.each<[string, (grants: Grants) => Promise<unknown>, Call]>([
    ['connectors', (grants) => grants.connectors(), { method: 'GET', path: '/v1/connectors' }],
    [
      'a link',
      (grants) => grants.connect('staging', 'hubspot', { connector: 'hubspot-oauth' }),
      { method: 'POST', path: `${CREDENTIAL}/connections`, body: { connector: 'hubspot-oauth' } },
    ],
    [
      'links',
      (grants) => grants.connections('staging', 'hubspot', { limit: 5 }),
      { method: 'GET', path: `${CREDENTIAL}/connections`, query: { limit: 5 } },
    ],
    [
      'taking a link back',
      (grants) => grants.cancelConnection('staging', 'hubspot', 'con_1'),
      { method: 'DELETE', path: `${CREDENTIAL}/connections/con_1` },
    ],
    [
      'disconnecting, which revokes unless told otherwise',
      (grants) => grants.disconnect('staging', 'hubspot'),
      { method: 'POST', path: `${CREDENTIAL}/disconnections`, body: { revoke: true } },
    ],
    [
      'disconnecting here only',
      (grants) => grants.disconnect('staging', 'hubspot', false),
      { method: 'POST', path: `${CREDENTIAL}/disconnections`, body: { revoke: false } },
    ],
    [
      'the forecast',
      (grants) => grants.forecast({ within_days: 30 }),
      { method: 'GET', path: '/v1/tenants/acme/forecast', query: { within_days: 30 } },
    ],
    ['alerts', (grants) => grants.alerts({ limit: 1 }), { method: 'GET', path: '/v1/tenants/acme/alerts', query: { limit: 1 } }],
    [
      'a webhook for everything',
      (grants) => grants.createWebhook('https://ops.example/keyturn'),
      { method: 'POST', path: '/v1/tenants/acme/webhooks', body: { url: 'https://ops.example/keyturn', kinds: [] } },
    ],
    [
      'a webhook that goes',
      (grants) => grants.deleteWebhook('whk_1'),
      { method: 'DELETE', path: '/v1/tenants/acme/webhooks/whk_1' },
    ],
    [
      'deliveries',
      (grants) => grants.deliveries('whk_1'),
      { method: 'GET', path: '/v1/tenants/acme/webhooks/whk_1/deliveries', query: {} },
    ],
  ])('asks the vault for %s', async (_what, act, expected) => {
    const { calls, grants } = recorded();
    await act(grants);
    expect(calls).toEqual([expected]);
  });
});
