// The caller's address behind proxies: X-Forwarded-For in the forms that proxies write, and Forwarded (RFC 7239).
// It must never use a hop that no trusted proxy wrote, nor choose between two headers that disagree.
import { canonicalAddress, type Networks } from '../access/networks.ts';
import { LIMITS } from '../base/limits.ts';

/** The address of a hop that is `unknown` or obfuscated (RFC 7239 section 6). It is in no network, and all such callers share one rate limit. */
const UNKNOWN = 'unknown';
const HIDDEN = /^_[A-Za-z0-9._-]+$/;
const BRACKETED = /^\[([0-9A-Fa-f:.]+)\](?::\d{1,5})?$/;
const V4_WITH_PORT = /^(\d{1,3}(?:\.\d{1,3}){3}):\d{1,5}$/;

export interface ForwardedHeaders {
  readonly 'x-forwarded-for'?: string | readonly string[] | undefined;
  readonly forwarded?: string | readonly string[] | undefined;
}

/**
 * The caller's address in canonical form, or `unknown`. Hops are read from the right while the address is a trusted proxy's; a client can
 * forge everything further left, so it is never read (AZ-20). Undefined if that hop is not an address, or if the two headers disagree.
 */
export function callerAddress(peer: string, headers: ForwardedHeaders, proxies: Networks): string | undefined {
  if (!proxies.contains(peer)) return peer;
  const plain = textOf(headers['x-forwarded-for']);
  const standard = textOf(headers.forwarded);
  const byPlain = plain === '' ? undefined : nearestForeign(peer, plain.split(','), proxies);
  if (standard === '') return plain === '' ? peer : byPlain;
  const hops = forwardedHops(standard);
  const byStandard = hops === undefined ? undefined : nearestForeign(peer, hops, proxies);
  // A proxy appends to one of the headers and passes the other on unchanged, so when they differ the true one is unknown.
  return plain === '' || byPlain === byStandard ? byStandard : undefined;
}

function textOf(value: string | readonly string[] | undefined): string {
  return (typeof value === 'string' ? value : (value ?? []).join(',')).trim();
}

function nearestForeign(peer: string, list: readonly string[], proxies: Networks): string | undefined {
  // RFC 9110 section 5.6.1.2: ignore empty list elements.
  const hops = list.map((hop) => hop.trim()).filter((hop) => hop !== '');
  let address = peer;
  for (let read = 0; hops.length > 0 && proxies.contains(address); read++) {
    const hop = read < LIMITS.forwardedHopsMax ? hopAddress(hops.pop() as string) : undefined;
    if (hop === undefined || hop === UNKNOWN) return hop;
    address = hop;
  }
  return address;
}

/** `192.0.2.7`, `192.0.2.7:443`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:443`, each also in quotes; `unknown`, `_hidden`. */
function hopAddress(text: string): string | undefined {
  const hop = text.length > 1 && text.startsWith('"') && text.endsWith('"') ? text.slice(1, -1) : text;
  if (hop.toLowerCase() === UNKNOWN || HIDDEN.test(hop)) return UNKNOWN;
  const inner = BRACKETED.exec(hop)?.[1] ?? V4_WITH_PORT.exec(hop)?.[1];
  return canonicalAddress(inner ?? hop);
}

const PAIR = /^\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=("(?:[^"\\]|\\.)*"|[^\s"(),/:;<=>?@[\\\]{}]+)\s*$/;

/** The `for` of every element, `unknown` where it is absent. Undefined if the header violates the grammar of RFC 7239 section 4. */
function forwardedHops(text: string): string[] | undefined {
  const hops: string[] = [];
  for (const element of outsideQuotes(text, ',')) {
    if (element.trim() === '') continue;
    let node: string | undefined;
    for (const pair of outsideQuotes(element, ';')) {
      const match = PAIR.exec(pair);
      if (match === null) return undefined;
      if (match[1]?.toLowerCase() !== 'for') continue;
      if (node !== undefined) return undefined;
      node = (match[2] as string).replace(/^"(.*)"$/, '$1').replace(/\\(.)/g, '$1');
    }
    hops.push(node ?? UNKNOWN);
  }
  return hops;
}

function outsideQuotes(text: string, separator: ',' | ';'): string[] {
  const parts: string[] = [];
  let quoted = false;
  let from = 0;
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (quoted && char === '\\') at++;
    else if (char === '"') quoted = !quoted;
    else if (char === separator && !quoted) {
      parts.push(text.slice(from, at));
      from = at + 1;
    }
  }
  parts.push(text.slice(from));
  return parts;
}
