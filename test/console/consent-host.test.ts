// The page and the redirect agree: the host a browser is sent to is shown before, and no connector's name stands over another's host.
// Every value is made up; not-a-real-secret.
import { describe, expect, it } from 'vitest';
import type { OAuthConnector } from '../../rotation/connector.ts';
import { KeyturnError } from '../../src/base/errors.ts';
import { type OAuth2Config, oauth2Config } from '../../src/vault/credential-kinds.ts';
import { putCredential } from '../../src/vault/put-credential.ts';
import { astray, goodConfig, parametersOf } from '../kit/astray-settings.ts';
import { type ConnectApp, connectApp } from '../kit/connect-app.ts';
import { CONFIG, CRM } from '../kit/consent-bench.ts';
import { connectors } from '../kit/oauth-connectors.ts';

const LOOPBACK = 'http://127.0.0.1:9';
const connectable = [...connectors.values()].filter(({ consent }) => consent !== undefined);
/** Hosts that are no connector's. */
const FOREIGN = /evil|127\.0\.0\.1:9|good\.example/;

/** The path of a link with these settings; undefined where they are refused. */
async function linkOf({ bench }: ConnectApp, name: string, config: OAuth2Config): Promise<string | undefined> {
  try {
    const secrets = { client_secret: 'client-not-a-real-secret', client_private_jwk: { kty: 'RSA' as const, alg: 'RS256' } };
    const { linkToken } = await bench.make(name, { config, secrets });
    return `/connect/${bench.tenant.vault.tenant.id}/${linkToken}`;
  } catch (error) {
    if (error instanceof KeyturnError) return undefined;
    throw error;
  }
}

const escaped = (text: string) => text.replaceAll(/[.*()[\]]/g, '\\$&');
const shownHost = (html: string) => /name="leads-to" value="([^"]*)"/.exec(html)?.[1] ?? '';

describe.each(connectable.map((one) => [one.id, one] as const))('%s', (_id, connector: OAuthConnector) => {
  it('shows where each link leads, and leads there', async () => {
    const app = await connectApp(connector);
    let followed = 0;
    for (const { name, config } of [
      { name: 'as its giver says', config: goodConfig(connector) },
      ...astray(connector, LOOPBACK),
    ]) {
      const path = await linkOf(app, `c-${++followed}`, config);
      if (path === undefined) continue;
      const page = await app.browser().get(path);
      if (page.status !== 200) continue;
      const host = shownHost(page.html);
      expect(page.html, name).toContain(`Continue to ${host}</button>`);
      const sent = await app.browser().post(path, { ...parametersOf(connector), 'leads-to': host });
      expect(sent.status, name).toBe(303);
      const reached = new URL(sent.headers.get('location') ?? '').host;
      expect(reached, name).toMatch(new RegExp(`^${escaped(host).replaceAll('\\*', '[a-z0-9-]+')}$`));
      if (FOREIGN.test(reached))
        expect(page.html, name).not.toMatch(new RegExp(`(Connect|connect your|Continue to) ${escaped(connector.title)}`));
      else if (connector.consent?.authorizeEndpoint !== '')
        expect(page.html, name).toContain(`<h1>Connect ${connector.title}</h1>`);
    }
    expect(followed).toBeGreaterThan(5);
  });
});

describe('a page that was shown before the settings changed', () => {
  it('does not send the browser to a host it did not name', async () => {
    const app = await connectApp();
    const { tenant, admin } = app.bench;
    const path = await app.link();
    const { html } = await app.browser().get(path);
    expect(shownHost(html)).toBe('app.crm.example');
    await tenant.vault.submit((job) =>
      putCredential(job, admin(), {
        environment: 'staging',
        name: 'crm',
        kind: 'oauth2',
        value: { access_token: 'put-not-a-real-secret', client_secret: 'put-not-a-real-secret' },
        connector: CRM.id,
        config: oauth2Config.parse({ ...CONFIG, authorization_endpoint: 'https://elsewhere.example/authorize' }),
        labels: undefined,
        description: undefined,
        expiresAtMs: undefined,
        precondition: {},
      }),
    );
    const again = await app.browser().post(path, { 'leads-to': shownHost(html) });
    expect(again.status).toBe(400);
    expect(again.html).toContain('Continue to elsewhere.example</button>');
    expect(again.html).not.toContain('Made-up CRM');
    const sent = await app.browser().post(path, { 'leads-to': 'elsewhere.example' });
    expect(sent.headers.get('location')).toMatch(/^https:\/\/elsewhere\.example\/authorize/);
  });
});
