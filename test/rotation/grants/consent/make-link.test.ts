import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { expireConnectionsDue } from '../../../../rotation/grants/consent/choose-account.ts';
import { cancelConnection, listConnections } from '../../../../rotation/grants/consent/make-link.ts';
import { showConnection } from '../../../../rotation/grants/consent/visit.ts';
import { LIMITS } from '../../../../src/base/limits.ts';
import { oauth2Config } from '../../../../src/vault/credential-kinds.ts';
import { describeCredential } from '../../../../src/vault/describe-credential.ts';
import { CALLBACK, CONFIG, CRM, consentBench, tokens } from '../../../kit/consent-bench.ts';
import { outcomeOf } from '../../../kit/outcome.ts';
import { putKey } from '../../../kit/vaults.ts';

const nobody = () => undefined;
const place = { environment: 'staging', name: 'crm' };
const config = (changes: object = {}) => oauth2Config.parse({ ...CONFIG, ...changes });

describe('a link', () => {
  it('makes a credential that waits for consent, and keeps no more of itself than a hash', async () => {
    const bench = await consentBench();
    const made = await bench.make('crm', { description: 'Sales team', labels: { team: 'sales' } });
    expect(made.linkToken).toMatch(/^[A-Za-z0-9_-]{43}$/);
    expect(bench.row('crm')).toMatchObject({
      health: 'needs_consent',
      health_cause: 'not_connected_yet',
      connector: CRM.id,
      description: 'Sales team',
      refresh_due_at: null,
    });
    const row = bench.connection(made.connection.id);
    expect(row).toMatchObject({ state: 'open', attempt: 0, state_hash: null, expires_at: bench.tenant.clock.now() + 86_400_000 });
    expect(Buffer.from(row.link_hash).toString('hex')).toBe(createHash('sha256').update(made.linkToken).digest('hex'));
    const everything = JSON.stringify([bench.tenant.sql.all('SELECT * FROM connection'), bench.events()]);
    expect(everything).not.toContain(made.linkToken);
    expect(everything).not.toContain('client-not-a-real-secret');
  });

  it('asks for the union of what workflows need and what the connector cannot do without, and says why', async () => {
    const bench = await consentBench();
    const { scopes } = await bench.make('crm');
    expect(scopes.map(({ scope, title, workflows }) => [scope, title, workflows.map(({ name }) => name)])).toEqual([
      ['offline', 'Stay connected', []],
      ['contacts.read', 'Read contacts', ['nightly-sync']],
      ['deals.read', 'deals.read', ['nightly-sync', 'reports']],
    ]);
  });

  it.each([
    ['no workflow says what it needs', { config: config({ workflows: [] }) }, 'invalid_request', '/config/workflows'],
    ['the connector is none', { connector: 'nobody' }, 'invalid_request', '/connector'],
    ['a new credential names no connector', { connector: undefined }, 'invalid_request', '/connector'],
    ['nothing proves the client', { secrets: {} }, 'invalid_request', '/client_secret'],
    ['nothing tells the client id', { config: undefined }, 'invalid_request', '/config'],
    ['a setting is not adjustable', { config: config({ body_format: 'json' }) }, 'invalid_request', '/config/body_format'],
  ] as const)('is refused when %s', async (_, input, code, pointer) => {
    const bench = await consentBench();
    await expect(bench.make('crm', input)).rejects.toMatchObject({ code, pointer });
    expect(bench.row('crm')).toBeUndefined();
  });

  it('is refused for a connector without consent, another kind, another connector and an environment that is none', async () => {
    const bench = await consentBench();
    await bench.make('crm');
    await putKey(bench.tenant, 'stripe', 'key-not-a-real-secret');
    expect(await outcomeOf(bench.make('stripe'))).toBe('conflict');
    expect(await outcomeOf(bench.make('crm', { connector: 'another' }))).toBe('conflict');
    expect(await outcomeOf(bench.make('crm', { environment: 'nowhere' }))).toBe('not_found');
    const { consent: _none, ...withoutConsent } = CRM;
    const other = await consentBench();
    (other.ports.connectors as Map<string, typeof CRM>).set(CRM.id, withoutConsent);
    expect(await outcomeOf(other.make('crm'))).toBe('invalid_request');
  });

  it('cannot be had without limit for one credential', async () => {
    const bench = await consentBench();
    for (let count = 0; count < LIMITS.connectionsOpenMaxCount; count++)
      await bench.make('crm', { secrets: {}, ...(count === 0 ? { secrets: { client_secret: 'x-not-a-real-secret' } } : {}) });
    expect(await outcomeOf(bench.make('crm', { secrets: {} }))).toBe('conflict');
  });

  it('changes nothing by being looked at', async () => {
    const bench = await consentBench();
    const made = await bench.make('crm');
    const before = JSON.stringify(bench.connection(made.connection.id));
    for (let looks = 0; looks < 3; looks++) {
      const shown = showConnection(bench.ports, made.linkToken, nobody);
      expect(shown).toMatchObject({ kind: 'ask', provider: 'Made-up CRM', tenant: 'acme', last: undefined });
    }
    expect(JSON.stringify(bench.connection(made.connection.id))).toBe(before);
  });

  it('leads nowhere once it was taken back, has expired or was never there', async () => {
    const bench = await consentBench();
    const [cancelled, expired] = [await bench.make('crm'), await bench.make('crm', { secrets: {}, ttlMs: 300_000 })];
    const { vault } = bench.tenant;
    const cancel = () => vault.submit((job) => cancelConnection(job, bench.admin(), place, cancelled.connection.id));
    expect((await cancel()).state).toBe('cancelled');
    expect((await cancel()).state).toBe('cancelled');
    expect(showConnection(bench.ports, cancelled.linkToken, nobody)).toBeUndefined();
    expect(showConnection(bench.ports, expired.linkToken, nobody)).toMatchObject({ kind: 'ask' });
    bench.tenant.clock.pass(300_001);
    expect(showConnection(bench.ports, expired.linkToken, nobody)).toBeUndefined();
    expect(showConnection(bench.ports, 'A'.repeat(43), nobody)).toBeUndefined();
    await expect(bench.begin(cancelled.linkToken)).rejects.toThrow('nowhere');
    await expect(bench.begin(expired.linkToken)).rejects.toThrow('nowhere');
  });

  it('expires by the clock, with an event, and is listed as it ended', async () => {
    const bench = await consentBench();
    const { vault, clock } = bench.tenant;
    const made = await bench.make('crm', { ttlMs: 300_000 });
    expect(vault.nextDueAt()).toBe(clock.now() + 300_000);
    clock.pass(300_000);
    expect(await expireConnectionsDue(bench.ports)).toBe(1);
    expect(await expireConnectionsDue(bench.ports)).toBe(0);
    const page = await vault.submit((job) => listConnections(job, bench.admin(), place, undefined, 10));
    expect(page.rows.map(({ id, state }) => [id, state])).toEqual([[made.connection.id, 'expired']]);
    expect(bench.events('expired')).toMatchObject([{ actor: { type: 'system', id: 'consent' }, outcome: 'success' }]);
  });

  it('is listed newest first, page by page', async () => {
    const bench = await consentBench();
    const { vault, clock } = bench.tenant;
    const ids: string[] = [];
    for (let count = 0; count < 5; count++) {
      ids.unshift((await bench.make('crm', count === 0 ? {} : { secrets: {} })).connection.id);
      if (count % 2 === 1) clock.pass(10);
    }
    const seen: string[] = [];
    let mark: string | undefined;
    do {
      const page = await vault.submit((job) => listConnections(job, bench.admin(), place, mark, 2));
      seen.push(...page.rows.map(({ id }) => id));
      mark = page.next;
    } while (mark !== undefined);
    expect([...seen].sort()).toEqual([...ids].sort());
    expect(new Set(seen).size).toBe(5);
    expect(seen[0]).toBe(ids[0]);
  });
});

describe('beginning', () => {
  it('sends the browser to the provider with exactly what is asked for', async () => {
    const bench = await consentBench();
    const made = await bench.make('crm');
    const { url, browser } = await bench.begin(made.linkToken);
    const { origin, pathname, searchParams } = new URL(url);
    expect(`${origin}${pathname}`).toBe('https://app.crm.example/authorize');
    expect(Object.fromEntries(searchParams)).toEqual({
      response_type: 'code',
      client_id: 'made-up-client',
      redirect_uri: CALLBACK,
      scope: 'offline contacts.read deals.read',
      state: expect.stringMatching(/^ten_\w{24}\.con_\w{24}\.[\w-]{43}$/),
      code_challenge: expect.stringMatching(/^[\w-]{43}$/),
      code_challenge_method: 'S256',
    });
    const row = bench.connection(made.connection.id);
    expect(row.attempt).toBe(1);
    const kept = JSON.stringify(row) + JSON.stringify(bench.events());
    for (const secret of [browser, searchParams.get('state') ?? '']) expect(kept).not.toContain(secret);
  });

  it('leaves out what a provider does not take, and puts scopes where it wants them', async () => {
    const consent = {
      authorizeEndpoint: 'https://app.crm.example/authorize?tenant=1',
      pkce: 'refused' as const,
      scopeParameter: 'user_scope',
      sendsResponseType: false,
      extraParameters: { audience: 'api', client_id: 'never' },
    };
    const bench = await consentBench({ consent, oauth2: { ...CRM.oauth2!, scopeSeparator: ',' } });
    const { url, browser } = await bench.begin((await bench.make('crm')).linkToken);
    const query = Object.fromEntries(new URL(url).searchParams);
    expect(query).toMatchObject({
      tenant: '1',
      audience: 'api',
      client_id: 'made-up-client',
      user_scope: 'contacts.read,deals.read',
    });
    expect(Object.keys(query).sort()).toEqual(['audience', 'client_id', 'redirect_uri', 'state', 'tenant', 'user_scope']);
    await bench.comeBack({ url, browser });
    expect(bench.sent[0]?.fields.has('code_verifier')).toBe(false);
  });

  it('asks the person for what only they know, and checks it', async () => {
    const parameters = [{ name: 'shop', title: 'Shop', shape: 'label' as const, from: 'consent' as const }];
    const bench = await consentBench({
      parameters,
      oauth2: { ...CRM.oauth2!, tokenEndpoint: 'https://{shop}.crm.example/token', hosts: ['{shop}.crm.example'] },
      consent: { authorizeEndpoint: 'https://{shop}.crm.example/authorize', pkce: 'S256' },
    });
    const { linkToken } = await bench.make('crm');
    expect(showConnection(bench.ports, linkToken, nobody)).toMatchObject({ parameters: [{ name: 'shop', value: '' }] });
    for (const shop of ['', 'evil.example/#', '../x']) await expect(bench.begin(linkToken, { shop })).rejects.toThrow('again');
    const begun = await bench.begin(linkToken, { shop: 'north' });
    expect(new URL(begun.url).host).toBe('north.crm.example');
    expect(await bench.comeBack(begun)).toEqual({ kind: 'connected' });
    expect(bench.sent[0]?.url).toBe('https://north.crm.example/token');
    expect(JSON.parse(bench.row('crm').config)).toMatchObject({ parameters: { shop: 'north' } });
  });

  it('voids what was begun before', async () => {
    const bench = await consentBench();
    const { linkToken } = await bench.make('crm');
    const first = await bench.begin(linkToken);
    const second = await bench.begin(linkToken);
    expect(await bench.comeBack(first)).toMatchObject({ kind: 'refused', reason: 'state_unknown' });
    expect(bench.sent).toHaveLength(0);
    expect(await bench.comeBack(second)).toEqual({ kind: 'connected' });
  });
});

describe('a grant that comes in', () => {
  it('is stored before anything is shown: exchanged with its verifier, readable at once, refreshed in time', async () => {
    const bench = await consentBench();
    const made = await bench.make('crm');
    const begun = await bench.begin(made.linkToken);
    expect(await bench.comeBack(begun)).toEqual({ kind: 'connected' });
    const [exchange] = bench.sent;
    const challenge = new URL(begun.url).searchParams.get('code_challenge');
    expect(
      createHash('sha256')
        .update(exchange?.fields.get('code_verifier') ?? '')
        .digest('base64url'),
    ).toBe(challenge);
    expect(Object.fromEntries(exchange?.fields ?? [])).toMatchObject({
      grant_type: 'authorization_code',
      code: 'code-not-a-real-secret',
      redirect_uri: CALLBACK,
      client_id: 'made-up-client',
      client_secret: 'client-not-a-real-secret',
    });
    expect(bench.row('crm')).toMatchObject({ id: made.located.row.id, health: 'ready', current_version: 2 });
    expect(bench.row('crm').refresh_due_at).toBeLessThan(bench.tenant.clock.now() + 1_800_000);
    expect(bench.connection(made.connection.id)).toMatchObject({ state: 'connected', cause: null });
    expect(bench.facts('crm')).toMatchObject({
      consentedAt: bench.tenant.clock.now(),
      grantedScope: 'offline contacts.read deals.read',
      scopeSource: 'answer',
      account: { hub_id: '4711' },
      fingerprint: expect.stringMatching(/^[\w-]{22}$/),
    });
    const served = await bench.served('crm');
    expect(served).toMatchObject({ access_token: expect.stringMatching(/^access-/), account: { hub_id: '4711' } });
    expect(Object.keys(served)).not.toContain('refresh_token');
  });

  it('leaves its steps in the log with the browser it came from, and no secret', async () => {
    const bench = await consentBench();
    const made = await bench.connect('crm');
    const steps = bench.events().filter(({ action }) => action === 'connection.complete');
    expect(steps.map(({ details }) => (details as { step: string }).step)).toEqual(['begun', 'exchanging', 'stored']);
    for (const event of steps) {
      expect(event).toMatchObject({ actor: { type: 'system', id: 'consent' }, source: expect.any(String) });
      expect(event['details']).toMatchObject({ connection: made.connection.id });
    }
    expect(JSON.stringify(bench.events())).not.toContain('not-a-real-secret');
    expect(JSON.stringify(bench.tenant.sql.all('SELECT * FROM connection'))).not.toContain('not-a-real-secret');
  });

  it('keeps id, history and access rights when it takes the place of a dead one, and raises one alert', async () => {
    const bench = await consentBench();
    await bench.connect('crm');
    const before = bench.row('crm');
    bench.tenant.clock.pass(60_000);
    const again = await bench.make('crm', { connector: undefined, config: undefined, secrets: {} });
    expect(bench.row('crm').health).toBe('ready');
    const alertsBefore = bench.tenant.sql.all('SELECT kind FROM alert').length;
    bench.replies.push(tokens({ hub_id: 4712, scope: undefined }));
    expect(await bench.comeBack(await bench.begin(again.linkToken))).toEqual({ kind: 'connected' });
    const after = bench.row('crm');
    expect(after).toMatchObject({ id: before.id, created_at: before.created_at, current_version: before.current_version + 1 });
    expect(bench.tenant.sql.all('SELECT kind FROM alert').length).toBe(alertsBefore);
    expect(bench.facts('crm')).toMatchObject({ account: { hub_id: '4712' }, grantedScope: 'offline contacts.read deals.read' });
    const { vault } = bench.tenant;
    const located = await vault.submit((job) => describeCredential(job, bench.admin(), 'staging', 'crm'));
    expect(located.row.health).toBe('ready');
  });

  it('leaves a grant that works alone until the person has consented, new settings and client secret included', async () => {
    const bench = await consentBench();
    await bench.connect('crm');
    const before = await bench.served('crm');
    const made = await bench.make('crm', {
      config: config({ client_id: 'another-client' }),
      secrets: { client_secret: 'another-not-a-real-secret' },
    });
    expect(await bench.served('crm')).toEqual(before);
    expect(JSON.parse(bench.row('crm').config)).toMatchObject({ client_id: 'made-up-client' });
    expect(bench.row('crm')).toMatchObject({ current_version: 2, pending_version: 3 });
    await bench.comeBack(await bench.begin(made.linkToken));
    expect(Object.fromEntries(bench.sent.at(-1)?.fields ?? [])).toMatchObject({
      client_id: 'another-client',
      client_secret: 'another-not-a-real-secret',
    });
    expect(JSON.parse(bench.row('crm').config)).toMatchObject({ client_id: 'another-client' });
    expect(bench.row('crm')).toMatchObject({ current_version: 4, pending_version: null });
  });

  it('says at once when less was granted than a workflow needs, and when more was', async () => {
    const bench = await consentBench();
    const made = await bench.make('crm');
    bench.replies.push(tokens({ scope: 'offline contacts.read admin.all' }));
    await bench.comeBack(await bench.begin(made.linkToken));
    expect(bench.tenant.sql.all('SELECT kind FROM alert ORDER BY rowid')).toEqual([
      { kind: 'credential.ready' },
      { kind: 'credential.scopes_changed' },
    ]);
    expect(bench.events('stored')).toMatchObject([{ details: { scopes_missing: 1, scopes_extra: 1 } }]);
  });

  it('forgets a client secret that came with a link nobody used', async () => {
    const bench = await consentBench();
    await bench.connect('crm');
    const made = await bench.make('crm', { secrets: { client_secret: 'another-not-a-real-secret' } });
    const { vault } = bench.tenant;
    await vault.submit((job) => cancelConnection(job, bench.admin(), place, made.connection.id));
    expect(bench.row('crm')).toMatchObject({ current_version: 2, pending_version: null, health: 'ready' });
  });
});
