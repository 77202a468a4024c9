// Lists of networks that a token, a workload or a proxy is bound to. It must never accept an ambiguous address: only canonical
// spellings parse, and an address that does not parse is in no network.
import ipaddr from 'ipaddr.js';
import { fail } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';

type Address = ipaddr.IPv4 | ipaddr.IPv6;
interface Network {
  readonly address: Address;
  readonly prefixBits: number;
}

const PREFIX = /^(0|[1-9][0-9]{0,2})$/;
/** Internet providers assign whole /64 networks: one subscriber must count as one source. IPv4 addresses are shorter and stay whole. */
const LIMITED_IPV6_BITS = 64;

/** An immutable list of networks; an empty one means any network. */
export class Networks {
  /** Canonical CIDR texts, host bits cleared, sorted and without repeats. */
  readonly list: readonly string[];
  readonly #networks: readonly Network[];

  private constructor(networks: ReadonlyMap<string, Network>) {
    this.list = [...networks.keys()].sort();
    this.#networks = [...networks.values()];
  }

  /**
   * Parses CIDR texts and single addresses of IPv4 and IPv6. Host bits are cleared; v4-mapped IPv6 becomes IPv4 (RFC 4291 section 2.5.5.2).
   * @throws invalid_request naming `pointer/index`, never the text
   */
  static parse(list: readonly string[], pointer: string): Networks {
    if (list.length > LIMITS.networksMaxCount)
      fail('invalid_request', `a list of networks must have at most ${LIMITS.networksMaxCount} entries`, { pointer });
    const networks = new Map<string, Network>();
    for (const [index, text] of list.entries()) {
      const network = parseNetwork(text);
      if (network === undefined) {
        fail('invalid_request', 'a network must be a CIDR block or an address such as 10.0.0.0/8, 2001:db8::/32 or 192.0.2.7', {
          pointer: `${pointer}/${index}`,
        });
      }
      networks.set(`${network.address.toString()}/${network.prefixBits}`, network);
    }
    return new Networks(networks);
  }

  get isAny(): boolean {
    return this.#networks.length === 0;
  }

  /** True when the address is in one of the networks, or the list is empty; false for anything that is not an address. */
  contains(ip: string): boolean {
    if (this.#networks.length === 0) return true;
    const address = parseAddress(ip);
    return address !== undefined && this.#networks.some((network) => isInside(address, network));
  }
}

/** The canonical text of an address (v4-mapped becomes IPv4, zone dropped), or undefined when the text is not an address. */
export function canonicalAddress(ip: string): string | undefined {
  return parseAddress(ip)?.toString();
}

/** The rate-limit key of an address: the address, or the /64 of an IPv6 address; one shared key for texts that are not addresses. */
export function limitedSource(ip: string): string {
  const address = parseAddress(ip);
  if (address === undefined) return 'unknown';
  return withoutHostBits(address, LIMITED_IPV6_BITS).toString();
}

function isInside(address: Address, network: Network): boolean {
  return address.kind() === network.address.kind() && address.match(network.address as never, network.prefixBits);
}

function parseAddress(text: string): Address | undefined {
  // SECURITY: parsers disagree on 010.0.0.1, 0x0a000001 and 10.1, so they are not addresses here.
  if (text.length > LIMITS.addressMaxChars) return undefined;
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) return ipaddr.IPv4.parse(text);
  const bare = text.replace(/%.*/s, '');
  if (!ipaddr.IPv6.isValid(bare)) return undefined;
  const address = ipaddr.IPv6.parse(bare);
  return address.isIPv4MappedAddress() ? address.toIPv4Address() : address;
}

function parseNetwork(text: string): Network | undefined {
  if (text.includes('%')) return undefined;
  const [base = '', prefix, ...rest] = text.split('/');
  const address = parseAddress(base);
  if (address === undefined || rest.length > 0 || (prefix !== undefined && !PREFIX.test(prefix))) return undefined;
  const widthBits = address.kind() === 'ipv4' ? 32 : 128;
  const isMapped = widthBits === 32 && base.includes(':');
  const prefixBits = prefix === undefined ? widthBits : Number(prefix) - (isMapped ? 96 : 0);
  if (prefixBits < 0 || prefixBits > widthBits) return undefined;
  return { address: withoutHostBits(address, prefixBits), prefixBits };
}

function withoutHostBits(address: Address, prefixBits: number): Address {
  const bytes = address.toByteArray().map((byte, index) => {
    const kept = Math.min(8, Math.max(0, prefixBits - index * 8));
    return byte & (0xff << (8 - kept));
  });
  return ipaddr.fromByteArray(bytes);
}
