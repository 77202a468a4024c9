// Scopes read back at the provider and held against what the workflows need (commitment X2), and the probe of a watched import.
// Every value is made up; not-a-real-secret.
import { describe, expect, it } from 'vitest';
import type { OAuthConnector } from '../../../rotation/connector.ts';
import { reviewDue } from '../../../rotation/grants/review.ts';
import { readGrantedScope } from '../../../rotation/grants/scope-check.ts';
import { LIMITS } from '../../../src/base/limits.ts';
import { compareScopes } from '../../../src/vault/grant-scopes.ts';
import { putCredential } from '../../../src/vault/put-credential.ts';
import type { GrantImport } from '../../../src/vault/put-grant.ts';
import { CONFIG, type ConsentBench, CRM, consentBench, tokens } from '../../kit/consent-bench.ts';

const INTROSPECTION: NonNullable<OAuthConnector['introspection']> = {
  url: 'https://api.crm.example/introspect',
  method: 'POST',
  authentication: 'client_secret_post',
  bodyFormat: 'form',
  tokenParameter: 'token',
  fields: { active: 'active', scope: 'scope' },
};
const PROBE = { url: 'https://api.crm.example/me', method: 'GET' } as const;
const active = (scope: string) => ({ status: 200, body: { active: true, scope } });
const BY_INTROSPECTION = { introspection: INTROSPECTION, scopes: [{ from: 'introspection' }] } as const;

const alerts = (bench: ConsentBench, kind: string) =>
  bench.tenant.sql
    .all<{ facts: string }>('SELECT facts FROM alert WHERE kind = ? ORDER BY at', kind)
    .map(({ facts }) => JSON.parse(facts));
const asked = (bench: ConsentBench) => bench.sent.filter(({ url }) => !url.endsWith('/token')).length;
const scopesOf = (bench: ConsentBench) => compareScopes(bench.row('crm'));
const put = (bench: ConsentBench, value: object = {}, imported?: GrantImport, config: object = {}) =>
  bench.tenant.vault.submit((job) =>
    putCredential(job, bench.admin(), {
      environment: 'staging',
      name: 'crm',
      kind: 'oauth2',
      value: {
        access_token: 'access-not-a-real-secret',
        refresh_token: 'refresh-not-a-real-secret',
        client_secret: 'c-not-a-real-secret',
        expires_in: 3600,
        ...value,
      },
      connector: CRM.id,
      config: { client_id: CONFIG.client_id, workflows: CONFIG.workflows, ...config },
      labels: undefined,
      description: undefined,
      expiresAtMs: undefined,
      precondition: {},
      imported,
    }),
  );

describe('what was granted', () => {
  it('as it was wanted is told to nobody; what the connector itself asks for is never too much', async () => {
    const bench = await consentBench();
    await bench.connect('crm');
    expect(scopesOf(bench)).toMatchObject({ missing: [], extra: [], source: 'answer' });
    expect(alerts(bench, 'credential.scopes_changed')).toEqual([]);
  });

  it('less or more than wanted is told once, exactly and in the case of the provider', async () => {
    const bench = await consentBench();
    bench.replies.push(tokens({ scope: 'offline contacts.read Deals.Read admin' }));
    await bench.connect('crm');
    expect(scopesOf(bench)).toMatchObject({ missing: ['deals.read'], extra: ['Deals.Read', 'admin'] });
    const [told, ...more] = alerts(bench, 'credential.scopes_changed');
    expect(told).toMatchObject({ missing: 'deals.read', scopes_missing: 1, scopes_extra: 2 });
    expect(more).toEqual([]);
    expect(bench.events('stored')[0]?.['details']).toMatchObject({ scopes_missing: 1, scopes_extra: 2 });
  });

  it('is not judged where nobody declared a need or nobody told a scope', async () => {
    const bench = await consentBench();
    await put(bench, { scope: 'everything' }, undefined, { workflows: [] });
    expect(scopesOf(bench)).toMatchObject({ granted: ['everything'], missing: [], extra: [] });
    await put(bench, { refresh_token: 'another-not-a-real-secret' });
    expect(scopesOf(bench)).toMatchObject({ granted: null, source: null, missing: [], extra: [] });
    expect(alerts(bench, 'credential.scopes_changed')).toEqual([]);
  });
});

describe('reading scopes back', () => {
  it('asks the provider with the review and tells what is missing really, once', async () => {
    const bench = await consentBench(BY_INTROSPECTION);
    await bench.connect('crm');
    bench.replies.push(active('offline contacts.read'));
    await reviewDue(bench.ports);
    expect(scopesOf(bench)).toMatchObject({ missing: ['deals.read'], source: 'introspection' });
    expect(alerts(bench, 'credential.scopes_changed')).toHaveLength(1);
    expect(bench.events('scopes_read')).toMatchObject([{ action: 'credential.review' }]);
    expect(JSON.stringify(bench.events())).not.toContain('not-a-real-secret');
  });

  it('asks once a day, and a day that brings nothing new costs one event of asking', async () => {
    const bench = await consentBench(BY_INTROSPECTION);
    bench.replies.push(tokens({ expires_in: 86_400 * 30 }));
    await bench.connect('crm');
    const id = bench.row('crm').id;
    for (let day = 0; day < 3; day++) {
      bench.replies.push(active('offline contacts.read deals.read'));
      await readGrantedScope(bench.ports, id);
      await readGrantedScope(bench.ports, id);
      expect(asked(bench)).toBe(day + 1);
      bench.tenant.clock.pass(LIMITS.reviewEveryMs);
    }
    expect(bench.events('scopes_read')).toHaveLength(1);
    expect(bench.events('looked_at')).toHaveLength(3);
  });

  it('asks again the same day after a new consent', async () => {
    const bench = await consentBench(BY_INTROSPECTION);
    for (const consents of [1, 2]) {
      await bench.connect('crm');
      for (const _ of [1, 2]) {
        bench.replies.push(active('offline contacts.read deals.read'));
        await readGrantedScope(bench.ports, bench.row('crm').id);
      }
      expect(asked(bench)).toBe(consents);
      bench.replies.length = 0;
      bench.tenant.clock.pass(1_000);
    }
  });

  it('tells again when a right comes back, and leaves things alone when the provider does not answer', async () => {
    const bench = await consentBench(BY_INTROSPECTION);
    bench.replies.push(tokens({ expires_in: 86_400 * 30 }));
    await bench.connect('crm');
    const id = bench.row('crm').id;
    const told: number[] = [];
    for (const reply of [active('contacts.read'), { fails: 'timeout' } as const, active('contacts.read deals.read')]) {
      bench.replies.push(reply);
      await readGrantedScope(bench.ports, id);
      told.push(alerts(bench, 'credential.scopes_changed').length);
      bench.tenant.clock.pass(LIMITS.reviewEveryMs);
    }
    expect(told).toEqual([1, 1, 2]);
  });

  it('never asks for a dead grant, an expired token or a connector that knows no better than the answer', async () => {
    const plain = await consentBench();
    await plain.connect('crm');
    await readGrantedScope(plain.ports, plain.row('crm').id);
    expect(asked(plain)).toBe(0);
    const bench = await consentBench(BY_INTROSPECTION);
    await bench.connect('crm');
    bench.tenant.clock.pass(86_400_000);
    await readGrantedScope(bench.ports, bench.row('crm').id);
    expect(asked(bench)).toBe(0);
  });
});

describe('an import', () => {
  const FROM = { from: 'nango', stillUsedThere: false };

  it('is kept as what it is, with where it comes from', async () => {
    const bench = await consentBench();
    await put(bench, {}, { from: 'nango', stillUsedThere: true });
    expect(bench.facts('crm')).toMatchObject({
      importedFrom: 'nango',
      stillUsedThere: true,
      importedAt: bench.tenant.clock.now(),
    });
    expect(bench.tenant.sql.get('SELECT origin FROM credential_version')).toEqual({ origin: 'import' });
  });

  it('whose access token dies early is told once, and only while it is watched', async () => {
    const bench = await consentBench({ probe: PROBE });
    await put(bench, { expires_in: 86_400 * 60 }, FROM);
    const id = bench.row('crm').id;
    for (const status of [200, 500, 401, 401]) {
      bench.replies.push({ status, body: {} });
      await readGrantedScope(bench.ports, id);
      bench.tenant.clock.pass(LIMITS.reviewEveryMs);
    }
    expect(bench.facts('crm').guard?.sign).toBe('token_dead_early');
    expect(alerts(bench, 'credential.used_elsewhere')).toHaveLength(1);
    expect(bench.events('token_refused')).toMatchObject([{ details: { sign: 'token_dead_early' } }, {}]);
    expect(bench.row('crm').health).toBe('ready');
    bench.tenant.clock.pass(LIMITS.importWatchMs);
    await readGrantedScope(bench.ports, id);
    expect(asked(bench)).toBe(4);
  });

  it('is cleared of its sign by a person who consents here', async () => {
    const bench = await consentBench({ probe: PROBE });
    await put(bench, {}, FROM);
    bench.replies.push({ status: 401, body: {} });
    await readGrantedScope(bench.ports, bench.row('crm').id);
    expect(bench.facts('crm').guard).toBeDefined();
    await bench.connect('crm');
    expect(bench.facts('crm').guard).toBeUndefined();
    expect(bench.facts('crm').importedFrom).toBeUndefined();
  });

  it('keeps nothing of the grant that was here before', async () => {
    const bench = await consentBench();
    await bench.connect('crm');
    expect(bench.facts('crm').account).toEqual({ hub_id: '4711' });
    await put(bench, {}, FROM);
    const { consentedAt, account, refreshedAt, fingerprint } = bench.facts('crm');
    expect({ consentedAt, account, refreshedAt }).toEqual({});
    expect(fingerprint).toBeDefined();
  });

  it('put over a grant that was refreshed a minute ago is a sign; the same token again is none', async () => {
    const bench = await consentBench();
    bench.replies.push(tokens({ refresh_token: 'mine-not-a-real-secret' }));
    await bench.connect('crm');
    bench.tenant.clock.pass(60_000);
    await put(bench, { refresh_token: 'mine-not-a-real-secret' });
    expect(bench.facts('crm').guard).toBeUndefined();
    await put(bench, { refresh_token: 'theirs-not-a-real-secret' });
    expect(bench.facts('crm').guard?.sign).toBe('put_while_alive');
    expect(alerts(bench, 'credential.used_elsewhere')).toHaveLength(1);
  });

  it('heals a dead grant and says so', async () => {
    const bench = await consentBench();
    await bench.make('crm');
    expect(bench.row('crm').health).toBe('needs_consent');
    await put(bench);
    expect(bench.row('crm')).toMatchObject({ health: 'ready', health_cause: null });
    expect(alerts(bench, 'credential.ready')).toHaveLength(1);
  });
});
