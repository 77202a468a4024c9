// What the conformance cases see of a Keyturn: a base URL, and what they put there themselves. Nothing here imports the product's insides but its document.
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { undocumented } from '../kit/documented.ts';

export interface Target {
  readonly url: string;
  readonly bootstrapSecret: string;
  /** Routes on which this platform never answers with success. */
  readonly neverWell?: readonly string[];
  stop(): Promise<void>;
}

// biome-ignore lint/suspicious/noExplicitAny: black-box answers are looked into freely
export type Json = any;

export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly body: Json;
}

export interface Ask {
  readonly token?: string | undefined;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

export type Call = (method: string, path: string, ask?: Ask) => Promise<Reply>;

export function callerOf(url: string): Call {
  return async (method, path, { token, body, headers = {} } = {}) => {
    const isText = typeof body === 'string' || body instanceof Uint8Array;
    const answer = await fetch(url + path, {
      method,
      redirect: 'manual',
      headers: {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: (isText ? body : JSON.stringify(body)) as string }),
    });
    const text = await answer.text();
    const reply = { status: answer.status, headers: answer.headers, text, body: parsed(text) };
    const wrong = undocumented(method, path, reply);
    if (wrong.length > 0) throw new Error(`not as the OpenAPI document says: ${wrong.join('; ')}`);
    return reply;
  };
}

/** One request exactly as written: no client tidies the path or refuses the method. */
export function rawCall(
  url: string,
  method: string,
  path: string,
  headers: Readonly<Record<string, string>> = {},
  chunks: readonly Uint8Array[] = [],
): Promise<{ status: number; headers: IncomingHttpHeaders; text: string }> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(url);
    const request = httpRequest({ hostname, port, method, path: '/', headers: { ...headers }, agent: false }, (answer) => {
      const parts: Buffer[] = [];
      answer.on('data', (part: Buffer) => parts.push(part));
      answer.on('end', () =>
        resolve({ status: answer.statusCode ?? 0, headers: answer.headers, text: Buffer.concat(parts).toString() }),
      );
    });
    // Past the check of the constructor, which refuses what an attacker would send.
    (request as unknown as { path: string }).path = path;
    request.on('error', reject);
    for (const chunk of chunks) request.write(chunk);
    request.end();
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Everything below is made over the API, once for a run of the suite. */
export interface World {
  readonly url: string;
  readonly call: Call;
  readonly owner: string;
  readonly admin: string;
  readonly operator: string;
  readonly auditor: string;
  /** Assigned to acme, and to nothing else. */
  readonly engineer: string;
  /** Assigned to globex, and to nothing else. */
  readonly stranger: string;
  readonly acme: Place;
  readonly globex: Place;
  /** The ten answers of the raced set-up. */
  readonly setUps: readonly Reply[];
}

export interface Place {
  readonly id: string;
  readonly name: string;
  /** A direct token for everything in staging. */
  readonly token: string;
  readonly workload: string;
  readonly tokenId: string;
}

export async function furnish(target: Target): Promise<World> {
  const call = callerOf(target.url);
  const setUps = await Promise.all(
    Array.from({ length: 10 }, (_, index) =>
      call('POST', '/v1/setup', { token: target.bootstrapSecret, body: { name: `owner-${index}` } }),
    ),
  );
  const owner = setUps.find((reply) => reply.status === 201)?.body.token.token as string;
  const acme = await makeTenant(call, owner, 'acme');
  const globex = await makeTenant(call, owner, 'globex');
  const user = (name: string, role: string, tenant?: string) =>
    makeUser(call, owner, name, [{ role, ...(tenant && { tenant }) }]);
  return {
    url: target.url,
    call,
    owner,
    acme,
    globex,
    setUps,
    admin: await user('adam', 'admin'),
    operator: await user('rosa', 'rotation-operator'),
    auditor: await user('audrey', 'auditor'),
    engineer: await user('erin', 'engineer', 'acme'),
    stranger: await user('stan', 'engineer', 'globex'),
  };
}

/** A new person and the token they got for their enrolment. */
export async function makeUser(call: Call, token: string, name: string, grants: unknown): Promise<string> {
  return enrolled(call, await must(call('POST', '/v1/users', { token, body: { name, grants } }), 201));
}

export async function enrolled(call: Call, made: Reply): Promise<string> {
  const reply = await must(call('POST', '/v1/enrolments', { token: made.body.enrolment.token, body: {} }), 201);
  return reply.body.token.token as string;
}

async function makeTenant(call: Call, owner: string, name: string): Promise<Place> {
  const tenant = await must(call('POST', '/v1/tenants', { token: owner, body: { name } }), 201);
  const made = await makeWorkload(call, owner, name, { name: 'sync', permissions: ['read', 'put', 'rotate'] });
  return { id: tenant.body.id, name, ...made };
}

export interface WorkloadAsk {
  readonly name: string;
  readonly environment?: string;
  readonly patterns?: readonly string[];
  readonly permissions?: readonly string[];
  readonly networks?: readonly string[];
}

/** A workload and a direct token of it. */
export async function makeWorkload(
  call: Call,
  owner: string,
  tenant: string,
  ask: WorkloadAsk,
): Promise<{ workload: string; secret: string; token: string; tokenId: string }> {
  const body = { environment: 'staging', patterns: ['*'], ...ask };
  const made = await must(call('POST', `/v1/tenants/${tenant}/workloads`, { token: owner, body }), 201);
  const path = `/v1/tenants/${tenant}/workloads/${ask.name}/tokens`;
  const direct = await must(call('POST', path, { token: owner, body: {} }), 201);
  return { workload: made.body.client_id, secret: made.body.client_secret, token: direct.body.token, tokenId: direct.body.id };
}

/** The reply, if it has this status. @throws with the whole answer otherwise */
export async function must(reply: Promise<Reply>, status: number): Promise<Reply> {
  const got = await reply;
  if (got.status !== status) throw new Error(`expected ${status}, got ${got.status}: ${got.text.slice(0, 500)}`);
  return got;
}

export const at = (tenant: string, name = '', environment = 'staging') =>
  `/v1/tenants/${tenant}/environments/${environment}/credentials${name === '' ? '' : `/${name}`}`;

/** Made up; not-a-real-secret. */
export const CANARY = 'canary-not-a-real-secret';
export const apiKey = (key: string = CANARY) => ({ kind: 'api_key', value: { key } });

/** An answer without what differs from request to request. */
export function comparable(reply: Reply): { status: number; type: string | null; body: unknown } {
  const body: unknown = reply.body === undefined ? reply.text : { ...reply.body, request_id: undefined };
  return { status: reply.status, type: reply.headers.get('content-type'), body };
}

/** Polls until `look` gives something. */
export async function eventually<T>(look: () => Promise<T | undefined> | T | undefined, withinMs = 10_000): Promise<T> {
  const end = Date.now() + withinMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (Date.now() > end) throw new Error('it did not come about in time');
    await new Promise((resume) => setTimeout(resume, 50));
  }
}
