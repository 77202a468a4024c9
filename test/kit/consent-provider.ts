// A provider on this machine that checks PKCE, as a sandbox plays it behind `/<host>/...`, and a person's browser with its cookies.
// Its secrets are made up; not-a-real-secret.
import { createHash, randomBytes } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

export const PROVIDER_HOST = 'idp.made-up.example';

/** A standards provider behind `/<host>/...`, as a sandbox plays one. Its secrets are made up; not-a-real-secret. */
export async function startConsentProvider() {
  const codes = new Map<string, { challenge: string; redirectUri: string; scope: string }>();
  const exchanges: URLSearchParams[] = [];
  const refuse: string[] = [];
  const delays: number[] = [];
  const server: Server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://provider');
    if (url.pathname === `/${PROVIDER_HOST}/authorize`) {
      const query = url.searchParams;
      const back = new URL(query.get('redirect_uri') ?? '');
      back.searchParams.set('state', query.get('state') ?? '');
      const error = refuse.shift();
      const code = `code-${randomBytes(9).toString('hex')}`;
      const challenge = query.get('code_challenge') ?? '';
      codes.set(code, { challenge, redirectUri: query.get('redirect_uri') ?? '', scope: query.get('scope') ?? '' });
      back.searchParams.set(...((error === undefined ? ['code', code] : ['error', error]) as [string, string]));
      return response.writeHead(302, { location: back.href }).end();
    }
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const fields = new URLSearchParams(Buffer.concat(chunks).toString());
      exchanges.push(fields);
      const known = codes.get(fields.get('code') ?? '');
      codes.delete(fields.get('code') ?? '');
      const verifier = createHash('sha256')
        .update(fields.get('code_verifier') ?? '')
        .digest('base64url');
      const good = known !== undefined && known.challenge === verifier && known.redirectUri === fields.get('redirect_uri');
      const tokens = {
        access_token: `access-${randomBytes(9).toString('hex')}-not-a-real-secret`,
        refresh_token: `refresh-${randomBytes(9).toString('hex')}-not-a-real-secret`,
        token_type: 'bearer',
        expires_in: 3600,
        scope: known?.scope,
      };
      const answer = () => {
        response.writeHead(good ? 200 : 400, { 'content-type': 'application/json' });
        response.end(JSON.stringify(good ? tokens : { error: 'invalid_grant' }));
      };
      setTimeout(answer, delays.shift() ?? 0);
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    exchanges,
    refuseNext: (error: string) => void refuse.push(error),
    /** Milliseconds until the next exchange is answered. */
    delayNext: (ms: number) => void delays.push(ms),
    async stop() {
      const closed = new Promise((done) => server.close(done));
      server.closeAllConnections();
      await closed;
    },
  };
}

export type ConsentProvider = Awaited<ReturnType<typeof startConsentProvider>>;
export type TestBrowser = ReturnType<typeof newBrowser>;

/** A browser: follows nothing by itself, keeps cookies by origin. */
export function newBrowser() {
  const cookies = new Map<string, string>();
  const visit = async (url: string, init: RequestInit = {}) => {
    const headers = new Headers(init.headers);
    if (cookies.size > 0) headers.set('cookie', [...cookies].map((pair) => pair.join('=')).join('; '));
    const answer = await fetch(url, { ...init, headers, redirect: 'manual' });
    for (const cookie of answer.headers.getSetCookie()) {
      const [name = '', ...value] = (cookie.split(';')[0] ?? '').split('=');
      cookies.set(name, value.join('='));
    }
    return {
      status: answer.status,
      html: await answer.text(),
      location: answer.headers.get('location') ?? '',
      headers: answer.headers,
    };
  };
  return {
    get: (url: string, init: RequestInit = {}) => visit(url, init),
    post: (url: string, fields: Record<string, string> = {}) =>
      visit(url, { method: 'POST', body: new URLSearchParams(fields), headers: { 'sec-fetch-site': 'same-origin' } }),
  };
}
