// Disconnect and revoke: unreadable at once, told to the provider until it agrees, never at the cost of another credential.
// Every value is made up; not-a-real-secret.
import { describe, expect, it } from 'vitest';
import type { OAuthConnector, RevocationSpec } from '../../../rotation/connector.ts';
import { bringForward } from '../../../rotation/engine/house-keeping.ts';
import { disconnectCredential } from '../../../rotation/grants/disconnect.ts';
import { revokeDue } from '../../../rotation/grants/revoke.ts';
import type { Faults } from '../../../src/base/faults.ts';
import { LIMITS } from '../../../src/base/limits.ts';
import { putCredential } from '../../../src/vault/put-credential.ts';
import { readCredential } from '../../../src/vault/read-credential.ts';
import { CONFIG, type ConsentBench, CRM, consentBench, tokens } from '../../kit/consent-bench.ts';
import { outcomeOf } from '../../kit/outcome.ts';

const RFC_7009: RevocationSpec = {
  url: 'https://api.crm.example/revoke',
  method: 'POST',
  authentication: 'client_secret_post',
  bodyFormat: 'form',
  token: 'refresh',
  tokenParameter: 'token',
  sendsHint: true,
  ends: 'grant',
};
const PROBE = { url: 'https://api.crm.example/me', method: 'GET' } as const;
const OK = { status: 200, body: {} };

const benchWith = (changes: Partial<OAuthConnector> = {}, faults?: Faults) =>
  consentBench({ revocation: RFC_7009, manualSteps: ['Remove the app by hand.'], ...changes }, faults);

const disconnect = (bench: ConsentBench, name: string, revoke = true) =>
  bench.tenant.vault.submit((job) =>
    disconnectCredential({ ...bench.ports, job }, bench.admin(), { environment: 'staging', name, revoke, precondition: {} }),
  );
const alerts = (bench: ConsentBench, kind: string) =>
  bench.tenant.sql.all<{ facts: string }>('SELECT facts FROM alert WHERE kind = ?', kind);
const calls = (bench: ConsentBench, path = '/revoke') => bench.sent.filter(({ url }) => new URL(url).pathname === path);
const putGrant = (bench: ConsentBench, name: string, refreshToken: string, clientId: string = CONFIG.client_id) =>
  bench.tenant.vault.submit((job) =>
    putCredential(job, bench.admin(), {
      environment: 'staging',
      name,
      kind: 'oauth2',
      value: {
        access_token: 'put-not-a-real-secret',
        refresh_token: refreshToken,
        client_secret: 'c-not-a-real-secret',
        expires_in: 3600,
      },
      connector: CRM.id,
      config: { client_id: clientId },
      labels: undefined,
      description: undefined,
      expiresAtMs: undefined,
      precondition: {},
    }),
  );

describe('disconnecting', () => {
  it('makes the grant unreadable at once, with where to connect again, and plans nothing but its revocation', async () => {
    const bench = await benchWith();
    await bench.connect('crm');
    const { located, manualSteps } = await disconnect(bench, 'crm');
    expect(located.row).toMatchObject({ health: 'disconnected', health_cause: 'on_request', refresh_due_at: null });
    expect(manualSteps).toEqual([]);
    expect(bench.revocation('crm')).toMatchObject({ state: 'waiting', attempts: 0, version: located.row.current_version });
    const path = `/v1/tenants/${bench.tenant.vault.tenant.id}/environments/staging/credentials/crm/connections`;
    await expect(bench.served('crm')).rejects.toMatchObject({
      code: 'needs_consent',
      extra: { health: 'disconnected', cause: 'on_request', reconnect: path },
    });
    expect(alerts(bench, 'credential.disconnected')).toHaveLength(1);
  });

  it('gives no version of it to anybody any more, by number or by stage', async () => {
    const bench = await benchWith();
    await bench.connect('crm');
    await putGrant(bench, 'crm', 'second-not-a-real-secret');
    const reader = bench.tenant.user(['owner'], 'everywhere', { bootstrap: true });
    const read = (version: number | undefined, stage: 'current' | 'previous' | undefined) =>
      outcomeOf(
        bench.tenant.vault.submit((job) => readCredential(job, reader, { environment: 'staging', name: 'crm', version, stage })),
      );
    const { current_version: current, previous_version: previous } = bench.row('crm');
    expect(previous).not.toBeNull();
    const each = [
      [undefined, undefined],
      [undefined, 'current'],
      [undefined, 'previous'],
      [current, undefined],
      [previous ?? 0, undefined],
      [1, undefined],
    ] as const;
    for (const [version, stage] of each) expect(await read(version, stage), `${version} ${stage} before`).toBe('ok');
    await disconnect(bench, 'crm');
    for (const [version, stage] of each) expect(await read(version, stage), `${version} ${stage} after`).toBe('needs_consent');
  });

  it('is what ends older versions: while it is only stale, an older one is served as it was', async () => {
    const bench = await benchWith();
    await bench.connect('crm');
    await putGrant(bench, 'crm', 'second-not-a-real-secret');
    bench.tenant.clock.pass(2 * 3_600_000);
    const reader = bench.tenant.user(['owner'], 'everywhere', { bootstrap: true });
    const read = (stage: 'current' | 'previous') =>
      outcomeOf(
        bench.tenant.vault.submit((job) =>
          readCredential(job, reader, { environment: 'staging', name: 'crm', version: undefined, stage }),
        ),
      );
    expect([await read('current'), await read('previous')]).toEqual(['provider_unavailable', 'ok']);
  });

  it('done twice changes nothing and tells nobody again', async () => {
    const bench = await benchWith();
    await bench.connect('crm');
    await disconnect(bench, 'crm');
    const before = bench.row('crm');
    await disconnect(bench, 'crm');
    await disconnect(bench, 'crm', false);
    expect(bench.row('crm')).toEqual(before);
    expect(alerts(bench, 'credential.disconnected')).toHaveLength(1);
  });

  it('without revoking can be followed by revoking', async () => {
    const bench = await benchWith();
    await bench.connect('crm');
    await disconnect(bench, 'crm', false);
    await revokeDue(bench.ports);
    expect(calls(bench)).toHaveLength(0);
    expect(bench.revocation('crm')?.state).toBe('not_asked');
    await disconnect(bench, 'crm');
    bench.replies.push(OK);
    await revokeDue(bench.ports);
    expect(bench.revocation('crm')?.state).toBe('revoked');
  });

  it('ends links that are out, so that nobody connects by one made before', async () => {
    const bench = await benchWith();
    await bench.connect('crm');
    const made = await bench.make('crm');
    await disconnect(bench, 'crm');
    expect(bench.connection(made.connection.id)).toMatchObject({ state: 'cancelled', cause: 'disconnected' });
  });

  it('tells what a person does where the provider has no way', async () => {
    const bench = await consentBench({ manualSteps: ['Remove the app by hand.'] });
    await bench.connect('crm');
    expect((await disconnect(bench, 'crm')).manualSteps).toEqual(['Remove the app by hand.']);
    expect(bench.revocation('crm')).toMatchObject({ state: 'not_possible', cause: 'no_way_to_revoke' });
    expect(bench.revocation('crm')?.dueAt).toBeNull();
  });

  it('keeps a workload and an engineer of another client away', async () => {
    const bench = await benchWith();
    await bench.connect('crm');
    const stranger = bench.tenant.user(['engineer'], 'elsewhere');
    const attempt = bench.tenant.vault.submit((job) =>
      disconnectCredential({ ...bench.ports, job }, stranger, {
        environment: 'staging',
        name: 'crm',
        revoke: true,
        precondition: {},
      }),
    );
    await expect(attempt).rejects.toMatchObject({ code: 'not_found' });
    expect(bench.row('crm').health).toBe('ready');
  });
});

describe('revoking', () => {
  it('sends the refresh token with its hint as the client, once, and keeps neither it nor an answer', async () => {
    const bench = await benchWith();
    bench.replies.push(tokens({ refresh_token: 'the-one-not-a-real-secret' }));
    await bench.connect('crm');
    await disconnect(bench, 'crm');
    bench.replies.push({ status: 200, body: 'echo the-one-not-a-real-secret' });
    expect(await revokeDue(bench.ports)).toBe(1);
    expect(await revokeDue(bench.ports)).toBe(0);
    const [sent, ...more] = calls(bench);
    expect(more).toEqual([]);
    expect(Object.fromEntries(sent?.fields ?? [])).toEqual({
      token: 'the-one-not-a-real-secret',
      token_type_hint: 'refresh_token',
      client_id: CONFIG.client_id,
      client_secret: 'client-not-a-real-secret',
    });
    expect(bench.revocation('crm')).toMatchObject({ state: 'revoked', attempts: 1 });
    expect(bench.revocation('crm')?.dueAt).toBeNull();
    expect(bench.row('crm').health).toBe('disconnected');
    expect(bench.events('revoked')).toMatchObject([{ action: 'credential.revoke', outcome: 'success' }]);
    expect(alerts(bench, 'credential.exposed')).toHaveLength(0);
    const kept = JSON.stringify([bench.events(), bench.row('crm'), bench.tenant.sql.all('SELECT * FROM alert')]);
    expect(kept).not.toContain('not-a-real-secret');
  });

  it.each([
    [401, 'proved_dead'],
    [200, 'revoked_access_token_lives_until_expiry'],
    [503, undefined],
  ])('uses the access token once more, which answers %i: %s', async (status, cause) => {
    const bench = await benchWith({ probe: PROBE });
    await bench.connect('crm');
    await disconnect(bench, 'crm');
    bench.replies.push(OK, { status, body: {} });
    await revokeDue(bench.ports);
    expect(calls(bench, '/me')).toHaveLength(1);
    expect(bench.revocation('crm')?.cause).toBe(cause);
    expect(bench.revocation('crm')?.state).toBe('revoked');
  });

  it('takes a declared refusal for gone, and any other for a failure', async () => {
    const bench = await benchWith({ revocation: { ...RFC_7009, alreadyGone: [{ status: 404, code: 'unknown_token' }] } });
    await bench.connect('crm');
    await disconnect(bench, 'crm');
    bench.replies.push({ status: 404, body: { error: 'no_route' } });
    await revokeDue(bench.ports);
    expect(bench.revocation('crm')?.state).toBe('waiting');
    bench.tenant.clock.pass(LIMITS.revokeBackoffMaxMs);
    bench.replies.push({ status: 404, body: { error: 'unknown_token' } });
    await revokeDue(bench.ports);
    expect(bench.revocation('crm')).toMatchObject({ state: 'revoked', cause: 'already_gone', attempts: 2 });
  });

  it('does not believe a 200 that says it failed', async () => {
    const bench = await benchWith();
    await bench.connect('crm');
    await disconnect(bench, 'crm');
    bench.replies.push({ status: 200, body: { ok: false, error: 'internal' } });
    await revokeDue(bench.ports);
    expect(bench.revocation('crm')?.state).toBe('waiting');
  });

  it('is not given up on the word of a clock that has not proved that a week has passed', async () => {
    const bench = await benchWith();
    await bench.connect('crm');
    await disconnect(bench, 'crm');
    const { clock } = bench.tenant;
    clock.pass(LIMITS.revokeGiveUpMs);
    clock.unprovenMs = LIMITS.revokeGiveUpMs;
    for (const state of ['waiting', 'given_up']) {
      bench.replies.push({ status: 503, body: {} });
      await revokeDue(bench.ports);
      expect(bench.revocation('crm')?.state).toBe(state);
      clock.pass(LIMITS.revokeBackoffMaxMs);
      clock.unprovenMs = 0;
    }
  });

  it('is tried at once when the clock that planned the next attempt was ahead, and is put right', async () => {
    const bench = await benchWith();
    await bench.connect('crm');
    await disconnect(bench, 'crm');
    const { clock, vault } = bench.tenant;
    const aheadMs = 30 * 86_400_000;
    clock.pass(aheadMs);
    clock.unprovenMs = aheadMs;
    bench.replies.push({ status: 503, body: {} });
    await revokeDue(bench.ports);
    clock.pass(-aheadMs);
    clock.unprovenMs = 0;
    expect(await revokeDue(bench.ports)).toBe(0);
    expect(await bringForward(vault)).toBe(1);
    expect(await revokeDue(bench.ports)).toBe(1);
    expect(bench.revocation('crm')?.state).toBe('revoked');
  });

  it('tells of an exposed grant once, tries on with longer waits, and gives up after a week with what a person does', async () => {
    const bench = await benchWith();
    await bench.connect('crm');
    await disconnect(bench, 'crm');
    const { clock } = bench.tenant;
    const began = clock.now();
    const waits: number[] = [];
    for (let due = bench.revocation('crm')?.dueAt ?? null; due !== null; due = bench.revocation('crm')?.dueAt ?? null) {
      clock.pass(due - clock.now());
      bench.replies.push({ status: 503, body: {} });
      const at = clock.now();
      await revokeDue(bench.ports);
      waits.push((bench.revocation('crm')?.dueAt ?? at) - at);
    }
    expect(bench.revocation('crm')).toMatchObject({ state: 'given_up', cause: 'http_5xx' });
    expect(clock.now() - began).toBe(LIMITS.revokeGiveUpMs);
    expect(waits[0]).toBeLessThanOrEqual(LIMITS.revokeBackoffBaseMs);
    expect(Math.max(...waits)).toBeLessThanOrEqual(LIMITS.revokeBackoffMaxMs);
    expect(calls(bench).length).toBeLessThan(60);
    expect(alerts(bench, 'credential.exposed')).toHaveLength(1);
    expect((await disconnect(bench, 'crm')).manualSteps).toEqual(['Remove the app by hand.']);
  });

  it('after a failure is a success that raises nothing further', async () => {
    const bench = await benchWith();
    await bench.connect('crm');
    await disconnect(bench, 'crm');
    bench.replies.push({ fails: 'timeout' });
    await revokeDue(bench.ports);
    const told = bench.tenant.sql.all('SELECT * FROM alert').length;
    bench.tenant.clock.pass(LIMITS.revokeBackoffMaxMs);
    bench.replies.push(OK);
    await revokeDue(bench.ports);
    expect(bench.tenant.sql.all('SELECT * FROM alert')).toHaveLength(told);
    expect(bench.revocation('crm')).toMatchObject({ state: 'revoked', attempts: 2 });
    expect(bench.events('revoked')).toHaveLength(1);
  });

  it('that crashed before or after the call is made again, under its journalled intent', async () => {
    let failing = true;
    const faults: Faults = {
      at: (point) => {
        if (failing && point === 'revoke.after-call') throw new Error('crash');
      },
    };
    const bench = await benchWith({}, faults);
    await bench.connect('crm');
    await disconnect(bench, 'crm');
    bench.replies.push(OK);
    await expect(revokeDue(bench.ports)).rejects.toThrow('crash');
    failing = false;
    expect(bench.revocation('crm')).toMatchObject({ state: 'waiting', attempts: 1 });
    expect(await revokeDue(bench.ports)).toBe(0);
    bench.tenant.clock.pass(3 * LIMITS.providerTimeoutMs);
    bench.replies.push(OK);
    await revokeDue(bench.ports);
    expect(bench.revocation('crm')).toMatchObject({ state: 'revoked', attempts: 2 });
    expect(alerts(bench, 'credential.exposed')).toHaveLength(0);
  });

  it('knows when it is due', async () => {
    const bench = await benchWith();
    await bench.connect('crm');
    await disconnect(bench, 'crm');
    expect(bench.tenant.vault.nextDueAt()).toBeLessThanOrEqual(bench.tenant.clock.now());
  });
});

describe('a grant that others live on', () => {
  it('is never revoked while another credential has the same refresh token', async () => {
    const bench = await benchWith();
    for (const name of ['one', 'two']) await putGrant(bench, name, 'same-not-a-real-secret');
    await disconnect(bench, 'one');
    await revokeDue(bench.ports);
    expect(calls(bench)).toHaveLength(0);
    expect(bench.revocation('one')?.state).toBe('shared');
    expect(bench.row('two').health).toBe('ready');
    await disconnect(bench, 'two');
    bench.replies.push(OK);
    await revokeDue(bench.ports);
    expect(calls(bench)).toHaveLength(1);
  });

  it('is looked at once more right before the call', async () => {
    const bench = await benchWith();
    await putGrant(bench, 'one', 'same-not-a-real-secret');
    await disconnect(bench, 'one');
    await putGrant(bench, 'late', 'same-not-a-real-secret');
    await revokeDue(bench.ports);
    expect(calls(bench)).toHaveLength(0);
    expect(bench.revocation('one')).toMatchObject({ state: 'shared', cause: 'used_by_another' });
  });

  it('is revoked where only another client or another token is near', async () => {
    const bench = await benchWith();
    await putGrant(bench, 'one', 'same-not-a-real-secret');
    await putGrant(bench, 'other-token', 'another-not-a-real-secret');
    await putGrant(bench, 'other-client', 'third-not-a-real-secret', 'another-client');
    await disconnect(bench, 'one');
    bench.replies.push(OK);
    await revokeDue(bench.ports);
    expect(bench.revocation('one')?.state).toBe('revoked');
  });

  it('counts by account where the provider ends all of an account', async () => {
    const bench = await benchWith({ revocation: { ...RFC_7009, ends: 'account' } });
    bench.replies.push(tokens({ hub_id: 1 }));
    await bench.connect('one');
    bench.replies.push(tokens({ hub_id: 1 }));
    await bench.connect('same-account');
    bench.replies.push(tokens({ hub_id: 2 }));
    await bench.connect('other-account');
    await disconnect(bench, 'one');
    expect(bench.revocation('one')?.state).toBe('shared');
    await disconnect(bench, 'other-account');
    bench.replies.push(OK);
    await revokeDue(bench.ports);
    expect(bench.revocation('other-account')?.state).toBe('revoked');
  });
});

describe('connecting again', () => {
  it('goes on revoking the older grant and leaves the new one alone', async () => {
    const bench = await benchWith();
    bench.replies.push(tokens({ refresh_token: 'old-not-a-real-secret' }));
    await bench.connect('crm');
    await disconnect(bench, 'crm');
    bench.replies.push(tokens({ refresh_token: 'new-not-a-real-secret' }));
    await bench.connect('crm');
    expect(bench.row('crm').health).toBe('ready');
    bench.replies.push(OK);
    await revokeDue(bench.ports);
    expect(calls(bench).map(({ fields }) => fields.get('token'))).toEqual(['old-not-a-real-secret']);
    expect(bench.row('crm').health).toBe('ready');
    expect((await bench.served('crm'))['access_token']).toContain('access-');
  });

  it('and disconnecting again before the older was revoked revokes both', async () => {
    const bench = await benchWith();
    for (const token of ['one-not-a-real-secret', 'two-not-a-real-secret']) {
      bench.replies.push(tokens({ refresh_token: token }));
      await bench.connect('crm');
      await disconnect(bench, 'crm');
    }
    bench.replies.push(OK, OK);
    expect(await revokeDue(bench.ports)).toBe(2);
    expect(calls(bench).map(({ fields }) => fields.get('token'))).toEqual(['one-not-a-real-secret', 'two-not-a-real-secret']);
    expect(alerts(bench, 'credential.exposed')).toEqual([]);
    expect(bench.revocation('crm')).toMatchObject({ state: 'revoked', version: bench.row('crm').current_version });
    expect(bench.tenant.sql.all("SELECT state FROM run WHERE kind = 'revocation'")).toEqual([
      { state: 'succeeded' },
      { state: 'succeeded' },
    ]);
  });

  it('with the very same refresh token ends the revocation', async () => {
    const bench = await benchWith();
    bench.replies.push(tokens({ refresh_token: 'same-not-a-real-secret' }));
    await bench.connect('crm');
    await disconnect(bench, 'crm');
    bench.replies.push(tokens({ refresh_token: 'same-not-a-real-secret' }));
    await bench.connect('crm');
    await revokeDue(bench.ports);
    expect(calls(bench)).toHaveLength(0);
    expect(bench.revocation('crm')?.state).toBe('shared');
  });

  it('where the provider ends whole accounts never sends the old token', async () => {
    const bench = await benchWith({ revocation: { ...RFC_7009, ends: 'account' } });
    await bench.connect('crm');
    await disconnect(bench, 'crm');
    await bench.connect('crm');
    await revokeDue(bench.ports);
    expect(calls(bench)).toHaveLength(0);
    expect(bench.row('crm').health).toBe('ready');
  });
});
