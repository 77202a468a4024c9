// Where the secrets of a grant are sent, as far as the connector tells, and what counts as a change of it (D14).
import { describe, expect, it } from 'vitest';
import { fail } from '../../src/base/errors.ts';
import { boundSettings, redirection } from '../../src/vault/destinations.ts';
import { grantFingerprint } from '../../src/vault/grant-fingerprint.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { inside, testTenant } from '../kit/vaults.ts';

const config = { client_id: 'c', token_endpoint: 'https://a.example/token' };
const settings = (token_endpoint: string, connector = 'crm', parameters = {}) => ({
  connector,
  config: { client_id: 'c', token_endpoint, parameters },
});

/** A job whose connectors send secrets to the token endpoint, or as `destinationsOf` tells. */
const jobWith = (destinationsOf?: () => readonly string[]) =>
  ({
    refresher: { destinationsOf: destinationsOf ?? ((_name: string, { token_endpoint }: typeof config) => [token_endpoint]) },
  }) as unknown as TenantJob;

describe('the settings to seal with a grant', () => {
  const row = { connector: 'crm', config: JSON.stringify({ ...config, scope: 'free' }) };

  it('have the hosts that the connector tells, and none if nobody can tell', () => {
    expect(boundSettings(jobWith(), row)).toStrictEqual({ connector: 'crm', config, hosts: ['a.example'] });
    for (const job of [jobWith(() => fail('invalid_request', 'no such connector')), {} as TenantJob])
      expect(boundSettings(job, row)).toStrictEqual({ connector: 'crm', config });
    expect(boundSettings(jobWith(), { ...row, connector: null })).toBeUndefined();
  });

  it('are not made if the connector has a defect', () => {
    const broken = jobWith(() => {
      throw new RangeError('a defect');
    });
    expect(() => boundSettings(broken, row)).toThrow('a defect');
  });
});

describe('a redirection', () => {
  const [a, b] = [settings('https://a.example/token'), settings('https://b.example/token')];
  const moved = { from_hosts: 'a.example', to_hosts: 'b.example' };

  it('is a change of the hosts, of the paths or of the connector that moves them', () => {
    expect(redirection(jobWith(), 'oauth2', a, b)).toEqual(moved);
    expect(redirection(jobWith(), 'oauth2', a, { ...b, connector: 'erp' })).toEqual(moved);
    expect(redirection(jobWith(), 'oauth2', a, settings('https://a.example/other'))).toEqual({
      from_hosts: 'a.example',
      to_hosts: 'a.example',
    });
  });

  it('is no change of settings that leads to the same places', () => {
    expect(redirection(jobWith(), 'oauth2', a, a)).toBeUndefined();
    expect(redirection(jobWith(), 'oauth2', a, { ...a, connector: 'erp' })).toBeUndefined();
    expect(redirection(jobWith(), 'oauth2', a, settings('https://a.example/token', 'crm', { region: 'eu' }))).toBeUndefined();
  });

  it('is a change of settings whose places are unknown, before or after it', () => {
    let told = 0;
    for (const gone of [1, 2]) {
      told = 0;
      const job = jobWith(() => (++told === gone ? fail('invalid_request', 'no such connector') : [`https://${told}.example`]));
      const [from, to] = [1, 2].map((nth) => (nth === gone ? 'unknown' : `${nth}.example`));
      expect(redirection(job, 'oauth2', a, b)).toEqual({ from_hosts: from, to_hosts: to });
      expect(redirection(job, 'oauth2', a, a)).toBeUndefined();
    }
  });

  it('is no change of a parameter that each consent sets anew', () => {
    const shop = (name: string) => settings(`https://${name}.example/token`, 'crm', { shop: name });
    const open = new Set(['shop']);
    const told = ['https://a.example', 'https://b.example'];
    const of = (name: string) => settings('https://a.example/token', 'crm', { shop: name });
    expect(
      redirection(
        jobWith(() => told.splice(0, 1)),
        'oauth2',
        of('a'),
        of('b'),
        open,
      ),
    ).toBeUndefined();
    expect(redirection(jobWith(), 'oauth2', shop('a'), shop('b'), open)).toEqual(moved);
  });
});

describe('the fingerprint of a grant', () => {
  it('is 16 bytes as base64url, the same for the same refresh token in every cell of an installation', async () => {
    const [one, other] = [await testTenant(), await testTenant()];
    const job = inside<unknown, TenantJob>(one.vault as never);
    const first = grantFingerprint(job, 'refresh-not-a-real-secret');
    expect(Buffer.from(first, 'base64url')).toHaveLength(16);
    expect(first).toHaveLength(22);
    expect(grantFingerprint(job, 'refresh-not-a-real-secret')).toBe(first);
    expect(grantFingerprint(job, 'another-not-a-real-secret')).not.toBe(first);
    expect(grantFingerprint(inside<unknown, TenantJob>(other.vault as never), 'refresh-not-a-real-secret')).not.toBe(first);
  });
});
