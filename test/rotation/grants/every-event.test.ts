// The whole events of what rotation does by itself or for a person's browser: refresh, revocation, review and consent, each step of each.
// Written by hand from what an event may state; what others can ask for is in test/vault/every-event.test.ts.
import { describe, expect, it } from 'vitest';
import type { ChoiceSpec, OAuthConnector, RevocationSpec } from '../../../rotation/connector.ts';
import { chooseAccount, expireConnectionsDue } from '../../../rotation/grants/consent/choose-account.ts';
import { cancelConnection, discoverEndpoints } from '../../../rotation/grants/consent/make-link.ts';
import { beginConsent } from '../../../rotation/grants/consent/visit.ts';
import { disconnectCredential } from '../../../rotation/grants/disconnect.ts';
import { RefreshEngine } from '../../../rotation/grants/refresh-runs.ts';
import { reviewDue } from '../../../rotation/grants/review.ts';
import { revokeDue } from '../../../rotation/grants/revoke.ts';
import { readGrantedScope } from '../../../rotation/grants/scope-check.ts';
import { LIMITS } from '../../../src/base/limits.ts';
import { deleteCredential } from '../../../src/vault/change-credential.ts';
import { oauth2Config } from '../../../src/vault/credential-kinds.ts';
import { type PutCredentialInput, putCredential } from '../../../src/vault/put-credential.ts';
import { CALLBACK, CONFIG, CRM, consentBench, type Reply, tokens } from '../../kit/consent-bench.ts';
import { actorOf, leftBy, type Told } from '../../kit/told.ts';

const DAY = 86_400_000;
const at = (name: string) => ({ environment: 'staging', name, precondition: {} });

/** A grant that was brought here, in the words of a put. */
const grant = (
  given: Partial<PutCredentialInput> & { readonly value?: object; readonly endpoint?: string } = {},
): PutCredentialInput => {
  const { value, endpoint, ...rest } = given;
  return {
    ...at('crm'),
    kind: 'oauth2',
    value: {
      access_token: 'a-not-a-real-secret',
      refresh_token: 'r-not-a-real-secret',
      client_secret: 'c-not-a-real-secret',
      expires_in: 3_600,
      ...value,
    },
    connector: CRM.id,
    config: oauth2Config.parse({ ...CONFIG, ...(endpoint === undefined ? {} : { token_endpoint: endpoint }) }),
    labels: undefined,
    description: undefined,
    expiresAtMs: undefined,
    ...rest,
  };
};

async function benchOf(changes: Partial<OAuthConnector> = {}) {
  const bench = await consentBench(changes);
  const { vault, sql } = bench.tenant;
  const engine = new RefreshEngine({ ...bench.ports, every: () => () => {} });
  vault.refresher = engine;
  return {
    ...bench,
    engine,
    put: (given: Parameters<typeof grant>[0] = {}) => vault.submit((job) => putCredential(job, bench.admin(), grant(given))),
    left: <T>(work: () => T | Promise<T>) => leftBy(sql, work),
    refresh: () => leftBy(sql, () => engine.refreshNow(bench.row('crm').id, 'request', true)),
    run: () => sql.get<{ id: string }>('SELECT id FROM run ORDER BY rowid DESC')?.id,
    alert: () => sql.get<{ id: string }>('SELECT id FROM alert ORDER BY rowid DESC')?.id,
    target: () => ({ type: 'credential', environment: 'staging', id: bench.row('crm').id, name: 'crm' }),
  };
}
type Bench = Awaited<ReturnType<typeof benchOf>>;

/** An event of the vault's own. */
function own(bench: Bench, action: string, id: string, details: Told['details'], failed?: string): Told {
  const outcome = failed === undefined ? 'success' : 'failure';
  return {
    action,
    actor: { type: 'system', id },
    outcome,
    reason: failed ?? 'allowed',
    target: bench.target(),
    ...(details === undefined ? {} : { details }),
  };
}

describe('the events of a refresh', () => {
  const told = (bench: Bench, details: Told['details'], failed?: string) =>
    own(bench, 'credential.rotate', 'refresh', details, failed);

  it('that works: the intent, and what was stored', async () => {
    const bench = await benchOf();
    await bench.put();
    const { events, whole } = await bench.refresh();
    expect(events).toEqual([told(bench, { step: 'intent' }), told(bench, { step: 'stored', run: bench.run() })]);
    for (const event of whole) {
      expect(event['request']).toMatch(/^refresh:[0-9]+$/);
      expect(event).not.toHaveProperty('source');
    }
  });

  it('that brings other scopes, another account and another token than were expected', async () => {
    const bench = await benchOf({
      oauth2: { ...CRM.oauth2!, accountId: 'hub_id', refreshTokenRotates: 'never' },
    } as Partial<OAuthConnector>);
    await bench.put({ imported: { from: 'elsewhere', stillUsedThere: true } });
    bench.replies.push(tokens());
    await bench.refresh();
    bench.replies.push(tokens({ hub_id: 12, scope: 'contacts.read admin' }));
    const { events } = await bench.refresh();
    const learnt = { account_changed: 'hub_id', scopes_missing: 1, scopes_extra: 1 };
    expect(events[1]).toEqual(told(bench, { step: 'stored', run: bench.run(), ...learnt }));
    const sign = bench.events('stored')[0]?.['details'];
    expect(sign).toMatchObject({ sign: 'replaced_unexpectedly' });
  });

  it.each<[string, Reply[], object, string]>([
    [
      'is refused: the grant is dead',
      [{ status: 400, body: { error: 'invalid_grant' } }],
      { cause: 'invalid_grant' },
      'needs_consent',
    ],
    [
      'is refused: the client is wrong',
      [{ status: 401, body: { error: 'invalid_client' } }],
      { cause: 'invalid_client' },
      'provider_misconfigured',
    ],
    [
      'is refused in unknown words',
      [{ status: 400, body: { error: 'made_up' } }],
      { cause: 'unrecognised_error' },
      'provider_misconfigured',
    ],
    ['fails at the provider', [{ status: 503, body: '' }], { cause: 'http_5xx' }, 'provider_unavailable'],
    ['is throttled', [{ status: 429, body: '' }], { cause: 'http_429' }, 'provider_unavailable'],
    ['is answered by a page', [{ status: 200, body: '<html>' }], { cause: 'no_token_answer' }, 'provider_unavailable'],
    ['does not leave', [{ fails: 'dns_failed' }], { cause: 'dns_failed' }, 'provider_unavailable'],
    ['may not leave', [{ fails: 'address_blocked' }], { cause: 'address_blocked' }, 'provider_misconfigured'],
    [
      'brings a token that must be kept',
      [tokens({ access_token: '' })],
      { cause: 'malformed_token', version: 2 },
      'provider_unavailable',
    ],
  ])('that %s', async (_what, replies, details, code) => {
    const bench = await benchOf();
    await bench.put();
    bench.replies.push(...replies);
    const { events } = await bench.refresh();
    expect(events).toEqual([
      told(bench, { step: 'intent' }),
      told(bench, { step: 'failed', run: bench.run(), ...details }, code),
    ]);
  });

  it('whose answer is lost, and lost once more: it is sent again, and then given up', async () => {
    const bench = await benchOf();
    await bench.put();
    bench.replies.push({ fails: 'connection_lost' }, { fails: 'timeout' });
    const { events } = await bench.refresh();
    const run = bench.run();
    expect(events).toEqual([
      told(bench, { step: 'intent' }),
      told(bench, { step: 'failed', run, cause: 'connection_lost' }, 'provider_unavailable'),
      told(bench, { step: 'intent' }),
      told(bench, { step: 'failed', run, cause: 'answer_lost' }, 'provider_unavailable'),
    ]);
  });

  it('that nobody came back from, twice: the third finds that it may not be sent again', async () => {
    const bench = await benchOf();
    await bench.put();
    const engine = (owner: string) => new RefreshEngine({ ...bench.ports, owner, every: () => () => {} });
    const never = () => new Promise<Reply>(() => {});
    for (const owner of ['one', 'two']) {
      bench.replies.push(never);
      const before = bench.sent.length;
      void engine(owner).refreshNow(bench.row('crm').id, 'request', true);
      await expect.poll(() => bench.sent.length).toBe(before + 1);
      bench.tenant.clock.pass(LIMITS.leaseMs + 1);
    }
    const { events } = await bench.left(() => engine('three').refreshNow(bench.row('crm').id, 'request', true));
    const details = { step: 'failed', run: bench.run(), cause: 'answer_lost' };
    expect(events).toEqual([told(bench, details, 'needs_consent')]);
    expect(bench.row('crm')).toMatchObject({ health: 'needs_consent', health_cause: 'answer_lost' });
  });

  it('of a grant that was put anew meanwhile', async () => {
    const bench = await benchOf();
    await bench.put();
    bench.replies.push(async () => {
      await bench.put({ value: { refresh_token: 's-not-a-real-secret' } });
      return tokens();
    });
    const { events } = await bench.refresh();
    const run = bench.run();
    expect(events.filter(({ action }) => action === 'credential.rotate')).toEqual([
      told(bench, { step: 'intent' }),
      told(bench, { step: 'superseded', run }),
    ]);
  });

  it('that ends an import in its watch', async () => {
    const bench = await benchOf();
    await bench.put({ imported: { from: 'elsewhere', stillUsedThere: false } });
    bench.replies.push({ status: 400, body: { error: 'invalid_grant' } });
    const { events } = await bench.refresh();
    const details = { step: 'failed', run: bench.run(), cause: 'invalid_grant', sign: 'refused_early' };
    expect(events.at(-1)).toEqual(told(bench, details, 'needs_consent'));
  });

  it('whose connector goes elsewhere than on the day of the put', async () => {
    const bench = await benchOf({ adjustable: [] });
    await bench.put();
    const moved = {
      ...CRM,
      oauth2: { ...CRM.oauth2, tokenEndpoint: 'https://new.crm.example/token', hosts: ['new.crm.example'] },
    };
    const connectors = new Map([[CRM.id, moved as OAuthConnector]]);
    const engine = new RefreshEngine({ ...bench.ports, connectors, every: () => () => {} });
    const { events } = await bench.left(() => engine.refreshNow(bench.row('crm').id, 'request', true));
    const hosts = { from_hosts: 'api.crm.example app.crm.example', to_hosts: 'app.crm.example new.crm.example' };
    expect(events[0]).toEqual(told(bench, { step: 'intent', ...hosts }));
  });
});

const RFC_7009: RevocationSpec = {
  url: 'https://api.crm.example/revoke',
  method: 'POST',
  authentication: 'client_secret_post',
  bodyFormat: 'form',
  token: 'refresh',
  tokenParameter: 'token',
  sendsHint: true,
  ends: 'grant',
};
const PROBE = { url: 'https://api.crm.example/me', method: 'GET' } as const;
const OK: Reply = { status: 200, body: {} };

describe('the events of a revocation', () => {
  const told = (bench: Bench, details: Told['details'], failed?: string) =>
    own(bench, 'credential.revoke', 'revoke', { run: bench.run(), version: 1, ...details }, failed);
  const disconnected = async (changes: Partial<OAuthConnector> = {}) => {
    const bench = await benchOf({ revocation: RFC_7009, ...changes });
    await bench.put();
    const { vault } = bench.tenant;
    await vault.submit((job) => disconnectCredential({ ...bench.ports, job }, bench.admin(), { ...at('crm'), revoke: true }));
    return bench;
  };
  const revoked = (bench: Bench) => bench.left(() => revokeDue(bench.ports));

  it.each<[string, Partial<OAuthConnector>, Reply[], object]>([
    ['works', {}, [OK], {}],
    ['works and is proved', { probe: PROBE }, [OK, { status: 401, body: '' }], { cause: 'proved_dead' }],
    ['works although the access token does', { probe: PROBE }, [OK, OK], { cause: 'revoked_access_token_lives_until_expiry' }],
    ['works, and nobody knows of the access token', { probe: PROBE }, [OK, { status: 500, body: '' }], {}],
    [
      'came too late',
      { revocation: { ...RFC_7009, alreadyGone: [{ code: 'gone' }] } },
      [{ status: 400, body: { error: 'gone' } }],
      { cause: 'already_gone' },
    ],
  ])('that %s', async (_what, changes, replies, details) => {
    const bench = await disconnected(changes);
    bench.replies.push(...replies);
    expect((await revoked(bench)).events).toEqual([
      told(bench, { step: 'intent', attempts: 1 }),
      told(bench, { step: 'revoked', attempts: 1, ...details }),
    ]);
  });

  it('that fails until it is given up', async () => {
    const bench = await disconnected();
    const { clock, vault } = bench.tenant;
    bench.replies.push({ status: 503, body: '' });
    expect((await revoked(bench)).events).toEqual([
      told(bench, { step: 'intent', attempts: 1 }),
      told(bench, { step: 'failed', attempts: 1, cause: 'http_5xx' }, 'provider_unavailable'),
    ]);
    expect((await revoked(bench)).events, 'nothing is due').toEqual([]);
    clock.atMs = vault.nextDueAt() ?? 0;
    clock.pass(LIMITS.revokeGiveUpMs);
    bench.replies.push({ fails: 'dns_failed' });
    expect((await revoked(bench)).events).toEqual([
      told(bench, { step: 'intent', attempts: 2 }),
      told(bench, { step: 'given_up', attempts: 2, cause: 'dns_failed' }, 'provider_unavailable'),
    ]);
  });

  const UNUSABLE = { ...CRM, oauth2: { ...CRM.oauth2, tokenEndpoint: '' } } as OAuthConnector;
  it.each([
    ['is gone', new Map()],
    ['cannot be used any more', new Map([[CRM.id, UNUSABLE]])],
  ])('whose connector %s: it waits; of a connector without a way it ends', async (_what, connectors) => {
    const bench = await disconnected();
    const gone = { ...bench.ports, connectors };
    const waits = await bench.left(() => revokeDue(gone));
    const cause = 'connector_unusable';
    expect(waits.events).toEqual([told(bench, { step: 'failed', attempts: 1, cause }, 'provider_unavailable')]);
    bench.tenant.clock.pass(LIMITS.refreshWaitMaxMs);
    const noWay = { ...bench.ports, connectors: new Map([[CRM.id, CRM]]) };
    const ends = await bench.left(() => revokeDue(noWay));
    expect(ends.events).toEqual([told(bench, { step: 'not_possible', attempts: 1, cause: 'no_way_to_revoke' })]);
  });

  it('of a grant that another credential lives on by now', async () => {
    const bench = await disconnected();
    await bench.put({ name: 'other' });
    const { events } = await revoked(bench);
    expect(events).toEqual([told(bench, { step: 'shared', attempts: 0, cause: 'used_by_another' })]);
  });
});

describe('the events of a review', () => {
  const told = (bench: Bench, details: Told['details']) => own(bench, 'credential.review', 'review', details);
  const INTROSPECTION: NonNullable<OAuthConnector['introspection']> = {
    url: 'https://api.crm.example/introspect',
    method: 'POST',
    authentication: 'client_secret_post',
    bodyFormat: 'form',
    tokenParameter: 'token',
    fields: { active: 'active', scope: 'scope', expiresAt: 'exp' },
  };

  it('that finds an end: before it, on the day, and when the date is put off', async () => {
    const bench = await benchOf();
    const { vault, clock } = bench.tenant;
    const dated = (expiresAtMs: number | undefined) =>
      vault.submit((job) =>
        putCredential(job, bench.admin(), {
          ...grant(),
          kind: 'api_key',
          value: { key: 'k' },
          connector: undefined,
          config: undefined,
          expiresAtMs,
        }),
      );
    const end = clock.now() + 7 * DAY;
    await dated(end);
    const reviewed = () => bench.left(() => reviewDue(bench.ports));
    const facts = { cause: 'end_date', ends_at: new Date(end).toISOString() };
    expect((await reviewed()).events).toEqual([told(bench, { alert: bench.alert(), ...facts })]);
    expect((await reviewed()).events).toEqual([]);
    clock.atMs = end;
    expect((await reviewed()).events).toEqual([told(bench, { alert: bench.alert(), ...facts })]);
    await dated(clock.now() + 100 * DAY);
    expect((await reviewed()).events).toEqual([told(bench, { alert: bench.alert() })]);
    expect(bench.tenant.sql.all('SELECT kind FROM alert ORDER BY rowid').map(({ kind }) => kind)).toEqual([
      'credential.ends_soon',
      'credential.expired',
      'credential.ready',
    ]);
  });

  it('that asks what the grant may do: the asking, and what is new of it', async () => {
    const bench = await benchOf({ introspection: INTROSPECTION, scopes: [{ from: 'introspection' }] });
    await bench.put();
    const look = () => bench.left(() => readGrantedScope(bench.ports, bench.row('crm').id));
    bench.replies.push({ status: 200, body: { active: true, scope: 'contacts.read admin' } });
    expect((await look()).events).toEqual([
      told(bench, { step: 'looked_at' }),
      told(bench, { step: 'scopes_read', scopes_missing: 1, scopes_extra: 1 }),
    ]);
    expect((await look()).events, 'once a day').toEqual([]);
  });

  it('that finds the token of a watched import dead', async () => {
    const bench = await benchOf({ probe: PROBE });
    await bench.put({ imported: { from: 'elsewhere', stillUsedThere: true } });
    bench.replies.push({ status: 401, body: '' });
    const { events } = await bench.left(() => readGrantedScope(bench.ports, bench.row('crm').id));
    expect(events).toEqual([
      told(bench, { step: 'looked_at' }),
      told(bench, { step: 'token_refused', sign: 'token_dead_early' }),
    ]);
  });

  it('that learns when a token ends, after the refresh that did not tell', async () => {
    const bench = await benchOf({ introspection: INTROSPECTION });
    await bench.put();
    const exp = Math.floor(bench.tenant.clock.now() / 1_000) + 7_200;
    bench.replies.push(tokens({ expires_in: undefined }), { status: 200, body: { active: true, exp } });
    const { events } = await bench.left(async () => {
      await bench.engine.refreshNow(bench.row('crm').id, 'request', true);
      await bench.engine.stop();
    });
    expect(events.slice(2)).toEqual([told(bench, { step: 'looked_at' }), told(bench, { step: 'expiry_read' })]);
    expect(bench.row('crm').value_expires_at).toBe(exp * 1_000);
  });
});

describe('the events of a consent', () => {
  const choice: ChoiceSpec = {
    url: 'https://api.crm.example/sites',
    title: 'Which site is meant?',
    items: 'sites',
    idField: 'id',
    labelField: 'name',
    accountField: 'site_id',
  };
  const linked = async (changes: Partial<OAuthConnector> = {}) => {
    const bench = await benchOf(changes);
    const made = await bench.make('crm');
    const { id } = made.connection;
    const step = (details: object, failed?: string) =>
      own(bench, 'connection.complete', 'consent', { connection: id, ...details }, failed);
    const refused = (reason: string): Told => ({
      action: 'connection.complete',
      actor: { type: 'anonymous', id: 'unknown' },
      outcome: 'denied',
      reason,
      target: bench.target(),
      details: { connection: id },
    });
    return { bench, made, id, step, refused };
  };

  it('that ends well: begun, exchanging, stored, each with the source of the browser', async () => {
    const { bench, made, step } = await linked();
    const { events, whole } = await bench.left(async () => bench.comeBack(await bench.begin(made.linkToken)));
    expect(events).toEqual([step({ step: 'begun' }), step({ step: 'exchanging' }), step({ step: 'stored', version: 2 })]);
    for (const event of whole)
      expect(event).toMatchObject({ request: expect.stringMatching(/^req_/), source: expect.any(String) });
  });

  it('that brings another account, other scopes and other hosts', async () => {
    const { bench, made } = await linked({ oauth2: { ...CRM.oauth2, accountId: 'hub_id' } } as Partial<OAuthConnector>);
    await bench.comeBack(await bench.begin(made.linkToken));
    const config = oauth2Config.parse({ ...CONFIG, token_endpoint: 'https://proxy.example/token' });
    const again = await bench.make('crm', { config });
    bench.replies.push(tokens({ hub_id: 12, scope: 'offline contacts.read admin' }));
    const { events } = await bench.left(async () => bench.comeBack(await bench.begin(again.linkToken)));
    const details = {
      connection: again.connection.id,
      step: 'stored',
      version: 4,
      account_changed: 'hub_id',
      scopes_missing: 1,
      scopes_extra: 1,
      from_hosts: 'api.crm.example app.crm.example',
      to_hosts: 'app.crm.example proxy.example',
    };
    expect(events.at(-1)).toEqual(own(bench, 'connection.complete', 'consent', details));
  });

  it.each<[string, Readonly<Record<string, string>>, Reply[], string, string, string | undefined]>([
    ['the person declines', { error: 'access_denied' }, [], 'declined', 'declined', undefined],
    ['the provider refuses', { error: 'invalid_scope' }, [], 'failed', 'invalid_scope', 'provider_unavailable'],
    [
      'the provider refuses in words of its own',
      { error: 'made_up' },
      [],
      'failed',
      'refused_by_provider',
      'provider_unavailable',
    ],
  ])('in which %s', async (_what, fields, replies, stepName, cause, failed) => {
    const { bench, made, step } = await linked();
    const begun = await bench.begin(made.linkToken);
    bench.replies.push(...replies);
    const { events } = await bench.left(() => bench.comeBack(begun, fields));
    expect(events).toEqual([step({ step: stepName, cause }, failed)]);
  });

  it.each<[string, Reply, string]>([
    ['is refused', { status: 400, body: { error: 'invalid_grant' } }, 'invalid_grant'],
    ['is lost', { fails: 'connection_lost' }, 'answer_lost'],
  ])('whose exchange %s', async (_what, reply, cause) => {
    const { bench, made, step } = await linked();
    const begun = await bench.begin(made.linkToken);
    bench.replies.push(reply);
    const { events } = await bench.left(() => bench.comeBack(begun));
    expect(events).toEqual([step({ step: 'exchanging' }), step({ step: 'failed', cause }, 'provider_unavailable')]);
  });

  it('that another browser, another state, a late or a spent one comes back to', async () => {
    const { bench, made, refused } = await linked();
    const begun = await bench.begin(made.linkToken);
    const state = new URL(begun.url).searchParams.get('state') ?? '';
    const back = (fields: object, browser = begun.browser) =>
      bench.left(() => bench.callback({ state, code: 'c', ...fields }, browser));
    expect((await back({}, 'other')).events).toEqual([refused('other_browser')]);
    expect((await back({ state: `${state.slice(0, -1)}${state.endsWith('A') ? 'B' : 'A'}` })).events).toEqual([
      refused('state_unknown'),
    ]);
    bench.tenant.clock.pass(LIMITS.connectAttemptTtlMs - 1);
    await bench.left(() => bench.comeBack(begun));
    expect((await back({})).events).toEqual([refused('state_unknown')]);
    expect((await bench.left(() => beginConsent(bench.ports, bench.visitor(), made.linkToken, {}))).events).toEqual([
      refused('link_spent'),
    ]);
    const late = await bench.make('crm');
    const lateBegun = await bench.begin(late.linkToken);
    bench.tenant.clock.pass(LIMITS.connectAttemptTtlMs);
    const { events } = await bench.left(() => bench.comeBack(lateBegun));
    expect(events).toEqual([{ ...refused('attempt_expired'), details: { connection: late.connection.id } }]);
  });

  it('whose link ends while the provider thinks', async () => {
    const { bench, made, id, step, refused } = await linked();
    const begun = await bench.begin(made.linkToken);
    bench.replies.push(async () => {
      await bench.tenant.vault.submit((job) => cancelConnection(job, bench.admin(), at('crm'), id));
      return tokens();
    });
    const { events } = await bench.left(() => bench.comeBack(begun));
    expect(events[0]).toEqual(step({ step: 'exchanging' }));
    expect(events[1]).toMatchObject({ action: 'connection.cancel', details: { connection: id } });
    expect(events.slice(2)).toEqual([refused('link_ended_meanwhile')]);
  });

  it('in which a place is chosen: asked for, offered, chosen; and one alone chooses itself', async () => {
    const { bench, made, step, refused } = await linked({ consent: { ...CRM.consent!, choice } } as Partial<OAuthConnector>);
    const begun = await bench.begin(made.linkToken);
    const sites = [
      { id: 'n-1', name: 'North' },
      { id: 's-2', name: 'South' },
    ];
    bench.replies.push(tokens(), { status: 200, body: { sites } });
    const { events } = await bench.left(() => bench.comeBack(begun));
    expect(events.slice(2)).toEqual([step({ step: 'choices_asked' }), step({ step: 'choices', count: 2 })]);
    const choose = (browser: string, id: string | undefined) =>
      bench.left(() => chooseAccount(bench.ports, bench.visitor(), made.linkToken, () => browser, id));
    expect((await choose('other', 's-2')).events).toEqual([refused('not_choosing')]);
    expect((await choose(begun.browser, 's-2')).events).toEqual([step({ step: 'chosen' })]);
    const again = await bench.make('crm');
    const secondBegun = await bench.begin(again.linkToken);
    bench.replies.push(tokens(), { status: 200, body: { sites: sites.slice(0, 1) } });
    const second = await bench.left(() => bench.comeBack(secondBegun));
    const connection = again.connection.id;
    expect(second.events.slice(2)).toEqual([
      step({ connection, step: 'choices_asked' }),
      step({ connection, step: 'chosen', account_changed: 'site_id' }),
    ]);
  });

  it('whose link, or whose choice, runs out of time; and one whose credential is gone', async () => {
    const { bench, made, id, step } = await linked();
    const { clock, vault } = bench.tenant;
    clock.atMs = made.connection.expires_at - 1;
    expect((await bench.left(() => expireConnectionsDue(bench.ports))).events).toEqual([]);
    clock.pass(1);
    const { events, whole } = await bench.left(() => expireConnectionsDue(bench.ports));
    expect(events).toEqual([step({ step: 'expired' })]);
    expect(whole[0]?.['request']).toMatch(/^consent:[0-9]+$/);
    expect(bench.connection(id)).toMatchObject({ state: 'expired', cause: null });
    const last = await bench.make('crm');
    await vault.submit((job) => deleteCredential(job, bench.admin(), { ...at('crm'), recoveryWindowMs: undefined }));
    clock.atMs = last.connection.expires_at;
    const gone = await bench.left(() => expireConnectionsDue(bench.ports));
    expect(gone.events).toEqual([
      {
        action: 'connection.complete',
        actor: { type: 'system', id: 'consent' },
        outcome: 'success',
        reason: 'credential removed',
        target: { type: 'connection', id: last.connection.id },
      },
    ]);
    expect(gone.whole[0]).toMatchObject({ request: last.connection.id });
    expect(bench.connection(last.connection.id)).toMatchObject({ state: 'expired', cause: 'credential_removed' });
  });

  it('for which an issuer is asked first', async () => {
    const openid = { ...CRM.consent!, authorizeEndpoint: '', openid: true } as const;
    const bench = await benchOf({ consent: openid });
    const caller = bench.admin();
    const input = {
      environment: 'staging',
      name: 'crm',
      connector: CRM.id,
      config: oauth2Config.parse({ ...CONFIG, issuer: 'https://id.crm.example' }),
      secrets: { client_secret: 'c-not-a-real-secret' },
      ttlMs: LIMITS.connectLinkTtlDefaultMs,
      labels: undefined,
      description: undefined,
      redirectUri: CALLBACK,
    };
    bench.replies.push({ status: 404, body: '' }, { status: 404, body: '' });
    const { end, events } = await bench.left(() => discoverEndpoints(bench.ports, caller, input));
    expect(end).toBe('invalid_request');
    expect(events).toEqual([
      {
        action: 'connection.create',
        actor: actorOf(caller),
        outcome: 'success',
        reason: 'allowed',
        target: { type: 'credential', environment: 'staging', name: 'crm' },
        details: { step: 'discovery' },
      },
    ]);
  });
});
