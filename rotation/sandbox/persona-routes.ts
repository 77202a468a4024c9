// Selects the connector of a call: the path is `/<host><path>` of one of the URL templates of a connector.
// It must never answer for an address without a connector.
import type { IntrospectionSpec, OAuthConnector, ProbeSpec, RevocationSpec } from '../connector.ts';

export type Endpoint = 'authorize' | 'token' | 'introspection' | 'revocation' | 'choice' | 'probe' | 'discovery';

/** A matching connector, with the values of its `{parameter}`s in this address. */
export interface Found {
  readonly connector: OAuthConnector;
  readonly endpoint: Endpoint;
  readonly parameters: Readonly<Record<string, string>>;
}

interface Route {
  readonly connector: OAuthConnector;
  readonly endpoint: Endpoint;
  readonly method: string;
  readonly pattern: RegExp;
  readonly names: readonly string[];
}

/** The address in the sandbox of a connector without declared URLs. */
export function homeOf(connectorId: string): string {
  return `https://${connectorId}.sandbox.example`;
}

/** The simulated connector: URLs that the credential would set are at its sandbox address. */
export function playedAs(connector: OAuthConnector): OAuthConnector {
  const { oauth2, consent, id } = connector;
  const home = homeOf(id);
  const nameless = oauth2.tokenEndpoint === '';
  return {
    ...connector,
    oauth2: nameless ? { ...oauth2, tokenEndpoint: `${home}/oauth/token` } : oauth2,
    ...(consent === undefined || consent.authorizeEndpoint !== ''
      ? {}
      : {
          consent: {
            ...consent,
            authorizeEndpoint: `${home}/oauth/authorize`,
            ...(consent.openid === true ? { issuer: consent.issuer ?? home } : {}),
          },
        }),
    ...(nameless
      ? {
          revocation: connector.revocation ?? { ...REVOCATION, url: `${home}/oauth/revoke` },
          introspection: connector.introspection ?? { ...INTROSPECTION, url: `${home}/oauth/introspect` },
          probe: connector.probe ?? ({ url: `${home}/userinfo`, method: 'GET' } satisfies ProbeSpec),
        }
      : {}),
  };
}

const REVOCATION: Omit<RevocationSpec, 'url'> = {
  method: 'POST',
  authentication: 'client_secret_basic',
  bodyFormat: 'form',
  token: 'refresh',
  tokenParameter: 'token',
  ends: 'grant',
};
const INTROSPECTION: Omit<IntrospectionSpec, 'url'> = {
  method: 'POST',
  authentication: 'client_secret_basic',
  bodyFormat: 'form',
  tokenParameter: 'token',
  fields: { active: 'active', scope: 'scope', expiresAt: 'exp' },
};

/** Every address of every connector. @param connectors as returned by `playedAs` */
export class PersonaRoutes {
  readonly #routes: readonly Route[];
  readonly #loose: readonly Route[];

  constructor(connectors: Iterable<OAuthConnector>) {
    const all = [...connectors];
    this.#routes = all.flatMap(routesOf);
    this.#loose = all.filter(isNameless).flatMap(looseRoutesOf);
  }

  /** Every connector with this address, the most literal first. @param address `host/path` without a query */
  find(method: string, address: string): readonly Found[] {
    const exact = matching(this.#routes, method, address);
    return exact.length > 0 ? exact : matching(this.#loose, method, address);
  }
}

function matching(routes: readonly Route[], method: string, address: string): Found[] {
  return routes
    .flatMap((route) => {
      const match = route.method === method || route.endpoint === 'authorize' ? route.pattern.exec(address) : null;
      if (match === null) return [];
      const parameters = Object.fromEntries(route.names.map((name, at) => [name, decodeURIComponent(match[at + 1] ?? '')]));
      return [{ connector: route.connector, endpoint: route.endpoint, parameters }];
    })
    .sort((a, b) => Object.keys(a.parameters).length - Object.keys(b.parameters).length);
}

function isNameless({ id, oauth2 }: OAuthConnector): boolean {
  return oauth2.tokenEndpoint.startsWith(`${homeOf(id)}/`) === true;
}

function routesOf(connector: OAuthConnector): Route[] {
  const { oauth2, consent, introspection, revocation, probe } = connector;
  const declared: (readonly [Endpoint, string, string | undefined])[] = [
    ['token', 'POST', oauth2.tokenEndpoint],
    ['authorize', 'GET', consent?.authorizeEndpoint],
    ['introspection', introspection?.method ?? '', introspection?.url],
    ['revocation', revocation?.method ?? '', revocation?.url],
    ['choice', 'GET', consent?.choice?.url],
    ['probe', probe?.method ?? '', probe?.url],
    ...(isNameless(connector) ? DESCRIPTIONS : []).map((path) => ['discovery', 'GET', homeOf(connector.id) + path] as const),
  ];
  return declared.flatMap(([endpoint, method, template]) =>
    template === undefined || template === '' ? [] : [{ connector, endpoint, method, ...patternOf(connector, template) }],
  );
}

const DESCRIPTIONS = ['/.well-known/openid-configuration', '/.well-known/oauth-authorization-server', '/jwks'];

/** For connectors whose URLs the credential sets; the last word of the path determines the endpoint. */
function looseRoutesOf(connector: OAuthConnector): Route[] {
  const words: (readonly [Endpoint, string, string])[] = [
    ['token', 'POST', 'token'],
    ['authorize', 'GET', 'auth|authorize'],
    ['revocation', 'POST', 'revoke|revocation'],
    ['introspection', 'POST', 'introspect|introspection'],
    ['probe', 'GET', 'userinfo|me'],
  ];
  return words.map(([endpoint, method, word]) => ({
    connector,
    endpoint,
    method,
    pattern: new RegExp(`^[^/]+\\.[^/]+/(?:.*/)?(?:${word})$`),
    names: [],
  }));
}

const TEMPLATE = /\{(?:account\.)?[a-z0-9_]+\}/g;

function patternOf(connector: OAuthConnector, template: string): { pattern: RegExp; names: string[] } {
  const names: string[] = [];
  const address = template.replace(/^https?:\/\//, '').replace(/[?#].*$/, '');
  const literals = address.split(TEMPLATE).map((literal) => literal.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  const holes = (address.match(TEMPLATE) ?? []).map((hole) => {
    const name = hole.slice(1, -1);
    const parameter = connector.parameters?.find((candidate) => candidate.name === name);
    if (parameter === undefined) return '[^/]+';
    names.push(name);
    return parameter.shape === 'label' ? '([A-Za-z0-9_-]+)' : '([^/]+)';
  });
  const body = literals.map((literal, at) => literal + (holes[at] ?? '')).join('');
  return { pattern: new RegExp(`^${body}${address.includes('/') ? '' : '/?'}$`, 'i'), names };
}
