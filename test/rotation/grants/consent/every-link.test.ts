// What a link may be made of, what its page shows at each stage, and where a browser is sent: whole, and on both sides of each bound.
import { describe, expect, it } from 'vitest';
import type { ChoiceSpec, OAuthConnector, Parameter } from '../../../../rotation/connector.ts';
import { chooseAccount } from '../../../../rotation/grants/consent/choose-account.ts';
import { cancelConnection } from '../../../../rotation/grants/consent/make-link.ts';
import { beginConsent, showConnection } from '../../../../rotation/grants/consent/visit.ts';
import type { ConnectionInput } from '../../../../rotation/grants/consent/wanted.ts';
import { KeyturnError } from '../../../../src/base/errors.ts';
import { LIMITS } from '../../../../src/base/limits.ts';
import { deleteCredential } from '../../../../src/vault/change-credential.ts';
import { type OAuth2Config, oauth2Config } from '../../../../src/vault/credential-kinds.ts';
import { putCredential } from '../../../../src/vault/put-credential.ts';
import { CONFIG, type ConsentBench, CRM, consentBench, tokens } from '../../../kit/consent-bench.ts';
import { putKey } from '../../../kit/vaults.ts';

const place = { environment: 'staging', name: 'crm', precondition: {} };
const config = (given: Partial<OAuth2Config> = {}) => oauth2Config.parse({ ...CONFIG, ...given });

/** `code /pointer`, or `ok`. */
async function refusal(work: () => Promise<unknown>): Promise<string> {
  try {
    await work();
    return 'ok';
  } catch (error) {
    if (!(error instanceof KeyturnError)) throw error;
    return error.pointer === undefined ? error.code : `${error.code} ${error.pointer}`;
  }
}

describe('a link', () => {
  const SLUG: Parameter = { name: 'slug', title: 'Slug', shape: 'label', from: 'consent' };
  const template = { ...CRM.consent!, authorizeEndpoint: 'https://{slug}.crm.example/a' };
  const scopes = (count: number) => [{ name: 'w', scopes: Array.from({ length: count }, (_, i) => `s${i}`) }];

  it.each<[string, Partial<OAuthConnector>, Partial<ConnectionInput>, string]>([
    ['of the usual settings', {}, {}, 'ok'],
    ['without a connector', {}, { connector: undefined }, 'invalid_request /connector'],
    ['of no connector', {}, { connector: 'none' }, 'invalid_request /connector'],
    ['without settings', {}, { config: undefined }, 'invalid_request /config'],
    ['to a sandbox where there is none', {}, { config: config({ sandbox: 'https://sandbox.example' }) }, 'ok'],
    [
      'beside a setting that counts for nothing',
      {},
      { config: config({ base_urls: { 'x.example': 'https://y.example' } }) },
      'invalid_request /config/base_urls',
    ],
    ['of an identity that nobody signs', { consent: { ...CRM.consent!, openid: true } }, {}, 'invalid_request /config/issuer'],
    [
      'of an identity that somebody signs',
      { consent: { ...CRM.consent!, openid: true } },
      { config: config({ issuer: 'https://id.example' }) },
      'ok',
    ],
    [
      'without a place for the browser',
      { consent: { ...CRM.consent!, authorizeEndpoint: '' } },
      {},
      'invalid_request /config/authorization_endpoint',
    ],
    [
      'to a place that is not safe',
      {},
      { config: config({ authorization_endpoint: 'http://app.crm.example/a' }) },
      'invalid_request /config/authorization_endpoint',
    ],
    ['to a place that the person tells', { consent: template, parameters: [SLUG] } as Partial<OAuthConnector>, {}, 'ok'],
    ['without workflows', {}, { config: config({ workflows: [] }) }, 'invalid_request /config/workflows'],
    [
      'without workflows where none can be told',
      { consent: { ...CRM.consent!, scopeParameter: 'none' } },
      { config: config({ workflows: [] }) },
      'ok',
    ],
    ['of as many scopes as may be', {}, { config: config({ workflows: scopes(LIMITS.scopesMaxCount - 1) }) }, 'ok'],
    [
      'of one scope more',
      {},
      { config: config({ workflows: scopes(LIMITS.scopesMaxCount) }) },
      'invalid_request /config/workflows',
    ],
    ['without a secret', {}, { secrets: {} }, 'invalid_request /client_secret'],
    [
      'without a key',
      { oauth2: { ...CRM.oauth2!, clientAuthentication: 'private_key_jwt' } } as Partial<OAuthConnector>,
      {},
      'invalid_request /client_private_jwk',
    ],
    [
      'with a key',
      { oauth2: { ...CRM.oauth2!, clientAuthentication: 'private_key_jwt' } } as Partial<OAuthConnector>,
      { secrets: { client_private_key_pem: 'p' } },
      'ok',
    ],
    [
      'with a key as a document',
      { oauth2: { ...CRM.oauth2!, clientAuthentication: 'private_key_jwt' } } as Partial<OAuthConnector>,
      { secrets: { client_private_jwk: {} } },
      'ok',
    ],
    [
      'of a client without proof',
      { oauth2: { ...CRM.oauth2!, clientAuthentication: 'none' } } as Partial<OAuthConnector>,
      { secrets: {} },
      'ok',
    ],
    ['in no environment', {}, { environment: 'none' }, 'not_found'],
  ])('%s is made, or says which member keeps it', async (_what, changes, input, ends) => {
    const bench = await consentBench(changes);
    expect(await refusal(() => bench.make('crm', input))).toBe(ends);
  });

  it('to a sandbox is refused where the installation has none', async () => {
    const bench = await consentBench();
    Object.assign(bench.ports, { sandboxAllowed: false });
    expect(await refusal(() => bench.make('crm', { config: config({ sandbox: 'https://sandbox.example' }) }))).toBe(
      'invalid_request /config/sandbox',
    );
  });

  it('for what is there fits it: kind, connector, state, and where its secrets went', async () => {
    const bench = await consentBench();
    await putKey(bench.tenant, 'stripe', 'not-a-real-secret');
    await bench.connect('crm');
    const again = (input: Partial<ConnectionInput>, name = 'crm') => refusal(() => bench.make(name, { secrets: {}, ...input }));
    expect(await again({}, 'stripe')).toBe('conflict');
    expect(await again({ connector: 'other' })).toBe('conflict /connector');
    expect(await again({})).toBe('ok');
    expect(await again({ connector: undefined, config: undefined })).toBe('ok');
    const moved = { config: config({ token_endpoint: 'https://proxy.example/t' }) };
    expect(await again(moved)).toBe('invalid_request /token_endpoint'.replace(' /', ' /config/'));
    expect(await again({ ...moved, secrets: { client_secret: 'new' } })).toBe('ok');
    expect(await again({ config: config({ client_id: 'other' }) })).toBe('invalid_request /config/client_id');
    await bench.tenant.vault.submit((job) => deleteCredential(job, bench.admin(), { ...place, recoveryWindowMs: undefined }));
    expect(await again({})).toBe('gone');
  });

  it('asks of settings that are given whether they count, and of stored ones never: a grant that works goes on working', async () => {
    const bench = await consentBench();
    const odd = config({ base_urls: { 'x.example': 'https://y.example' } });
    // Without an engine nobody asked when it was put, as an older build did not.
    await bench.tenant.vault.submit((job) =>
      putCredential(job, bench.admin(), {
        ...place,
        kind: 'oauth2',
        value: { access_token: 'a', refresh_token: 'r', client_secret: 'c' },
        connector: CRM.id,
        config: odd,
        labels: undefined,
        description: undefined,
        expiresAtMs: undefined,
      }),
    );
    expect(await refusal(() => bench.make('crm', { config: odd, secrets: {} }))).toBe('invalid_request /config/base_urls');
    expect(await refusal(() => bench.make('crm', { config: undefined, secrets: {} }))).toBe('ok');
  });

  it('is one of at most so many that are open', async () => {
    const bench = await consentBench();
    const made = [];
    for (let i = 0; i < LIMITS.connectionsOpenMaxCount; i++) made.push(await bench.make('crm', i === 0 ? {} : { secrets: {} }));
    const further = () => refusal(() => bench.make('crm', { secrets: {} }));
    expect(await further()).toBe('conflict');
    const id = made[3]?.connection.id ?? '';
    await bench.tenant.vault.submit((job) => cancelConnection(job, bench.admin(), place, id));
    expect(await further()).toBe('ok');
    expect(await further()).toBe('conflict');
  });

  it('of another secret ends those that relied on the one before, and no other', async () => {
    const bench = await consentBench();
    await bench.connect('crm');
    const plain = await bench.make('crm', { secrets: {} });
    const first = await bench.make('crm', { secrets: { client_secret: 'one' } });
    const second = await bench.make('crm', { secrets: { client_secret: 'two' } });
    expect(
      [plain, first, second].map(({ connection }) => bench.connection(connection.id)).map(({ state, cause }) => [state, cause]),
    ).toEqual([
      ['open', null],
      ['cancelled', 'superseded'],
      ['open', null],
    ]);
    expect(bench.row('crm').pending_version).toBe(4);
    const id = second.connection.id;
    await bench.tenant.vault.submit((job) => cancelConnection(job, bench.admin(), place, id));
    expect(bench.row('crm').pending_version).toBeNull();
  });
});

describe('the page of a link', () => {
  const PARAMETERS: Parameter[] = [
    { name: 'slug', title: 'Slug', shape: 'label', from: 'consent' },
    { name: 'region', title: 'Region', shape: 'label', from: 'consent', default: 'eu' },
    { name: 'fixed', title: 'Fixed', shape: 'label', default: 'x' },
  ];
  const shown = (bench: ConsentBench, link: string, browser?: string) => showConnection(bench.ports, link, () => browser);

  it('says who asks, for whom, for what and where it leads', async () => {
    const bench = await consentBench();
    const { linkToken, connection } = await bench.make('crm', { description: 'For the nightly sync' });
    const ask = {
      kind: 'ask',
      provider: 'Made-up CRM',
      host: 'app.crm.example',
      tenant: 'acme',
      description: 'For the nightly sync',
      scopes: [
        { scope: 'offline', title: 'Stay connected', workflows: [] },
        {
          scope: 'contacts.read',
          title: 'Read contacts',
          workflows: [{ name: 'nightly-sync', why: 'Copies new contacts every night' }],
        },
        {
          scope: 'deals.read',
          title: 'deals.read',
          workflows: [
            { name: 'nightly-sync', why: 'Copies new contacts every night' },
            { name: 'reports', why: undefined },
          ],
        },
      ],
      parameters: [],
      expiresAtMs: connection.expires_at,
      last: undefined,
    };
    expect(shown(bench, linkToken)).toEqual(ask);
    await bench.comeBack(await bench.begin(linkToken), { error: 'access_denied' });
    expect(shown(bench, linkToken)).toEqual({ ...ask, last: { state: 'declined', cause: 'declined' } });
    await bench.comeBack(await bench.begin(linkToken), { error: 'invalid_scope' });
    expect(shown(bench, linkToken)).toEqual({ ...ask, last: { state: 'failed', cause: 'invalid_scope' } });
    bench.tenant.clock.atMs = connection.expires_at - 1;
    expect(shown(bench, linkToken)).toBeDefined();
    bench.tenant.clock.pass(1);
    expect(shown(bench, linkToken)).toBeUndefined();
    expect(shown(bench, 'none')).toBeUndefined();
  });

  it('calls by its host what is not the connector’s own, and nothing where it leads nowhere', async () => {
    const bench = await consentBench();
    const { linkToken } = await bench.make('crm', { config: config({ authorization_endpoint: 'https://id.example/a' }) });
    expect(shown(bench, linkToken)).toMatchObject({ provider: 'id.example', host: 'id.example' });
    const broken = { ...CRM, consent: { ...CRM.consent!, authorizeEndpoint: '' } } as OAuthConnector;
    const plain = await bench.make('other');
    Object.assign(bench.ports, { connectors: new Map([[CRM.id, broken]]) });
    expect(shown(bench, plain.linkToken)).toEqual({ kind: 'broken' });
    Object.assign(bench.ports, { connectors: new Map() });
    expect(shown(bench, plain.linkToken)).toBeUndefined();
  });

  it('asks what the person fills in, with what is known of it, and takes nothing else', async () => {
    const consent = { ...CRM.consent!, authorizeEndpoint: 'https://{slug}.crm.example/{region}/{fixed}' };
    const bench = await consentBench({ consent, parameters: PARAMETERS } as Partial<OAuthConnector>);
    const { linkToken } = await bench.make('crm');
    const values = () => {
      const page = shown(bench, linkToken);
      return page?.kind === 'ask' ? page.parameters.map(({ name, value }) => [name, value]) : page;
    };
    expect(shown(bench, linkToken)).toMatchObject({ host: '*.crm.example', provider: 'Made-up CRM' });
    expect(values()).toEqual([
      ['slug', ''],
      ['region', 'eu'],
    ]);
    const begin = (filledIn: Record<string, string>) => beginConsent(bench.ports, bench.visitor(), linkToken, filledIn);
    expect(await begin({})).toEqual({ kind: 'again', problems: { slug: expect.any(String) } });
    expect(await begin({ slug: 'a.b', region: '/' })).toEqual({
      kind: 'again',
      problems: { slug: expect.any(String), region: expect.any(String) },
    });
    const begun = await begin({ slug: ' acme ', region: '', fixed: 'evil', other: 'x' });
    if (begun.kind !== 'go') throw new Error(begun.kind);
    expect(new URL(begun.url).origin + new URL(begun.url).pathname).toBe('https://acme.crm.example/eu/x');
    expect(values()).toEqual([
      ['slug', 'acme'],
      ['region', 'eu'],
    ]);
  });

  it('leads only where it said: another host since is asked again', async () => {
    const bench = await consentBench();
    const { linkToken } = await bench.make('crm');
    const begin = (host: string) => beginConsent(bench.ports, bench.visitor(), linkToken, { 'leads-to': host });
    expect(await begin('evil.example')).toEqual({ kind: 'again', problems: {} });
    expect(await begin('app.crm.example')).toMatchObject({ kind: 'go' });
  });

  it('is shown to the browser that began it for as long as its attempt, once it is done', async () => {
    const bench = await consentBench();
    const { linkToken, connection } = await bench.make('crm');
    const begun = await bench.begin(linkToken);
    expect(begun.connectionId).toBe(connection.id);
    await bench.comeBack(begun);
    const done = { kind: 'done', provider: 'Made-up CRM', tenant: 'acme' };
    expect(shown(bench, linkToken, begun.browser)).toEqual(done);
    for (const other of [undefined, 'other']) expect(shown(bench, linkToken, other)).toBeUndefined();
    bench.tenant.clock.pass(LIMITS.connectAttemptTtlMs - 1);
    expect(shown(bench, linkToken, begun.browser)).toEqual(done);
    bench.tenant.clock.pass(1);
    expect(shown(bench, linkToken, begun.browser)).toBeUndefined();
  });

  it('can be begun so many times and no more', async () => {
    const bench = await consentBench();
    const { linkToken } = await bench.make('crm');
    for (let i = 0; i < LIMITS.connectAttemptsMaxCount; i++) await bench.begin(linkToken);
    expect(await beginConsent(bench.ports, bench.visitor(), linkToken, {})).toEqual({ kind: 'nowhere' });
    expect(await beginConsent(bench.ports, bench.visitor(), 'none', {})).toEqual({ kind: 'nowhere' });
  });

  it('of settings that cannot be used any more is broken, and that of a put meanwhile ends so', async () => {
    const bench = await consentBench();
    await bench.connect('crm');
    const { linkToken } = await bench.make('crm', { secrets: {} });
    const begun = await bench.begin(linkToken);
    await bench.tenant.vault.submit((job) =>
      putCredential(job, bench.admin(), {
        ...place,
        kind: 'oauth2',
        value: { access_token: 'a', refresh_token: 'r', client_secret: 'c' },
        connector: CRM.id,
        config: config({ client_id: 'other' }),
        labels: undefined,
        description: undefined,
        expiresAtMs: undefined,
      }),
    );
    const sent = bench.sent.length;
    // Never the secret of one with the client of the other: no code is exchanged.
    expect(await bench.comeBack(begun)).toEqual({ kind: 'refused', reason: 'link_ended_meanwhile' });
    expect(bench.sent).toHaveLength(sent);
    const again = await bench.make('crm');
    const broken = { ...CRM, consent: { ...CRM.consent!, authorizeEndpoint: 'http://app.crm.example/a' } } as OAuthConnector;
    Object.assign(bench.ports, { connectors: new Map([[CRM.id, broken]]) });
    expect(await beginConsent(bench.ports, bench.visitor(), again.linkToken, {})).toEqual({ kind: 'broken' });
  });
});

describe('a list of places', () => {
  const choice: ChoiceSpec = {
    url: 'https://api.crm.example/sites',
    title: 'Which?',
    items: '',
    idField: 'a.id',
    labelField: 'name',
    accountField: 'site_id',
  };
  const offered = async (status: number, body: unknown, spec: Partial<ChoiceSpec> = {}) => {
    const bench = await consentBench({ consent: { ...CRM.consent!, choice: { ...choice, ...spec } } } as Partial<OAuthConnector>);
    const { linkToken, connection } = await bench.make('crm');
    const begun = await bench.begin(linkToken);
    bench.replies.push(tokens(), { status, body });
    const end = await bench.comeBack(begun);
    const { choices } = JSON.parse(bench.connection(connection.id).request) as { choices?: { id: string; label: string }[] };
    const choose = (id: string | undefined) => chooseAccount(bench.ports, bench.visitor(), linkToken, () => begun.browser, id);
    return { bench, end: end.kind, choices, choose };
  };
  const site = (id: unknown, name: unknown = 'N') => ({ a: { id }, name });

  it('is read as far as it can be shown, at most a hundred of them', async () => {
    const list = [
      site('one'),
      site(2, ''),
      site('x'.repeat(512)),
      site('x'.repeat(513)),
      site('l', 'n'.repeat(200)),
      site('m', 'n'.repeat(201)),
      site(''),
      site(null),
      site('b\u0000'),
      site('c\u202e'),
      {},
    ];
    expect((await offered(200, list)).choices).toEqual([
      { id: 'one', label: 'N' },
      { id: '2', label: '2' },
      { id: 'x'.repeat(512), label: 'N' },
      { id: 'l', label: 'n'.repeat(200) },
      { id: 'm', label: 'm' },
    ]);
    const many = Array.from({ length: 120 }, (_, i) => site(i));
    expect((await offered(200, many)).choices).toHaveLength(100);
    expect((await offered(200, { in: { list } }, { items: 'in.list' })).choices).toHaveLength(5);
  });

  it.each<[number, unknown]>([
    [201, [site('a'), site('b')]],
    [200, {}],
    [200, []],
    [200, 'nonsense'],
    [200, [site(null)]],
  ])('that is none (%i %j) is asked for again by the person', async (status, body) => {
    const { end, choices, bench, choose } = await offered(status, body);
    expect([end, choices]).toEqual(['choosing', undefined]);
    bench.replies.push({ status: 200, body: [site('a'), site('b')] });
    expect(await choose(undefined)).toEqual({ kind: 'choosing' });
    expect(await choose('c')).toEqual({ kind: 'choosing' });
    expect(await choose('b')).toEqual({ kind: 'connected' });
    expect(bench.facts('crm')).toMatchObject({ account: { site_id: 'b' }, accountId: 'b' });
    expect(bench.row('crm')).toMatchObject({ current_version: 3, previous_version: 2, latest_version: 3 });
    expect(await choose('a')).toEqual({ kind: 'nowhere' });
  });

  it('of one place chooses itself, and is asked for where it is', async () => {
    const { end, bench } = await offered(200, [site('only')]);
    expect(end).toBe('connected');
    expect(bench.facts('crm').account).toMatchObject({ site_id: 'only' });
    expect(bench.sent.at(-1)).toMatchObject({ url: choice.url, method: 'GET', headers: ['accept', 'authorization'] });
  });
});
