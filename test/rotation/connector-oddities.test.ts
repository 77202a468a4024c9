// What is odd about single providers, through the code that runs: the request that leaves, and what an answer is taken for.
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { decodeJwt } from 'jose';
import { describe, expect, it } from 'vitest';
import type { Egress, EgressRequest, OAuthConnector } from '../../rotation/connector.ts';
import { readTokenAnswer } from '../../rotation/oauth2/answer.ts';
import { exchangeCode } from '../../rotation/oauth2/authorization-code.ts';
import { renewGrant } from '../../rotation/oauth2/mint-token.ts';
import { revokeGrant } from '../../rotation/oauth2/revocation.ts';
import { type OAuth2Settings, resolveConnector } from '../../rotation/oauth2/settings.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import { connectors } from '../kit/oauth-connectors.ts';
import { answerOf, meaningOf, textOf } from './kit.ts';

const clock = { now: () => 1_800_000_000_000 };
const secret = (text: string) => SecretValue.fromText(`${text}-not-a-real-secret`);
const CLIENT = { clientId: 'made-up-client', allowLoopback: false };
const PEM = generateKeyPairSync('rsa', { modulusLength: 2_048 }).privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;

function find(id: string): OAuthConnector {
  const connector = connectors.get(id);
  if (connector === undefined) throw new Error(`no connector ${id}`);
  return connector;
}

interface Sent {
  readonly url: string;
  readonly method: string;
  readonly authorization: string | undefined;
  readonly body: string;
}

/** Keeps what would have left, and answers with `answer`. */
function capture(answer: unknown = { access_token: 'at' }): { egress: Egress; sent: Sent[] } {
  const sent: Sent[] = [];
  const plain = (value: string | SecretValue | undefined) => (value instanceof SecretValue ? textOf(value) : value);
  const send = async (request: EgressRequest) => {
    const body = request.body instanceof SecretValue ? textOf(request.body) : new TextDecoder().decode(request.body);
    const authorization = plain(request.headers['authorization']);
    sent.push({ url: request.url, method: request.method, authorization, body: body ?? '' });
    return answerOf(200, answer);
  };
  return { egress: { send }, sent };
}

const read = (id: string, status: number, body: unknown) => {
  const outcome = readTokenAnswer(find(id).oauth2 as NonNullable<OAuthConnector['oauth2']>, answerOf(status, body), clock.now());
  return outcome.kind === 'refreshed' ? 'refreshed' : `${meaningOf(outcome)} ${outcome.cause}`;
};

async function exchange(id: string, settings: OAuth2Settings, answer?: unknown) {
  const { egress, sent } = capture(answer);
  const resolved = resolveConnector(find(id), { clientId: CLIENT.clientId, ...settings });
  const grant = {
    ...CLIENT,
    clientSecret: secret('sk'),
    code: 'code-1',
    redirectUri: 'https://keyturn.example/connect/callback',
    codeVerifier: 'v'.repeat(43),
    nonce: 'n',
  };
  return { outcome: await exchangeCode(resolved, grant, egress, clock), sent: sent[0] as Sent };
}

describe('what only looks like the end of a grant', () => {
  it.each([
    [
      'salesforce-oauth',
      400,
      { error: 'invalid_grant', error_description: 'token request is already being processed' },
      'transient concurrent_refresh',
    ],
    ['salesforce-oauth', 400, { error: 'invalid_grant', error_description: 'ip restricted' }, 'configuration ip_restricted'],
    ['atlassian-oauth', 403, '<html>blocked</html>', 'answered_oddly http_403'],
    ['atlassian-oauth', 403, { error: 'access_denied' }, 'configuration access_denied'],
    ['atlassian-oauth', 401, { error: 'access_denied', error_description: 'Unauthorized' }, 'configuration access_denied'],
    ['atlassian-oauth', 403, { error: 'unauthorized_client' }, 'configuration unauthorized_client'],
    ['microsoft-oauth', 401, { error: 'invalid_client', error_codes: [7_000_222] }, 'configuration client_secret_expired'],
    ['microsoft-app', 400, { error: 'invalid_grant', error_codes: [65_001] }, 'configuration app_not_granted'],
    ['github-app-user', 200, { error: 'incorrect_client_credentials' }, 'configuration incorrect_client_credentials'],
    ['github-app-installation', 404, { message: 'Not Found' }, 'configuration installation_not_found'],
    ['slack-oauth', 200, { ok: false, error: 'internal_error' }, 'transient internal_error'],
    ['sentry-oauth', 403, { error: 'Unauthorized' }, 'configuration unrecognised_error'],
    ['monday-oauth', 401, { message: 'no' }, 'configuration http_401'],
    [
      'google-service-account',
      400,
      { error: 'invalid_grant', error_description: 'Invalid JWT Signature.' },
      'configuration assertion_refused',
    ],
  ])('%s, %i: %o', (id, status, body, expected) => {
    expect(read(id, status, body)).toBe(expected);
  });
});

describe('what does not look like the end of a grant and is', () => {
  it.each([
    [
      'hubspot-oauth',
      400,
      { status: 'BAD_REFRESH_TOKEN', message: 'missing or invalid refresh token' },
      'dead bad_refresh_token',
    ],
    ['atlassian-oauth', 403, { error: 'invalid_grant' }, 'dead invalid_grant'],
    ['microsoft-oauth', 400, { error: 'interaction_required', error_codes: [50_076] }, 'dead second_factor_needed'],
    ['github-app-user', 200, { error: 'bad_refresh_token' }, 'dead bad_refresh_token'],
    ['slack-user-oauth', 200, { ok: false, error: 'invalid_refresh_token' }, 'dead invalid_refresh_token'],
    ['sentry-oauth', 404, { detail: 'Could not find given sentry app installation' }, 'dead uninstalled'],
    ['google-oauth', 400, { error: 'invalid_grant', error_subtype: 'invalid_rapt' }, 'dead sign_in_again_required'],
  ])('%s, %i: %o', (id, status, body, expected) => {
    expect(read(id, status, body)).toBe(expected);
  });
});

describe('Slack', () => {
  const bot = { access_token: 'xoxb', refresh_token: 'bot-refresh', expires_in: 43_200, scope: 'commands' };
  const user = {
    id: 'U1',
    access_token: 'xoxp',
    refresh_token: 'user-refresh',
    expires_in: 43_200,
    scope: 'search:read,chat:write',
  };
  const answer = { ok: true, team: { id: 'T1' }, ...bot, authed_user: user };

  it('answers one code with two tokens, and each connector takes its own', async () => {
    const { outcome } = await exchange('slack-user-oauth', {}, answer);
    if (outcome.kind !== 'refreshed') throw new Error(outcome.cause);
    expect([textOf(outcome.accessToken), textOf(outcome.refreshToken)]).toEqual(['xoxp', 'user-refresh']);
    expect(outcome).toMatchObject({ scope: 'search:read chat:write', account: { team_id: 'T1', user_id: 'U1' } });
    const taken = await exchange('slack-oauth', {}, answer);
    if (taken.outcome.kind !== 'refreshed') throw new Error(taken.outcome.cause);
    expect([textOf(taken.outcome.accessToken), textOf(taken.outcome.refreshToken)]).toEqual(['xoxb', 'bot-refresh']);
  });

  it('answers the refresh of a user token at the top level', () => {
    expect(read('slack-user-oauth', 200, { ok: true, token_type: 'user', access_token: 'xoxp2', expires_in: 43_200 })).toBe(
      'refreshed',
    );
  });
});

describe('Stripe', () => {
  it('Apps takes the secret key as user name, and neither a client id nor a redirect URI', async () => {
    const { sent } = await exchange('stripe-apps-oauth', {});
    expect(sent.authorization).toBe(`Basic ${Buffer.from('sk-not-a-real-secret:').toString('base64')}`);
    expect(Object.fromEntries(new URLSearchParams(sent.body))).toEqual({ grant_type: 'authorization_code', code: 'code-1' });
  });

  it('Connect disconnects an account by its id, proved by the platform’s key', async () => {
    const account = { stripe_user_id: 'acct_madeup' };
    const resolved = resolveConnector(find('stripe-connect-oauth'), { clientId: 'ca_madeup', account });
    const { egress, sent } = capture({ stripe_user_id: 'acct_madeup' });
    const spec = resolved.revocation;
    if (spec === undefined) throw new Error('no revocation');
    const tokens = { refreshToken: undefined, accessToken: secret('at') };
    const client = { ...CLIENT, clientId: 'ca_madeup', clientSecret: secret('sk') };
    expect(await revokeGrant(spec, resolved.hosts, tokens, { client, egress, clock })).toMatchObject({ kind: 'revoked' });
    expect(sent[0]).toMatchObject({
      url: 'https://connect.stripe.com/oauth/deauthorize',
      authorization: `Basic ${Buffer.from('sk-not-a-real-secret:').toString('base64')}`,
    });
    expect(Object.fromEntries(new URLSearchParams(sent[0]?.body))).toEqual({ client_id: 'ca_madeup', ...account });
  });

  it('cannot be disconnected before the account is known', () => {
    expect(resolveConnector(find('stripe-connect-oauth'), { clientId: 'ca_madeup' }).revocation).toBeUndefined();
  });
});

describe('assertions', () => {
  it('of a Google service account carry the scope, and an audience that no sandbox moves', async () => {
    const resolved = resolveConnector(find('google-service-account'), {
      clientId: 'sa@made-up.example',
      sandbox: 'http://127.0.0.1:9',
    });
    const { egress, sent } = capture();
    const grant = {
      ...CLIENT,
      clientId: 'sa@made-up.example',
      privateKeyPem: SecretValue.fromText(PEM),
      refreshToken: undefined,
      scope: 'a b',
    };
    expect((await renewGrant(resolved.oauth2, grant, egress, clock, false)).kind).toBe('refreshed');
    const fields = new URLSearchParams(sent[0]?.body);
    expect(fields.get('grant_type')).toBe('urn:ietf:params:oauth:grant-type:jwt-bearer');
    expect(fields.has('scope')).toBe(false);
    expect(decodeJwt(fields.get('assertion') ?? '')).toMatchObject({
      iss: 'sa@made-up.example',
      aud: 'https://oauth2.googleapis.com/token',
      scope: 'a b',
    });
  });

  it('of Sentry bring a new pair after a lost answer, and need no refresh token', async () => {
    const parameters = { slug: 'made-up', installation: 'made-up-1' };
    const resolved = resolveConnector(find('sentry-oauth'), { clientId: CLIENT.clientId, parameters });
    const { egress, sent } = capture({ token: 'at', refreshToken: 'rt', expiresAt: '2030-01-01T00:00:00Z' });
    const grant = { ...CLIENT, clientSecret: secret('sk'), refreshToken: secret('spent') };
    expect(await renewGrant(resolved.oauth2, grant, egress, clock, true)).toMatchObject({
      kind: 'refreshed',
      expirySource: 'expires_at',
    });
    expect(sent[0]?.url).toBe('https://sentry.io/api/0/sentry-app-installations/made-up-1/authorizations/');
    expect(JSON.parse(sent[0]?.body ?? '')).toEqual({ grant_type: 'urn:sentry:params:oauth:grant-type:jwt-bearer' });
    const claims = decodeJwt(sent[0]?.authorization?.replace('Bearer ', '') ?? '');
    expect(claims).toMatchObject({ iss: CLIENT.clientId, sub: CLIENT.clientId });
    expect((claims.exp ?? 0) - (claims.iat ?? 0)).toBeLessThanOrEqual(60);
  });

  it('of a GitHub App mint a token of one installation', async () => {
    const resolved = resolveConnector(find('github-app-installation'), {
      clientId: 'Iv1.madeup',
      parameters: { installation: '42' },
    });
    const { egress, sent } = capture({ token: 'ghs', expires_at: '1970-01-01T01:00:00Z', repository_selection: 'all' });
    const grant = { ...CLIENT, clientId: 'Iv1.madeup', privateKeyPem: SecretValue.fromText(PEM), refreshToken: undefined };
    const outcome = await renewGrant(resolved.oauth2, grant, egress, clock, false);
    expect(outcome).toMatchObject({
      kind: 'refreshed',
      expiresAtMs: 3_600_000,
      account: { repository_selection: 'all' },
    });
    expect(sent[0]?.url).toBe('https://api.github.com/app/installations/42/access_tokens');
    expect(decodeJwt(sent[0]?.authorization?.replace('Bearer ', '') ?? '').iss).toBe('Iv1.madeup');
  });
});

describe('announced changes', () => {
  it('warn the credentials they concern, and no others', () => {
    const hubspot = find('hubspot-oauth');
    expect(resolveConnector(hubspot).lifetimes.scheduled).toEqual([]);
    const adjust = { tokenEndpoint: 'https://api.hubapi.com/oauth/v1/token' };
    expect(resolveConnector(hubspot, { adjust }).lifetimes.scheduled).toMatchObject([{ at: '2027-02-16' }]);
  });
});

describe('Salesforce', () => {
  it('is asked at the instance that the answer named, and never at a host of another name', () => {
    const resolve = (instance_url: string) => resolveConnector(find('salesforce-oauth'), { account: { instance_url } });
    expect(resolve('https://made-up--dev.sandbox.my.salesforce.com').probe?.url).toBe(
      'https://made-up--dev.sandbox.my.salesforce.com/services/oauth2/userinfo',
    );
    for (const evil of [
      'https://evil.example',
      'https://my.salesforce.com.evil.example',
      'http://x.my.salesforce.com',
      'javascript:alert(1)',
    ]) {
      expect(resolve(evil).probe).toBeUndefined();
      expect(resolve(evil).introspection).toBeUndefined();
    }
  });
});

describe('the example of rotation/README.md', () => {
  it('is a connector that resolves, and refuses as it says', async () => {
    const page = readFileSync(new URL('../../rotation/README.md', import.meta.url), 'utf8');
    const source = /```ts\n([\s\S]+?)```/.exec(page)?.[1] ?? '';
    const plain = stripTypeScriptTypes(source.replace(/^import .*$/m, ''));
    const { connector } = (await import(`data:text/javascript,${encodeURIComponent(plain)}`)) as { connector: OAuthConnector };
    const resolved = resolveConnector(connector, { parameters: { domain: 'made-up' } });
    expect(resolved.revocation?.url).toBe('https://made-up.crm.example/oauth/revoke');
    for (const kind of ['dead', 'configuration', 'transient'] as const) {
      const refusal = connector.persona?.refusals[kind];
      expect(meaningOf(readTokenAnswer(resolved.oauth2, answerOf(refusal?.status ?? 0, refusal?.body), clock.now()))).toBe(kind);
    }
  });
});
