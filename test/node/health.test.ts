// Health tells the truth: whatever fails is said by name, 200 only where requests are served, and strangers learn no tenant from it.
import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import type { ClockState } from '../../src/base/steady-clock.ts';
import { healthOf } from '../../src/http/health.ts';
import { NodeHealth, watchedWitness } from '../../src/node/health.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { startKeyturn } from '../../src/node/start.ts';
import { callerOf, eventually, furnish, must } from '../conformance/world.ts';
import { testTeam } from '../kit/homes.ts';
import { SqlSpy } from '../kit/sql-spy.ts';

const directories: string[] = [];
afterAll(() => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});

const whole = { parts: { storage: 'ok', witness: 'ok', scheduler: 'ok', clock: 'ok', state: 'ok', tenants: 'ok' } };
const STEADY: ClockState = { state: 'steady', aheadMs: 0, steadyInMs: 0 };

describe('health', () => {
  it('is as users of Vault know it where nothing is open', () => {
    expect(healthOf({ closed: 'sealed', tenants: [] })).toEqual({ status: 'sealed', httpStatus: 503, parts: {} });
    expect(healthOf({ closed: 'not_initialised', tenants: [] })).toEqual({
      status: 'not_initialised',
      httpStatus: 501,
      parts: {},
    });
  });

  it('of each part is told by name, and only a home that cannot store takes the 200', () => {
    const fine = { witnessFails: false, schedulerStopped: false, clock: STEADY, isDamaged: false, tenants: [] };
    expect(healthOf(fine)).toEqual({ status: 'ok', httpStatus: 200, ...whole });
    expect(healthOf({ ...fine, storage: 'storage_full' })).toMatchObject({
      status: 'failing',
      httpStatus: 507,
      parts: { storage: 'failing' },
    });
    expect(healthOf({ ...fine, storage: 'storage_unavailable' })).toMatchObject({ status: 'failing', httpStatus: 503 });
    expect(healthOf({ ...fine, witnessFails: true })).toMatchObject({
      status: 'degraded',
      httpStatus: 200,
      parts: { witness: 'failing' },
    });
    expect(healthOf({ ...fine, schedulerStopped: true })).toMatchObject({ status: 'degraded', parts: { scheduler: 'failing' } });
    for (const [state, part] of [
      ['starting', 'ok'],
      ['jump_waiting', 'degraded'],
      ['behind', 'degraded'],
    ] as const)
      expect(healthOf({ ...fine, clock: { ...STEADY, state } })).toMatchObject({
        status: part,
        httpStatus: 200,
        parts: { clock: part },
      });
    expect(healthOf({ ...fine, isDamaged: true })).toMatchObject({
      status: 'degraded',
      httpStatus: 200,
      parts: { state: 'degraded' },
    });
    const tenants = [{ id: 'ten_1', code: 'rolled_back' as const }];
    expect(healthOf({ ...fine, tenants })).toMatchObject({ status: 'degraded', httpStatus: 200, parts: { tenants: 'degraded' } });
    expect(JSON.stringify(healthOf({ ...fine, tenants }))).not.toContain('ten_1');
  });
});

describe('a disk that is full', () => {
  it('is found by trying it, though nobody has written, and once it works again that is found, too', async () => {
    const sql = new SqlSpy(openNodeSql(':memory:'));
    const { home } = await testTeam(sql);
    const witness = watchedWitness(() => ({ publish: () => {}, latest: () => undefined }));
    const tenants = { size: 0, troubles: () => [], probeFailing: async () => {} };
    const fresh = () => new NodeHealth({ home, witness, tenants, clock: { state: () => STEADY }, isDamaged: () => false });
    expect((await fresh().report()).storage).toBeUndefined();
    sql.failCommits();
    expect((await fresh().report()).storage).toBe('storage_full');
    expect((await fresh().report()).storage).toBeUndefined();
    const health = fresh();
    const commits = sql.count('commit');
    for (let i = 0; i < 20; i++) await health.report();
    expect(sql.count('commit') - commits, 'tried at most once a second').toBeLessThanOrEqual(2);
    expect(LIMITS.storageProbeEveryMs).toBeGreaterThanOrEqual(1_000);
  });
});

describe('a running service', () => {
  it('says which tenant is rolled back to whoever may know, and to strangers only that one is; and that its witness fails', async () => {
    const dataDirectory = mkdtempSync(join(tmpdir(), 'keyturn-health-'));
    directories.push(dataDirectory);
    const options = { dataDirectory, host: '127.0.0.1', port: 0, log: () => {} };
    const first = await startKeyturn(options);
    const secret = readFileSync(first.bootstrapSecretFile as string, 'utf8').trim();
    const world = await furnish({ url: first.url, bootstrapSecret: secret, stop: () => first.close() });
    const fine = await must(world.call('GET', '/health'), 200);
    expect(fine.body).toMatchObject({ status: 'ok', ...whole });
    await first.close();
    const file = join(dataDirectory, 'tenants', `${world.globex.id}.db`);
    renameSync(file, `${file}.away`);
    const second = await startKeyturn(options);
    try {
      const call = callerOf(second.url);
      const ill = await eventually(async () => {
        const reply = await call('GET', '/health');
        return reply.body.status === 'degraded' ? reply : undefined;
      });
      expect([ill.status, ill.body.parts.tenants]).toEqual([200, 'degraded']);
      expect(ill.text).not.toMatch(/globex|ten_/);
      const detail = await must(call('GET', '/v1/health/parts', { token: world.auditor }), 200);
      expect(detail.body.clock).toEqual({
        state: 'starting',
        ahead_seconds: expect.any(Number),
        steady_in_seconds: expect.any(Number),
      });
      expect(detail.body.tenants).toEqual([{ id: world.globex.id, name: 'globex', code: 'rolled_back' }]);
      for (const token of [world.engineer, world.acme.token, undefined])
        expect([401, 403, 404]).toContain((await call('GET', '/v1/health/parts', { token })).status);
      renameSync(`${file}.away`, file);
      await must(call('GET', '/v1/tenants/globex/environments', { token: world.owner }), 200);
      expect((await call('GET', '/health')).body.parts.tenants).toBe('ok');
      const witnesses = join(dataDirectory, 'witness');
      expect(readdirSync(witnesses).length).toBeGreaterThan(0);
      rmSync(witnesses, { recursive: true });
      writeFileSync(witnesses, '');
      await must(call('GET', '/v1/users', { token: world.owner }), 200);
      const unwitnessed = await eventually(async () => {
        const reply = await call('GET', '/health');
        return reply.body.parts.witness === 'failing' ? reply : undefined;
      });
      expect(unwitnessed.body.status).toBe('degraded');
    } finally {
      await second.close();
    }
  }, 30_000);
});
