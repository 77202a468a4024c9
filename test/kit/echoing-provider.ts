// Stands before the sandbox's personas: takes down every secret that passes, and on demand answers with all that the request held.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { decodeJwt } from 'jose';
import type { Personas } from '../../rotation/sandbox/personas.ts';
import type { Canaries } from './canaries.ts';

/**
 * `dead`, `word`, `page`, `redirect`: refused, with the request's secrets in the description, as the error itself, in a page of a proxy, in
 * the address of elsewhere. `half`: the provider acts, and half of its answer comes.
 */
export type Echo = 'dead' | 'word' | 'page' | 'redirect' | 'half';

const SENT = ['code', 'code_verifier', 'client_secret', 'client_assertion', 'refresh_token', 'token'];
const ANSWERED = ['access_token', 'refresh_token', 'id_token'];
const ASKED = ['state', 'nonce'];

export async function startEchoingProvider(personas: Personas, canaries: Canaries) {
  /** By client id. */
  const secrets = new Map<string, string>();
  const echoes = new Map<string, Echo>();
  const echoed: string[] = [];
  const server = createServer((req, res) => {
    answer(req, res).catch(() => res.destroy());
  });
  const { origin, stop } = await listen(server);

  async function answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const url = new URL(req.url ?? '/', origin);
    for (const name of ASKED) note(name, url.searchParams.get(name));
    const fields = new URLSearchParams(await textOf(req));
    for (const name of SENT) note(name === 'token' ? 'refresh_token' : name, fields.get(name));
    const basic = basicOf(req.headers.authorization);
    const assertion = fields.get('client_assertion');
    const client = basic?.user ?? fields.get('client_id') ?? (assertion === null ? '' : (decodeJwt(assertion).iss ?? ''));
    note('client_secret', basic?.password ?? null);
    const echo = req.method === 'POST' ? echoes.get(client) : undefined;
    if (echo !== undefined && echo !== 'half') {
      echoed.push(`${client} ${echo} ${url.pathname.split('/').at(-1)}`);
      return refuse(res, echo, [...fields.values(), basic?.password ?? '', req.headers.authorization ?? ''].join(' '), fields);
    }
    const headers: Record<string, string> = {};
    const { 'content-type': contentType } = req.headers;
    if (contentType !== undefined) headers['content-type'] = contentType;
    const own = { user: client, password: basic?.password === secrets.get(client) ? personas.clientSecret : 'wrong' };
    if (basic !== undefined) headers['authorization'] = `Basic ${Buffer.from(`${own.user}:${own.password}`).toString('base64')}`;
    if (fields.has('client_secret') && fields.get('client_secret') === secrets.get(client))
      fields.set('client_secret', personas.clientSecret);
    const init = { method: req.method ?? 'GET', headers, redirect: 'manual' as const };
    const told = await fetch(
      personas.origin + (req.url ?? ''),
      req.method === 'POST' ? { ...init, body: fields.toString() } : init,
    );
    pass(res, told, await told.text(), echo);
    if (echo === 'half') echoed.push(`${client} half ${url.pathname.split('/').at(-1)}`);
  }

  function pass(res: ServerResponse, told: Response, text: string, echo: Echo | undefined): void {
    const location = told.headers.get('location');
    if (location !== null) note('code', new URL(location).searchParams.get('code'));
    if (text.startsWith('{')) {
      const members = JSON.parse(text) as Record<string, unknown>;
      for (const name of ANSWERED) if (typeof members[name] === 'string') note(name, members[name]);
    }
    const headers = { 'content-type': told.headers.get('content-type') ?? '', ...(location === null ? {} : { location }) };
    res.writeHead(told.status, { ...headers, 'content-length': Buffer.byteLength(text) });
    if (echo === 'half') res.write(text.slice(0, text.length - 10), () => res.destroy());
    else res.end(text);
  }

  function note(kind: string, value: string | null): void {
    if (value !== null && value !== '') canaries.add(kind, value);
  }

  return {
    origin,
    /** What was answered so, e.g. `client dead token`. */
    echoed: echoed as readonly string[],
    /** The sandbox knows one secret only; here every client has its own. */
    register: (client: string, secret: string) => void secrets.set(client, secret),
    echo: (client: string, echo: Echo | undefined) =>
      void (echo === undefined ? echoes.delete(client) : echoes.set(client, echo)),
    stop,
  };
}

/** Takes no message, and answers with the signature and the body of each. */
export async function startEchoingReceiver(canaries: Canaries) {
  const bodies: string[] = [];
  const server = createServer(async (req, res) => {
    const signature = canaries.add('webhook signature', String(req.headers['webhook-signature']));
    const body = await textOf(req);
    bodies.push(body);
    res.writeHead(500, signature, { 'content-type': 'text/html', 'x-signature': signature, 'retry-after': '1' });
    res.end(`<pre>${signature} ${body}</pre>`);
  });
  return { ...(await listen(server)), bodies: bodies as readonly string[] };
}

async function listen(server: Server): Promise<{ origin: string; stop(): Promise<void> }> {
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async stop() {
      const closed = new Promise((done) => server.close(done));
      server.closeAllConnections();
      await closed;
    },
  };
}

function refuse(res: ServerResponse, echo: Exclude<Echo, 'half'>, held: string, fields: URLSearchParams): void {
  const headers = { 'x-request': encodeURIComponent(held), 'www-authenticate': `Bearer error="${encodeURIComponent(held)}"` };
  const json = (status: number, body: object) =>
    res.writeHead(status, encodeURIComponent(held), { ...headers, 'content-type': 'application/json' }).end(JSON.stringify(body));
  if (echo === 'dead')
    return void json(400, { error: 'invalid_grant', error_description: held, error_uri: `https://x/?${fields}` });
  if (echo === 'word') return void json(400, { error: fields.get('refresh_token') ?? fields.get('code') ?? held, message: held });
  if (echo === 'page') return void res.writeHead(502, { ...headers, 'content-type': 'text/html' }).end(`<h1>${held}</h1>`);
  res.writeHead(302, { ...headers, location: `https://elsewhere.example/?${fields}` }).end();
}

function basicOf(header: string | undefined): { user: string; password: string } | undefined {
  if (header?.startsWith('Basic ') !== true) return undefined;
  const [user = '', password = ''] = Buffer.from(header.slice(6), 'base64').toString('utf8').split(':');
  // RFC 6749 section 2.3.1: both are form-encoded before they are joined.
  const decoded = (text: string): string => new URLSearchParams(`t=${text}`).get('t') ?? '';
  return { user: decoded(user), password: decoded(password) };
}

async function textOf(req: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of req as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}
