// Settings of every connector as their giver names them, and each of them led astray: walked from the schema, so that a new one is in it.
import type { OAuthConnector } from '../../rotation/connector.ts';
import { type OAuth2Config, oauth2Config } from '../../src/vault/credential-kinds.ts';
import { EVIL_HOST } from './evil-receiver.ts';

export const parametersOf = ({ parameters = [] }: OAuthConnector) =>
  Object.fromEntries(
    parameters.flatMap(({ name, default: fallback, values, shape }) => [
      [name, fallback ?? values?.[0] ?? (shape === 'host' ? 'host.example' : 'made-up')],
    ]),
  );

/** What the giver of the secrets named. */
export function goodConfig(of: OAuthConnector, clientId = 'made-up-client'): OAuth2Config {
  const parameters = parametersOf(of);
  const isGeneric = of.oauth2.tokenEndpoint === '';
  return oauth2Config.parse({
    client_id: clientId,
    workflows: [{ name: 'nightly-sync', scopes: ['made.up'] }],
    ...(Object.keys(parameters).length === 0 ? {} : { parameters }),
    ...(isGeneric
      ? {
          token_endpoint: 'https://good.example/token',
          authorization_endpoint: 'https://good.example/authorize',
          revocation_endpoint: 'https://good.example/revoke',
          introspection_endpoint: 'https://good.example/introspect',
          ...(of.consent?.openid === true ? { issuer: 'https://good.example' } : {}),
        }
      : {}),
  });
}

/** One setting that leads astray; whatever the schema takes there. */
export interface Astray {
  readonly name: string;
  readonly config: OAuth2Config;
}

export function* astray(of: OAuthConnector, loopback: string): Generator<Astray> {
  const good = goodConfig(of);
  const hosts = [...new Set([...(of.oauth2.hosts ?? []), 'good.example', ...hostsIn(of)])];
  const url = `https://${EVIL_HOST}/taken`;
  const texts = [url, EVIL_HOST, 'evil'];
  const parameters = of.parameters ?? [];
  for (const field of Object.keys(oauth2Config.shape) as (keyof OAuth2Config)[]) {
    // A record leads astray wherever it can; what a parameter takes depends on which it is.
    const records = [
      Object.fromEntries(hosts.map((host) => [host, url])),
      Object.fromEntries(parameters.map(({ name, shape }) => [name, shape === 'host' ? EVIL_HOST : 'evil'])),
      { audience: url },
    ].filter((record) => Object.keys(record).length > 0);
    const value = [...texts, ...records].find((one) => takes(field, one));
    if (value === undefined) continue;
    const merged = typeof value === 'object' ? { ...(good[field] as object | undefined), ...value } : value;
    const config = oauth2Config.parse({ ...good, [field]: merged });
    yield { name: field, config };
    // A sandbox, which may lie on this machine, moves what another setting names.
    if (value === url && !takes(field, 'evil')) yield { name: `${field} and sandbox`, config: { ...config, sandbox: loopback } };
  }
}

/** What is free text holds no address that anything is sent to; it is led astray once, to be sure. */
function takes(field: keyof OAuth2Config, value: unknown): boolean {
  const isTaken = oauth2Config.shape[field].safeParse(value).success;
  const isRecord = typeof value === 'object';
  if (field === 'base_urls') return isTaken && isRecord && Object.keys(value as object)[0]?.includes('.') === true;
  if (field === 'parameters') return isTaken && isRecord && Object.keys(value as object)[0]?.includes('.') === false;
  return isTaken;
}

/** Hosts in the templates of a connector, as far as they are written out. */
function hostsIn(of: OAuthConnector): string[] {
  return [...JSON.stringify(of).matchAll(/https:\/\/([a-z0-9.-]+)/g)].map(([, host = '']) => host);
}
