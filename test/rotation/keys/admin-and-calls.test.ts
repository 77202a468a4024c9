// Whoever may put a credential whose settings describe its calls must not obtain the secret of the credential that manages it.
import { describe, expect, it } from 'vitest';
import { connectors } from '../../../rotation/catalog.ts';
import type { EgressRequest } from '../../../rotation/connector.ts';
import { CredentialRuns } from '../../../rotation/credential-runs.ts';
import type { Caller } from '../../../src/access/principals.ts';
import { SecretValue } from '../../../src/base/secret-value.ts';
import { redirection } from '../../../src/vault/destinations.ts';
import { putCredential } from '../../../src/vault/put-credential.ts';
import type { KeyConfig } from '../../../src/vault/rotation-state.ts';
import { outcomeOf } from '../../kit/outcome.ts';
import { testTenant, workloadToken } from '../../kit/vaults.ts';
import { answer } from '../key-provider.ts';

const HOST = 'api.sendgrid.com';
const ADMIN_SECRET = 'NotARealSecret7Qx';
const MANAGER: KeyConfig = { manages: true, http: { hosts: [HOST] } };

/** Calls that store the secret that authenticates them as the name of a template. */
const calls = (template = 'templates'): KeyConfig =>
  ({
    http: {
      hosts: [HOST],
      calls: {
        authentication: { by: 'headers', headers: { authorization: 'Bearer {admin.key}' } },
        mint: {
          method: 'POST',
          url: `https://${HOST}/v3/${template}`,
          json: { name: '{admin.key}' },
          takes: { key: '/name', key_id: '/id' },
        },
        test: {
          method: 'GET',
          url: `https://${HOST}/v3/${template}/{value.key_id}`,
          authentication: { by: 'headers', headers: { authorization: 'Bearer {value.key}' } },
          works_when: { at: '/id' },
        },
        revoke: { method: 'DELETE', url: `https://${HOST}/v3/${template}/{value.key_id}?by={admin.key}` },
      },
    },
  }) as KeyConfig;

const textOf = (part: unknown) =>
  part instanceof SecretValue ? part.reveal((bytes) => new TextDecoder().decode(bytes)) : String(part);

async function scene() {
  const tenant = await testTenant();
  const sent: string[] = [];
  let made = 0;
  const send = async (request: EgressRequest) => {
    const parts = [request.url, request.body, ...Object.values(request.headers)].map(textOf);
    sent.push(`${request.method} ${parts.join(' ')}`);
    if (request.method === 'DELETE') return answer(204, '');
    const id = `id-${++made}`;
    return answer(200, JSON.stringify({ id, name: `key-${made}` }));
  };
  const runs = new CredentialRuns({
    ...{ vault: tenant.vault, egress: { send }, connectors, owner: 'one', isDead: () => false, sandboxAllowed: false },
    programs: () => ({ ask: () => Promise.reject(new Error('no program')) }),
    every: () => () => {},
  });
  runs.attachTo(tenant.vault);
  const admin = () => tenant.user(['admin'], 'everywhere', { secondFactorAtMs: tenant.clock.now() });
  const workload = await workloadToken(tenant, { patterns: ['db'], permissions: ['put', 'read', 'rotate'] });
  const put = (by: Caller, name: string, connector: string, key: string, config: KeyConfig) =>
    tenant.vault.submit((job) =>
      putCredential(job, by, {
        ...{ environment: 'staging', name, kind: 'api_key', connector, config, value: { key, key_id: `id of ${key}` } },
        ...{ labels: undefined, description: undefined, expiresAtMs: undefined, precondition: {} },
      }),
    );
  const rotate = async () => {
    const run = await tenant.vault.submit((job) => runs.open(job, admin(), 'staging', 'db'));
    await runs.advance(run.credential_id);
  };
  const last = (kind: string) =>
    tenant.sql.get<{ step: string; cause: string | null }>(
      'SELECT step, cause FROM run WHERE kind = ? ORDER BY rowid DESC LIMIT 1',
      kind,
    );
  const end = async () => {
    for (let round = 0; round < 9 * 3; round++) {
      await runs.runDueWork();
      tenant.clock.pass(8 * 3_600_001);
    }
  };
  return { tenant, sent, admin, by: () => tenant.token(workload.text), put, rotate, last, end };
}

describe('a put that keeps the admin', () => {
  it.each([
    ['another connector', 'sendgrid-api-key', {}, 'generic-http', calls()],
    ['other calls', 'generic-http', calls(), 'generic-http', calls('stored')],
    // A workload that may not write a credential is not told that it exists.
  ])('with %s needs the right to appoint it', async (_what, first, config, then, changed) => {
    const { put, admin, by } = await scene();
    await put(admin(), 'root', first, ADMIN_SECRET, first === 'generic-http' ? MANAGER : { manages: true });
    await put(admin(), 'db', first, 'one', { ...config, admin: 'root' });
    expect(await outcomeOf(put(by(), 'db', first, 'two', { ...config, admin: 'root' }))).toBe('ok');
    expect(await outcomeOf(put(by(), 'db', then, 'three', { ...changed, admin: 'root' }))).toBe('not_found');
  });
});

describe('the secret of an admin', () => {
  it('is not used by calls in the settings if it was stored for another connector', async () => {
    const { put, admin, rotate, last, sent } = await scene();
    await put(admin(), 'root', 'sendgrid-api-key', ADMIN_SECRET, { manages: true });
    await put(admin(), 'db', 'generic-http', 'one', { ...calls(), admin: 'root' });
    await rotate().catch(() => {});
    expect(last('rotation')?.cause ?? 'admin_bound_elsewhere').toBe('admin_bound_elsewhere');
    expect(sent).toEqual([]);
  });

  it('is used by the calls of the last put only, not by those of an older version', async () => {
    const { put, admin, by, rotate, last, end, sent } = await scene();
    await put(admin(), 'root', 'generic-http', ADMIN_SECRET, MANAGER);
    await put(by(), 'db', 'generic-http', 'one', calls('stored'));
    await rotate();
    await put(admin(), 'db', 'generic-http', 'two', { ...calls(), admin: 'root' });
    await end();
    expect(last('revocation')).toMatchObject({ cause: 'admin_bound_elsewhere' });
    expect(sent.filter((request) => request.includes(ADMIN_SECRET))).toEqual([]);
  });

  it('is not that of a newer version with other calls, if the value manages itself', async () => {
    const { put, admin, by, rotate, end, sent } = await scene();
    await put(by(), 'db', 'generic-http', 'one', calls('stored'));
    await rotate();
    await put(admin(), 'db', 'generic-http', ADMIN_SECRET, calls());
    await end();
    expect(sent.filter((request) => request.startsWith('DELETE')).length).toBeGreaterThan(0);
    expect(sent.filter((request) => request.includes(ADMIN_SECRET))).toEqual([]);
  });
});

describe('the signing key of a webhook', () => {
  const hook = (url: string): KeyConfig => ({
    admin: 'hook-key',
    webhook: {
      url,
      ...{ strategy: 'in_place', steps: { create: { sends: [] }, test: { sends: [] } }, returns: ['key'] },
    },
  });
  const signingKey = `whsec_${Buffer.alloc(32, 5).toString('base64')}`;

  it.each([
    ['https://ops.example/rotate', 'sent'],
    ['https://ops.example/other', 'nothing'],
    ['https://ops.example/rotate?tenant=other', 'nothing'],
  ])('that is stored for one URL signs for %s: %s', async (url, expected) => {
    const { put, admin, rotate, sent } = await scene();
    const itsUrl = { manages: true, webhook: { url: 'https://ops.example/rotate' } } as const;
    await put(admin(), 'hook-key', 'generic-webhook', signingKey, itsUrl);
    await put(admin(), 'db', 'generic-webhook', 'one', hook(url));
    await rotate().catch(() => {});
    expect(sent.length > 0 ? 'sent' : 'nothing').toBe(expected);
  });
});

describe('the destination of a value with steps in its settings', () => {
  const ofHost = (host: string, [secret, id]: readonly [string, string]) => ({
    http: JSON.parse(
      JSON.stringify(calls().http)
        .replaceAll(HOST, host)
        .replaceAll('.key_id}', `.${id}}`)
        .replaceAll('.key}', `.${secret}}`)
        .replaceAll('"key":', `"${secret}":`)
        .replaceAll('"key_id":', `"${id}":`)
        .replace('"mint":', `"id_member":"${id}","mint":`),
    ) as KeyConfig['http'],
  });
  const program = (name: string): KeyConfig => ({
    program: { name, steps: { set: { sends: [] }, test: { sends: [] } }, strategy: 'single_user' },
  });
  const hook = (url: string): KeyConfig => ({ webhook: { url } });

  it.each([
    ['api_key', 'generic-http', ofHost('a.example', ['key', 'key_id']), ofHost('b.example', ['key', 'key_id'])],
    ['json', 'generic-http', ofHost('a.example', ['token', 'tid']), ofHost('b.example', ['token', 'tid'])],
    ['basic', 'generic-http', ofHost('a.example', ['password', 'username']), ofHost('b.example', ['password', 'username'])],
    ['json', 'generic-http', { http: { hosts: ['a.example'] } }, { http: { hosts: ['b.example'] } }],
    ['database', 'generic-program', program('a'), program('b')],
    ['api_key', 'generic-webhook', hook('https://a.example/hook'), hook('https://b.example/hook')],
  ] as const)('of kind %s and %s is told, and a change of it is a redirection', async (kind, connector, before, after) => {
    const { tenant } = await scene();
    const prefix = connector === 'generic-program' ? 'program:' : '';
    const suffix = connector === 'generic-program' ? '' : '.example';
    const moved = await tenant.vault.submit((job) =>
      redirection(job, kind, { connector, config: before } as never, { connector, config: after } as never),
    );
    expect(moved).toEqual({ from_hosts: `${prefix}a${suffix}`, to_hosts: `${prefix}b${suffix}` });
  });
});
