// A key connector with the settings of one credential: its hosts, and an egress that reaches only those (D14).
// It must never let a request leave for a host that is not among them.
import { fail } from '../../src/base/errors.ts';
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
  type Rotator,
} from '../connector.ts';
import { movedUrl } from '../moved-url.ts';
import { declaredRotator } from './declared.ts';

export interface ResolvedKey {
  readonly connector: KeyConnector;
  /** Undefined if only a person can replace the value, or if this platform cannot reach the target. */
  readonly rotator: Rotator | undefined;
  readonly parameters: Readonly<Record<string, string>>;
  /** The hosts of the connector with the credential's settings, sorted; empty for a driver, whose host is in the value. */
  readonly hosts: readonly string[];
  readonly config: KeyConfig;
}

export interface KeyPorts {
  readonly connectors: ReadonlyMap<string, Connector>;
  readonly drivers?: ReadonlyMap<DriverName, KeyDriver>;
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
  const connector = findConnector(ports.connectors, 'key', connectorId);
  if (connector === undefined) return undefined;
  const { key } = connector;
  if (key.credential !== kind)
    fail('invalid_request', `the connector is for credentials of kind ${key.credential}`, { pointer: '/connector' });
  refuseMissing(connector, config);
  const parameters = filledIn(connector, config.parameters ?? {});
  return {
    connector,
    rotator: rotatorOf(ports, connector),
    parameters,
    hosts: hostsOf(declaredHosts(connector, parameters), config),
    config,
  };
}

function refuseMissing({ key }: KeyConnector, config: KeyConfig): void {
  if (key.admin === 'credential' && config.admin === undefined)
    fail('invalid_request', 'the connector needs the setting admin: the name of the credential that manages this one', {
      pointer: '/config/admin',
    });
  if (key.admin === 'self' && config.admin !== undefined)
    fail('invalid_request', 'the setting admin has no effect with this connector: remove it', { pointer: '/config/admin' });
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

function hostsOf(declared: readonly string[], config: KeyConfig): readonly string[] {
  if (config.sandbox !== undefined) return [new URL(config.sandbox).host];
  const moved = config.base_urls ?? {};
  const unused = Object.keys(moved).find((host) => !declared.includes(host));
  if (unused !== undefined)
    fail('invalid_request', 'the connector does not call this host', { pointer: `/config/base_urls/${unused}` });
  return [...new Set(declared.map((host) => (Object.hasOwn(moved, host) ? new URL(moved[host] as string).host : host)))].sort();
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
