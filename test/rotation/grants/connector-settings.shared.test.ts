import { describe, expect, it } from 'vitest';
import { connectors } from '../../../rotation/catalog.ts';
import { ResolvedConnectors } from '../../../rotation/grants/connector-settings.ts';
import type { CredentialRow } from '../../../src/cell/credentials.ts';

const row = (connector: string, config: object, facts: object = {}): CredentialRow =>
  ({ connector, config: JSON.stringify(config), grant_facts: JSON.stringify(facts) }) as CredentialRow;
const APP = { client_id: 'app', token_endpoint: 'https://provider.example/token' };

describe('what credentials are resolved with', () => {
  it('is worked out once for all grants of one app, whatever else is known of each', () => {
    const resolved = new ResolvedConnectors(connectors);
    const first = resolved.of(row('generic-oauth2', APP, { refreshedAt: 1 }));
    expect(first?.oauth2.tokenEndpoint).toBe(APP.token_endpoint);
    expect(resolved.of(row('generic-oauth2', APP, { refreshedAt: 2 }))).toBe(first);
  });

  it('is never taken from another connector, other settings or another account', () => {
    const resolved = new ResolvedConnectors(connectors);
    const first = resolved.of(row('generic-oauth2', APP, { account: { site: 'a' } }));
    const others = [
      row('generic-oauth2', APP, { account: { site: 'b' } }),
      row('generic-oauth2', { ...APP, token_endpoint: 'https://other.example/token' }, { account: { site: 'a' } }),
      row('asana-oauth', { client_id: 'app' }, { account: { site: 'a' } }),
    ];
    const tokenEndpoints = others.map((other) => resolved.of(other)?.oauth2.tokenEndpoint);
    expect(tokenEndpoints[0]).toBe(APP.token_endpoint);
    expect(resolved.of(others[0] as CredentialRow)).not.toBe(first);
    expect(tokenEndpoints[1]).toBe('https://other.example/token');
    expect(tokenEndpoints[2]).toMatch(/^https:\/\/app\.asana\.com\//);
  });

  it('is nothing where the connector is gone, or cannot work with what the credential says', () => {
    const resolved = new ResolvedConnectors(connectors);
    expect(resolved.of(row('gone', APP))).toBeUndefined();
    for (let i = 0; i < 2; i++) expect(resolved.of(row('generic-oauth2', { client_id: 'app' }))).toBeUndefined();
  });
});
