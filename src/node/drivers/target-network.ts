// The way of all drivers to a target: a name is resolved once, every address is checked, and only checked addresses are dialled.
// It must never return a name: a second look-up could answer with other addresses (DNS rebinding).
import { lookup as systemLookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { mayReach, type Network } from '../../../rotation/engine/target-networks.ts';
import { LIMITS } from '../../base/limits.ts';
import { StepFailed } from './step-failed.ts';

export interface TargetNetworkOptions {
  /** The only networks that drivers reach. Default: all public and private ones. */
  readonly networks?: readonly Network[] | undefined;
  /** Returns all addresses of a name. Default: the system's resolver. */
  readonly lookup?: (hostname: string) => Promise<readonly string[]>;
}

export class TargetNetwork {
  readonly #networks: readonly Network[] | undefined;
  readonly #lookup: (hostname: string) => Promise<readonly string[]>;

  constructor({ networks, lookup = lookupAll }: TargetNetworkOptions = {}) {
    this.#networks = networks;
    this.#lookup = lookup;
  }

  /**
   * Connects by `dial` to the first address that can be reached; the next one is tried only after a failure without any effect.
   * @throws StepFailed dns_failed | address_blocked, or the failure of the last address
   */
  async dial<T>(host: string, allowLoopback: boolean, dial: (address: string) => Promise<T>): Promise<T> {
    const addresses = await this.#resolve(host);
    // SECURITY: every address must be allowed, not just the first (split answers).
    if (!addresses.every((address) => mayReach(address, this.#networks, allowLoopback)))
      throw StepFailed.refused('configuration', 'address_blocked');
    let failed: unknown = StepFailed.notSent('dns_failed');
    for (const address of addresses.slice(0, LIMITS.driverAddressesMaxCount)) {
      try {
        return await dial(address);
      } catch (error) {
        if (!(error instanceof StepFailed) || !error.isUnreached) throw error;
        failed = error;
      }
    }
    throw failed;
  }

  async #resolve(host: string): Promise<readonly string[]> {
    if (isIP(host) !== 0) return [host];
    try {
      return [...new Set(await this.#lookup(host))];
    } catch {
      throw StepFailed.notSent('dns_failed');
    }
  }
}

async function lookupAll(hostname: string): Promise<readonly string[]> {
  return (await systemLookup(hostname, { all: true })).map(({ address }) => address);
}
