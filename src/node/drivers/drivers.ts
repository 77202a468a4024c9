// The drivers of this platform by name, over one network rule. It must never give a driver another way to a network.
import type { DriverName, KeyDriver } from '../../../rotation/connector.ts';
import { parseNetworks } from '../../../rotation/engine/target-networks.ts';
import { ldapDriver } from './ldap.ts';
import { mysqlDriver } from './mysql.ts';
import { postgresqlDriver } from './postgresql.ts';
import { redisDriver } from './redis.ts';
import { TargetNetwork } from './target-network.ts';

/** @param networks the only networks that drivers reach, in CIDR form. Default: all but loopback and metadata. @throws invalid_request */
export function createDrivers(networks?: readonly string[]): ReadonlyMap<DriverName, KeyDriver> {
  const network = new TargetNetwork({ networks: networks === undefined ? undefined : parseNetworks(networks) });
  return new Map<DriverName, KeyDriver>([
    ['postgresql', postgresqlDriver(network)],
    ['ldap', ldapDriver(network)],
    ['mysql', mysqlDriver(network)],
    ['redis', redisDriver(network)],
  ]);
}
