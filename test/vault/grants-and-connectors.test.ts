// What the vault does with grants by the word of the connectors: which values it takes, whether a change of settings is a change of
// destinations, what it tells of scopes, and what a read says after the refresh that it waited for.
import { describe, expect, it } from 'vitest';
import { fail, KeyturnError } from '../../src/base/errors.ts';
import { deleteCredential } from '../../src/vault/change-credential.ts';
import { oauth2Config } from '../../src/vault/credential-kinds.ts';
import { listVersions } from '../../src/vault/describe-credential.ts';
import type { Redirection } from '../../src/vault/destinations.ts';
import { type PutCredentialInput, putCredential } from '../../src/vault/put-credential.ts';
import { readFreshCredential } from '../../src/vault/read-credential.ts';
import type { Refresher } from '../../src/vault/tenant-job.ts';
import { changeRows } from '../kit/anchored.ts';
import { changing, eventsOf, testTenant } from '../kit/vaults.ts';

const WHERE = { environment: 'staging', name: 'crm' };
const WORKFLOWS = [{ name: 'nightly', scopes: ['contacts.read'] }];
const TOKENS = { access_token: 'a-not-a-real-secret', refresh_token: 'r-not-a-real-secret', expires_in: 600 };

/** A tenant whose connectors say what `given` says. */
async function bench(given: Partial<Refresher> = {}) {
  const tenant = await testTenant();
  const { vault, sql, clock } = tenant;
  vault.refresher = {
    refreshNow: async () => undefined,
    checkSettings: () => ({ renews: 'refresh_token', idleMs: undefined }),
    destinationsOf: (connector) => [`https://${connector}.example`],
    ...given,
  };
  const admin = () => tenant.user(['admin'], 'everywhere', { secondFactorAtMs: clock.now() });
  const put = (value: object, input: Partial<PutCredentialInput> = {}) =>
    vault.submit((job) =>
      putCredential(job, admin(), {
        ...WHERE,
        kind: 'oauth2',
        value,
        connector: 'good',
        config: oauth2Config.parse({ client_id: 'c', token_endpoint: 'https://good.example/token', workflows: WORKFLOWS }),
        labels: undefined,
        description: undefined,
        expiresAtMs: undefined,
        precondition: {},
        ...input,
      }),
    );
  const actions = () => eventsOf(sql).map(({ action }) => action);
  const alerts = () => sql.all<{ kind: string; facts: string }>('SELECT kind, facts FROM alert ORDER BY rowid');
  const read = () => readFreshCredential(vault, admin(), { ...WHERE, version: undefined, stage: undefined });
  return { tenant, vault, clock, admin, put, actions, alerts, read };
}

const refusal = (work: Promise<unknown>) =>
  work.then(
    () => 'ok',
    (error: unknown) => (error instanceof KeyturnError ? `${error.code}: ${error.message}` : fail('internal', String(error))),
  );

describe('a put of a grant', () => {
  it('needs a key where the connector renews with one, and else a token', async () => {
    const byKey = await bench({ checkSettings: () => ({ renews: 'key', idleMs: undefined }) });
    const noKey = 'invalid_request: the value must have a client secret or a private key: this connector needs one';
    expect(await refusal(byKey.put({ scope: 'contacts.read' }))).toBe(noKey);
    for (const part of [{ client_private_jwk: { kty: 'RSA', alg: 'RS256' } }, { client_private_key_pem: 'not-a-real-secret' }])
      expect(await refusal(byKey.put(part, { name: Object.keys(part)[0]?.replaceAll('_', '-') ?? '' }))).toBe('ok');
    expect(await refusal(byKey.put({ client_secret: 's-not-a-real-secret' }))).toBe('ok');
    const byToken = await bench();
    const noToken = 'invalid_request: the value must have an access token or a refresh token';
    expect(await refusal(byToken.put({ client_secret: 's-not-a-real-secret' }))).toBe(noToken);
    expect(await refusal(byToken.put({ refresh_token: 'r-not-a-real-secret' }))).toBe('ok');
  });

  it('states for each version whether it was imported', async () => {
    const { vault, admin, put } = await bench();
    await put(TOKENS);
    await put(TOKENS, { imported: { from: 'nango', stillUsedThere: false } });
    const list = { ...WHERE, before: Number.MAX_SAFE_INTEGER, maxRows: 10 };
    const { rows } = await vault.submit((job) => listVersions(job, admin(), list));
    expect(rows.map(({ version, origin }) => [version, origin])).toEqual([
      [2, 'import'],
      [1, 'put'],
    ]);
  });

  it('is a change of destinations where they differ, or where one of them is unknown', async () => {
    const gone = new Set<string>();
    const { put, actions, alerts } = await bench({
      destinationsOf: (connector) =>
        gone.has(connector) ? fail('not_rotatable', 'no such connector') : [`https://${connector}.example`],
    });
    const moves = () =>
      alerts()
        .filter(({ kind }) => kind === 'credential.destination_changed')
        .map(({ facts }) => JSON.parse(facts) as unknown);
    const redirects = () => actions().filter((action) => action === 'credential.redirect').length;
    await put(TOKENS);
    await put(TOKENS, { connector: 'other' });
    expect(redirects()).toBe(1);
    expect(moves()).toMatchObject([{ name: 'crm', from_hosts: 'good.example', to_hosts: 'other.example' }]);
    gone.add('other');
    await put(TOKENS, { connector: 'good' });
    expect(redirects(), 'from a connector that no longer exists').toBe(2);
    await put(TOKENS, { connector: 'other' });
    expect(redirects(), 'to one').toBe(3);
    await put(TOKENS, { connector: 'other' });
    expect(redirects(), 'with the same settings').toBe(3);
    const hosts = moves().map((move) => [(move as Redirection).from_hosts, (move as Redirection).to_hosts]);
    expect(hosts.slice(1)).toEqual([
      ['unknown', 'good.example'],
      ['good.example', 'unknown'],
    ]);
  });

  it('raises one alert when its scopes begin to differ from the needed ones, and one when they no longer do', async () => {
    const { put, alerts } = await bench();
    const counts = () =>
      alerts()
        .filter(({ kind }) => kind === 'credential.scopes_changed')
        .map(({ facts }) => JSON.parse(facts) as Record<string, unknown>)
        .map((facts) => [facts['missing'], facts['scopes_missing'], facts['scopes_extra']]);
    await put({ ...TOKENS, scope: 'contacts.read' });
    expect(counts()).toEqual([]);
    await put({ ...TOKENS, scope: 'admin' });
    await put({ ...TOKENS, scope: 'admin' });
    expect(counts()).toEqual([['contacts.read', 1, 1]]);
    await put({ ...TOKENS, scope: 'contacts.read' });
    expect(counts().slice(1)).toEqual([['', 0, 0]]);
  });
});

describe('links of a consent', () => {
  it('are ended by a put if they bring settings or a client secret of their own, or wait for an account', async () => {
    const { tenant, vault, clock, put } = await bench();
    await put(TOKENS);
    const { id } = tenant.sql.get<{ id: string }>('SELECT id FROM credential') ?? { id: '' };
    const link = (name: string, request: object, state = 'open') => ({
      id: name,
      credential_id: id,
      state,
      link_hash: new TextEncoder().encode(name.padStart(32, '.')),
      state_hash: new TextEncoder().encode(name.padEnd(32, '.')),
      attempt: 1,
      request: JSON.stringify(request),
      created_at: clock.now(),
      created_by: 'usr_a',
      expires_at: clock.now() + 60_000,
    });
    const links = [
      link('plain', {}),
      link('settings', { config: {} }),
      link('secret', { secretVersion: 9 }),
      link('choosing', {}, 'choosing'),
      link('connected', { config: {} }, 'connected'),
    ];
    await vault.submit((job) =>
      changing(job, () => {
        for (const one of links) job.core.rows.of<object>('connection').insert(one);
      }),
    );
    const pending = (version: number) =>
      vault.submit((job) => changeRows(job.core.rows, 'credential', '1', () => ({ pending_version: version })));
    const after = () => tenant.sql.get<{ at: number | null }>('SELECT pending_version AS at FROM credential')?.at;
    await pending(8);
    await put(TOKENS);
    expect(after()).toBe(8);
    const ended = { state: 'cancelled', cause: 'superseded', state_hash: null, finished_at: clock.now() };
    const stored = tenant.sql.all<{ id: string }>('SELECT id, state, cause, state_hash, finished_at FROM connection');
    const of = (name: string) => stored.find((row) => row.id === name);
    for (const name of ['settings', 'secret', 'choosing']) expect(of(name), name).toMatchObject(ended);
    expect(of('plain')).toMatchObject({ state: 'open', finished_at: null });
    expect(of('connected')).toMatchObject({ state: 'connected', finished_at: null });
  });

  it('that a put ends take back the client secret that was to come next', async () => {
    const { tenant, vault, clock, put } = await bench();
    await put(TOKENS);
    const { id } = tenant.sql.get<{ id: string }>('SELECT id FROM credential') ?? { id: '' };
    const link = {
      id: 'secret',
      credential_id: id,
      state: 'open',
      link_hash: new Uint8Array(32),
      attempt: 0,
      request: '{"secretVersion":9}',
      created_at: clock.now(),
      created_by: 'usr_a',
      expires_at: clock.now() + 60_000,
    };
    await vault.submit((job) => changing(job, () => job.core.rows.of<object>('connection').insert(link)));
    await vault.submit((job) => changeRows(job.core.rows, 'credential', '1', () => ({ pending_version: 9 })));
    await put(TOKENS);
    expect(tenant.sql.get('SELECT pending_version FROM credential')).toEqual({ pending_version: null });
  });
});

describe('a read of a grant whose token has ended', () => {
  const ended = async (refreshNow: Refresher['refreshNow']) => {
    const made = await bench({ refreshNow });
    await made.put(TOKENS);
    made.clock.pass(600_000);
    return made;
  };

  it('says for how long the provider gets no request, if none was sent', async () => {
    const { read } = await ended(async () => 9_000);
    const held = 'the provider fails or throttles requests; none is sent for 9 s';
    await expect(read()).rejects.toMatchObject({ retryAfterSeconds: 9, message: `the access token has expired: ${held}` });
  });

  it('says that a refresh is due, if one was sent and brought nothing', async () => {
    const { read } = await ended(async () => undefined);
    await expect(read()).rejects.toMatchObject({ message: 'the access token has expired: a refresh is due' });
  });

  it('says what happened meanwhile, also if no request is sent', async () => {
    const made = await ended(async () => {
      await made.vault.submit((job) =>
        deleteCredential(job, made.admin(), { ...WHERE, recoveryWindowMs: undefined, precondition: {} }),
      );
      return 9_000;
    });
    await expect(made.read()).rejects.toMatchObject({ code: 'gone' });
  });

  it('serves the token that the refresh brought', async () => {
    const made = await ended(async () => {
      await made.put({ ...TOKENS, access_token: 'b-not-a-real-secret' });
      return undefined;
    });
    const { version, body } = await made.read();
    expect([version, new TextDecoder().decode(body)]).toEqual([2, expect.stringContaining('b-not-a-real-secret')]);
  });
});
