// A connector resolved with the settings of a credential, whole: each part of it by each setting that reaches it.
import { describe, expect, it } from 'vitest';
import type { AssertionSpec, OAuthConnector, Parameter } from '../../../rotation/connector.ts';
import { boundEgress, destinationsOf } from '../../../rotation/oauth2/destinations.ts';
import { checkParameter, isOwnHost, type OAuth2Settings, resolveConnector } from '../../../rotation/oauth2/settings.ts';
import { answerOf, GENERIC, requestTo } from '../kit.ts';

const CRM: OAuthConnector = {
  id: 'crm',
  title: 'CRM',
  kind: 'oauth2',
  oauth2: { ...GENERIC, tokenEndpoint: 'https://api.crm.example/token', hosts: ['api.crm.example', '*.crm.example'] },
};
const refusal = (pointer: string) => expect.objectContaining({ code: 'invalid_request', pointer });
const made = (connector: Partial<OAuthConnector>, settings: OAuth2Settings = {}) =>
  resolveConnector({ ...CRM, ...connector }, settings);

describe('a connector without anything but a token endpoint', () => {
  it('is resolved to that, whole', () => {
    expect(made({})).toStrictEqual({
      id: 'crm',
      places: ['https://api.crm.example/'],
      movedPlaces: [],
      consent: undefined,
      introspection: undefined,
      revocation: undefined,
      probe: undefined,
      oauth2: CRM.oauth2,
      lifetimes: {},
      hosts: ['api.crm.example', '*.crm.example'],
    });
  });

  it('has the standard ways at endpoints of the credential’s own', () => {
    const { revocation, introspection } = made(
      {},
      { revocationEndpoint: 'https://a.example/r', introspectionEndpoint: 'https://a.example/i' },
    );
    const asClient = {
      authentication: 'client_secret_basic',
      assertionAudience: CRM.oauth2.tokenEndpoint,
      method: 'POST',
      bodyFormat: 'form',
      tokenParameter: 'token',
    };
    expect(revocation).toStrictEqual({
      ...asClient,
      url: 'https://a.example/r',
      token: 'refresh',
      sendsHint: true,
      ends: 'grant',
    });
    expect(introspection).toStrictEqual({
      ...asClient,
      url: 'https://a.example/i',
      fields: { active: 'active', scope: 'scope', expiresAt: 'exp' },
    });
  });

  it('says as whom an assertion is meant, where the provider has another name', () => {
    const oauth2 = { ...CRM.oauth2, assertionAudience: 'aud' };
    expect(made({ oauth2 }, { revocationEndpoint: 'https://a.example/r' }).revocation).toMatchObject({
      assertionAudience: 'aud',
    });
  });
});

describe('a figure of the credential', () => {
  it('holds over any answer, which the connector’s own does not', () => {
    const adjustable = ['accessTokenTtlSeconds', 'tokenEndpoint'] as const;
    expect(made({ adjustable }, { adjust: { accessTokenTtlSeconds: 5 } }).oauth2).toStrictEqual({
      ...CRM.oauth2,
      accessTokenTtlSeconds: 5,
      accessTokenTtlIsSet: true,
    });
    const declared = { ...CRM.oauth2, accessTokenTtlSeconds: 7 };
    expect(made({ oauth2: declared, adjustable }).oauth2).toStrictEqual(declared);
  });

  it('is refused by its name where the connector does not let it be set', () => {
    expect(() => made({ adjustable: ['bodyFormat'] }, { adjust: { accessTokenTtlSeconds: 5 } })).toThrow(
      refusal('/config/access_token_ttl_seconds'),
    );
    expect(() => made({}, { adjust: { bodyFormat: 'json' } })).toThrow(refusal('/config/body_format'));
  });
});

describe('a consent', () => {
  const consent = { authorizeEndpoint: 'https://app.crm.example/a', pkce: 'S256' } as const;

  it('is resolved with the endpoint and the issuer of the credential, if it has any', () => {
    expect(made({ consent }).consent).toStrictEqual(consent);
    expect(made({ consent }, { authorizeEndpoint: 'https://id.example/a', issuer: 'https://id.example' }).consent).toStrictEqual({
      ...consent,
      authorizeEndpoint: 'https://id.example/a',
      issuer: 'https://id.example',
    });
    expect(made({ consent: { ...consent, issuer: 'https://crm.example' } }).consent).toMatchObject({
      issuer: 'https://crm.example',
    });
    expect(made({}, { authorizeEndpoint: 'https://id.example/a' }).consent).toBeUndefined();
  });

  it('goes where the hosts were moved, and so does its list of places', () => {
    const choice = {
      url: 'https://api.crm.example/sites',
      title: '',
      items: '',
      idField: 'id',
      labelField: 'id',
      accountField: 'site',
    };
    const { consent: found } = made({ consent: { ...consent, choice } }, { sandbox: 'http://127.0.0.1:9/' });
    expect(found?.authorizeEndpoint).toBe('http://127.0.0.1:9/app.crm.example/a');
    expect(found?.choice).toStrictEqual({ ...choice, url: 'http://127.0.0.1:9/api.crm.example/sites' });
  });

  it('stays a template where the person tells the rest, and is refused at its own setting where it leads nowhere', () => {
    const slug: Parameter = { name: 'slug', title: 'Slug', shape: 'label', from: 'consent' };
    const template = 'https://{slug}.crm.example/a';
    const asked = { parameters: [slug], consent: { ...consent, authorizeEndpoint: template } };
    expect(made(asked).consent?.authorizeEndpoint).toBe(template);
    expect(made(asked, { parameters: { slug: 'acme' } }).consent?.authorizeEndpoint).toBe('https://acme.crm.example/a');
    expect(made({ consent: { ...consent, authorizeEndpoint: '' } }).consent?.authorizeEndpoint).toBe('');
    expect(() => made({ consent }, { authorizeEndpoint: 'nowhere' })).toThrow(refusal('/config/authorization_endpoint'));
  });
});

describe('a parameter', () => {
  const label: Parameter = { name: 'slug', title: 'Slug', shape: 'label' };
  const host: Parameter = { name: 'host', title: 'Host', shape: 'host' };
  const inToken = (parameter: Parameter): Partial<OAuthConnector> => ({
    parameters: [parameter],
    oauth2: { ...CRM.oauth2, tokenEndpoint: `https://x.example/{${parameter.name}}` },
  });

  it.each(['a', 'A1', 'a-b_c', 'a'.repeat(63)])('that is a label may be %s', (value) =>
    expect(checkParameter(label, value)).toBe(value),
  );
  it.each(['a', 'a.example', 'a.example:1', 'a.b-c.example:65535', `${'a'.repeat(63)}.example`])(
    'that is a host may be %s',
    (value) => expect(checkParameter(host, value)).toBe(value),
  );
  it('is refused by its shape, and by the list it is one of', () => {
    expect(() => checkParameter(label, undefined)).toThrow(refusal('/config/parameters/slug'));
    expect(() => checkParameter(label, 'a.b')).toThrow(refusal('/config/parameters/slug'));
    expect(() => checkParameter(host, 'a..b')).toThrow(refusal('/config/parameters/host'));
    const listed = { ...label, values: ['eu', 'us'] };
    expect(checkParameter(listed, 'us')).toBe('us');
    expect(() => checkParameter(listed, 'ap')).toThrow(refusal('/config/parameters/slug'));
  });

  it('has its default, and no name that the connector does not have', () => {
    expect(made(inToken({ ...label, default: 'eu' })).oauth2.tokenEndpoint).toBe('https://x.example/eu');
    expect(made(inToken({ ...label, default: 'eu' }), { parameters: { slug: 'us' } }).oauth2.tokenEndpoint).toBe(
      'https://x.example/us',
    );
    expect(() => made(inToken(label), { parameters: { slug: 'eu', other: 'x' } })).toThrow(refusal('/config/parameters'));
    expect(() => made({}, { parameters: { other: 'x' } })).toThrow(refusal('/config/parameters'));
  });

  it.each([
    [undefined, false, true],
    [undefined, true, true],
    ['consent', false, true],
    ['consent', true, false],
    ['callback', false, true],
    ['callback', true, false],
  ] as const)(
    'that comes from %s and is needed for a refresh: while unfinished (%s) it is missed (%s)',
    (from, unfinished, isMissed) => {
      const resolve = () => made(inToken(from === undefined ? label : { ...label, from }), { unfinished }).oauth2.tokenEndpoint;
      if (isMissed) expect(resolve).toThrow(refusal('/config/parameters/slug'));
      else expect(resolve()).toBe('https://x.example/{slug}');
    },
  );
});

describe('the client id in a template', () => {
  it('is written as a part of a URL there, and as it is in a claim', () => {
    const assertion: AssertionSpec = {
      algorithm: 'RS256',
      lifetimeSeconds: 60,
      sentAs: 'parameter',
      subject: '{client_id}',
      audience: 'aud',
    };
    const oauth2 = {
      ...CRM.oauth2,
      tokenEndpoint: 'https://x.example/{client_id}',
      renewal: { kind: 'jwt_bearer', assertion },
    } as const;
    const found = made({ oauth2 }, { clientId: 'a/b' }).oauth2;
    expect(found.tokenEndpoint).toBe('https://x.example/a%2Fb');
    expect(found.renewal).toStrictEqual({ kind: 'jwt_bearer', assertion: { ...assertion, subject: 'a/b' } });
    expect(made({ oauth2 }).oauth2.renewal, 'an empty claim is none').toStrictEqual({
      kind: 'jwt_bearer',
      assertion: { algorithm: 'RS256', lifetimeSeconds: 60, sentAs: 'parameter', audience: 'aud' },
    });
  });

  it('reaches the claims of a way back, and leaves other ways as they are', () => {
    const recovery: AssertionSpec = { algorithm: 'RS256', lifetimeSeconds: 60, sentAs: 'parameter', audience: '{client_id}' };
    const withRenewal = (renewal: NonNullable<OAuthConnector['oauth2']['renewal']>) =>
      made({ oauth2: { ...CRM.oauth2, renewal } }, { clientId: 'c' }).oauth2.renewal;
    expect(withRenewal({ kind: 'refresh_token', recovery })).toStrictEqual({
      kind: 'refresh_token',
      recovery: { ...recovery, audience: 'c' },
    });
    for (const renewal of [{ kind: 'refresh_token' }, { kind: 'client_credentials' }, { kind: 'none' }] as const)
      expect(withRenewal(renewal)).toStrictEqual(renewal);
  });
});

describe('what the provider told of the account', () => {
  const probe = { url: '{account.instance_url}/me', method: 'GET' } as const;
  const at = (instance_url: string) => made({ probe }, { account: { instance_url } }).probe?.url;

  it('moves a call to a host that the connector declares, and to no other', () => {
    expect(at('https://eu.crm.example')).toBe('https://eu.crm.example/me');
    expect(at('https://api.crm.example/path?x#y')).toBe('https://api.crm.example/me');
    for (const origin of [
      'https://evil.example',
      'http://eu.crm.example',
      'https://crm.example',
      'https://evilcrm.example',
      'nonsense',
    ])
      expect(at(origin), origin).toBeUndefined();
    expect(made({ probe }).probe, 'not known yet').toBeUndefined();
  });

  it('is written as a part of a URL elsewhere, and as it is in a parameter', () => {
    const revocation = {
      url: 'https://api.crm.example/{account.hub}',
      method: 'POST',
      authentication: 'none',
      bodyFormat: 'form',
      token: 'refresh',
      extraParameters: { hub: '{account.hub}', fixed: 'x' },
      ends: 'account',
    } as const;
    const found = made({ revocation }, { account: { hub: 'a/b' } }).revocation;
    expect(found).toStrictEqual({
      ...revocation,
      url: 'https://api.crm.example/a%2Fb',
      extraParameters: { hub: 'a/b', fixed: 'x' },
    });
    expect(made({ revocation }).revocation).toBeUndefined();
    const lacking = { ...revocation, url: 'https://api.crm.example/r' };
    expect(made({ revocation: lacking }).revocation, 'a parameter that is not known').toBeUndefined();
    const { extraParameters: _none, ...plain } = lacking;
    expect(made({ revocation: plain }).revocation).toStrictEqual(plain);
  });
});

describe('the hosts that a call may reach', () => {
  const token = (settings: OAuth2Settings, changes: Partial<OAuthConnector> = {}) => {
    const { oauth2, hosts } = made({ adjustable: ['tokenEndpoint'], ...changes }, settings);
    expect(oauth2.hosts).toEqual(hosts);
    return { endpoint: oauth2.tokenEndpoint, hosts };
  };

  it.each<[string, OAuth2Settings, string, readonly string[]]>([
    ['as declared', {}, 'https://api.crm.example/token', ['api.crm.example', '*.crm.example']],
    ['a sandbox alone', { sandbox: 'http://127.0.0.1:9//' }, 'http://127.0.0.1:9/api.crm.example/token', ['127.0.0.1:9']],
    [
      'those of other places beside the declared',
      { baseUrls: { 'api.crm.example': 'https://proxy.example/crm//' } },
      'https://proxy.example/crm/token',
      ['api.crm.example', '*.crm.example', 'proxy.example'],
    ],
    [
      'no other place of a host that is not called',
      { baseUrls: { 'x.example': 'https://proxy.example' } },
      'https://api.crm.example/token',
      ['api.crm.example', '*.crm.example'],
    ],
    [
      'that of an endpoint of its own alone',
      { adjust: { tokenEndpoint: 'https://own.example/t?a=b' } },
      'https://own.example/t?a=b',
      ['own.example'],
    ],
  ])('are %s', (_what, settings, endpoint, hosts) => expect(token(settings)).toEqual({ endpoint, hosts }));

  it('are those of its endpoints where the connector declares none, each once', () => {
    const probe = { url: 'https://me.example/', method: 'GET' } as const;
    const oauth2 = { ...CRM.oauth2, hosts: [] };
    expect(made({ oauth2, probe }).hosts).toEqual(['api.crm.example', 'me.example']);
    expect(made({ oauth2, probe: { ...probe, url: 'https://api.crm.example/me' } }).hosts).toEqual(['api.crm.example']);
  });

  it('do not hold one whose name is not known yet', () => {
    const slug: Parameter = { name: 'slug', title: 'Slug', shape: 'label', from: 'consent' };
    const oauth2 = { ...CRM.oauth2, hosts: ['api.crm.example', '{slug}.crm.example'] };
    const changes = { parameters: [slug], oauth2 };
    expect(token({ unfinished: true }, changes).hosts).toEqual(['api.crm.example']);
    expect(token({ parameters: { slug: 'acme' } }, changes).hosts).toEqual(['api.crm.example', 'acme.crm.example']);
  });

  it('are none where an endpoint or its other place is no URL', () => {
    expect(() => token({ adjust: { tokenEndpoint: 'nowhere' } })).toThrow(refusal('/config/token_endpoint'));
    expect(() => token({ sandbox: 'nowhere' })).toThrow(refusal('/config/token_endpoint'));
    expect(() => token({}, { oauth2: { ...CRM.oauth2, tokenEndpoint: '' } })).toThrow(refusal('/config/token_endpoint'));
    expect(() => token({}, { oauth2: { ...CRM.oauth2, tokenEndpoint: '{account.x}/t' } })).toThrow(
      refusal('/config/token_endpoint'),
    );
  });
});

describe('what is announced', () => {
  it('concerns the endpoints that it names, and all where it names none', () => {
    const [all, ours, others] = ['', 'crm.example/token', 'other.example'].map((ofTokenEndpoint) => ({
      at: '2027-01-01',
      ends: 'x',
      remedy: 'y',
      ...(ofTokenEndpoint === '' ? {} : { ofTokenEndpoint }),
    }));
    const lifetimes = { idleSeconds: 5, scheduled: [all!, ours!, others!] };
    expect(made({ lifetimes }).lifetimes).toStrictEqual({ idleSeconds: 5, scheduled: [all, ours] });
    expect(made({ lifetimes: { idleSeconds: 5 } }).lifetimes).toStrictEqual({ idleSeconds: 5 });
  });
});

describe('a host is the connector’s own', () => {
  const slug: Parameter = { name: 'slug', title: 'Slug', shape: 'label' };
  const host: Parameter = { name: 'host', title: 'Host', shape: 'host', default: 'login.crm.example' };
  const bare: Parameter = { name: 'bare', title: 'Host', shape: 'host' };
  const connector: OAuthConnector = {
    ...CRM,
    parameters: [slug, host, bare],
    oauth2: {
      ...CRM.oauth2,
      hosts: [
        'API.crm.example',
        '*.data.example',
        '{slug}.my.example',
        '{host}',
        '{bare}',
        '{slug}.{slug}.two.example',
        '{slug}',
      ],
    },
    consent: { authorizeEndpoint: 'https://app.crm.example/{slug}', pkce: 'S256' },
  };

  it.each([
    'api.crm.example',
    'a.data.example',
    'a.b.data.example',
    'acme.my.example',
    'a_b.my.example',
    'login.crm.example',
    'app.crm.example',
  ])('%s', (name) => {
    expect(isOwnHost(connector, name)).toBe(true);
  });
  it.each([
    'crm.example',
    'xapi.crm.example',
    '.data.example',
    'data.example',
    'xdata.example',
    '.my.example',
    'my.example',
    'a.b.my.example',
    'acme.my.example.evil.example',
    'evil.example',
    'a.b.two.example',
    'any',
    'undefined',
    `${'a'.repeat(64)}.my.example`,
  ])('but not %s', (name) => {
    expect(isOwnHost(connector, name)).toBe(false);
  });
});

describe('the way out for secrets', () => {
  const resolved = made({
    consent: {
      authorizeEndpoint: 'https://app.crm.example/a',
      pkce: 'S256',
      choice: { url: 'https://api.crm.example/sites', title: '', items: '', idField: '', labelField: '', accountField: '' },
    },
    probe: { url: 'https://api.crm.example/me?x=y', method: 'GET' },
    introspection: {
      url: 'https://api.crm.example/i',
      method: 'POST',
      authentication: 'none',
      bodyFormat: 'form',
      tokenParameter: 't',
      fields: {},
    },
    revocation: {
      url: 'https://api.crm.example/r',
      method: 'POST',
      authentication: 'none',
      bodyFormat: 'form',
      token: 'refresh',
      ends: 'grant',
    },
  });

  it('is told as places, sorted and once each, with where browsers go', () => {
    expect(destinationsOf(resolved)).toEqual([
      'https://api.crm.example/i',
      'https://api.crm.example/me',
      'https://api.crm.example/r',
      'https://api.crm.example/sites',
      'https://api.crm.example/token',
      'https://app.crm.example/a',
    ]);
    expect(destinationsOf(made({ probe: { url: 'https://api.crm.example/token', method: 'GET' } }))).toEqual([
      'https://api.crm.example/token',
    ]);
    const open = made({
      parameters: [{ name: 'slug', title: '', shape: 'label', from: 'consent' }],
      consent: { authorizeEndpoint: 'https://{slug}.crm.example/a', pkce: 'S256' },
    });
    expect(destinationsOf(open)).toEqual(['https://api.crm.example/token']);
  });

  it('is open to its endpoints with any query, and to nothing else', async () => {
    const sent: string[] = [];
    const send = async ({ url }: { readonly url: string }) => {
      sent.push(url);
      return answerOf(200, {});
    };
    const way = boundEgress({ send }, resolved);
    const open = ['token', 'i', 'r', 'sites', 'me?a=b'].map((path) => `https://api.crm.example/${path}`);
    for (const url of open) await way.send(requestTo(url));
    expect(sent).toEqual(open);
    for (const url of [
      'https://app.crm.example/a',
      'https://api.crm.example/',
      'http://api.crm.example/token',
      'https://api.crm.example:1/token',
      '',
      'https://api.crm.example/{token}',
    ])
      await expect(way.send(requestTo(url, { allowedHosts: [] }))).rejects.toMatchObject({ reason: 'host_not_allowed' });
    expect(sent).toHaveLength(open.length);
  });

  it('is closed to a template that nobody filled', async () => {
    const unfilled = made(
      {
        parameters: [{ name: 'slug', title: '', shape: 'label', from: 'consent' }],
        oauth2: { ...CRM.oauth2, tokenEndpoint: 'https://x.example/{slug}' },
      },
      { unfinished: true },
    );
    const way = boundEgress({ send: async () => answerOf(200, {}) }, unfilled);
    await expect(way.send(requestTo('https://x.example/{slug}'))).rejects.toMatchObject({ reason: 'host_not_allowed' });
  });
});
