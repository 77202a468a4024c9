// A parsed call to the sandbox: its fields in any form, the client and the credentials. It must never keep a body after the call.
import type { IncomingMessage } from 'node:http';

export interface Ask {
  readonly method: string;
  /** `host/path` as the connector declares it, without a query. */
  readonly address: string;
  /** The actual URL of this call, without a query. */
  readonly url: string;
  readonly query: URLSearchParams;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly format: 'form' | 'json' | 'none' | 'other';
  /** Of the body. */
  readonly fields: Readonly<Record<string, string>>;
  readonly basic: { readonly user: string; readonly password: string } | undefined;
  readonly bearer: string | undefined;
}

export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

const BODY_MAX_BYTES = 1_048_576;

/** @throws Error if the body is too large or the connection ends */
export async function readAsk(req: IncomingMessage, origin: string): Promise<Ask> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of req as AsyncIterable<Buffer>) {
    size += chunk.byteLength;
    if (size > BODY_MAX_BYTES) throw new Error('the body is too large for the sandbox');
    chunks.push(chunk);
  }
  const url = new URL(req.url ?? '/', origin);
  const format = formatOf(req.headers['content-type'], size);
  return {
    method: req.method ?? 'GET',
    address: addressOf(url),
    url: `${origin}${url.pathname}`,
    query: url.searchParams,
    headers: req.headers as Record<string, string | undefined>,
    format,
    fields: fieldsOf(format, Buffer.concat(chunks).toString('utf8')),
    ...credentialsOf(req.headers.authorization),
  };
}

/** The first segment is the simulated host; without one it is the sandbox itself (`local-sandbox`). */
function addressOf(url: URL): string {
  const [first = '', ...rest] = url.pathname.slice(1).split('/');
  const host = decodeURIComponent(first);
  return /[.:]/.test(host) ? `${host}/${rest.join('/')}` : `${url.host}${url.pathname}`;
}

function formatOf(contentType: string | undefined, size: number): Ask['format'] {
  const type = contentType?.split(';')[0]?.trim().toLowerCase();
  if (type === 'application/json') return 'json';
  if (type === 'application/x-www-form-urlencoded') return 'form';
  return size === 0 ? 'none' : 'other';
}

function fieldsOf(format: Ask['format'], text: string): Readonly<Record<string, string>> {
  if (format === 'form') return Object.fromEntries(new URLSearchParams(text));
  if (format !== 'json') return {};
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed !== 'object' || parsed === null) return {};
    return Object.fromEntries(Object.entries(parsed).map(([name, value]) => [name, String(value)]));
  } catch {
    return {};
  }
}

function credentialsOf(header: string | undefined): Pick<Ask, 'basic' | 'bearer'> {
  const [scheme = '', value = ''] = (header ?? '').split(' ');
  if (scheme.toLowerCase() === 'bearer') return { basic: undefined, bearer: value };
  if (scheme.toLowerCase() !== 'basic') return { basic: undefined, bearer: undefined };
  const [user = '', ...password] = Buffer.from(value, 'base64').toString('utf8').split(':');
  // RFC 6749 section 2.3.1: both parts are form-encoded before they are joined.
  const decoded = (text: string): string => new URLSearchParams(`t=${text}`).get('t') ?? '';
  return { basic: { user: decoded(user), password: decoded(password.join(':')) }, bearer: undefined };
}

export function jsonReply(status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): Reply {
  return {
    status,
    headers: { 'content-type': 'application/json', 'cache-control': 'no-store', ...headers },
    body: status === 204 ? '' : `${JSON.stringify(body)}\n`,
  };
}

/** Sets a value at a dotted path, creating missing objects. */
export function putAt(target: Record<string, unknown>, path: string, value: unknown): void {
  const names = path.split('.');
  const last = names.pop() ?? path;
  let place = target;
  for (const name of names) {
    const inner = place[name];
    const next = typeof inner === 'object' && inner !== null ? { ...inner } : {};
    place[name] = next;
    place = next as Record<string, unknown>;
  }
  place[last] = value;
}

/** The member at a dotted path. */
export function memberOf(source: unknown, path: string): unknown {
  let value = source;
  for (const name of path.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined;
    value = (value as Record<string, unknown>)[name];
  }
  return value;
}
