// The switches of the sandbox as a person with curl finds them, and who may not turn them.
import { request } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Personas, startPersonas } from '../../../rotation/sandbox/personas.ts';
import { welcome } from '../../../rotation/sandbox/run-sandbox.ts';
import { connectors } from '../../kit/oauth-connectors.ts';
import { renew } from './kit.ts';

let personas: Personas;
beforeAll(async () => {
  personas = await startPersonas({ connectors });
});
afterAll(() => personas.stop());

async function order(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
  const answer = await fetch(`${personas.origin}/_control${path}`, {
    method,
    headers: { 'content-type': 'application/json', ...headers },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> & { items?: unknown[] } };
}

describe('the control of the sandbox', () => {
  it('issues a grant, ends it and tells what became of it', async () => {
    const made = await order('POST', '/grants', { connector: 'generic-oauth2', scope: 'read' });
    expect(made.body).toMatchObject({ connector: 'generic-oauth2', scope: 'read', config: { sandbox: personas.origin } });
    const grant = String(made.body['grant']);
    expect(personas.isAlive(grant)).toBe(true);
    expect((await order('POST', `/grants/${grant}/rotate-elsewhere`)).status).toBe(200);
    expect((await order('POST', `/grants/${grant}/revoke`)).body).toEqual({ done: true });
    expect(personas.isAlive(grant)).toBe(false);
    expect((await order('POST', '/grants/grant-999/revoke')).status).toBe(400);
  });

  it('misbehaves on demand and is calm again', async () => {
    const connector = connectors.get('generic-oauth2')!;
    const issued = await personas.issueGrant(connector.id);
    expect((await order('POST', '/misbehave', { kind: 'throttle', retry_after: '9', connector: connector.id })).status).toBe(200);
    expect(await renew(connector, issued)).toMatchObject({ kind: 'throttled', retryAfterSeconds: 9 });
    await order('POST', '/misbehave', { kind: 'reset', times: 0 });
    expect((await order('DELETE', '/misbehave')).status).toBe(200);
    expect((await renew(connector, issued)).kind).toBe('refreshed');
    const told = (await order('GET', `/calls?grant=${issued.grant}`)).body.items;
    expect(told).toEqual([
      expect.objectContaining({ misbehaviour: 'throttle', status: 429 }),
      expect.objectContaining({ outcome: 'issued', status: 200, generation: 1 }),
    ]);
    expect(JSON.stringify(told)).not.toContain('not-a-real-secret');
  });

  it.each([
    ['/misbehave', { kind: 'explode' }],
    ['/misbehave', { kind: 'slow' }],
    ['/misbehave', { kind: 'drop', sometimes: true }],
    ['/misbehave', { kind: 'throttle', retry_after: 'a\r\nset-cookie: x=1' }],
    ['/consent', { decision: 'perhaps' }],
    ['/grants', { connector: 'nobody' }],
    ['/clock', '{'],
  ])('refuses what it does not understand: %s %j', async (path, body) => {
    expect((await order('POST', path, body)).status).toBe(400);
  });

  it.each([
    [{ kind: 'explode' }, /^the field kind must be one of slow, truncate, html, .*wrong_state/],
    [{ kind: 'slow' }, /^the field ms must be of type number$/],
    [{ kind: 'drop', sometimes: true }, /^the field sometimes is unknown$/],
    [{ kind: 'refuse', as: 'late' }, /^the field as must be one of dead, configuration, transient$/],
  ])('says in a sentence which field of %j is wrong', async (body, sentence) => {
    expect((await order('POST', '/misbehave', body)).body).toEqual({ error: expect.stringMatching(sentence) });
  });

  it('knows every other switch', async () => {
    expect((await order('POST', '/consent', { decision: 'ask' })).status).toBe(200);
    expect((await order('POST', '/sites', { connector: 'generic-oauth2', count: 2 })).status).toBe(200);
    expect((await order('POST', '/clock', { offset_seconds: 0 })).status).toBe(200);
    const key = await order('GET', '/client-key?algorithm=ES256');
    expect(key.body).toMatchObject({ jwk: { kty: 'EC', alg: 'ES256' }, pem: expect.stringContaining('PRIVATE KEY') });
    const { d: _private, ...publicJwk } = key.body['jwk'] as Record<string, unknown>;
    expect((await order('POST', '/client-keys', { jwk: publicJwk })).status).toBe(200);
    expect((await order('POST', '/client-keys', { jwk: key.body['jwk'] })).status, 'a private key is none').toBe(400);
    expect((await order('GET', '/grants')).status).toBe(200);
    expect((await order('PUT', '/nothing')).status).toBe(404);
    expect((await order('GET', '')).body).toMatchObject({ client_id: personas.clientId, connectors: personas.connectors });
  });

  it('takes no order from a web page, nor under a name of a stranger', async () => {
    expect((await order('POST', '/consent', { decision: 'allow' }, { origin: 'https://evil.example' })).status).toBe(403);
    const url = new URL(personas.origin);
    const status = await new Promise((done) => {
      request({ host: '127.0.0.1', port: url.port, path: '/_control', headers: { host: 'evil.example' } }, (answer) => {
        answer.resume();
        done(answer.statusCode);
      }).end();
    });
    expect(status).toBe(421);
  });
});

describe('what is printed at the start', () => {
  it('has one line for every misbehaviour, and each line works', async () => {
    const text = welcome(personas, 1);
    const bodies = [...text.matchAll(/curl --json '(\{.*\})' \$S\/misbehave/g)].map(([, body]) => body ?? '');
    expect(bodies.length).toBe(21);
    for (const body of bodies) expect((await order('POST', '/misbehave', body)).status, body).toBe(200);
    await order('DELETE', '/misbehave');
    expect(text).toContain(`S=${personas.origin}/_control\n`);
    expect(text).toContain('hubspot-oauth');
  });
});
