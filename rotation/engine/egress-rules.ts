// Rules for the destination and the answer size of provider calls, for both egress drivers; without network access.
// It must never fail open: an address that is not recognized is blocked.
import ipaddr from 'ipaddr.js';
import { EgressFailure, type EgressRequest } from '../connector.ts';

export type AddressVerdict = 'public' | 'loopback' | 'blocked';

/** A public address with access to machine credentials: Azure's WireServer. All other metadata addresses are in a blocked range. */
const ALSO_BLOCKED = new Set(['168.63.129.16']);
/** The only range that IANA has assigned for global unicast (RFC 4291 section 2.4). */
const GLOBAL_UNICAST_V6 = ipaddr.IPv6.parseCIDR('2000::/3');

/** Classifies an address; IPv4 inside IPv6 is classified as the IPv4 address if that is loopback, and is blocked otherwise. */
export function judgeAddress(address: string): AddressVerdict {
  if (!ipaddr.isValid(address)) return 'blocked';
  const parsed = ipaddr.parse(address);
  if (parsed instanceof ipaddr.IPv6) {
    if (parsed.isIPv4MappedAddress()) return parsed.toIPv4Address().range() === 'loopback' ? 'loopback' : 'blocked';
    if (parsed.range() === 'loopback') return 'loopback';
    return parsed.range() === 'unicast' && parsed.match(GLOBAL_UNICAST_V6) && !parsed.zoneId ? 'public' : 'blocked';
  }
  if (parsed.range() === 'loopback') return 'loopback';
  return parsed.range() === 'unicast' && !ALSO_BLOCKED.has(parsed.toString()) ? 'public' : 'blocked';
}

/**
 * Returns the parsed URL of a request that may be resolved. Literal addresses are checked here; names are not.
 * @throws EgressFailure request_refused | host_not_allowed | address_blocked
 */
export function checkTarget(request: Omit<EgressRequest, 'mayLeave'>): URL {
  const url = URL.parse(request.url);
  if (url === null || url.username !== '' || url.password !== '') throw new EgressFailure('request_refused');
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && request.allowLoopback))
    throw new EgressFailure('request_refused');
  if (!request.allowedHosts.some((allowed) => hostMatches(url, allowed))) throw new EgressFailure('host_not_allowed');
  const literal = literalAddress(url);
  if (literal !== undefined) checkAddresses(url, [literal], request.allowLoopback);
  return url;
}

/**
 * SECURITY: every address a name resolves to must be allowed, not just the first (DNS rebinding, split answers).
 * @throws EgressFailure dns_failed (no address) | address_blocked | request_refused (http to anything but loopback)
 */
export function checkAddresses(url: URL, addresses: readonly string[], allowLoopback: boolean): void {
  if (addresses.length === 0) throw new EgressFailure('dns_failed');
  const verdicts = new Set(addresses.map(judgeAddress));
  if (verdicts.has('blocked') || (verdicts.has('loopback') && !allowLoopback)) throw new EgressFailure('address_blocked');
  if (url.protocol === 'http:' && verdicts.has('public')) throw new EgressFailure('request_refused');
}

/** False for a URL whose own text shows that every request to it is refused; what its name resolves to is judged by each request. */
export function isReachable(url: URL, allowLoopback: boolean): boolean {
  if (/^(.*\.)?localhost\.?$/.test(url.hostname)) return allowLoopback;
  try {
    checkTarget({ ...NOTHING_ASKED, url: url.href, allowedHosts: [url.host], allowLoopback });
    return true;
  } catch {
    return false;
  }
}

const NOTHING_ASKED = { method: 'GET', headers: {}, timeoutMs: 0, maxBytes: 0 } as const;

/** The literal address of a URL; the URL parser has converted decimal, octal and hexadecimal forms to dotted ones. */
export function literalAddress(url: URL): string | undefined {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return ipaddr.isValid(host) ? host : undefined;
}

function hostMatches(url: URL, allowed: string): boolean {
  // `url.host` omits a default port, so an entry without a port allows the default port only.
  const entry = allowed.toLowerCase().replace(url.protocol === 'https:' ? /:443$/ : /:80$/, '');
  if (!entry.startsWith('*.')) return entry === url.host;
  const suffix = entry.slice(1);
  return url.host.endsWith(suffix) && url.host.length > suffix.length;
}

/**
 * Returns a copy of the complete body.
 * @throws EgressFailure answer_too_large as soon as the limit is exceeded; the rest is not read
 */
export async function readBounded(stream: AsyncIterable<Uint8Array>, maxBytes: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let total = 0;
  for await (const chunk of stream) {
    total += chunk.byteLength;
    if (total > maxBytes) throw new EgressFailure('answer_too_large');
    chunks.push(chunk);
  }
  const whole = new Uint8Array(total);
  let offset = 0;
  for (const chunk of chunks) {
    whole.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return whole;
}
