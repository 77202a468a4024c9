// CR-01: someone with the files but not the keys changes rows while nobody serves them. Each such row fails closed, and nothing else does.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Answer,
  apiKey,
  type ChildService,
  CREDENTIALS,
  clientOf,
  furnish,
  newDirectory,
  type Place,
  startChild,
  stopAll,
  tenantPath,
  withDatabase,
  workloadToken,
} from '../kit/node-process.ts';

const CANARY = 'canary-not-a-real-secret';
const inTenant = (tenant: string, environment = 'staging') => `/v1/tenants/${tenant}/environments/${environment}/credentials`;
const ROWS = [
  'swap-a',
  'swap-b',
  'older',
  'crossed',
  'state',
  'expiry',
  'config',
  'health',
  'renamed',
  'current',
  'mac',
  'key-id',
  'fine',
];
const WORKLOADS = [
  'patterns',
  'permissions',
  'networks',
  'environment',
  'subject',
  'token-expiry',
  'token-revoked',
  'token-permissions',
  'unrevoked',
  'good',
];

let service: ChildService;
let place: Place;
const tokens = new Map<string, string>();

const get = (token: string, path: string): Promise<Answer> => clientOf(service.url, token)('GET', path);

function expectClosed(answer: Answer, what: string): void {
  expect([answer.status, answer.body.code], `${what}: ${answer.text}`).toEqual([500, 'integrity']);
  expect(answer.text).not.toContain(CANARY);
  // What exactly did not fit is for the operator's log, not for whoever probes.
  expect(answer.body.detail).toContain('runs `keyturn doctor --deep`');
  expect(answer.text).not.toMatch(/mac|commit|tag|key_id|sealed/i);
}

async function fillIn(directory: string): Promise<{ beta: string; gamma: string; eve: string; gone: string }> {
  place = await furnish(service.url, directory);
  const owner = clientOf(service.url, place.owner);
  const beta = (await owner('POST', '/v1/tenants', { name: 'beta' })).body.id;
  const gamma = (await owner('POST', '/v1/tenants', { name: 'gamma' })).body.id;
  const writer = clientOf(service.url, place.workload);
  for (const name of ROWS) {
    if (name === 'config') continue;
    for (const key of ['one', 'two']) {
      const put = await writer('PUT', `${CREDENTIALS}/${name}`, {
        ...apiKey(`${name}-${key}-${CANARY}`),
        expires_at: '2090-01-01T00:00:00.000Z',
      });
      expect(put.status, put.text).toBeLessThan(300);
    }
  }
  await writer('PUT', `${CREDENTIALS}/config`, {
    kind: 'oauth2',
    value: { access_token: CANARY, refresh_token: CANARY, client_secret: CANARY, expires_in: 3_600 },
    config: { token_endpoint: 'https://login.example/token', client_id: 'client' },
  });
  await owner('DELETE', `${CREDENTIALS}/state`);
  tokens.set('beta', await workloadToken(owner, 'beta'));
  await clientOf(service.url, tokens.get('beta') ?? '')('PUT', `${inTenant('beta')}/crossed`, apiKey(`beta-${CANARY}`));
  for (const environment of ['staging', 'production']) {
    const token = await workloadToken(owner, 'gamma', { name: environment, environment });
    tokens.set(`gamma-${environment}`, token);
    await clientOf(service.url, token)('PUT', `${inTenant('gamma', environment)}/a`, apiKey(`${environment}-${CANARY}`));
  }
  for (const name of WORKLOADS) tokens.set(name, await workloadToken(owner, 'acme', { name, permissions: ['read'] }));
  const ids = (await owner('GET', '/v1/tenants/acme/workloads/token-revoked')).body.tokens as { id: string; type: string }[];
  const direct = ids.find(({ type }) => type === 'wlk');
  expect((await owner('DELETE', `/v1/tenants/acme/workloads/token-revoked/tokens/${direct?.id}`)).status).toBe(200);
  expect((await owner('DELETE', '/v1/tenants/acme/workloads/unrevoked')).status).toBe(200);
  const made = async (name: string) => {
    const { body } = await owner('POST', '/v1/users', { name, grants: [{ role: 'engineer', tenant: 'acme' }] });
    return (await clientOf(service.url, body.enrolment.token)('POST', '/v1/enrolments', {})).body;
  };
  const [eve, gone] = [await made('eve'), await made('gone')];
  tokens.set('eve', eve.token.token).set('gone', gone.token.token);
  await owner('DELETE', `/v1/users/${gone.user.id}`);
  return { beta, gamma, eve: eve.user.id, gone: gone.user.id };
}

/** [database, statement, parameters]: what an intruder with the files writes. */
function tamper(directory: string, ids: { beta: string; gamma: string; eve: string; gone: string }): void {
  const id = (name: string) => `(SELECT id FROM credential WHERE name = '${name}')`;
  const crossed = withDatabase(tenantPath(directory, ids.beta), (database) =>
    database.prepare('SELECT key_id, wrapped_key, value FROM credential_version').get(),
  ) as { key_id: string; wrapped_key: Buffer; value: Buffer };
  withDatabase(tenantPath(directory, place.tenantId), (database) => {
    const exec = (statement: string) => {
      const { changes } = database.prepare(statement).run();
      expect(changes, statement).toBeGreaterThan(0);
    };
    // Whole sealed rows, key and all, between two credentials and between two versions.
    exec(
      `UPDATE credential_version SET (key_id, wrapped_key, value) = (SELECT key_id, wrapped_key, value FROM credential_version AS o WHERE o.credential_id = ${id('swap-b')} AND o.version = 2) WHERE credential_id = ${id('swap-a')}`,
    );
    exec(
      `UPDATE credential_version SET value = (SELECT value FROM credential_version AS o WHERE o.credential_id = ${id('fine')} AND o.version = 2) WHERE credential_id = ${id('swap-b')}`,
    );
    exec(
      `UPDATE credential_version SET (wrapped_key, value) = (SELECT wrapped_key, value FROM credential_version AS o WHERE o.credential_id = ${id('older')} AND o.version = 1) WHERE credential_id = ${id('older')} AND version = 2`,
    );
    database
      .prepare(`UPDATE credential_version SET wrapped_key = ?, value = ? WHERE credential_id = ${id('crossed')}`)
      .run(crossed.wrapped_key, crossed.value);
    exec(
      `UPDATE credential_version SET key_id = (SELECT key_id FROM tenant_key WHERE purpose = 'oauth_token') WHERE credential_id = ${id('key-id')}`,
    );
    exec("UPDATE credential SET state = 'active', deleted_at = NULL, destroy_after_at = NULL WHERE name = 'state'");
    exec("UPDATE credential SET value_expires_at = NULL WHERE name = 'expiry'");
    exec(`UPDATE credential SET config = replace(config, 'login.example', 'evil.example') WHERE name = 'config'`);
    exec("UPDATE credential SET health = 'degraded' WHERE name = 'health'");
    exec("UPDATE credential SET name = 'renamed-by-hand' WHERE name = 'renamed'");
    exec("UPDATE credential SET current_version = 1 WHERE name = 'current'");
    exec("UPDATE credential SET mac = zeroblob(32), mac_key_id = '' WHERE name = 'mac'");
    exec(`UPDATE workload SET patterns = '["*","**"]' WHERE name = 'patterns'`);
    exec(`UPDATE workload SET permissions = '["read","put","rotate"]' WHERE name = 'permissions'`);
    exec(`UPDATE workload SET networks = '["0.0.0.0/0"]' WHERE name = 'networks'`);
    exec("UPDATE workload SET environment = 'production' WHERE name = 'environment'");
    exec("UPDATE workload SET revoked_at = NULL WHERE name = 'unrevoked'");
    const tokenOf = (name: string) => `subject_id = (SELECT id FROM workload WHERE name = '${name}') AND type = 'wlk'`;
    exec(`UPDATE token SET subject_id = (SELECT id FROM workload WHERE name = 'good') WHERE ${tokenOf('subject')}`);
    exec(`UPDATE token SET expires_at = expires_at + 1 WHERE ${tokenOf('token-expiry')}`);
    exec(`UPDATE token SET revoked_at = NULL WHERE ${tokenOf('token-revoked')}`);
    exec(`UPDATE token SET permissions = '["put"]' WHERE ${tokenOf('token-permissions')}`);
  });
  withDatabase(tenantPath(directory, ids.gamma), (database) => {
    for (const [from, to] of [
      ['staging', 'x'],
      ['production', 'staging'],
      ['x', 'production'],
    ])
      database.prepare('UPDATE environment SET name = ? WHERE name = ?').run(to, from);
  });
  withDatabase(`${directory}/home.db`, (database) => {
    database.prepare("UPDATE user_grant SET role = 'owner', tenant_id = '*' WHERE user_id = ?").run(ids.eve);
    database.prepare('UPDATE user SET offboarded_at = NULL WHERE id = ?').run(ids.gone);
    database.prepare("UPDATE tenant SET demo = 1 WHERE name = 'beta'").run();
  });
}

beforeAll(async () => {
  const directory = newDirectory();
  service = await startChild(directory);
  const ids = await fillIn(directory);
  await service.stop();
  tamper(directory, ids);
  service = await startChild(directory);
}, 60_000);
afterAll(stopAll);

describe('rows changed behind the service’s back', () => {
  it.each(['swap-a', 'swap-b', 'older', 'crossed', 'key-id'])('sealed bytes from elsewhere (%s) are not opened', async (name) => {
    expectClosed(await get(place.workload, `${CREDENTIALS}/${name}/value`), name);
  });

  it.each(['state', 'expiry', 'config', 'health', 'renamed-by-hand', 'current', 'mac'])(
    'a credential’s changed %s is not believed',
    async (name) => {
      expectClosed(await get(place.workload, `${CREDENTIALS}/${name}/value`), name);
      expectClosed(await get(place.workload, `${CREDENTIALS}/${name}`), name);
      const put = await clientOf(service.url, place.workload)('PUT', `${CREDENTIALS}/${name}`, apiKey(`new-${CANARY}`));
      expectClosed(put, `${name} put`);
    },
  );

  it.each(WORKLOADS.filter((name) => name !== 'good' && name !== 'unrevoked'))(
    'a token or workload with a changed %s opens nothing',
    async (name) => {
      expectClosed(await get(tokens.get(name) ?? '', `${CREDENTIALS}/fine/value`), name);
    },
  );

  it.each(['staging', 'production'])('two exchanged environment names hand out nothing (%s)', async (environment) => {
    for (const path of [inTenant('gamma', 'staging'), inTenant('gamma', 'production')]) {
      const answer = await get(tokens.get(`gamma-${environment}`) ?? '', `${path}/a/value`);
      expect(answer.status).toBeGreaterThanOrEqual(400);
      expect(answer.text).not.toContain(CANARY);
    }
    expectClosed(await get(tokens.get(`gamma-${environment}`) ?? '', `${inTenant('gamma', environment)}/a/value`), environment);
  });

  it('a role slipped in beside a user’s own gives nothing', async () => {
    for (const path of ['/v1/whoami', '/v1/users', '/v1/tenants', `${CREDENTIALS}/fine`])
      expectClosed(await get(tokens.get('eve') ?? '', path), path);
  });

  it('a revocation or offboarding taken back revives no token: each was revoked by itself', async () => {
    // Its workload's row is looked at whatever the token is worth, so that a refusal costs the same: the changed row answers first.
    expectClosed(await get(tokens.get('unrevoked') ?? '', `${CREDENTIALS}/fine/value`), 'unrevoked');
    expect((await get(tokens.get('gone') ?? '', '/v1/whoami')).status).toBe(401);
    // The list goes on without the changed users: none is shown as if nothing had happened.
    const list = await get(place.owner, '/v1/users');
    expect(list.body.items.map(({ name }: { name: string }) => name)).toEqual(['ada']);
  });

  it('a tenant made a demo tenant by hand is not served', async () => {
    expectClosed(await get(tokens.get('beta') ?? '', `${inTenant('beta')}/crossed/value`), 'beta');
  });

  it('leave everything else as it was', async () => {
    const read = await get(tokens.get('good') ?? '', `${CREDENTIALS}/fine/value`);
    expect(read.body.value.key).toBe(`fine-two-${CANARY}`);
    expect((await get(place.workload, `${CREDENTIALS}/older/value?version=1`)).body.value.key).toBe(`older-one-${CANARY}`);
    expect((await get(place.owner, '/v1/whoami')).status).toBe(200);
    const put = await clientOf(service.url, place.workload)('PUT', `${CREDENTIALS}/fine`, apiKey(`three-${CANARY}`));
    expect(put.body.version).toBe(3);
  });

  it('are told to the operator, without a value, and recorded as failures', async () => {
    expect(service.log.some((line) => line.startsWith('integrity '))).toBe(true);
    expect(service.log.join('\n')).not.toContain(CANARY);
    const events = await get(place.owner, '/v1/tenants/acme/audit/events?outcome=failure&limit=500');
    const reasons = events.body.items.filter((event: { reason: string }) => event.reason === 'integrity');
    expect(reasons.length).toBeGreaterThanOrEqual(5);
  });
});
