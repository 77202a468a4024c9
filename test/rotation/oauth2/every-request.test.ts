// Every request that OAuth sends, whole: where it goes, what it carries in which shape, which hosts it may reach, what bounds it, and that
// nothing secret of it is left afterwards.
import { generateKeyPairSync } from 'node:crypto';
import { decodeJwt, decodeProtectedHeader } from 'jose';
import { describe, expect, it, vi } from 'vitest';
import type {
  AssertionSpec,
  Egress,
  EgressAnswer,
  EgressRequest,
  OAuth2Spec,
  RevocationSpec,
} from '../../../rotation/connector.ts';
import { exchangeCode } from '../../../rotation/oauth2/authorization-code.ts';
import type { ClientIdentity } from '../../../rotation/oauth2/client-key.ts';
import { discover } from '../../../rotation/oauth2/discovery.ts';
import { introspectToken } from '../../../rotation/oauth2/introspection.ts';
import { type RenewableGrant, renewGrant } from '../../../rotation/oauth2/mint-token.ts';
import { askProbe } from '../../../rotation/oauth2/probe.ts';
import { revokeGrant } from '../../../rotation/oauth2/revocation.ts';
import type { ResolvedConnector } from '../../../rotation/oauth2/settings.ts';
import { SecretValue } from '../../../src/base/secret-value.ts';
import { answerOf, GENERIC, textOf } from '../kit.ts';

const NOW_MS = 1_700_000_000_999;
const NOW_S = 1_700_000_000;
const clock = { now: () => NOW_MS };
const secret = (text: string) => SecretValue.fromText(`${text}-not-a-real-secret`);
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const PEM = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;

interface Given {
  readonly hosts: readonly string[];
  readonly allowLoopback: boolean;
  readonly json: boolean;
}

const client = ({ allowLoopback }: Given): ClientIdentity => ({
  clientId: 'client',
  clientSecret: secret('client'),
  privateKeyPem: SecretValue.fromText(PEM),
  allowLoopback,
});
const grant = (given: Given): RenewableGrant => ({ ...client(given), refreshToken: secret('refresh'), scope: 'a b' });
const spec = ({ hosts, json }: Given, changes: Partial<OAuth2Spec> = {}): OAuth2Spec => ({
  ...GENERIC,
  clientAuthentication: 'client_secret_post',
  bodyFormat: json ? 'json' : 'form',
  hosts,
  scopeSeparator: ',',
  ...changes,
});
const resolved = (given: Given, changes: Partial<ResolvedConnector> = {}): ResolvedConnector => ({
  id: 'made-up',
  oauth2: spec(given),
  places: [],
  movedPlaces: [],
  consent: undefined,
  introspection: undefined,
  revocation: undefined,
  probe: undefined,
  lifetimes: {},
  hosts: given.hosts,
  ...changes,
});
const ASSERTION: AssertionSpec = {
  algorithm: 'RS256',
  lifetimeSeconds: 300,
  sentAs: 'parameter',
  subject: 'sub',
  audience: 'aud',
};
const REVOCATION: RevocationSpec = {
  url: 'https://provider.example/revoke?v=1',
  method: 'DELETE',
  authentication: 'client_secret_post',
  bodyFormat: 'form',
  token: 'refresh',
  tokenParameter: 'token',
  sendsHint: true,
  extraParameters: { account: '4711' },
  ends: 'grant',
};
const code = (given: Given) => ({
  ...client(given),
  code: 'code',
  redirectUri: 'https://vault.example/back',
  codeVerifier: 'verifier',
  nonce: 'nonce',
});

const MINE = { client_id: 'client', client_secret: 'client-not-a-real-secret' };
const TOKEN_ENDPOINT = 'https://provider.example/token';
const BEARER = 'Bearer access-not-a-real-secret';
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';

interface Row {
  readonly what: string;
  readonly send: (egress: Egress, given: Given) => Promise<unknown>;
  readonly url: string;
  readonly method?: string;
  /** `JWT` stands for a signed assertion. */
  readonly authorization?: string;
  /** Undefined: there is none. */
  readonly body?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  /** The declared hosts count for nothing: it goes to the host of its own URL. */
  readonly isOwnHostOnly?: true;
  /** Its shape is its own, whatever the connector's. */
  readonly shape?: 'form' | 'json';
}

const TABLE: readonly Row[] = [
  {
    what: 'a refresh',
    send: (egress, given) =>
      renewGrant(spec(given, { extraParameters: { resource: 'r', refresh_token: 'x' } }), grant(given), egress, clock, false),
    url: TOKEN_ENDPOINT,
    body: { ...MINE, grant_type: 'refresh_token', refresh_token: 'refresh-not-a-real-secret', scope: 'a,b', resource: 'r' },
  },
  {
    what: 'a refresh without a scope',
    send: (egress, given) => renewGrant(spec(given), { ...grant(given), scope: '' }, egress, clock, true),
    url: TOKEN_ENDPOINT,
    body: { ...MINE, grant_type: 'refresh_token', refresh_token: 'refresh-not-a-real-secret' },
  },
  {
    what: 'a refresh of a client that proves itself by a header',
    send: (egress, given) =>
      renewGrant(
        spec(given, { clientAuthentication: 'client_secret_basic' }),
        { ...grant(given), scope: undefined },
        egress,
        clock,
        false,
      ),
    url: TOKEN_ENDPOINT,
    authorization: `Basic ${btoa('client:client-not-a-real-secret'.replaceAll('-', '%2D'))}`,
    body: { grant_type: 'refresh_token', refresh_token: 'refresh-not-a-real-secret' },
  },
  {
    what: 'a refresh of a client that is its secret',
    send: (egress, given) =>
      renewGrant(
        spec(given, { clientAuthentication: 'client_secret_as_user', extraParameters: { client_id: 'other' } }),
        { ...grant(given), scope: undefined },
        egress,
        clock,
        false,
      ),
    url: TOKEN_ENDPOINT,
    authorization: `Basic ${btoa('client-not-a-real-secret:')}`,
    body: { grant_type: 'refresh_token', refresh_token: 'refresh-not-a-real-secret', client_id: 'other' },
  },
  {
    what: 'a refresh of a client without proof, which names itself as itself alone',
    send: (egress, given) =>
      renewGrant(
        spec(given, { clientAuthentication: 'none', extraParameters: { client_id: 'other' } }),
        { ...grant(given), scope: undefined },
        egress,
        clock,
        false,
      ),
    url: TOKEN_ENDPOINT,
    body: { grant_type: 'refresh_token', refresh_token: 'refresh-not-a-real-secret', client_id: 'client' },
  },
  {
    what: 'a lost refresh that an assertion brings back',
    send: (egress, given) =>
      renewGrant(
        spec(given, { renewal: { kind: 'refresh_token', recovery: { ...ASSERTION, grantType: 'own', scopeIn: 'none' } } }),
        grant(given),
        egress,
        clock,
        true,
      ),
    url: TOKEN_ENDPOINT,
    body: { ...MINE, grant_type: 'own', assertion: 'JWT' },
  },
  {
    what: 'client credentials',
    send: (egress, given) =>
      renewGrant(spec(given, { renewal: { kind: 'client_credentials' } }), grant(given), egress, clock, false),
    url: TOKEN_ENDPOINT,
    body: { ...MINE, grant_type: 'client_credentials', scope: 'a,b' },
  },
  {
    what: 'an assertion beside the client’s proof',
    send: (egress, given) =>
      renewGrant(spec(given, { renewal: { kind: 'jwt_bearer', assertion: ASSERTION } }), grant(given), egress, clock, false),
    url: TOKEN_ENDPOINT,
    body: { ...MINE, grant_type: JWT_BEARER, assertion: 'JWT', scope: 'a,b' },
  },
  {
    what: 'an assertion that is the only proof',
    send: (egress, given) =>
      renewGrant(
        spec(given, {
          clientAuthentication: 'none',
          renewal: { kind: 'jwt_bearer', assertion: { ...ASSERTION, scopeIn: 'claim' } },
          extraParameters: { resource: 'r' },
        }),
        grant(given),
        egress,
        clock,
        false,
      ),
    url: TOKEN_ENDPOINT,
    body: { grant_type: JWT_BEARER, assertion: 'JWT', resource: 'r' },
  },
  {
    what: 'an assertion that is a bearer',
    send: (egress, given) =>
      renewGrant(
        spec(given, { renewal: { kind: 'jwt_bearer', assertion: { ...ASSERTION, sentAs: 'bearer', scopeIn: 'parameter' } } }),
        grant(given),
        egress,
        clock,
        false,
      ),
    url: TOKEN_ENDPOINT,
    authorization: 'Bearer JWT',
    body: { grant_type: JWT_BEARER, scope: 'a,b' },
  },
  {
    what: 'an app that speaks for itself',
    send: (egress, given) =>
      renewGrant(spec(given, { renewal: { kind: 'app_jwt', assertion: ASSERTION } }), grant(given), egress, clock, false),
    url: TOKEN_ENDPOINT,
    authorization: 'Bearer JWT',
    body: {},
  },
  {
    what: 'the exchange of a code',
    send: (egress, given) => {
      const oauth2 = spec(given, { exchangeParameters: { audience: 'x', code: 'y' } });
      return exchangeCode(
        resolved(given, { oauth2, consent: { authorizeEndpoint: '', pkce: 'S256' } }),
        code(given),
        egress,
        clock,
      );
    },
    url: TOKEN_ENDPOINT,
    body: {
      ...MINE,
      grant_type: 'authorization_code',
      code: 'code',
      redirect_uri: 'https://vault.example/back',
      code_verifier: 'verifier',
      audience: 'x',
    },
  },
  {
    what: 'the exchange of a code without a challenge and without a redirect',
    send: (egress, given) => {
      const oauth2 = spec(given, { exchangeSendsRedirectUri: false });
      return exchangeCode(
        resolved(given, { oauth2, consent: { authorizeEndpoint: '', pkce: 'refused' } }),
        code(given),
        egress,
        clock,
      );
    },
    url: TOKEN_ENDPOINT,
    body: { ...MINE, grant_type: 'authorization_code', code: 'code' },
  },
  {
    what: 'a revocation',
    send: (egress, given) =>
      revokeGrant(
        { ...REVOCATION, bodyFormat: given.json ? 'json' : 'form' },
        given.hosts,
        { refreshToken: secret('refresh'), accessToken: secret('access') },
        { client: client(given), egress, clock },
      ),
    url: REVOCATION.url,
    method: 'DELETE',
    body: { ...MINE, token: 'refresh-not-a-real-secret', token_type_hint: 'refresh_token', account: '4711' },
  },
  {
    what: 'a revocation of the access token, by itself and in the URL',
    send: (egress, given) =>
      revokeGrant(
        { ...REVOCATION, authentication: 'bearer', bodyFormat: 'none', token: 'access', sendsHint: false },
        given.hosts,
        { refreshToken: secret('refresh'), accessToken: secret('access') },
        { client: client(given), egress, clock },
      ),
    url: 'https://provider.example/revoke?v=1&account=4711&token=access-not-a-real-secret',
    method: 'DELETE',
    authorization: BEARER,
  },
  {
    what: 'an introspection',
    send: (egress, given) => {
      const bodyFormat = given.json ? 'json' : 'form';
      const authentication = 'client_secret_post';
      const introspection = {
        url: 'https://provider.example/i',
        method: 'POST',
        authentication,
        bodyFormat,
        tokenParameter: 't',
        fields: {},
      } as const;
      return introspectToken(resolved(given, { introspection }), secret('access'), { client: client(given), egress, clock });
    },
    url: 'https://provider.example/i',
    body: { ...MINE, t: 'access-not-a-real-secret' },
  },
  ...(['GET', 'POST'] as const).map(
    (method): Row => ({
      what: `an introspection in the URL, by ${method}`,
      send: (egress, given) => {
        const bodyFormat = method === 'GET' ? 'form' : 'query';
        const introspection = {
          url: 'https://provider.example/i',
          method,
          authentication: 'bearer',
          bodyFormat,
          tokenParameter: 't',
          fields: {},
        } as const;
        return introspectToken(resolved(given, { introspection }), secret('access'), { client: client(given), egress, clock });
      },
      url: 'https://provider.example/i?t=access-not-a-real-secret',
      method,
      authorization: BEARER,
    }),
  ),
  {
    what: 'a probe',
    send: (egress, given) => {
      const probe = {
        url: 'https://provider.example/me',
        method: 'GET',
        headers: { 'x-v': '2', authorization: 'no' },
        body: { a: 'b' },
      } as const;
      return askProbe(probe, given.hosts, secret('access'), egress, given.allowLoopback);
    },
    url: 'https://provider.example/me',
    method: 'GET',
    authorization: BEARER,
    headers: { 'x-v': '2' },
  },
  {
    what: 'a probe that asks in its body',
    send: (egress, given) =>
      askProbe(
        { url: 'https://provider.example/q', method: 'POST', body: { a: 'b' } },
        given.hosts,
        secret('access'),
        egress,
        given.allowLoopback,
      ),
    url: 'https://provider.example/q',
    authorization: BEARER,
    body: { a: 'b' },
    shape: 'json',
  },
  {
    what: 'a probe that posts nothing',
    send: (egress, given) =>
      askProbe({ url: 'https://provider.example/q', method: 'POST' }, given.hosts, secret('access'), egress, given.allowLoopback),
    url: 'https://provider.example/q',
    authorization: BEARER,
  },
  {
    what: 'a discovery',
    send: (egress, { allowLoopback }) =>
      discover({ issuer: 'https://id.example/a/', sandbox: undefined, allowLoopback }, egress).catch(() => {}),
    url: 'https://id.example/a/.well-known/openid-configuration',
    method: 'GET',
    isOwnHostOnly: true,
  },
  {
    what: 'a discovery at a sandbox',
    send: (egress, { allowLoopback }) =>
      discover({ issuer: 'https://id.example', sandbox: 'http://127.0.0.1:9/', allowLoopback }, egress).catch(() => {}),
    url: 'http://127.0.0.1:9/id.example/.well-known/openid-configuration',
    method: 'GET',
    isOwnHostOnly: true,
  },
];

interface Seen {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
  readonly request: EgressRequest;
}

async function seenOf(
  { send }: Pick<Row, 'send'>,
  given: Given,
  answer: () => EgressAnswer | Error = () => answerOf(500, ''),
): Promise<Seen> {
  const seen: Seen[] = [];
  const plain = (value: string | SecretValue) => (value instanceof SecretValue ? (textOf(value) ?? '') : value);
  const egress: Egress = {
    send: async (request) => {
      const { headers, body } = request;
      seen.push({
        headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, plain(value)])),
        body: body instanceof Uint8Array ? new TextDecoder().decode(body) : body === undefined ? undefined : plain(body),
        request,
      });
      const next = answer();
      if (next instanceof Error) throw next;
      return next;
    },
  };
  await send(egress, given);
  expect(seen).toHaveLength(1);
  return seen[0] as Seen;
}

const ownHost = ({ url }: Row) => [new URL(url).host];
const isSigned = (text: string) => text.replace(/[\w-]+\.[\w-]+\.[\w-]{100,}/, 'JWT');

describe.each(TABLE.map((row) => [row.what, row] as const))('%s', (_what, row) => {
  it.each([
    { hosts: [], allowLoopback: false, json: false },
    { hosts: ['other.example'], allowLoopback: true, json: true },
  ] satisfies Given[])('is sent as it must be (%#)', async (given) => {
    const { headers, body, request } = await seenOf(row, given);
    const { url, method = 'POST', authorization } = row;
    const { url: sentTo, method: sentBy, allowedHosts, timeoutMs, maxBytes, allowLoopback } = request;
    expect({ sentTo, sentBy, allowedHosts, timeoutMs, maxBytes, allowLoopback }).toEqual({
      sentTo: url,
      sentBy: method,
      allowedHosts: given.hosts.length === 0 || row.isOwnHostOnly === true ? ownHost(row) : given.hosts,
      timeoutMs: 20_000,
      maxBytes: 262_144,
      allowLoopback: given.allowLoopback,
    });
    const isJson = (row.shape ?? (given.json ? 'json' : 'form')) === 'json';
    const type = { 'content-type': isJson ? 'application/json' : 'application/x-www-form-urlencoded' };
    expect(Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, isSigned(value)]))).toStrictEqual({
      accept: 'application/json',
      ...(row.body === undefined ? {} : type),
      ...(authorization === undefined ? {} : { authorization }),
      ...row.headers,
    });
    const fields = body === undefined ? undefined : isJson ? JSON.parse(body) : Object.fromEntries(new URLSearchParams(body));
    const shown =
      fields === undefined ? undefined : Object.fromEntries(Object.entries<string>(fields).map(([n, v]) => [n, isSigned(v)]));
    expect(shown).toStrictEqual(row.body);
  });

  it.each([
    ['an answer', () => answerOf(200, { access_token: 'x' })],
    ['none', () => new Error('made up')],
  ] as const)('leaves nothing secret of it behind after %s', async (_after, answer) => {
    const made = vi.spyOn(SecretValue, 'fromText');
    const { request } = await seenOf(row, { hosts: [], allowLoopback: false, json: false }, answer);
    const texts = made.mock.calls.map(([text]) => text);
    const left = made.mock.results.map(({ value }) => value as SecretValue);
    made.mockRestore();
    // Those of the grant itself, and the token that came, are for whoever asked.
    const isOurs = (text: string | undefined) =>
      !/^(client|refresh|access)-not-a-real-secret$|^-----BEGIN|^x$|^\{/.test(text ?? '');
    for (const [index, value] of left.entries())
      if (isOurs(texts[index]))
        expect(
          value.reveal((bytes) => bytes.every((byte) => byte === 0)),
          `${index}`,
        ).toBe(true);
    for (const value of [request.body, ...Object.values(request.headers)])
      if (value instanceof SecretValue) expect(value.reveal((bytes) => bytes.every((byte) => byte === 0))).toBe(true);
  });
});

describe('an assertion', () => {
  const claimsOf = async (assertion: Partial<AssertionSpec>, scope?: string) => {
    const row = {
      send: (egress: Egress, given: Given) =>
        renewGrant(
          spec(given, { renewal: { kind: 'app_jwt', assertion: { ...ASSERTION, ...assertion } } }),
          { ...grant(given), scope },
          egress,
          clock,
          false,
        ),
    };
    const { headers } = await seenOf(row, { hosts: [], allowLoopback: false, json: false });
    return decodeJwt((headers['authorization'] ?? '').slice('Bearer '.length));
  };
  const jti = expect.stringMatching(/^[\w-]{40,}$/);

  it('says who, for whom and for how long: backdated by at most half a minute and half its life, and no longer than five minutes', async () => {
    const base = { iss: 'client', sub: 'sub', aud: 'aud', jti };
    expect(await claimsOf({})).toEqual({ ...base, iat: NOW_S - 30, exp: NOW_S + 270 });
    expect(await claimsOf({ lifetimeSeconds: 301 })).toEqual({ ...base, iat: NOW_S - 30, exp: NOW_S + 270 });
    expect(await claimsOf({ lifetimeSeconds: 41 })).toEqual({ ...base, iat: NOW_S - 20, exp: NOW_S + 21 });
  });

  it('names the endpoint where no audience is declared, and no subject where there is none', async () => {
    const { audience: _aud, subject: _sub, ...bare } = ASSERTION;
    const send = (egress: Egress, given: Given) =>
      renewGrant(spec(given, { renewal: { kind: 'app_jwt', assertion: bare } }), grant(given), egress, clock, false);
    const { headers } = await seenOf({ send }, { hosts: [], allowLoopback: false, json: false });
    const claims = decodeJwt((headers['authorization'] ?? '').slice('Bearer '.length));
    expect(claims).toEqual({ iss: 'client', aud: TOKEN_ENDPOINT, jti, iat: NOW_S - 30, exp: NOW_S + 270 });
  });

  it('carries the scope where it is told to, and where there is one', async () => {
    expect((await claimsOf({ scopeIn: 'claim' }, 'a b'))['scope']).toBe('a b');
    expect(await claimsOf({ scopeIn: 'claim' }, '')).not.toHaveProperty('scope');
    expect(await claimsOf({ scopeIn: 'claim' })).not.toHaveProperty('scope');
    expect(await claimsOf({ scopeIn: 'parameter' }, 'a b')).not.toHaveProperty('scope');
  });

  it('of a client at its own endpoint is for a minute, from five seconds ago', async () => {
    const send = (egress: Egress, given: Given) =>
      renewGrant(spec(given, { clientAuthentication: 'private_key_jwt' }), grant(given), egress, clock, false);
    const { body } = await seenOf({ send }, { hosts: [], allowLoopback: false, json: false });
    const claims = decodeJwt(new URLSearchParams(body).get('client_assertion') ?? '');
    expect(claims).toMatchObject({
      iss: 'client',
      sub: 'client',
      aud: TOKEN_ENDPOINT,
      iat: NOW_S - 5,
      nbf: NOW_S - 5,
      exp: NOW_S + 60,
    });
  });
});

describe('the header of an assertion', () => {
  const named = { kid: 'k-1', x5t: 't-1', 'x5t#S256': 's-1' };
  const privateKeyJwk = SecretValue.fromText(
    JSON.stringify({ ...privateKey.export({ format: 'jwk' }), alg: 'PS256', ...named, use: 'sig' }),
  );
  const given: Given = { hosts: [], allowLoopback: false, json: false };

  it('names the key as the key names itself, at the client’s own endpoint and elsewhere', async () => {
    const send = (egress: Egress, changes: Partial<OAuth2Spec>) =>
      renewGrant(spec(given, changes), { ...grant(given), privateKeyJwk, privateKeyPem: undefined }, egress, clock, false);
    const own = await seenOf({ send: (egress: Egress) => send(egress, { clientAuthentication: 'private_key_jwt' }) }, given);
    const assertion = new URLSearchParams(own.body).get('client_assertion') ?? '';
    expect(decodeProtectedHeader(assertion)).toMatchObject({ alg: 'PS256', ...named });
    expect(decodeProtectedHeader(assertion)).not.toHaveProperty('use');
  });
});

describe('a request that cannot be built', () => {
  const given: Given = { hosts: [], allowLoopback: false, json: false };
  const none: Egress = { send: () => Promise.reject(new Error('nothing may leave')) };
  const without = { clientId: 'client', allowLoopback: false, refreshToken: secret('refresh') };
  const empty = { ...without, clientSecret: SecretValue.fromText('') };
  const ends = (changes: Partial<OAuth2Spec>, grant: RenewableGrant) =>
    renewGrant(spec(given, changes), grant, none, clock, false);

  it.each<[string, Partial<OAuth2Spec>, RenewableGrant, string, string]>([
    ['for want of a secret', {}, without, 'configuration', 'client_secret_missing'],
    ['for an empty secret', {}, empty, 'configuration', 'client_secret_missing'],
    ['for want of a key', { clientAuthentication: 'private_key_jwt' }, without, 'configuration', 'client_key_missing'],
    [
      'for a key that is none',
      { clientAuthentication: 'private_key_jwt' },
      { ...without, privateKeyPem: secret('key') },
      'configuration',
      'client_key_unusable',
    ],
    [
      'for a public key',
      { clientAuthentication: 'private_key_jwt' },
      { ...without, privateKeyJwk: SecretValue.fromText(JSON.stringify({ kty: 'oct', k: 'AAAA', alg: 'HS256' })) },
      'configuration',
      'client_key_unusable',
    ],
    [
      'for want of the secret that signs',
      { renewal: { kind: 'jwt_bearer', assertion: { ...ASSERTION, algorithm: 'HS256' } } },
      empty,
      'configuration',
      'client_secret_missing',
    ],
    ['for an endpoint that is none', { tokenEndpoint: 'nowhere' }, without, 'configuration', 'request_refused'],
    [
      'for an endpoint that is none, by an assertion',
      { tokenEndpoint: 'nowhere', renewal: { kind: 'app_jwt', assertion: ASSERTION } },
      { ...without, privateKeyPem: SecretValue.fromText(PEM) },
      'configuration',
      'request_refused',
    ],
    ['for want of a refresh token', {}, { ...without, refreshToken: undefined }, 'dead', 'no_refresh_token'],
    ['since nothing renews it', { renewal: { kind: 'none' } }, without, 'configuration', 'not_renewable'],
  ])('%s is not sent', async (_why, changes, grant, means, cause) => {
    expect(await ends(changes, grant)).toEqual({ kind: 'not_sent', means, cause });
  });

  it.each<[string, Partial<RevocationSpec>, object]>([
    ['of no token', {}, { refreshToken: undefined, accessToken: undefined }],
    ['by a token that is not there', { authentication: 'bearer' }, { refreshToken: secret('refresh'), accessToken: undefined }],
    [
      'that would show a secret in its URL',
      { bodyFormat: 'none' },
      { refreshToken: secret('refresh'), accessToken: secret('access') },
    ],
    ['to nowhere', { url: 'nowhere' }, { refreshToken: secret('refresh'), accessToken: secret('access') }],
  ])('is no revocation %s', async (_what, changes, tokens) => {
    const outcome = await revokeGrant({ ...REVOCATION, ...changes }, [], tokens as never, {
      client: client(given),
      egress: none,
      clock,
    });
    expect(outcome).toEqual({ kind: 'failed', cause: 'request_refused', retryAfterSeconds: undefined });
  });
});
