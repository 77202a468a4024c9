// What the provider, an auditor and whoever waits for it see of a revocation: which token is sent and how, when it is tried again, what each
// event states, and which other credentials protect a grant. Every value is made up; not-a-real-secret.
import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { OAuthConnector, RevocationSpec } from '../../../rotation/connector.ts';
import { disconnectCredential } from '../../../rotation/grants/disconnect.ts';
import { revokeDue } from '../../../rotation/grants/revoke.ts';
import { LIMITS } from '../../../src/base/limits.ts';
import { deleteCredential, destroyCredential } from '../../../src/vault/change-credential.ts';
import { oauth2Config } from '../../../src/vault/credential-kinds.ts';
import { putCredential } from '../../../src/vault/put-credential.ts';
import { CONFIG, type ConsentBench, CRM, consentBench, type Reply, tokens } from '../../kit/consent-bench.ts';
import { leftBy } from '../../kit/told.ts';

const RFC_7009: RevocationSpec = {
  url: 'https://api.crm.example/revoke',
  method: 'POST',
  authentication: 'client_secret_post',
  bodyFormat: 'form',
  token: 'refresh',
  tokenParameter: 'token',
  ends: 'grant',
};
const OK: Reply = { status: 200, body: {} };
const PROBE = { url: 'https://api.crm.example/me', method: 'GET' } as const;
const ACCOUNT: RevocationSpec = { ...RFC_7009, ends: 'account' };

const benchOf = (changes: Partial<OAuthConnector> = {}) => consentBench({ revocation: RFC_7009, ...changes });
const put = (bench: ConsentBench, name: string, value: object = {}, clientId: string = CONFIG.client_id) =>
  bench.tenant.vault.submit((job) =>
    putCredential(job, bench.admin(), {
      environment: 'staging',
      name,
      precondition: {},
      kind: 'oauth2',
      value: { access_token: `access-${name}-not-a-real-secret`, refresh_token: `refresh-${name}-not-a-real-secret`, client_secret: 'c-not-a-real-secret', expires_in: 3_600, ...value }, // biome-ignore format: one line
      connector: CRM.id,
      config: oauth2Config.parse({ ...CONFIG, client_id: clientId }),
      labels: undefined,
      description: undefined,
      expiresAtMs: undefined,
    }),
  );
const disconnect = (bench: ConsentBench, name: string, revoke = true) =>
  bench.tenant.vault.submit((job) =>
    disconnectCredential({ ...bench.ports, job }, bench.admin(), { environment: 'staging', name, revoke, precondition: {} }),
  );
const calls = (bench: ConsentBench, path = '/revoke') => bench.sent.filter(({ url }) => new URL(url).pathname === path);
const exposed = (bench: ConsentBench) =>
  bench.tenant.sql
    .all<{ facts: string }>("SELECT facts FROM alert WHERE kind = 'credential.exposed'")
    .map(({ facts }) => JSON.parse(facts));
const runOf = (bench: ConsentBench) =>
  bench.tenant.sql.get("SELECT * FROM run WHERE kind = 'revocation' ORDER BY rowid DESC") as Record<string, unknown>;
const destroy = (bench: ConsentBench, name: string) =>
  bench.tenant.vault.submit((job) =>
    destroyCredential(job, bench.tenant.user(['owner'], 'everywhere', { bootstrap: true }), {
      environment: 'staging',
      name,
      precondition: {},
    }),
  );

describe('the client of a revocation', () => {
  it('proves itself with the private key of the grant, not with a secret', async () => {
    const { privateKey } = generateKeyPairSync('ed25519');
    const jwk = { ...privateKey.export({ format: 'jwk' }), alg: 'EdDSA', kid: 'made-up-kid' };
    const bench = await benchOf({ revocation: { ...RFC_7009, authentication: 'private_key_jwt' } });
    await put(bench, 'crm', { client_private_jwk: jwk });
    await disconnect(bench, 'crm');
    bench.replies.push(OK);
    await revokeDue(bench.ports);
    const fields = calls(bench)[0]?.fields;
    const [header = ''] = (fields?.get('client_assertion') ?? '').split('.');
    expect(JSON.parse(Buffer.from(header, 'base64url').toString())).toMatchObject({ alg: 'Ed25519', kid: 'made-up-kid' });
    expect(fields?.has('client_secret')).toBe(false);
    expect(bench.revocation('crm')?.state).toBe('revoked');
  });
});

describe('when a revocation is tried again', () => {
  const failed = async (headers: Record<string, string>) => {
    const bench = await benchOf();
    await put(bench, 'crm');
    await disconnect(bench, 'crm');
    bench.replies.push({ status: 503, body: '', headers });
    await revokeDue(bench.ports);
    return Number(runOf(bench)['next_attempt_at']) - bench.tenant.clock.now();
  };

  it('is as late as the provider asks for', async () => {
    expect(await failed({ 'retry-after': '7200' })).toBe(7_200_000);
  });

  it('is after its own back-off where the provider asks for less, or for nothing', async () => {
    const own = await failed({});
    expect(own).toBeGreaterThan(1_000);
    expect(await failed({ 'retry-after': '1' })).toBe(own);
  });

  it('is no later than the longest wait', async () => {
    expect(await failed({ 'retry-after': '999999' })).toBe(LIMITS.refreshWaitMaxMs);
  });

  it('is not before, and its owner is told of each change of the time', async () => {
    const bench = await benchOf();
    await put(bench, 'crm');
    const before = bench.tenant.dueChanges();
    await disconnect(bench, 'crm');
    expect(bench.tenant.dueChanges()).toBeGreaterThan(before);
    bench.replies.push({ status: 503, body: '' });
    const disconnected = bench.tenant.dueChanges();
    await revokeDue(bench.ports);
    expect(bench.tenant.dueChanges()).toBeGreaterThan(disconnected);
    bench.tenant.clock.atMs = Number(runOf(bench)['next_attempt_at']) - 1;
    expect(await revokeDue(bench.ports)).toBe(0);
    bench.tenant.clock.pass(1);
    bench.replies.push(OK);
    expect(await revokeDue(bench.ports)).toBe(1);
    expect(bench.revocation('crm')?.state).toBe('revoked');
  });
});

describe('the events of a revocation', () => {
  const failures = { action: 'credential.revoke', actor: { type: 'system', id: 'revoke' } };

  it('state step, run, attempt and version; a cause only where there is one', async () => {
    const bench = await benchOf();
    await put(bench, 'crm');
    await disconnect(bench, 'crm');
    bench.replies.push({ status: 503, body: '' }, OK);
    const first = await leftBy(bench.tenant.sql, () => revokeDue(bench.ports));
    const run = runOf(bench)['id'];
    const details = { run, version: 1 };
    expect(first.events.map(({ details: told }) => told)).toEqual([
      { ...details, step: 'intent', attempts: 1 },
      { ...details, step: 'failed', attempts: 1, cause: 'http_5xx' },
    ]);
    expect(first.events[1]).toMatchObject({ ...failures, outcome: 'failure', reason: 'provider_unavailable' });
    const { revision } = bench.row('crm');
    bench.tenant.clock.pass(LIMITS.revokeBackoffMaxMs);
    const second = await leftBy(bench.tenant.sql, () => revokeDue(bench.ports));
    expect(second.events.map(({ details: told }) => told)).toEqual([
      { ...details, step: 'intent', attempts: 2 },
      { ...details, step: 'revoked', attempts: 2 },
    ]);
    expect(second.events[1]).toMatchObject({ ...failures, outcome: 'success', reason: 'allowed' });
    expect(second.events[1]?.details).not.toHaveProperty('cause');
    // Whoever holds an ETag sees that there is something new.
    expect(bench.row('crm').revision).toBe(revision + 1);
    expect(runOf(bench)).toMatchObject({ state: 'succeeded', outcome: 'revoked', cause: null, step: 'revoked' });
  });

  it('of a credential that was destroyed: given up, with one alert, and no call', async () => {
    const bench = await benchOf();
    await put(bench, 'crm');
    await disconnect(bench, 'crm');
    await destroy(bench, 'crm');
    const { events } = await leftBy(bench.tenant.sql, () => revokeDue(bench.ports));
    expect(events.filter(({ action }) => action === 'credential.revoke')).toMatchObject([
      { outcome: 'failure', details: { step: 'given_up', cause: 'value_destroyed', attempts: 0 } },
    ]);
    expect(calls(bench)).toEqual([]);
    expect(exposed(bench)).toHaveLength(1);
    expect(runOf(bench)).toMatchObject({ state: 'failed', outcome: 'given_up', cause: 'value_destroyed' });
  });

  it('of a credential that was only deleted goes on', async () => {
    const bench = await benchOf();
    await put(bench, 'crm');
    await disconnect(bench, 'crm');
    await bench.tenant.vault.submit((job) =>
      deleteCredential(job, bench.admin(), {
        environment: 'staging',
        name: 'crm',
        precondition: {},
        recoveryWindowMs: undefined,
      }),
    );
    bench.replies.push(OK);
    await revokeDue(bench.ports);
    expect(runOf(bench)).toMatchObject({ state: 'succeeded', outcome: 'revoked' });
  });

  it('of a connector that is gone: it waits, alerts once, and gives up after a week', async () => {
    const bench = await benchOf();
    await put(bench, 'crm');
    await disconnect(bench, 'crm');
    const connectors = bench.ports.connectors as Map<string, OAuthConnector>;
    const connector = connectors.get(CRM.id) as OAuthConnector;
    connectors.clear();
    await revokeDue(bench.ports);
    expect(runOf(bench)).toMatchObject({ state: 'open', step: 'waiting', attempts: 1, cause: 'connector_unusable' });
    bench.tenant.clock.pass(LIMITS.revokeBackoffMaxMs);
    await revokeDue(bench.ports);
    expect(runOf(bench)).toMatchObject({ attempts: 2 });
    expect(exposed(bench)).toMatchObject([{ cause: 'connector_unusable', since: expect.stringMatching(/^20..-/) }]);
    connectors.set(connector.id, connector);
    bench.tenant.clock.pass(LIMITS.revokeBackoffMaxMs);
    bench.replies.push(OK);
    await revokeDue(bench.ports);
    expect(runOf(bench)).toMatchObject({ state: 'succeeded', outcome: 'revoked' });
  });

  it('of a connector that can no longer revoke: it ends so, and the tokens are not sent', async () => {
    const bench = await benchOf();
    await put(bench, 'crm');
    await disconnect(bench, 'crm');
    const { revocation: _none, ...without } = { ...CRM, revocation: RFC_7009 };
    (bench.ports.connectors as Map<string, OAuthConnector>).set(CRM.id, without);
    await revokeDue(bench.ports);
    expect(runOf(bench)).toMatchObject({ state: 'cancelled', outcome: 'not_possible', cause: 'no_way_to_revoke' });
    expect(exposed(bench)).toEqual([]);
  });
});

describe('the proof that a grant is dead', () => {
  const revoked = async (value: object) => {
    const bench = await benchOf({ probe: PROBE });
    await put(bench, 'crm', value);
    await disconnect(bench, 'crm');
    bench.replies.push(OK, { status: 401, body: {} });
    await revokeDue(bench.ports);
    return { bench, probes: calls(bench, '/me').length, cause: runOf(bench)['cause'] };
  };

  it('uses an access token that lives', async () => {
    expect(await revoked({})).toMatchObject({ probes: 1, cause: 'proved_dead' });
    expect(await revoked({ expires_in: undefined })).toMatchObject({ probes: 1, cause: 'proved_dead' });
  });

  it.each([
    [3_599_999, 1],
    [3_600_000, 0],
  ])('uses no token that has ended by itself: after %i ms, %i probes', async (afterMs, probes) => {
    const bench = await benchOf({ probe: PROBE });
    await put(bench, 'crm');
    await disconnect(bench, 'crm');
    bench.tenant.clock.pass(afterMs);
    bench.replies.push(OK, { status: 401, body: {} });
    await revokeDue(bench.ports);
    expect(calls(bench, '/me')).toHaveLength(probes);
    expect(runOf(bench)['cause']).toBe(probes === 1 ? 'proved_dead' : null);
  });

  it('is not asked for a revocation that failed', async () => {
    const bench = await benchOf({ probe: PROBE });
    await put(bench, 'crm');
    await disconnect(bench, 'crm');
    bench.replies.push({ status: 503, body: '' });
    await revokeDue(bench.ports);
    expect(calls(bench, '/me')).toEqual([]);
  });
});

describe('an answer to a revocation that came late', () => {
  it('changes nothing when another attempt has begun', async () => {
    const bench = await benchOf();
    await put(bench, 'crm');
    await disconnect(bench, 'crm');
    bench.replies.push(async () => {
      bench.tenant.clock.pass(LIMITS.leaseMs);
      bench.replies.push({ status: 503, body: '' });
      await revokeDue(bench.ports);
      return OK;
    });
    await revokeDue(bench.ports);
    expect(runOf(bench)).toMatchObject({ state: 'open', attempts: 2, cause: 'http_5xx' });
    expect(bench.events('revoked')).toEqual([]);
  });
});

describe('which other credentials protect a grant', () => {
  const other = { refresh_token: undefined, access_token: 'same-not-a-real-secret' };

  it('those with the same access token, where there is no refresh token', async () => {
    const bench = await benchOf({ revocation: { ...RFC_7009, token: 'access' } });
    await put(bench, 'one', other);
    await put(bench, 'two', other);
    await disconnect(bench, 'one');
    expect(bench.revocation('one')?.state).toBe('shared');
  });

  it('not itself', async () => {
    const bench = await benchOf({ revocation: ACCOUNT });
    await bench.connect('crm');
    await disconnect(bench, 'crm');
    bench.replies.push(OK);
    await revokeDue(bench.ports);
    expect(bench.revocation('crm')?.state).toBe('revoked');
  });

  it.each<[string, object, object, string]>([
    ['the account of neither is known', {}, {}, 'shared'],
    ['its own account is not known', {}, { hub_id: 1 }, 'shared'],
    ["the other's account is not known", { hub_id: 1 }, {}, 'shared'],
    ['both are of one account', { hub_id: 1 }, { hub_id: 1 }, 'shared'],
    ['they are of two accounts', { hub_id: 1 }, { hub_id: 2 }, 'waiting'],
  ])('where the provider ends whole accounts, and %s: %s', async (_, mine, theirs, state) => {
    const bench = await benchOf({ revocation: ACCOUNT });
    bench.replies.push(tokens({ hub_id: undefined, ...theirs }));
    await bench.connect('other');
    bench.replies.push(tokens({ hub_id: undefined, ...mine }));
    await bench.connect('crm');
    await disconnect(bench, 'crm');
    expect(bench.revocation('crm')?.state).toBe(state);
  });

  it('where the provider ends whole accounts: not those of another connector with the same client', async () => {
    const bench = await benchOf({ revocation: ACCOUNT });
    const twin = { ...CRM, id: 'made-up-twin' };
    (bench.ports.connectors as Map<string, OAuthConnector>).set(twin.id, twin);
    await bench.make('twin', { connector: twin.id }).then(async ({ linkToken }) => bench.comeBack(await bench.begin(linkToken)));
    await bench.connect('crm');
    await disconnect(bench, 'crm');
    expect(bench.revocation('crm')?.state).toBe('waiting');
  });

  it.each([
    ['row', "UPDATE credential SET description = 'edited' WHERE name = 'other'"],
    [
      'version',
      "UPDATE credential_version SET created_at = 1 WHERE credential_id = (SELECT id FROM credential WHERE name = 'other')",
    ],
  ])('not one with a damaged %s: nobody can use it', async (_, damage) => {
    const bench = await benchOf();
    await put(bench, 'other', { refresh_token: 'same-not-a-real-secret' });
    await put(bench, 'crm', { refresh_token: 'same-not-a-real-secret' });
    bench.tenant.sql.run(damage);
    await disconnect(bench, 'crm');
    bench.replies.push(OK);
    await revokeDue(bench.ports);
    expect(bench.revocation('crm')?.state).toBe('revoked');
  });

  it('and a defect while another is read is not taken for damage', async () => {
    const bench = await benchOf();
    await put(bench, 'other', { refresh_token: 'same-not-a-real-secret' });
    await put(bench, 'crm', { refresh_token: 'same-not-a-real-secret' });
    const otherId = bench.row('other').id;
    const { sql } = bench.tenant;
    const get = sql.get.bind(sql);
    sql.get = ((text: string, ...values: unknown[]) => {
      if (text.includes('credential') && values[0] === otherId) throw new RangeError('made up');
      return get(text, ...(values as never[]));
    }) as typeof sql.get;
    await expect(disconnect(bench, 'crm')).rejects.toThrow('made up');
    sql.get = get;
    expect(bench.row('crm').health).toBe('ready');
  });
});

describe('the event of a disconnection', () => {
  it.each<[string, boolean, Partial<OAuthConnector>, object, object]>([
    ['that is revoked', true, {}, {}, { step: 'waiting' }],
    ['that is not to be revoked', false, {}, {}, { step: 'not_asked' }],
    ['that cannot be', true, { revocation: undefined } as never, {}, { step: 'not_possible', cause: 'no_way_to_revoke' }],
  ])('states what becomes of a grant %s', async (_, revoke, changes, value, told) => {
    const bench = await benchOf(changes);
    await put(bench, 'crm', value);
    const { events } = await leftBy(bench.tenant.sql, () => disconnect(bench, 'crm', revoke));
    expect(events.find(({ action }) => action === 'credential.disconnect')?.details).toEqual({
      run: runOf(bench)['id'],
      version: 1,
      ...told,
    });
  });

  it('of one that never was connected: there is nothing to revoke', async () => {
    const bench = await benchOf();
    await bench.make('crm');
    const { events } = await leftBy(bench.tenant.sql, () => disconnect(bench, 'crm'));
    expect(events.find(({ action }) => action === 'credential.disconnect')?.details).toMatchObject({
      step: 'not_asked',
      cause: 'nothing_to_revoke',
    });
  });

  it.each<[readonly string[], readonly string[]]>([
    [['Remove the app.', 'To withdraw consent, open the settings.'], ['To withdraw consent, open the settings.']],
    [
      ['Remove the app.', 'Wait a day.'],
      ['Remove the app.', 'Wait a day.'],
    ],
  ])('lists of %j what a person does: %j', async (manualSteps, told) => {
    const bench = await consentBench({ manualSteps });
    await put(bench, 'crm');
    expect((await disconnect(bench, 'crm')).manualSteps).toEqual(told);
    expect((await disconnect(bench, 'crm')).manualSteps).toEqual(told);
  });
});

describe('two turns at once', () => {
  it('end a revocation that needs no call once', async () => {
    const bench = await benchOf();
    await put(bench, 'one', { refresh_token: 'same-not-a-real-secret' });
    await disconnect(bench, 'one');
    await put(bench, 'two', { refresh_token: 'same-not-a-real-secret' });
    await Promise.all([revokeDue(bench.ports), revokeDue(bench.ports)]);
    expect(bench.events('shared')).toHaveLength(1);
    expect(bench.revocation('one')).toMatchObject({ state: 'shared', cause: 'used_by_another' });
  });

  it('send one call', async () => {
    const bench = await benchOf();
    await put(bench, 'crm');
    await disconnect(bench, 'crm');
    bench.replies.push(OK);
    await Promise.all([revokeDue(bench.ports), revokeDue(bench.ports)]);
    expect(calls(bench)).toHaveLength(1);
  });
});
