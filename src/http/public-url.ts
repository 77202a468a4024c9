// Where clients reach this service: one URL, maybe with a path that a proxy in front takes off.
// Every URL a page or an answer holds is made from it; none is made from what a request says.
import { fail } from '../base/errors.ts';

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/;

/** Without a slash at its end. @throws invalid_request for anything but scheme, host, port and path */
export function parsePublicUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const rule = 'write the scheme, the host and, behind a proxy, the path, e.g. https://vault.example.com/keyturn';
  if (url === undefined || !/^https?:$/.test(url.protocol))
    return fail('invalid_request', `the public URL (--public-url, KEYTURN_PUBLIC_URL) is no http or https URL: ${rule}`);
  if (url.username !== '' || url.password !== '' || /[?#]/.test(text))
    fail('invalid_request', `the public URL holds a user name, a password, a query or a fragment: ${rule}`);
  if (!/^(?:\/[A-Za-z0-9._~-]+)*\/?$/.test(url.pathname))
    fail(
      'invalid_request',
      "the path of the public URL may contain letters, digits, '.', '_', '~' and '-' between single slashes",
    );
  // SECURITY: consent cookies and secrets would cross the network in plain text.
  if (url.protocol === 'http:' && !LOOPBACK.test(url.hostname))
    fail('invalid_request', 'the public URL must be https: plain http is for this machine alone (localhost, 127.0.0.1, [::1])');
  return url.origin + url.pathname.replace(/\/$/, '');
}

/** The path of the public URL, empty or `/vault`: stands before every path in a page or a header. */
export function pathPrefixOf(publicUrl: string): string {
  return new URL(publicUrl).pathname.replace(/\/$/, '');
}
