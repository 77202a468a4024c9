// Each kind of alert with all that it says, at the change that raises it; and the facts of a grant after it came.
import { describe, expect, it } from 'vitest';
import type { OAuthConnector } from '../../../rotation/connector.ts';
import { disconnectCredential } from '../../../rotation/grants/disconnect.ts';
import { RefreshEngine } from '../../../rotation/grants/refresh-runs.ts';
import { reviewDue } from '../../../rotation/grants/review.ts';
import { revokeDue } from '../../../rotation/grants/revoke.ts';
import { ALERT_KINDS } from '../../../src/alerts/raise-alert.ts';
import { LIMITS } from '../../../src/base/limits.ts';
import { oauth2Config } from '../../../src/vault/credential-kinds.ts';
import { type PutCredentialInput, putCredential } from '../../../src/vault/put-credential.ts';
import { CONFIG, CRM, consentBench, type Reply, tokens } from '../../kit/consent-bench.ts';
import { START_MS } from '../../kit/vaults.ts';

const at = { environment: 'staging', name: 'crm', precondition: {} };
const DAY = 86_400_000;
const iso = (atMs: number) => new Date(atMs).toISOString();

async function benchOf(changes: Partial<OAuthConnector> = {}) {
  const bench = await consentBench(changes);
  const { vault, sql, clock } = bench.tenant;
  const engine = new RefreshEngine({ ...bench.ports, every: () => () => {} });
  vault.refresher = engine;
  const put = (value: object = {}, given: Partial<PutCredentialInput> = {}) =>
    vault.submit((job) =>
      putCredential(job, bench.admin(), {
        ...at,
        kind: 'oauth2',
        value: {
          access_token: 'a-not-a-real-secret',
          refresh_token: 'r-not-a-real-secret',
          client_secret: 'c-not-a-real-secret',
          expires_in: 3_600,
          ...value,
        },
        connector: CRM.id,
        config: oauth2Config.parse(CONFIG),
        labels: undefined,
        description: undefined,
        expiresAtMs: undefined,
        ...given,
      }),
    );
  const alerts = () =>
    sql
      .all<{ kind: string; facts: string; credential_id: string }>('SELECT kind, facts, credential_id FROM alert ORDER BY rowid')
      .map(({ kind, facts, credential_id }) => {
        const { environment, name, connector, ...told } = JSON.parse(facts);
        expect([environment, credential_id]).toEqual(['staging', bench.row(name).id]);
        expect([CRM.id, null]).toContain(connector);
        return [kind, told];
      });
  const refresh = (...replies: Reply[]) => {
    bench.replies.push(...replies);
    return engine.refreshNow(bench.row('crm').id, 'request', true);
  };
  const disconnect = () =>
    vault.submit((job) => disconnectCredential({ ...bench.ports, job }, bench.admin(), { ...at, revoke: true }));
  return { ...bench, clock, put, alerts, refresh, disconnect };
}

const covered = new Set<string>();
async function raises(bench: Awaited<ReturnType<typeof benchOf>>, work: () => unknown, ...told: [kind: string, facts: object][]) {
  const before = bench.alerts().length;
  await work();
  expect(bench.alerts().slice(before)).toEqual(told);
  for (const [kind] of told) covered.add(kind);
}

describe('an alert', () => {
  it('is raised once for each change of health, and not for the same again', async () => {
    const bench = await benchOf();
    await bench.put();
    const { clock, refresh } = bench;
    clock.pass(1_000);
    const now = START_MS + 1_000;
    const health = (kind: string, before: string, cause: string | null): [string, object] => [
      `credential.${kind}`,
      { before, cause, since: iso(now) },
    ];
    const refused = { status: 401, body: { error: 'invalid_client' } };
    await raises(bench, () => refresh(refused), health('degraded', 'ready', 'invalid_client'));
    await raises(bench, () => refresh(refused));
    await raises(bench, () => refresh(), health('ready', 'degraded', null));
    await raises(
      bench,
      () => refresh({ status: 400, body: { error: 'invalid_grant' } }),
      health('needs_consent', 'ready', 'invalid_grant'),
    );
    expect(bench.row('crm')).toMatchObject({
      health: 'needs_consent',
      health_since: now,
      health_cause: 'invalid_grant',
      refresh_due_at: null,
      review_due_at: now,
    });
    await raises(bench, () => bench.put({ refresh_token: 's' }), health('ready', 'needs_consent', null));
    await raises(bench, bench.disconnect, health('disconnected', 'ready', 'on_request'));
    await raises(bench, bench.disconnect);
  });

  it('is raised when scopes become others than wanted, and when they are as wanted again', async () => {
    const bench = await benchOf();
    await raises(bench, () => bench.put({ scope: 'contacts.read admin b' }), [
      'credential.scopes_changed',
      { missing: 'deals.read', scopes_missing: 1, scopes_extra: 2 },
    ]);
    await raises(bench, () => bench.put({ scope: 'contacts.read admin b' }));
    await raises(bench, () => bench.put({ scope: 'contacts.read deals.read' }), [
      'credential.scopes_changed',
      { missing: '', scopes_missing: 0, scopes_extra: 0 },
    ]);
    expect(bench.facts('crm')).not.toHaveProperty('scopesTold');
  });

  it('is raised when the account is another, by the name of the field alone', async () => {
    const bench = await benchOf({ oauth2: { ...CRM.oauth2!, accountId: 'hub_id' } } as Partial<OAuthConnector>);
    await bench.put();
    const brings = (hub_id: unknown) => () => bench.refresh(tokens({ hub_id }));
    await raises(bench, brings(1));
    await raises(bench, brings(1));
    await raises(bench, brings(2), ['credential.account_changed', { field: 'hub_id' }]);
    await raises(bench, brings(undefined));
    expect(bench.facts('crm')).toMatchObject({ accountId: '2', account: { hub_id: '2' } });
  });

  it('is raised for the first sign of another user of the grant, and no further one', async () => {
    const bench = await benchOf({ oauth2: { ...CRM.oauth2!, refreshTokenRotates: 'never' } } as Partial<OAuthConnector>);
    await bench.put({}, { imported: { from: 'n8n', stillUsedThere: true } });
    await raises(bench, () => bench.refresh(), [
      'credential.used_elsewhere',
      { sign: 'replaced_unexpectedly', since: iso(START_MS) },
    ]);
    await raises(bench, () => bench.refresh());
    expect(bench.facts('crm').guard).toEqual({ sign: 'replaced_unexpectedly', at: START_MS });
    const put = await benchOf();
    await put.put();
    await put.refresh();
    await raises(put, () => put.put({ refresh_token: 'another' }), [
      'credential.used_elsewhere',
      { sign: 'put_while_alive', since: iso(START_MS) },
    ]);
  });

  it('is raised when secrets go elsewhere, and when a grant could not be revoked', async () => {
    const bench = await benchOf({
      revocation: {
        url: 'https://api.crm.example/r',
        method: 'POST',
        authentication: 'none',
        bodyFormat: 'form',
        token: 'refresh',
        ends: 'grant',
      },
    });
    await bench.put();
    const config = oauth2Config.parse({ ...CONFIG, token_endpoint: 'https://proxy.example/t' });
    const hosts = { from_hosts: 'api.crm.example app.crm.example', to_hosts: 'api.crm.example app.crm.example proxy.example' };
    await raises(bench, () => bench.put({}, { config }), ['credential.destination_changed', hosts]);
    await bench.disconnect();
    bench.clock.pass(9_000);
    bench.replies.push({ status: 503, body: '' });
    await raises(bench, () => revokeDue(bench.ports), ['credential.exposed', { cause: 'http_5xx', since: iso(START_MS) }]);
  });

  it('is raised before an end, at it, and when it went away', async () => {
    const bench = await benchOf();
    const { clock, ports } = bench;
    const endsAt = START_MS + 7 * DAY;
    const key = (expiresAtMs: number) =>
      bench.put({}, { kind: 'api_key', value: { key: 'k' }, connector: undefined, config: undefined, expiresAtMs });
    await key(endsAt);
    const told = (days_left: number, due = `before ${iso(endsAt).slice(0, 10)}`) => ({
      ends_at: iso(endsAt),
      days_left,
      cause: 'end_date',
      certain: true,
      remedy: `Put a new value with a later end date ${due}; after it the value is still served, but the provider may reject it.`,
    });
    await raises(bench, () => reviewDue(ports), ['credential.ends_soon', told(7)]);
    clock.atMs = endsAt - DAY;
    await raises(bench, () => reviewDue(ports), ['credential.ends_soon', told(1)]);
    clock.atMs = endsAt;
    await raises(bench, () => reviewDue(ports), [
      'credential.expired',
      told(0, `at once (the end was ${iso(endsAt).slice(0, 10)})`),
    ]);
    await key(endsAt + 60 * DAY);
    await raises(bench, () => reviewDue(ports), ['credential.ready', { before: 'expired', cause: null, since: iso(endsAt) }]);
  });

  it('is raised for the risk of too many grants of one account, also where another end is known, and dated from then', async () => {
    const lifetimes = { absoluteSeconds: 100 * 86_400, cap: { count: 2, note: 'The oldest ends.' } };
    const bench = await benchOf({ lifetimes });
    const { clock, ports } = bench;
    await bench.connect('crm');
    await reviewDue(ports);
    expect(bench.row('crm').grant_ends_at).toBe(START_MS + 100 * DAY);
    clock.pass(DAY);
    await bench.connect('other');
    const before = bench.alerts().length - 1;
    await reviewDue(ports);
    const now = START_MS + DAY;
    const remedy = expect.stringContaining('The oldest ends.');
    const risk = { ends_at: iso(now), days_left: 0, cause: 'token_cap', certain: false, remedy };
    expect(bench.alerts().slice(before + 1)).toEqual([['credential.ends_soon', risk]]);
    expect(bench.row('crm').grant_ends_at).toBe(now);
    clock.pass(DAY);
    await reviewDue(ports);
    expect(bench.alerts().slice(before + 1)).toHaveLength(1);
    expect(bench.row('crm').grant_ends_at).toBe(now);
  });

  it('of every kind about a credential is among these', () => {
    // Of a key: test/rotation/keys (rotation, readers, overdue).
    const ofKeys = ['credential.rotation_failed', 'credential.readers_late', 'credential.rotation_overdue'];
    const others = ['clock.jumped', 'state.damaged', ...ofKeys];
    expect([...covered].sort()).toEqual(ALERT_KINDS.filter((kind) => !others.includes(kind)).toSorted());
  });
});

describe('what is known of a grant', () => {
  it('after a put is where it came from, and after another grant nothing of the one before', async () => {
    const bench = await benchOf();
    await bench.put({ scope: 'contacts.read deals.read' }, { imported: { from: 'n8n', stillUsedThere: true } });
    const { fingerprint } = bench.facts('crm');
    const imported = { importedAt: START_MS, importedFrom: 'n8n', stillUsedThere: true };
    const scopes = { alwaysScope: 'offline', grantedScope: 'contacts.read deals.read', scopeSource: 'answer' };
    expect(bench.facts('crm')).toEqual({ ...imported, ...scopes, fingerprint });
    await bench.refresh();
    const learnt = { refreshedAt: START_MS, account: { hub_id: '4711' } };
    const refreshed = { ...scopes, grantedScope: 'offline contacts.read deals.read' };
    expect(bench.facts('crm')).toEqual({ ...imported, ...refreshed, ...learnt, fingerprint: expect.any(String) });
    expect(bench.facts('crm').fingerprint).not.toBe(fingerprint);
    bench.clock.pass(LIMITS.importPutMs);
    await bench.put({}, { imported: { from: 'zapier', stillUsedThere: false } });
    expect(bench.facts('crm'), 'another grant').toEqual({
      importedAt: START_MS + LIMITS.importPutMs,
      importedFrom: 'zapier',
      alwaysScope: 'offline',
      fingerprint,
    });
  });

  it('that a key renews has no fingerprint of a token that it does not have', async () => {
    const bench = await benchOf({
      oauth2: { ...CRM.oauth2!, renewal: { kind: 'client_credentials' } },
    } as Partial<OAuthConnector>);
    await bench.put({ access_token: undefined, refresh_token: undefined, expires_in: undefined });
    await bench.refresh(tokens({ refresh_token: undefined }));
    expect(bench.row('crm')).toMatchObject({ current_version: 2, health: 'ready' });
    expect(bench.facts('crm')).not.toHaveProperty('fingerprint');
  });

  it('of the same refresh token stays, whatever else a put brings', async () => {
    const bench = await benchOf();
    await bench.put({ scope: 'contacts.read deals.read' });
    const before = bench.facts('crm');
    bench.clock.pass(5);
    await bench.put({ access_token: 'b' });
    expect(bench.facts('crm')).toEqual(before);
    expect(bench.row('crm')).toMatchObject({ current_version: 2, health: 'ready', health_since: START_MS });
  });
});
