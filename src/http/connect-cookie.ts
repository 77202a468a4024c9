// The cookie that binds a consent attempt to one browser. Each connection has its own cookie, so a browser can use two links at once.
// It must never be sent over plain http except on loopback, nor be readable by a script.
import { LIMITS } from '../base/limits.ts';

/** Keyturn makes both values; the server stores only their hashes. */
export interface Binding {
  readonly browser: string;
  /** The token of the link that this browser opened; the callback redirects there. */
  readonly link: string;
}

const VALUE = /^([A-Za-z0-9_-]{43})\.([A-Za-z0-9_-]{43})$/;

/** A sibling host name cannot set a `__Host-` cookie. Over plain http (loopback only) browsers refuse the prefix. */
function nameOf(connectionId: string, publicUrl: string): string {
  return `${isSecure(publicUrl) ? '__Host-' : ''}keyturn-${connectionId}`;
}

function isSecure(publicUrl: string): boolean {
  return publicUrl.startsWith('https:');
}

/** The value of Set-Cookie. */
export function bindingCookie({ browser, link }: Binding, connectionId: string, publicUrl: string): string {
  const secure = isSecure(publicUrl) ? '; Secure' : '';
  const seconds = LIMITS.connectAttemptTtlMs / 1_000;
  return `${nameOf(connectionId, publicUrl)}=${browser}.${link}; Path=/; Max-Age=${seconds}; HttpOnly; SameSite=Lax${secure}`;
}

/** The binding in the Cookie header for this connection; undefined if it is missing, malformed or given twice. */
export function bindingOf(header: string, connectionId: string, publicUrl: string): Binding | undefined {
  const wanted = `${nameOf(connectionId, publicUrl)}=`;
  const found = header.split('; ').filter((pair) => pair.startsWith(wanted));
  // Of two cookies with the same name, the header does not say which one this service set.
  if (found.length !== 1) return undefined;
  const [, browser, link] = VALUE.exec((found[0] ?? '').slice(wanted.length)) ?? [];
  return browser === undefined || link === undefined ? undefined : { browser, link };
}
