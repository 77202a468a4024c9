// No accepted setting of a grant is ignored: each either changes what the vault does for this connector, or is refused.
import { describe, expect, it } from 'vitest';
import type { OAuthConnector } from '../../../rotation/connector.ts';
import { refuseIgnored, resolveFor, rulesOf } from '../../../rotation/grants/connector-settings.ts';
import { forecastOf } from '../../../rotation/grants/forecast.ts';
import { clientRequest } from '../../../rotation/oauth2/client-request.ts';
import { KeyturnError } from '../../../src/base/errors.ts';
import { SecretValue } from '../../../src/base/secret-value.ts';
import { type OAuth2Config, oauth2Config } from '../../../src/vault/credential-kinds.ts';
import { compareScopes } from '../../../src/vault/grant-scopes.ts';
import { connectors } from '../../kit/oauth-connectors.ts';
import { textOf } from '../kit.ts';

const NOW = Date.UTC(2026, 10, 27);
const DAY = 86_400_000;
/** One valid value a field that no connector has by itself; a field that is new must be added here. */
const GIVEN: { readonly [F in keyof Required<OAuth2Config>]: unknown } = {
  token_endpoint: 'https://other.example/token',
  authorization_endpoint: 'https://other.example/authorize',
  revocation_endpoint: 'https://other.example/revoke',
  introspection_endpoint: 'https://other.example/introspect',
  issuer: 'https://issuer.other.example',
  parameters: { unheard_of: 'x' },
  base_urls: { 'unheard-of.example': 'https://other.example' },
  sandbox: 'https://sandbox.example',
  workflows: [{ name: 'sync', scopes: ['made.up'] }],
  client_id: 'other-client',
  client_authentication: 'none',
  body_format: 'json',
  refresh_token_rotates: 'never',
  lost_answer: { window_seconds: 77 },
  access_token_ttl_seconds: 777,
  extra_parameters: { made_up: 'x' },
  scope_separator: ',',
  assertion_audience: 'https://audience.other.example',
  scope: 'made.up',
  refresh: 'on_read',
  idle_limit_days: 1,
  absolute_limit_days: 1,
  client_secret_expires_at: '2026-12-01T00:00:00.000Z',
};

const OTHERS: Partial<Record<keyof OAuth2Config, readonly unknown[]>> = {
  client_authentication: ['client_secret_post'],
  body_format: ['form'],
  refresh_token_rotates: ['always'],
  scope_separator: [' '],
};

function baseOf(connector: OAuthConnector): OAuth2Config {
  const parameters = Object.fromEntries(
    (connector.parameters ?? [])
      .filter(({ default: fallback, from }) => fallback === undefined && from !== 'callback')
      .map(({ name, shape, values }) => [name, values?.[0] ?? (shape === 'host' ? 'made-up.example' : 'made-up')]),
  );
  return {
    client_id: 'client',
    ...(Object.keys(parameters).length === 0 ? {} : { parameters }),
    ...(connector.oauth2.tokenEndpoint === '' ? { token_endpoint: 'https://provider.example/token' } : {}),
  };
}

/** Everything a setting can change, as one text. @throws KeyturnError for what is refused */
async function effectsOf(connector: OAuthConnector, told: unknown): Promise<string> {
  const parsed = oauth2Config.safeParse(told);
  if (!parsed.success) throw new KeyturnError('invalid_request', 'refused at the door');
  const config = parsed.data;
  const names = [...JSON.stringify(connector).matchAll(/\{account\.([a-z_]+)\}/g)].map((match) => [match[1] ?? '', 'made-up']);
  const resolved = resolveFor(connector, config, { account: Object.fromEntries(names) as Record<string, string> }, true);
  refuseIgnored(connector, config, resolved);
  const rules = rulesOf(resolved, config);
  const { oauth2 } = resolved;
  const isRenewed = rules.renews !== 'never';
  const forecast = forecastOf(
    {
      lifetimes: resolved.lifetimes,
      refreshTokenRotates: oauth2.refreshTokenRotates,
      renews: rules.renews,
      idleMs: rules.idleMs,
      consentedAt: NOW - DAY / 2,
      refreshedAt: NOW - DAY / 2,
      refreshTokenExpiresAt: undefined,
      absoluteLimitDays: config.absolute_limit_days,
      clientSecretExpiresAt: config.client_secret_expires_at,
      valueExpiresAt: NOW + DAY,
      isRenewed,
      grantsOfAccount: undefined,
    },
    NOW,
  );
  const request = await clientRequest(
    {
      url: oauth2.tokenEndpoint,
      method: 'POST',
      hosts: oauth2.hosts,
      authentication: oauth2.clientAuthentication === 'private_key_jwt' ? 'none' : oauth2.clientAuthentication,
      bodyFormat: oauth2.bodyFormat,
      fields: { grant_type: 'refresh_token' },
      extraFields: oauth2.extraParameters,
      audience: oauth2.assertionAudience,
    },
    { clientId: config.client_id, clientSecret: SecretValue.fromText('cs-not-a-real-secret'), allowLoopback: false },
    { now: () => NOW },
  ).catch(() => undefined);
  const wanted = compareScopes({ config: JSON.stringify(config), grant_facts: '{}' });
  const body = request?.body instanceof SecretValue ? textOf(request.body) : undefined;
  // Its way is taken where it refreshes at all (vault/refresh-schedule.ts).
  const timing = isRenewed ? config.refresh : undefined;
  const scope = rules.renews === 'never' || oauth2.renewal?.kind === 'app_jwt' ? undefined : config.scope;
  // It names the client in signed assertions and in counts of grants, too.
  const client = config.client_id;
  return JSON.stringify({ client, resolved, rules, forecast, body, wanted, timing, scope });
}

const oauth = [...connectors.values()].filter(({ kind }) => kind === 'oauth2');

describe.each(oauth.map((connector) => [connector.id, connector] as const))('%s', (_id, connector) => {
  it.each(Object.keys(oauth2Config.shape) as (keyof OAuth2Config)[])('does not ignore %s', async (field) => {
    const base = baseOf(connector);
    const before = await effectsOf(connector, base);
    try {
      // A value that says the same as the connector itself changes nothing, and is true: another one must.
      const given = [GIVEN[field], ...(OTHERS[field] ?? [])];
      const after = await Promise.all(given.map((value) => effectsOf(connector, { ...base, [field]: value })));
      expect(
        after.some((one) => one !== before),
        `${field} was accepted and changes nothing`,
      ).toBe(true);
    } catch (error) {
      if (!(error instanceof KeyturnError)) throw error;
      expect(error.code).toBe('invalid_request');
    }
  });
});

describe('extra parameters', () => {
  it.each(['scope', 'grant_type', 'refresh_token', 'client_secret', 'client_assertion', 'code', 'token'])(
    'never set %s, and say so',
    (name) => {
      const refused = oauth2Config.safeParse({ client_id: 'c', extra_parameters: { [name]: 'x' } });
      expect(refused.error?.issues[0]).toMatchObject({ path: ['extra_parameters'], message: expect.stringContaining(name) });
    },
  );

  it('name the client in the body where a provider wants that beside Basic, and no other client', async () => {
    expect(oauth2Config.safeParse({ client_id: 'c', extra_parameters: { client_id: 'other' } }).success).toBe(false);
    const sent = async (extraFields: Record<string, string>) => {
      const request = await clientRequest(
        {
          url: 'https://idp.example/token',
          method: 'POST',
          hosts: [],
          authentication: 'client_secret_basic',
          bodyFormat: 'form',
          fields: { grant_type: 'refresh_token' },
          extraFields,
        },
        { clientId: 'c', clientSecret: SecretValue.fromText('cs-not-a-real-secret'), allowLoopback: false },
        { now: () => NOW },
      );
      return Object.fromEntries(new URLSearchParams(textOf(request.body as SecretValue)));
    };
    expect(await sent({ client_id: 'c', redirect_uri: 'https://app.example/cb', audience: 'a', resource: 'r' })).toEqual({
      grant_type: 'refresh_token',
      client_id: 'c',
      redirect_uri: 'https://app.example/cb',
      audience: 'a',
      resource: 'r',
    });
    expect(await sent({ client_id: 'other' })).toEqual({ grant_type: 'refresh_token' });
  });
});
