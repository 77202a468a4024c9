// Exchanges with real providers that others recorded and published, replayed to the connectors: answers as they are, not as described.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { EgressAnswer, EgressRequest, StoredValue, Target } from '../../rotation/connector.ts';
import { connector as datadog } from '../../rotation/connectors/datadog-api-key.ts';
import { connector as google } from '../../rotation/connectors/google-service-account-key.ts';
import { connector as atlas } from '../../rotation/connectors/mongodb-atlas-api-key.ts';
import { declaredRotator } from '../../rotation/keys/declared.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import { answer, NAME, NOW } from './key-provider.ts';
import { PROVIDERS } from './provider-descriptions.ts';

if (PROVIDERS === undefined) console.warn('SKIPPED: no folder with recorded exchanges, so none was replayed (KEYTURN_PROVIDERS)');

interface Exchange {
  readonly method: string;
  readonly path: string;
  readonly request: string;
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Answers each request with the next recorded exchange of its method and path. */
function replay(exchanges: readonly Exchange[], old: StoredValue, admin: StoredValue, parameters: Record<string, string> = {}) {
  const left = [...exchanges];
  const sent: { readonly method: string; readonly body: string; readonly authorization: string }[] = [];
  const text = (value: unknown) =>
    value instanceof SecretValue ? value.reveal((bytes) => new TextDecoder().decode(bytes)) : String(value ?? '');
  const send = (request: EgressRequest): Promise<EgressAnswer> => {
    const { pathname } = new URL(request.url);
    sent.push({ method: request.method, body: text(request.body), authorization: text(request.headers['authorization']) });
    const at = left.findIndex(({ method, path }) => method === request.method && path === decodeURIComponent(pathname));
    if (at < 0) throw new Error(`no recorded exchange for ${request.method} ${pathname}`);
    const [found] = left.splice(at, 1) as [Exchange];
    return Promise.resolve(answer(found.status, found.body, found.headers));
  };
  const target: Target = {
    ...{ parameters, old, admin, name: NAME, egress: { send }, allowedHosts: [], allowLoopback: false },
    clock: { now: () => NOW },
    entropy: { bytes: (count) => new Uint8Array(count), fraction: () => 0.5 },
  };
  return { target, sent, left };
}

// Skipped where the recordings are absent, which is told above with console.warn.
describe.skipIf(PROVIDERS === undefined)('Datadog, as recorded', () => {
  const rotator = declaredRotator(datadog);
  const admin = { api_key: 'not-a-real-key-1', application_key: 'not-a-real-key-2' };

  it('makes an API key and deletes it twice', async () => {
    const { target, sent, left } = replay(har('Delete-an-API-key'), { key: 'x', key_id: 'y' }, admin, { site: 'datadoghq.com' });
    const recorded = JSON.parse(har('Delete-an-API-key')[0]?.request ?? '') as { data: { attributes: { name: string } } };
    const made = await rotator.create(target, false);
    expect(made).toEqual({
      kind: 'done',
      value: { key: 'x'.repeat(32), key_id: '67c58c24-e02f-4d1a-9c95-1e01d2544e5a' },
    });
    recorded.data.attributes.name = NAME;
    expect(JSON.parse(sent[0]?.body ?? '')).toEqual(recorded);
    const value = made.kind === 'done' ? made.value : {};
    for (let times = 0; times < 2; times++) expect(await rotator.revoke?.(target, value)).toEqual({ kind: 'done' });
    expect(left).toEqual([]);
  });

  it('lists keys, and the one of another run is left alone', async () => {
    const exchanges = har('Get-all-API-keys').toReversed();
    const { target, left } = replay(exchanges, { key: 'x', key_id: 'y' }, admin, { site: 'datadoghq.com' });
    expect(await rotator.create(target, true)).toMatchObject({ kind: 'done' });
    expect(left.map(({ method }) => method)).toEqual(['DELETE']);
  });
});

describe.skipIf(PROVIDERS === undefined)('Google, as recorded', () => {
  const rotator = declaredRotator(google);
  const old = {
    client_email: 'gsa-uniqueId@projectId.iam.gserviceaccount.com',
    private_key_id: 'serviceAccountKeyID',
    project_id: 'projectId',
  };
  const admin = { access_token: 'not-a-real-token' };
  const recorded = () => googleLog('iam__v1beta1__iamserviceaccountkey__iamserviceaccountkey___http.log');

  it('makes a key: what is no key file is not taken for one', async () => {
    const { target } = replay(recorded(), old, admin);
    expect(await rotator.create(target, false)).toMatchObject({ kind: 'odd', cause: 'answer_lacks_document' });
  });

  it('makes a key without an end, where the end is in the year 9999', async () => {
    const file = {
      type: 'service_account',
      client_email: old.client_email,
      private_key_id: 'new',
      private_key: 'not-a-real-key',
    };
    const exchanges = recorded().map((exchange) => ({
      ...exchange,
      body: exchange.body.replace(/"privateKeyData": "[^"]*"/, `"privateKeyData": "${btoa(JSON.stringify(file))}"`),
    }));
    const { target } = replay(exchanges, old, admin);
    expect(await rotator.create(target, false)).toEqual({ kind: 'done', value: file });
  });

  it('deletes a key with an empty object as the answer', async () => {
    const { target } = replay(recorded(), old, admin);
    expect(await rotator.revoke?.(target, old)).toEqual({ kind: 'done' });
  });
});

describe.skipIf(PROVIDERS === undefined)('MongoDB Atlas, as recorded', () => {
  const rotator = declaredRotator(atlas);
  const org = 'a0123456789abcdef012345a';
  const id = '6a793f752c88faeba59bba49';
  const old = { id, public_key: 'gswvkocq', private_key: 'not-a-real-private-key' };
  const keys = `/api/atlas/v2/orgs/${org}/apiKeys`;
  const challenge = () => atlasFile('TestSetupFailureFlow__Invalid_Private_Key__POST');
  /** Each request is sent without authentication first, and Atlas answers with its challenge. */
  const challenged = (exchanges: readonly Exchange[]) =>
    exchanges.flatMap((exchange) => [{ ...challenge(), method: exchange.method, path: exchange.path }, exchange]);
  const exchange = (method: string, path: string, file: string): Exchange => ({ ...atlasFile(file), method, path });

  it('answers its own challenge, copies the roles, and makes and deletes a key', async () => {
    const exchanges = challenged([
      exchange('GET', keys, 'TestAtlasOrgAPIKeys__List__GET'),
      exchange('GET', `${keys}/${id}`, 'TestAtlasOrgAPIKeys__Describe__GET'),
      exchange('POST', keys, 'TestAtlasOrgAPIKeys__Create__POST'),
      exchange('DELETE', `${keys}/${id}`, 'TestAtlasOrgAPIKeys__Delete__DELETE'),
    ]);
    const { target, sent, left } = replay(exchanges, old, old, { org_id: org });
    expect(await rotator.create(target, true)).toEqual({
      kind: 'done',
      value: { id, public_key: 'gswvkocq', private_key: '00000000-made-upup-0000-000000000000' },
    });
    expect(JSON.parse(sent.find(({ method }) => method === 'POST')?.body ?? '')).toEqual({
      desc: NAME,
      roles: ['ORG_READ_ONLY'],
    });
    expect(await rotator.revoke?.(target, old)).toEqual({ kind: 'done' });
    expect(left).toEqual([]);
    expect(
      sent.filter(({ authorization }) => authorization.startsWith('Digest username="gswvkocq", realm="MMS Public API"')),
    ).toHaveLength(4);
  });

  it('rejects a wrong key after the challenge was answered, and only then', async () => {
    const rejected = challenged([{ ...challenge(), method: 'GET', path: '/api/atlas/v2/orgs' }]);
    const wrong = replay(rejected, old, old, { org_id: org });
    expect(await rotator.test(wrong.target, old)).toBe('rejected');
    expect(wrong.sent).toHaveLength(2);
    const noChallenge = [{ ...challenge(), method: 'GET', path: '/api/atlas/v2/orgs', headers: {} }];
    expect(await rotator.test(replay(noChallenge, old, old, { org_id: org }).target, old)).toBe('unknown');
  });
});

function har(name: string): readonly Exchange[] {
  const folder = join(PROVIDERS as string, 'recorded', 'datadog');
  const file = readdirSync(folder).find((entry) => entry.startsWith(`${name}-returns`)) as string;
  const { log } = JSON.parse(readFileSync(join(folder, file), 'utf8')) as {
    log: {
      entries: readonly {
        request: { method: string; url: string; postData?: { text: string } };
        response: { status: number; content: { text?: string } };
      }[];
    };
  };
  return log.entries.map(({ request, response }) => ({
    method: request.method,
    path: new URL(request.url).pathname,
    request: request.postData?.text ?? '',
    status: response.status,
    headers: {},
    body: response.content.text ?? '',
  }));
}

function googleLog(file: string): readonly Exchange[] {
  const text = readFileSync(join(PROVIDERS as string, 'recorded', 'google', file), 'utf8');
  return text
    .replaceAll(/\$\{(\w+)\}/g, '$1')
    .split('\n---\n')
    .map((part) => {
      const [request = '', response = ''] = part.split(/\n(?=\d{3} [A-Z])/);
      const [, method = '', named = ''] = /^\s*(\S+) https:\/\/[^/]+([^?\s]+)/.exec(request) ?? [];
      // The recording names the project in one call and writes `-` in another.
      const path = named.replace('/projects/-/', '/projects/projectId/');
      const [head = '', ...body] = response.split('\n\n');
      return { method, path, request: '', status: Number(head.slice(0, 3)), headers: {}, body: body.join('\n\n') };
    });
}

function atlasFile(name: string): Exchange {
  const folder = join(PROVIDERS as string, 'recorded', 'mongodb-atlas');
  const file = readdirSync(folder).find((entry) => entry.includes(name)) as string;
  const [head = '', ...body] = readFileSync(join(folder, file), 'utf8').replaceAll('\r\n', '\n').split('\n\n');
  const [line = '', ...lines] = head.split('\n');
  const headers = Object.fromEntries(
    lines.map((text) => [text.split(': ')[0]?.toLowerCase(), text.split(': ').slice(1).join(': ')]),
  );
  return { method: '', path: '', request: '', status: Number(line.split(' ')[1]), headers, body: body.join('\n\n') };
}
