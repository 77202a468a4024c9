// Every connector that lets a person connect an account, taken the whole way: link, provider, callback, a grant that can be read.
import { describe, expect, it } from 'vitest';
import type { AnswerFields, OAuthConnector } from '../../../../rotation/connector.ts';
import { oauth2Config } from '../../../../src/vault/credential-kinds.ts';
import { consentBench, type Reply } from '../../../kit/consent-bench.ts';
import { connectors as catalog } from '../../../kit/oauth-connectors.ts';

const connectors = [...catalog.values()].filter(({ consent }) => consent !== undefined);
const ISSUER = 'https://id.made-up.example';

/** `a.b` becomes `{ a: { b: value } }` in `body`. */
function put(body: Record<string, unknown>, path: string, value: unknown): void {
  const names = path.split('.');
  let at = body;
  for (const name of names.slice(0, -1)) {
    at[name] ??= {};
    at = at[name] as Record<string, unknown>;
  }
  at[names.at(-1) as string] = value;
}

function answer({ oauth2 }: OAuthConnector): Reply {
  const fields: Partial<AnswerFields> = oauth2.exchangeAnswerFields ?? oauth2.answerFields ?? {};
  const body: Record<string, unknown> = {};
  put(body, fields.accessToken ?? 'access_token', 'access-not-a-real-secret');
  put(body, fields.refreshToken ?? 'refresh_token', 'refresh-not-a-real-secret');
  put(body, fields.expiresIn ?? 'expires_in', 3_600);
  for (const path of Object.values(oauth2.accountFields ?? {})) put(body, path, 'https://made-up.example');
  return { status: 200, body };
}

const made = (values: readonly string[] | undefined, shape: string) =>
  values?.[0] ?? (shape === 'host' ? 'made-up.example' : 'made-up');

describe('a person connects an account of', () => {
  it.each(connectors.filter(({ consent }) => consent?.openid !== true).map((connector) => [connector.id, connector] as const))(
    '%s',
    async (id, connector) => {
      const bench = await consentBench();
      (bench.ports.connectors as Map<string, OAuthConnector>).set(id, connector);
      const { consent, oauth2, parameters = [] } = connector;
      const told = parameters.filter(({ from }) => from === undefined || from === 'credential');
      const config = oauth2Config.parse({
        client_id: 'made-up-client',
        workflows: [{ name: 'sync', scopes: ['made-up.read'] }],
        ...(oauth2.tokenEndpoint === '' ? { token_endpoint: `${ISSUER}/token` } : {}),
        ...(consent?.authorizeEndpoint === '' ? { authorization_endpoint: `${ISSUER}/authorize` } : {}),
        ...(told.length === 0
          ? {}
          : { parameters: Object.fromEntries(told.map((one) => [one.name, made(one.values, one.shape)])) }),
      });
      const link = await bench.make('crm', { connector: id, config, secrets: { client_secret: 'client-not-a-real-secret' } });
      const asked = parameters.filter(({ from }) => from === 'consent');
      const begun = await bench.begin(
        link.linkToken,
        Object.fromEntries(asked.map((one) => [one.name, made(one.values, one.shape)])),
      );
      const query = new URL(begun.url).searchParams;
      expect(query.get('client_id')).toBe('made-up-client');
      expect(query.has('code_challenge')).toBe(consent?.pkce === 'S256');
      const brought = Object.keys(consent?.callbackParameters ?? {}).map((field) => [field, 'made-up']);
      const issuer = consent?.issuer === undefined ? {} : { iss: consent.issuer };
      bench.replies.push(answer(connector), { status: 200, body: [] });
      const end = await bench.comeBack(begun, { code: 'made-up', ...issuer, ...Object.fromEntries(brought) });
      expect(end.kind, bench.connection(link.connection.id).cause ?? '').toBe(
        consent?.choice === undefined ? 'connected' : 'choosing',
      );
      expect(bench.row('crm')).toMatchObject({ health: 'ready', connector: id });
      expect(await bench.served('crm')).toMatchObject({ access_token: 'access-not-a-real-secret' });
    },
  );

  it('is known of enough providers to mean something', () => {
    expect(connectors.length).toBeGreaterThan(15);
  });
});
