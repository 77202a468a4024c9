// Signs in at the sandbox without a browser, consents, and returns an authorization code (RFC 6749 section 4.1 with PKCE,
// RFC 7636), with plain requests and cookies. It must never be used for anything but the sandbox.
import { createHash, randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Provider } from 'oidc-provider';

const MAX_HOPS = 10;

export interface AuthorizationCode {
  readonly code: string;
  readonly codeVerifier: string;
  readonly redirectUri: string;
}

/** Completes the provider's interaction page at once, as a new person each time. */
export async function signInAnyone(provider: Provider, req: IncomingMessage, res: ServerResponse): Promise<void> {
  try {
    await provider.interactionFinished(req, res, { login: { accountId: `person-${randomBytes(8).toString('hex')}` } });
  } catch {
    res.writeHead(400).end();
  }
}

export async function obtainCode(
  issuer: string,
  clientId: string,
  redirectUri: string,
  scope: string,
): Promise<AuthorizationCode> {
  const codeVerifier = randomBytes(32).toString('base64url');
  const state = randomBytes(16).toString('base64url');
  const query = new URLSearchParams({
    client_id: clientId,
    response_type: 'code',
    redirect_uri: redirectUri,
    scope,
    state,
    code_challenge: createHash('sha256').update(codeVerifier).digest('base64url'),
    code_challenge_method: 'S256',
  });
  const back = await followUntil(`${issuer}/auth?${query}`, redirectUri);
  const code = back.searchParams.get('code');
  if (code === null || back.searchParams.get('state') !== state) throw new Error('the sandbox sign-in returned no code');
  return { code, codeVerifier, redirectUri };
}

/** Follows redirects with cookies until one points at `end`, and returns that one. */
async function followUntil(start: string, end: string): Promise<URL> {
  const cookies = new Map<string, string>();
  let url = new URL(start);
  for (let hop = 0; hop < MAX_HOPS; hop++) {
    const answer = await fetch(url, {
      redirect: 'manual',
      headers: { cookie: [...cookies].map((pair) => pair.join('=')).join('; ') },
    });
    await answer.arrayBuffer();
    for (const cookie of answer.headers.getSetCookie()) {
      const [name = '', value = ''] = (cookie.split(';')[0] ?? '').split('=');
      if (value === '') cookies.delete(name);
      else cookies.set(name, value);
    }
    const location = answer.headers.get('location');
    if (location === null) throw new Error(`the sandbox sign-in stopped with status ${answer.status}`);
    url = new URL(location, url);
    if (url.href.startsWith(end)) return url;
  }
  throw new Error('the sandbox sign-in has a redirect loop');
}
