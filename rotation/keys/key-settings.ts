// A key connector with the settings of one credential: its hosts, and an egress that reaches only those (D14).
// It must never let a request leave for a host that is not among them.
import { fail, KeyturnError } from '../../src/base/errors.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import { boundKeyConfig, freeKeyConfig, type KeyConfig, keyConfigOf, type RetainedKey } from '../../src/vault/rotation-state.ts';
import {
  type Connector,
  type DriverName,
  type Egress,
  EgressFailure,
  findConnector,
  type KeyConnector,
  type KeyDriver,
  type Program,
  type Rotator,
} from '../connector.ts';
import { movedUrl } from '../moved-url.ts';
import { customise } from './custom.ts';
import { declaredRotator } from './declared.ts';

export interface ResolvedKey {
  readonly connector: KeyConnector;
  /** Undefined if only a person can replace the value, or if this platform cannot reach the target. */
  readonly rotator: Rotator | undefined;
  readonly parameters: Readonly<Record<string, string>>;
  /** The hosts of the connector with the credential's settings, sorted; empty for a driver, whose host is in the value. */
  readonly hosts: readonly string[];
  /** Origin and base path in place of each host that the connector declares, sorted; of a webhook its URL. */
  readonly places: readonly string[];
  readonly config: KeyConfig;
}

export interface KeyPorts {
  readonly connectors: ReadonlyMap<string, Connector>;
  readonly drivers?: ReadonlyMap<DriverName, KeyDriver>;
  readonly programs?: (name: string) => Program | undefined;
}

/** The settings that a version's secrets may be used with; undefined for a value that was stored without a connector. */
export function settingsOfKey(
  row: Pick<CredentialRow, 'config'>,
  retained: RetainedKey,
): { readonly connector: string; readonly config: KeyConfig } | undefined {
  if (retained.settings === undefined) return undefined;
  const { connector, config } = retained.settings;
  return { connector, config: { ...freeKeyConfig(keyConfigOf(row)), ...boundKeyConfig(config) } };
}

/** Undefined if there is no key connector of this id. @throws invalid_request naming the field */
export function resolveKey(ports: KeyPorts, kind: string, connectorId: string, config: KeyConfig): ResolvedKey | undefined {
  const found = findConnector(ports.connectors, 'key', connectorId);
  if (found === undefined) return undefined;
  const custom = customise(ports.programs, found, kind, config);
  const connector = custom?.connector ?? found;
  if (config.manages === true) refuseAsManager(connector, kind, config);
  else {
    const { key } = connector;
    if (key.credential !== kind)
      fail('invalid_request', `the connector is for credentials of kind ${key.credential}`, { pointer: '/connector' });
    refuseMissing(connector, config);
  }
  const parameters = filledIn(connector, config.parameters ?? {});
  return {
    connector,
    rotator: config.manages === true ? undefined : (custom?.rotator ?? rotatorOf(ports, connector)),
    parameters,
    ...destinationsOf(declaredHosts(connector, parameters), config),
    config,
  };
}

/**
 * Where a value with these bound settings is sent, whoever manages it; undefined if there is no key connector of this id.
 * @throws invalid_request naming the field
 */
export function placesOfKey(
  ports: KeyPorts,
  kind: string,
  connectorId: string,
  config: KeyConfig,
): readonly string[] | undefined {
  const found = findConnector(ports.connectors, 'key', connectorId);
  if (found === undefined) return undefined;
  const isManager = (config.http?.calls ?? config.webhook?.steps ?? config.program?.steps) === undefined;
  const its = customise(ports.programs, found, kind, { ...config, ...(isManager ? { manages: true } : {}) });
  const connector = its?.connector ?? found;
  return destinationsOf(declaredHosts(connector, filledIn(connector, config.parameters ?? {})), config).places;
}

/** As `resolveKey`, without the reason why the settings are unusable. */
export function resolvedOrNot(
  ports: KeyPorts,
  kind: string,
  { connector, config }: { readonly connector: string; readonly config: KeyConfig },
): ResolvedKey | undefined {
  try {
    return resolveKey(ports, kind, connector, config);
  } catch (error) {
    if (error instanceof KeyturnError) return undefined;
    throw error;
  }
}

/** The kinds of an admin credential whose value is stored with the connector; an OAuth grant has a connector of its own. */
export function managerKinds({ key }: KeyConnector): readonly string[] {
  return key.admin === 'self' ? [] : (key.adminKinds ?? [key.credential]).filter((kind) => kind !== 'oauth2');
}

function refuseAsManager(connector: KeyConnector, kind: string, config: KeyConfig): void {
  const kinds = managerKinds(connector);
  const pointer = '/config/manages';
  if (kinds.length === 0)
    fail('invalid_request', 'no stored key manages others of this connector: remove the setting manages', { pointer });
  if (!kinds.includes(kind))
    fail('invalid_request', `a credential that manages others of this connector has the kind ${kinds.join(' or ')}`, { pointer });
  const other = (['admin', 'grace_seconds', 'rotate_every_seconds'] as const).find((name) => config[name] !== undefined);
  if (other !== undefined)
    fail('invalid_request', `a credential that manages others is not rotated: remove ${other}, or the setting manages`, {
      pointer: `/config/${other}`,
    });
  refuseContradiction(config);
}

function refuseMissing({ key }: KeyConnector, config: KeyConfig): void {
  if (key.admin === 'credential' && config.admin === undefined)
    fail('invalid_request', 'the connector needs the setting admin: the name of the credential that manages this one', {
      pointer: '/config/admin',
    });
  if (key.admin === 'self' && config.admin !== undefined)
    fail('invalid_request', 'the setting admin has no effect with this connector: remove it', { pointer: '/config/admin' });
  refuseContradiction(config);
}

function refuseContradiction(config: KeyConfig): void {
  if (config.deadline_seconds !== undefined && (config.grace_seconds ?? 0) > config.deadline_seconds)
    fail('invalid_request', 'must be at least grace_seconds: the old value works that long', {
      pointer: '/config/deadline_seconds',
    });
  if (config.sandbox !== undefined && config.base_urls !== undefined)
    fail('invalid_request', 'the setting base_urls has no effect together with sandbox: remove one of them', {
      pointer: '/config/base_urls',
    });
}

function filledIn({ parameters = [] }: KeyConnector, given: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const known = new Set(parameters.map(({ name }) => name));
  const unknown = Object.keys(given).find((name) => !known.has(name));
  if (unknown !== undefined)
    fail('invalid_request', 'the connector has no such parameter: see `keyturn connectors`', {
      pointer: `/config/parameters/${unknown}`,
    });
  const filled: Record<string, string> = {};
  for (const { name, shape, values, default: preset } of parameters) {
    const value = given[name] ?? preset;
    const pointer = `/config/parameters/${name}`;
    if (value === undefined) return fail('invalid_request', 'the connector needs this parameter', { pointer });
    if (values !== undefined && !values.includes(value))
      fail('invalid_request', `must be one of ${values.join(', ')}`, { pointer });
    if (!(shape === 'host' ? HOST : LABEL).test(value))
      fail('invalid_request', shape === 'host' ? 'must be a host name' : 'must be one label: letters, digits, - and _', {
        pointer,
      });
    filled[name] = value;
  }
  return filled;
}

const LABEL = /^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/;
const HOST = /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?(?::[1-9][0-9]{0,4})?$/;

function rotatorOf({ drivers }: KeyPorts, connector: KeyConnector): Rotator | undefined {
  const { strategy, driver, calls } = connector.key;
  if (calls !== undefined) return declaredRotator(connector);
  return driver === undefined || strategy === 'manual' ? undefined : drivers?.get(driver)?.rotator(strategy);
}

/** The hosts that the connector declares, with the credential's parameters. */
function declaredHosts({ key }: KeyConnector, parameters: Readonly<Record<string, string>>): readonly string[] {
  return key.hosts.map((host) => host.replace(/\{([a-z0-9_]+)\}/g, (_, name: string) => parameters[name] ?? ''));
}

function destinationsOf(declared: readonly string[], config: KeyConfig): Pick<ResolvedKey, 'hosts' | 'places'> {
  // A program is a destination without an origin.
  if (config.program !== undefined) return { hosts: declared, places: declared };
  const moved = config.base_urls ?? {};
  const unused = Object.keys(moved).find((host) => !declared.includes(host));
  if (unused !== undefined)
    fail('invalid_request', 'the connector does not call this host', { pointer: `/config/base_urls/${unused}` });
  // The secret of a webhook signs what one URL receives: another path of the host may belong to somebody else.
  const urls = config.webhook === undefined ? declared.map((host) => `https://${host}/`) : [config.webhook.url];
  const places = placesOf(urls, config);
  return { hosts: [...new Set(places.map((place) => new URL(place).host))].sort(), places };
}

/** Where the settings move each of these URLs. */
function placesOf(urls: readonly string[], config: Pick<KeyConfig, 'sandbox' | 'base_urls'>): readonly string[] {
  const moved = urls.map((url) => movedUrl(new URL(url), { sandbox: config.sandbox, baseUrls: config.base_urls }));
  return [...new Set(moved)].sort();
}

/** Moves requests to the replaced hosts and refuses every other host. @throws EgressFailure host_not_allowed, from `send` */
export function boundEgress(egress: Egress, { hosts, config, connector, parameters }: ResolvedKey): Egress {
  const declared = declaredHosts(connector, parameters);
  return {
    send: async (request) => {
      const url = URL.parse(request.url);
      // SECURITY: templates and answers must not lead a secret to a host that the settings sealed with it do not name.
      if (url === null || !declared.includes(url.host)) throw new EgressFailure('host_not_allowed');
      return egress.send({
        ...request,
        url: movedUrl(url, { sandbox: config.sandbox, baseUrls: config.base_urls }),
        allowedHosts: hosts,
      });
    },
  };
}
