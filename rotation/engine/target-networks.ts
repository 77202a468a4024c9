// Which addresses drivers may connect to: databases are usually at private addresses, which egress to providers never reaches.
// It must never fail open: an address that is not recognized is refused.
import ipaddr from 'ipaddr.js';
import { KeyturnError } from '../../src/base/errors.ts';
import { judgeAddress } from './egress-rules.ts';

export type Network = readonly [ipaddr.IPv4 | ipaddr.IPv6, number];

/** RFC 1918, RFC 6598 and RFC 4193, by the names of ipaddr.js. */
const PRIVATE_RANGES = new Set(['private', 'carrierGradeNat', 'uniqueLocal']);
/**
 * SECURITY: these answer with machine credentials although they are in private ranges: Alibaba Cloud, Amazon over IPv6, Google over IPv6.
 * All other metadata services have link-local addresses, or one that `judgeAddress` blocks.
 */
const METADATA: readonly Network[] = ['100.100.100.200/32', 'fd00:ec2::/32', 'fd20:ce::/32'].map((text) =>
  ipaddr.parseCIDR(text),
);

/** @throws invalid_request if an entry is not a network such as 10.20.0.0/16 or fd12::/16 */
export function parseNetworks(entries: readonly string[]): readonly Network[] {
  return entries.map((entry) => {
    if (!ipaddr.isValidCIDR(entry))
      throw new KeyturnError(
        'invalid_request',
        'a database network must be in CIDR form, for example 10.20.0.0/16 or fd12::/16: correct --database-network',
      );
    return ipaddr.parseCIDR(entry);
  });
}

/**
 * Link-local and metadata addresses are never allowed; loopback only in a sandbox or if a listed network contains it; everything else if
 * `networks` is absent or one of them contains it.
 */
export function mayReach(address: string, networks: readonly Network[] | undefined, allowLoopback: boolean): boolean {
  if (!ipaddr.IPv4.isValidFourPartDecimal(address) && !ipaddr.IPv6.isValid(address)) return false;
  const parsed = ipaddr.parse(address);
  const verdict = judgeAddress(address);
  const isUsable = verdict !== 'blocked' || (PRIVATE_RANGES.has(parsed.range()) && !isIn(parsed, METADATA));
  if (!isUsable || hasZone(parsed)) return false;
  if (verdict === 'loopback') return allowLoopback || isIn(parsed, networks ?? []);
  return networks === undefined || isIn(parsed, networks);
}

function isIn(address: ipaddr.IPv4 | ipaddr.IPv6, networks: readonly Network[]): boolean {
  return networks.some(([network, bits]) => network.kind() === address.kind() && address.match(network, bits));
}

function hasZone(address: ipaddr.IPv4 | ipaddr.IPv6): boolean {
  return address instanceof ipaddr.IPv6 && address.zoneId !== undefined && address.zoneId !== '';
}
