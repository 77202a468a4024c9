// Resolves a connector's data and a credential's settings to exact URLs, hosts and limits; templates are filled in only here.
// It must never let a setting or a provider's answer redirect a call to an undeclared host, except by settings for this purpose.
import { fail } from '../../src/base/errors.ts';
import type {
  AssertionSpec,
  ConsentSpec,
  IntrospectionSpec,
  LifetimeSpec,
  OAuth2Spec,
  OAuthConnector,
  Parameter,
  ProbeSpec,
  Renewal,
  RevocationSpec,
} from '../connector.ts';
import { movedUrl } from '../moved-url.ts';

export interface OAuth2Settings {
  readonly clientId?: string;
  readonly parameters?: Readonly<Record<string, string>>;
  /** Only fields that the connector lists as adjustable. */
  readonly adjust?: Partial<OAuth2Spec>;
  readonly authorizeEndpoint?: string;
  readonly revocationEndpoint?: string;
  readonly introspectionEndpoint?: string;
  readonly issuer?: string;
  /** Replacement base URLs by declared host. */
  readonly baseUrls?: Readonly<Record<string, string>>;
  /** The sandbox in place of every host, as `<sandbox>/<host><path>`. */
  readonly sandbox?: string;
  /** Facts about the account from the provider, by Keyturn's names. */
  readonly account?: Readonly<Record<string, string>>;
  /** True before consent: parameters from the person or the callback may be missing. */
  readonly unfinished?: boolean;
}

/** A connector with every template filled in. A part whose URL needs an unknown account field is undefined. */
export interface ResolvedConnector {
  readonly id: string;
  readonly oauth2: OAuth2Spec;
  readonly consent: ConsentSpec | undefined;
  readonly introspection: IntrospectionSpec | undefined;
  readonly revocation: RevocationSpec | undefined;
  readonly probe: ProbeSpec | undefined;
  readonly lifetimes: LifetimeSpec;
  /** Every host that a call may reach. */
  readonly hosts: readonly string[];
  /** Origin and base path in place of each host whose name is known; the access token may manage keys there. */
  readonly places: readonly string[];
  /** Of `places`, those that the settings move although no endpoint is there. */
  readonly movedPlaces: readonly string[];
}

const LABEL = /^[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62})$/;
const HOST = /^(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})(?::[0-9]{1,5})?$/;
const TEMPLATE = /\{(account\.)?([a-z0-9_]+)\}/g;

/** The spec of the token endpoint only; see `resolveConnector`. */
export function resolveOAuth2(connector: OAuthConnector, settings: OAuth2Settings = {}): OAuth2Spec {
  return resolveConnector(connector, settings).oauth2;
}

/** @throws invalid_request naming the setting */
export function resolveConnector(connector: OAuthConnector, settings: OAuth2Settings = {}): ResolvedConnector {
  const declared = connector.oauth2;
  const adjust = settings.adjust ?? {};
  refuseUnadjustable(connector, adjust);
  const filling = new Filling(connector, settings);
  const tokenEndpoint = filling.url(adjust.tokenEndpoint ?? declared.tokenEndpoint, '/config/token_endpoint');
  const { consent, introspection, revocation, probe } = connector;
  const asClient = standardClient({ ...declared, ...adjust, tokenEndpoint });
  const authorizeEndpoint = settings.authorizeEndpoint ?? consent?.authorizeEndpoint;
  const resolved = {
    consent:
      consent === undefined || authorizeEndpoint === undefined
        ? undefined
        : {
            ...consent,
            authorizeEndpoint: filling.authorizeEndpoint(authorizeEndpoint),
            ...(settings.issuer === undefined ? {} : { issuer: settings.issuer }),
            ...(consent.choice === undefined ? {} : { choice: { ...consent.choice, url: filling.url(consent.choice.url) } }),
          },
    introspection: filling.part(introspection, settings.introspectionEndpoint, { ...RFC_7662, ...asClient }),
    revocation: filling.revocation(revocation, settings.revocationEndpoint, { ...RFC_7009, ...asClient }),
    probe: filling.part(probe),
  };
  const hosts = filling.hosts(declared.hosts, adjust.tokenEndpoint !== undefined);
  return {
    id: connector.id,
    ...resolved,
    oauth2: {
      ...declared,
      ...adjust,
      ...(adjust.accessTokenTtlSeconds === undefined ? {} : { accessTokenTtlIsSet: true }),
      tokenEndpoint,
      hosts,
      ...filling.renewal(declared.renewal),
    },
    lifetimes: lifetimesAt(connector.lifetimes ?? {}, tokenEndpoint),
    hosts,
    ...filling.places(adjust.tokenEndpoint !== undefined || declared.hosts.length === 0),
  };
}

/** Omits announced changes of other endpoints. */
function lifetimesAt({ scheduled, ...lifetimes }: LifetimeSpec, tokenEndpoint: string): LifetimeSpec {
  if (scheduled === undefined) return lifetimes;
  const ours = scheduled.filter(({ ofTokenEndpoint = '' }) => tokenEndpoint.includes(ofTokenEndpoint));
  return { ...lifetimes, scheduled: ours };
}

/** The client authentication at the other endpoints is that of the token endpoint (RFC 7009 section 2.1, RFC 7662 section 2.1). */
function standardClient({ clientAuthentication, assertionAudience, tokenEndpoint }: OAuth2Spec) {
  return { authentication: clientAuthentication, assertionAudience: assertionAudience ?? tokenEndpoint };
}

const RFC_7662: Omit<IntrospectionSpec, 'url' | 'authentication'> = {
  method: 'POST',
  bodyFormat: 'form',
  tokenParameter: 'token',
  fields: { active: 'active', scope: 'scope', expiresAt: 'exp' },
};
const RFC_7009: Omit<RevocationSpec, 'url' | 'authentication'> = {
  method: 'POST',
  bodyFormat: 'form',
  token: 'refresh',
  tokenParameter: 'token',
  sendsHint: true,
  ends: 'grant',
};

function refuseUnadjustable(connector: OAuthConnector, adjust: Partial<OAuth2Spec>): void {
  for (const field of Object.keys(adjust)) {
    if (!connector.adjustable?.includes(field as keyof OAuth2Spec)) {
      const name = field.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
      fail('invalid_request', 'the setting cannot be changed for this connector: remove it', { pointer: `/config/${name}` });
    }
  }
}

/** Fills in templates and collects the resulting hosts. */
class Filling {
  readonly #values: ReadonlyMap<string, string | undefined>;
  readonly #settings: OAuth2Settings;
  readonly #declaredHosts: readonly string[];
  readonly #reached = new Set<string>();
  /** Declared hosts of endpoints. */
  readonly #called = new Set<string>();

  constructor(connector: OAuthConnector, settings: OAuth2Settings) {
    this.#settings = settings;
    this.#values = parameterValues(connector, settings);
    this.#declaredHosts = connector.oauth2.hosts.map((host) => this.#fill(host) ?? host);
  }

  /** The exact URL; without values from the consent it stays a template. @throws invalid_request at `pointer` */
  url(template: string, pointer = '/connector'): string {
    if (template === '') fail('invalid_request', 'the setting is required by this connector', { pointer });
    const filled = this.#fill(template);
    if (filled === undefined)
      return this.#settings.unfinished === true
        ? template
        : fail('invalid_request', 'the URL needs a field of the account that is not known: connect the account again', {
            pointer,
          });
    return this.#relocate(filled, pointer);
  }

  /** Parameters of the consenting person may be missing: an imported grant needs no consent page. */
  authorizeEndpoint(template: string): string {
    const left = template === '' || this.#fill(template) === undefined;
    return left ? template : this.url(template, '/config/authorization_endpoint');
  }

  part<P extends { readonly url: string }>(part: P | undefined, endpoint?: string, standard?: Omit<P, 'url'>): P | undefined {
    const url = endpoint ?? part?.url;
    const rest = part ?? standard;
    if (url === undefined || rest === undefined) return undefined;
    return this.#fill(url) === undefined ? undefined : ({ ...rest, url: this.url(url) } as P);
  }

  revocation(
    declared: RevocationSpec | undefined,
    endpoint: string | undefined,
    standard: Omit<RevocationSpec, 'url'>,
  ): RevocationSpec | undefined {
    const part = this.part(declared, endpoint, standard);
    if (part?.extraParameters === undefined) return part;
    const extra = Object.entries(part.extraParameters).map(([name, template]) => [name, this.#fill(template, false)] as const);
    if (extra.some(([, value]) => value === undefined)) return undefined;
    return { ...part, extraParameters: Object.fromEntries(extra) as Record<string, string> };
  }

  /** The claims of a signed assertion. An audience identifies the provider, so the sandbox setting does not change it. */
  renewal(declared: Renewal | undefined): { renewal?: Renewal } {
    if (declared === undefined) return {};
    if (declared.kind === 'refresh_token') {
      return {
        renewal: declared.recovery === undefined ? declared : { ...declared, recovery: this.#assertion(declared.recovery) },
      };
    }
    return { renewal: 'assertion' in declared ? { ...declared, assertion: this.#assertion(declared.assertion) } : declared };
  }

  #assertion(declared: AssertionSpec): AssertionSpec {
    const { audience, subject, ...rest } = declared;
    const claims = { audience, subject };
    const filled = Object.entries(claims).flatMap(([name, template]) => {
      const value = template === undefined ? undefined : this.#fill(template, false);
      return value === undefined || value === '' ? [] : [[name, value] as const];
    });
    return { ...rest, ...Object.fromEntries(filled) };
  }

  hosts(declared: readonly string[], ownTokenEndpoint: boolean): string[] {
    const { sandbox, baseUrls } = this.#settings;
    const moved = sandbox !== undefined || baseUrls !== undefined || ownTokenEndpoint || declared.length === 0;
    const filled = sandbox === undefined && !ownTokenEndpoint ? this.#declaredHosts.filter((host) => !host.includes('{')) : [];
    return [...new Set([...filled, ...(moved ? this.#reached : [])])];
  }

  /** Call after every endpoint is filled in. @param ownHosts hosts come from the settings */
  places(ownHosts: boolean): Pick<ResolvedConnector, 'places' | 'movedPlaces'> {
    const known = this.#declaredHosts.filter((host) => !/[{*]/.test(host)).map((host) => new URL(`https://${host}/`));
    const moved = known.filter(({ host, href }) => !this.#called.has(host) && movedUrl(new URL(href), this.#settings) !== href);
    const placesOf = (urls: readonly URL[]) => [...new Set(urls.map((url) => movedUrl(url, this.#settings)))].sort();
    const own = ownHosts ? [...this.#called].map((host) => new URL(`https://${host}/`)) : [];
    return { places: placesOf([...known, ...own]), movedPlaces: placesOf(moved) };
  }

  /** Undefined if a value is not known yet. */
  #fill(template: string, inUrl = true): string | undefined {
    let missing = false;
    const filled = template.replaceAll(TEMPLATE, (_, ofAccount: string | undefined, name: string) => {
      const value = ofAccount === undefined ? this.#value(name, inUrl) : this.#accountValue(name, inUrl, template);
      if (value === undefined) missing = true;
      return value ?? '';
    });
    return missing ? undefined : filled;
  }

  #value(name: string, inUrl: boolean): string | undefined {
    const { clientId = '' } = this.#settings;
    if (name === 'client_id') return inUrl ? encodeURIComponent(clientId) : clientId;
    if (!this.#values.has(name)) fail('internal', `undeclared parameter ${name}`);
    return this.#values.get(name);
  }

  #accountValue(name: string, inUrl: boolean, template: string): string | undefined {
    const account = this.#settings.account ?? {};
    const value = Object.hasOwn(account, name) ? account[name] : undefined;
    if (value === undefined || !inUrl) return value;
    if (!template.startsWith(`{account.${name}}`)) return encodeURIComponent(value);
    // SECURITY: an origin from a provider's answer must be one of the connector's hosts.
    const origin = URL.parse(value);
    const known = origin?.protocol === 'https:' && this.#declaredHosts.some((host) => isHostOf(origin.host, host));
    return known ? origin.origin : undefined;
  }

  #relocate(filled: string, pointer: string): string {
    const url = URL.parse(filled) ?? fail('invalid_request', 'the setting must be an absolute URL', { pointer });
    this.#called.add(url.host);
    const moved = movedUrl(url, this.#settings);
    this.#reached.add((URL.parse(moved) ?? fail('invalid_request', 'the setting must be an absolute URL', { pointer })).host);
    return moved;
  }
}

/** Whether `host` matches `allowed` (`name`, `name:port`, `*.name`). */
function isHostOf(host: string, allowed: string): boolean {
  return allowed.startsWith('*.')
    ? host.endsWith(allowed.slice(1)) && host.length > allowed.length - 1
    : host === allowed.toLowerCase();
}

/**
 * Whether this is a host of the connector, regardless of a credential's settings: it is declared, with any label in place of a label
 * parameter, and the default in place of a host parameter. SECURITY: a page with the title "Asana" must not lead to another host.
 */
export function isOwnHost({ consent, oauth2, parameters = [] }: OAuthConnector, host: string): boolean {
  const declared = [URL.parse(masked(consent?.authorizeEndpoint ?? ''))?.host, ...oauth2.hosts.map(masked)];
  return declared.some((one) => one !== undefined && matchesMask(one, host));

  function masked(template: string): string {
    return template.replaceAll(TEMPLATE, (_, _ofAccount, name: string) => {
      const parameter = parameters.find((one) => one.name === name);
      return parameter?.shape === 'host' ? (parameter.default ?? 'nowhere.invalid') : ANY_LABEL;
    });
  }
}

/** Placeholder for one label of a host; no provider declares it. */
const ANY_LABEL = 'any--label';

function matchesMask(mask: string, host: string): boolean {
  if (!mask.includes(ANY_LABEL)) return isHostOf(host, mask);
  const [first = '', ...rest] = mask.split(ANY_LABEL).map((part) => part.toLowerCase());
  const last = rest.at(-1) ?? '';
  const label = host.slice(first.length, host.length - last.length);
  return rest.length === 1 && last.startsWith('.') && host.startsWith(first) && host.endsWith(last) && LABEL.test(label);
}

function parameterValues(connector: OAuthConnector, settings: OAuth2Settings): ReadonlyMap<string, string | undefined> {
  const { parameters = [], consent: _, ...parts } = connector;
  const afterConsent = JSON.stringify(parts);
  const given = settings.parameters ?? {};
  for (const name of Object.keys(given)) {
    if (!parameters.some((parameter) => parameter.name === name)) {
      fail('invalid_request', 'the connector does not have one of these parameters: see `keyturn connectors <id>`', {
        pointer: '/config/parameters',
      });
    }
  }
  return new Map(
    parameters.map((parameter) => {
      const { name, default: fallback, from } = parameter;
      const value = Object.hasOwn(given, name) ? given[name] : fallback;
      const neededLater = settings.unfinished !== true && afterConsent.includes(`{${name}}`);
      const mayWait = !neededLater && (from === 'consent' || from === 'callback');
      if (value === undefined && mayWait) return [name, undefined] as const;
      return [name, checkParameter(parameter, value)] as const;
    }),
  );
}

/** @throws invalid_request naming the parameter, never its value */
export function checkParameter({ name, shape, values }: Parameter, value: string | undefined): string {
  const pointer = `/config/parameters/${name}`;
  // SECURITY: a value such as `evil.example/#` would redirect the whole URL to another host.
  if (value === undefined || !(shape === 'label' ? LABEL : HOST).test(value))
    fail(
      'invalid_request',
      `the parameter must be a ${shape === 'host' ? 'host name' : 'single label: letters, digits, - and _'}`,
      { pointer },
    );
  if (values !== undefined && !values.includes(value))
    fail('invalid_request', `the parameter must be one of ${values.join(', ')}`, { pointer });
  return value;
}
