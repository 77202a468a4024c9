// The cookie that binds one browser to one attempt at consent, one a connection, so that two links may be under way at once.
// It must never be sent over plain http but on this machine, nor be readable by a script.
import { LIMITS } from '../base/limits.ts';

/** Both made by us; the server keeps only their hashes. */
export interface Binding {
  readonly browser: string;
  /** The link this browser came by, to lead it back there. */
  readonly link: string;
}

const VALUE = /^([A-Za-z0-9_-]{43})\.([A-Za-z0-9_-]{43})$/;

/** A `__Host-` cookie cannot be planted from a neighbouring host name; plain http, on this machine alone, has none. */
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

/** What the Cookie header holds for this connection; undefined when nothing, or nothing of ours. */
export function bindingOf(header: string, connectionId: string, publicUrl: string): Binding | undefined {
  const wanted = `${nameOf(connectionId, publicUrl)}=`;
  const found = header.split('; ').filter((pair) => pair.startsWith(wanted));
  // Of two with one name a browser would not tell which is ours.
  if (found.length !== 1) return undefined;
  const [, browser, link] = VALUE.exec((found[0] ?? '').slice(wanted.length)) ?? [];
  return browser === undefined || link === undefined ? undefined : { browser, link };
}
