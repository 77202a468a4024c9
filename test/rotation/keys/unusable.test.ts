// When a rotation cannot begin or go on: what a caller is told, and which cause a run waits with.
import { describe, expect, it } from 'vitest';
import type { Connector, KeyConnector } from '../../../rotation/connector.ts';
import { ProviderGate } from '../../../rotation/engine/provider-gate.ts';
import { openRun } from '../../../rotation/engine/run.ts';
import { KeyRotations } from '../../../rotation/keys/rotation-runs.ts';
import type { GrantTokenOf } from '../../../rotation/keys/rotation-target.ts';
import { LIMITS } from '../../../src/base/limits.ts';
import type { CredentialRow } from '../../../src/cell/credentials.ts';
import type { RunRow } from '../../../src/cell/runs.ts';
import { putCredential } from '../../../src/vault/put-credential.ts';
import type { KeyConfig } from '../../../src/vault/rotation-state.ts';
import { outcomeOf } from '../../kit/outcome.ts';
import { rotationBench } from '../../kit/rotation-bench.ts';
import { changing, type TestTenant, testTenant } from '../../kit/vaults.ts';
import { connectorOf } from './made-up-calls.ts';

const admin = (tenant: TestTenant) => tenant.user(['admin'], 'everywhere', { secondFactorAtMs: tenant.clock.now() });
const put = (tenant: TestTenant, name: string, kind: 'api_key' | 'basic', connector: string | undefined, config?: KeyConfig) =>
  tenant.vault.submit((job) =>
    putCredential(job, admin(tenant), {
      environment: 'staging',
      name,
      kind,
      value: kind === 'basic' ? { username: 'u', password: 'p' } : { key: 'not-a-real-secret', key_id: 'id' },
      connector,
      config: connector === undefined ? undefined : (config ?? {}),
      labels: undefined,
      description: undefined,
      expiresAtMs: undefined,
      precondition: {},
    }),
  );
const save = (tenant: TestTenant, name: string, changed: Partial<CredentialRow>) =>
  tenant.vault.submit((job) =>
    changing(job, (access) => {
      const { id } = tenant.sql.get<{ id: string }>('SELECT id FROM credential WHERE name = ?', name) ?? { id: '' };
      job.credentials.save(access, { ...job.credentials.byId(access, id), ...changed });
    }),
  );

const HOST = 'api.example.com';
const connectors = (...made: readonly KeyConnector[]) => new Map<string, Connector>(made.map((one) => [one.id, one]));
const managed = (id = 'managed', adminKinds?: KeyConnector['key']['adminKinds']): KeyConnector => ({
  ...connectorOf({ admin: 'credential', ...(adminKinds === undefined ? {} : { adminKinds }) }),
  id,
});
const plain: KeyConnector = { ...connectorOf(), id: 'plain' };
const elsewhere: KeyConnector = { ...connectorOf({ hosts: ['elsewhere.example.com'] }), id: 'elsewhere' };
const manual = connectorOf({ strategy: 'manual' });
const { calls: _, ...withoutCalls } = manual.key;
const byHand: KeyConnector = { ...manual, id: 'by-hand', key: withoutCalls };
const driven: KeyConnector = {
  ...manual,
  id: 'driven',
  key: { ...withoutCalls, strategy: 'overlap', driver: 'postgresql', hosts: [] },
};

async function scene(grantTokenOf: GrantTokenOf = () => undefined) {
  const tenant = await testTenant();
  const gate = new ProviderGate(tenant.clock);
  const known = connectors(managed(), managed('by-grant', ['oauth2', 'basic']), plain, elsewhere, byHand, driven);
  const beats: { everyMs: number; beat: () => void; stopped: boolean }[] = [];
  const sent: string[] = [];
  let meanwhile: (() => Promise<void>) | undefined;
  const rotations = new KeyRotations({
    vault: tenant.vault,
    egress: {
      send: async (request) => {
        sent.push(`${request.method} ${String(request.headers['authorization'] instanceof Object)}`);
        await meanwhile?.();
        throw new Error('no network');
      },
    },
    connectors: known,
    gate,
    owner: 'owner-1',
    sandboxAllowed: false,
    grantTokenOf,
    every: (everyMs, beat) => {
      const one = { everyMs, beat, stopped: false };
      beats.push(one);
      return () => {
        one.stopped = true;
      };
    },
  });
  tenant.vault.rotator = rotations;
  const open = (name = 'db') => tenant.vault.submit((job) => rotations.open(job, admin(tenant), 'staging', name));
  const run = () => tenant.sql.get<RunRow>('SELECT * FROM run ORDER BY rowid DESC LIMIT 1') as RunRow;
  /** The cause that an open run waits with. A request would be refused at once (test/rotation/keys/run-requests.test.ts). */
  const cause = async () => {
    const { id, version } = tenant.sql.get<{ id: string; version: number }>(
      "SELECT id, current_version AS version FROM credential WHERE name = 'db'",
    ) ?? { id: '', version: 0 };
    await tenant.vault.submit((job) =>
      changing(job, (access) => {
        const fresh = { credentialId: id, kind: 'rotation', trigger: 'schedule', generation: version } as const;
        return job.runs.findOpen(access, id) ?? openRun(job, access, fresh);
      }),
    );
    await rotations.advance(id, true).catch(() => {});
    return run().cause;
  };
  return { tenant, gate, rotations, open, run, cause, beats, sent, during: (work: () => Promise<void>) => { meanwhile = work; } }; // biome-ignore format: one line
}

describe('a request for a rotation', () => {
  it.each([
    [undefined, 'the credential has no connector'],
    ['by-hand', 'only a person can replace this value'],
    ['driven', 'this platform cannot reach the target'],
  ])('of a credential with the connector %s is refused, and says why', async (connector, message) => {
    const { tenant, open } = await scene();
    await put(tenant, 'db', 'api_key', connector);
    await expect(open()).rejects.toMatchObject({ code: 'not_rotatable', message: expect.stringContaining(message) });
  });

  it('of a connector that this build does not have is refused, and says so', async () => {
    const { tenant, open } = await scene();
    await put(tenant, 'db', 'api_key', 'plain');
    await save(tenant, 'db', { connector: 'gone' });
    await expect(open()).rejects.toMatchObject({
      code: 'not_rotatable',
      message: expect.stringContaining('does not exist in this build'),
    });
  });

  it('of a deleted credential is refused', async () => {
    const { tenant, open } = await scene();
    await put(tenant, 'db', 'api_key', 'plain');
    await save(tenant, 'db', { state: 'deleted' });
    await expect(open()).rejects.toMatchObject({ code: 'gone' });
  });
});

describe('a rotation waits for a person', () => {
  it('while its value was stored without a connector, or its connector cannot be used with the sealed settings', async () => {
    const { tenant, cause } = await scene();
    await put(tenant, 'db', 'api_key', undefined);
    await save(tenant, 'db', { connector: 'plain' });
    expect(await cause()).toBe('stored_without_connector');
    const other = await scene();
    await put(other.tenant, 'db', 'api_key', 'plain');
    const { rotations, tenant: its, run } = other;
    const { credential_id: id } = await other.open();
    await its.vault.submit((job) => changing(job, (access) => job.credentials.dropVersions(access, id)));
    await rotations.advance(id, true);
    expect(run()).toMatchObject({ state: 'open', step: 'needs_manual', cause: 'value_destroyed', attempts: 0 });
  });

  it('while its admin credential does not exist, is deleted, is itself, or is of another kind', async () => {
    const { tenant, cause } = await scene();
    await put(tenant, 'root', 'api_key', 'plain');
    await put(tenant, 'user', 'basic', undefined);
    await put(tenant, 'db', 'api_key', 'managed', { admin: 'root' });
    const causeWith = async (name: string) => {
      await save(tenant, 'db', { config: JSON.stringify({ admin: name }) });
      return cause();
    };
    expect([await causeWith('none'), await causeWith('db'), await causeWith('user')]).toEqual([
      'admin_not_found',
      'admin_not_found',
      'admin_of_another_kind',
    ]);
    await save(tenant, 'root', { state: 'deleted' });
    expect(await causeWith('root')).toBe('admin_not_found');
  });

  it('while its admin credential has no value, or one that is bound elsewhere', async () => {
    const { tenant, cause, sent } = await scene();
    await put(tenant, 'root', 'api_key', 'plain');
    await put(tenant, 'far', 'api_key', 'elsewhere');
    await put(tenant, 'loose', 'api_key', undefined);
    await put(tenant, 'db', 'api_key', 'managed', { admin: 'root' });
    const causeWith = async (name: string) => {
      await save(tenant, 'db', { config: JSON.stringify({ admin: name }) });
      return cause();
    };
    expect([await causeWith('far'), await causeWith('loose')]).toEqual(['admin_bound_elsewhere', 'admin_bound_elsewhere']);
    expect(sent).toEqual([]);
    await tenant.vault.submit((job) =>
      changing(job, (access) => {
        const { id } = tenant.sql.get<{ id: string }>("SELECT id FROM credential WHERE name = 'root'") ?? { id: '' };
        job.credentials.dropVersions(access, id);
      }),
    );
    expect(await causeWith('root')).toBe('admin_without_value');
  });

  it('while the grant that manages it has no token, or is bound elsewhere', async () => {
    for (const [token, expected] of [
      [undefined, 'admin_without_value'],
      [{ accessToken: 't', places: ['https://elsewhere.example.com/'] }, 'admin_bound_elsewhere'],
      [{ accessToken: 't', places: [`https://${HOST}/`, 'https://elsewhere.example.com/'] }, null],
    ] as const) {
      const { tenant, cause, sent } = await scene(() => token);
      await put(tenant, 'root', 'basic', undefined);
      await put(tenant, 'db', 'api_key', 'by-grant', { admin: 'root' });
      await save(tenant, 'root', { kind: 'oauth2' });
      const found = await cause();
      // With a usable token the call is made, and this connector needs another member of its admin.
      expect([found, sent]).toEqual([expected ?? 'admin_lacks_key', []]);
    }
  });
});

describe('a call of a rotation', () => {
  it('prolongs its lease while it lasts, and no longer', async () => {
    const { tenant, rotations, open, run, beats, during } = await scene();
    await put(tenant, 'db', 'api_key', 'plain');
    const { credential_id: id } = await open();
    let prolonged = 0;
    during(async () => {
      tenant.clock.pass(1_000);
      beats.at(-1)?.beat();
      await tenant.vault.submit(() => {});
      prolonged = run().lease_until;
    });
    await rotations.advance(id, true).catch(() => {});
    expect(prolonged).toBe(tenant.clock.now() + LIMITS.leaseMs);
    expect(beats.map(({ everyMs, stopped }) => [everyMs, stopped])).toEqual([[LIMITS.leaseHeartbeatMs, true]]);
  });

  it('that fails by a defect leaves its intent to the next process', async () => {
    const { tenant, rotations, open, run } = await scene();
    await put(tenant, 'db', 'api_key', 'plain');
    const { credential_id: id } = await open();
    await expect(rotations.advance(id, true)).rejects.toThrow('no network');
    expect([rotations.idle, run()]).toEqual([
      true,
      expect.objectContaining({ state: 'open', step: 'intent', lease_owner: 'owner-1' }),
    ]);
    rotations.start(id);
    expect(rotations.idle).toBe(false);
    await rotations.stop();
    expect(rotations.idle).toBe(true);
    await rotations.advance(id, true);
    expect(run().attempts).toBe(2);
  });
});

describe('a read of a value in doubt', () => {
  it('waits for its rotation, but not for ever', async () => {
    const { tenant, rotations, open, during } = await scene();
    await put(tenant, 'db', 'api_key', 'plain');
    const { credential_id: id } = await open();
    await rotations.settle(id);
    during(() => new Promise(() => {}));
    let settled = false;
    const waiting = rotations.settle(id).then(() => {
      settled = true;
    });
    await new Promise((resume) => setImmediate(resume));
    expect(settled).toBe(false);
    for (const wake of tenant.wakes) wake();
    await waiting;
    expect(settled).toBe(true);
  });

  it('causes calls at the target no more often with many readers than with one', async () => {
    const bench = await rotationBench('single_user');
    bench.target.verdict = 'unknown';
    await bench.rotate();
    const readAll = async () => {
      bench.target.calls = [];
      for (let n = 0; n < 20; n++) expect(await outcomeOf(bench.read())).toBe('provider_unavailable');
      return bench.target.calls.length;
    };
    expect(await readAll()).toBe(0);
    bench.tenant.clock.pass(LIMITS.readerRetryMaxMs);
    const calls = await readAll();
    expect(calls).toBeGreaterThan(0);
    expect(calls).toBeLessThanOrEqual(2);
    bench.target.verdict = undefined;
    bench.tenant.clock.pass(LIMITS.readerRetryMaxMs);
    expect(await bench.read()).toMatchObject({ password: 'made-up-1' });
  });
});

describe('the settings of a credential', () => {
  it('name the hosts that its value goes to', async () => {
    const { rotations } = await scene();
    expect(rotations.checkSettings('api_key', 'plain', {})).toEqual([`https://${HOST}/`]);
    expect(rotations.checkSettings('api_key', 'none', {})).toBeUndefined();
    expect(() => rotations.checkSettings('basic', 'plain', {})).toThrow(expect.objectContaining({ code: 'invalid_request' }));
  });
});

describe('due work', () => {
  it('leaves a rotation alone, without an attempt, while a host of its connector throttles', async () => {
    const { tenant, gate, rotations, open, run, sent } = await scene();
    await put(tenant, 'db', 'api_key', 'plain');
    await open();
    for (const host of [HOST, 'elsewhere.example.com']) gate.admit(`https://${host}`, undefined, 0);
    gate.report('https://elsewhere.example.com', { kind: 'throttled', retryAfterMs: 90_000 });
    gate.report(`https://${HOST}`, { kind: 'throttled', retryAfterMs: 60_000 });
    await rotations.runDue();
    expect([sent, run().attempts]).toEqual([[], 0]);
    tenant.clock.pass(60_000);
    await rotations.runDue().catch(() => {});
    expect([sent.length, run().attempts]).toEqual([1, 1]);
  });
});
