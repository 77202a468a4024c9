// Keys and passwords that a connector rotates: their settings and schedule, and what a read says while a rotation replaces the value.
import { describe, expect, it } from 'vitest';
import { KeyturnError } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import { deleteCredential, restoreCredential } from '../../src/vault/change-credential.ts';
import { type PutCredentialInput, putCredential } from '../../src/vault/put-credential.ts';
import { readFreshCredential } from '../../src/vault/read-credential.ts';
import { boundKeyConfig, doubtOf, freeKeyConfig, type KeyConfig, keyConfig, setDoubt } from '../../src/vault/rotation-state.ts';
import { spreadOf } from '../../src/vault/schedule-dates.ts';
import type { KeyRotator } from '../../src/vault/tenant-job.ts';
import { retainedOf } from '../../src/vault/versions.ts';
import { changeRows } from '../kit/anchored.ts';
import { outcomeOf } from '../kit/outcome.ts';
import { changing, eventsOf, testTenant } from '../kit/vaults.ts';

const WHERE = { environment: 'staging', name: 'key' };
/** Up to a tenth early, always by the same part. */
const dueAt = (id: string, madeAt: number) => Math.round(madeAt + HOUR_SECONDS * 1_000 * (1 - spreadOf(id) / 10));
const HOUR_SECONDS = 3_600;

async function bench(given: Partial<KeyRotator> = {}) {
  const tenant = await testTenant();
  const { vault, sql, clock } = tenant;
  const ended: number[] = [];
  vault.rotator = {
    settle: async () => {},
    checkSettings: (_kind, connector) => (connector === 'gone' ? undefined : [`https://${connector}.example/`]),
    destinationsOf: (_kind, connector) => (connector === 'gone' ? undefined : [`https://${connector}.example/`]),
    openRollBack: () => undefined,
    endPending: (_job, _access, _id, version) => void ended.push(version),
    endMade: () => {},
    ...given,
  };
  const admin = () => tenant.user(['admin'], 'everywhere', { secondFactorAtMs: clock.now() });
  const put = (key: string, input: Partial<PutCredentialInput> = {}) =>
    vault.submit((job) =>
      putCredential(job, admin(), {
        ...WHERE,
        kind: 'api_key',
        value: { key },
        connector: undefined,
        config: undefined,
        labels: undefined,
        description: undefined,
        expiresAtMs: undefined,
        precondition: {},
        ...input,
      }),
    );
  const row = () => sql.get<CredentialRow>('SELECT * FROM credential') as CredentialRow;
  const change = (to: Partial<CredentialRow>) =>
    vault.submit((job) => {
      changeRows(job.core.rows, 'credential', '1', () => to as Record<string, string | number | null>);
      job.cache.clear();
    });
  const read = async () => {
    const { body } = await readFreshCredential(vault, admin(), { ...WHERE, version: undefined, stage: undefined });
    return (JSON.parse(new TextDecoder().decode(body)) as { value: { key: string } }).value.key;
  };
  const retained = () =>
    vault.submit((job) => changing(job, (access) => retainedOf(job, access, row(), row().current_version) as unknown));
  return { tenant, vault, clock, admin, put, row, change, read, retained, ended };
}

describe('the settings of a rotated key', () => {
  const WHOLE: Required<KeyConfig> = {
    parameters: { region: 'eu' },
    base_urls: { 'api.example': 'https://eu.example' },
    sandbox: 'https://sandbox.example',
    http: { hosts: ['api.example'] },
    webhook: { url: 'https://hook.example/' },
    program: { name: 'rotate' },
    admin: 'root',
    manages: true,
    grace_seconds: 60,
    deadline_seconds: 120,
    reader_window_seconds: HOUR_SECONDS,
    rotate_every_seconds: HOUR_SECONDS,
  };

  it('are sealed with the value or may change without one, each of them', () => {
    const { parameters, base_urls, sandbox, http, webhook, program, ...free } = WHOLE;
    expect(boundKeyConfig(WHOLE)).toEqual({ parameters, base_urls, sandbox, http, webhook, program });
    expect(freeKeyConfig(WHOLE)).toEqual(free);
    const absent = { parameters: undefined, admin: undefined } as unknown as KeyConfig;
    expect([Object.keys(boundKeyConfig(absent)), Object.keys(freeKeyConfig(absent))]).toEqual([[], []]);
  });

  it('have bounds', () => {
    const takes = (change: object) => keyConfig.safeParse({ ...WHOLE, ...change }).success;
    const text = (chars: number) => 'a'.repeat(chars);
    const bounds: readonly [field: (value: never) => object, good: readonly unknown[], bad: readonly unknown[]][] = [
      [(grace_seconds) => ({ grace_seconds }), [0, LIMITS.graceMaxSeconds], [-1, LIMITS.graceMaxSeconds + 1, 0.5]],
      [(deadline_seconds) => ({ deadline_seconds }), [0, LIMITS.deadlineMaxSeconds], [-1, LIMITS.deadlineMaxSeconds + 1, 0.5]],
      [
        (reader_window_seconds) => ({ reader_window_seconds }),
        [LIMITS.readerWindowMinSeconds, LIMITS.readerWindowMaxSeconds],
        [LIMITS.readerWindowMinSeconds - 1, LIMITS.readerWindowMaxSeconds + 1],
      ],
      [
        (rotate_every_seconds) => ({ rotate_every_seconds }),
        [LIMITS.rotateEveryMinSeconds, LIMITS.rotateEveryMaxSeconds],
        [LIMITS.rotateEveryMinSeconds - 1, LIMITS.rotateEveryMaxSeconds + 1],
      ],
      [(admin) => ({ admin }), [text(1), text(LIMITS.credentialNameMaxChars)], ['', text(LIMITS.credentialNameMaxChars + 1)]],
      [(region) => ({ parameters: { region } }), [text(1), text(255)], ['', text(256)]],
    ];
    for (const [field, good, bad] of bounds) {
      for (const value of good) expect(takes(field(value as never)), String(value).slice(0, 9)).toBe(true);
      for (const value of bad) expect(takes(field(value as never)), String(value).slice(0, 9)).toBe(false);
    }
    const urls = (host: string) => ({ base_urls: { [host]: 'https://eu.example' } });
    expect([urls(''), urls(text(1)), urls(text(255)), urls(text(256))].map(takes)).toEqual([false, true, true, false]);
    expect(takes({ other: 1 })).toBe(false);
  });

  it('keep a doubt beside other facts until it is taken back', () => {
    const row = { rotation: '{"other":1}' } as CredentialRow;
    expect(doubtOf(row)).toBeUndefined();
    expect(doubtOf({ rotation: '{}' })).toBeUndefined();
    setDoubt(row, 'run_1');
    expect([doubtOf(row), JSON.parse(row.rotation)]).toEqual(['run_1', { other: 1, doubt: 'run_1' }]);
    setDoubt(row, 'run_2');
    expect(doubtOf(row)).toBe('run_2');
    setDoubt(row, undefined);
    expect(row.rotation).toBe('{"other":1}');
  });
});

describe('a put of a key', () => {
  const CONFIG = { parameters: { region: 'eu' }, rotate_every_seconds: HOUR_SECONDS };

  it('without a connector seals no settings and plans no rotation', async () => {
    const { put, row, retained } = await bench();
    const { located } = await put('one');
    expect(located.row.value_expires_at).toBeNull();
    expect(row()).toMatchObject({ connector: null, rotation_due_at: null, refresh_due_at: null });
    expect(await retained()).toEqual({});
  });

  it('with a connector seals its settings and hosts, and plans the next rotation', async () => {
    const { put, row, retained, clock } = await bench();
    await put('one', { connector: 'good', config: CONFIG });
    expect(await retained()).toEqual({
      settings: { connector: 'good', config: { parameters: { region: 'eu' } }, hosts: ['good.example'] },
    });
    expect(row().rotation_due_at).toBe(dueAt(row().id, clock.now()));
    await expect(put('one', { connector: 'gone' })).rejects.toMatchObject({ code: 'invalid_request', pointer: '/connector' });
  });

  it('ends a new key that waits for its test, and takes back a doubt', async () => {
    const { put, row, change, ended } = await bench();
    await put('one');
    await put('two');
    expect(ended).toEqual([]);
    await change({ pending_version: 9, rotation: '{"doubt":"run_1"}' });
    await put('three');
    expect(ended).toEqual([9]);
    expect(row()).toMatchObject({ pending_version: null, rotation: '{}', current_version: 3 });
  });
});

describe('a credential that is to manage another one', () => {
  it('is appointed once, by an operation of its own on it, and must be there', async () => {
    const { tenant, vault, admin, put } = await bench();
    const appointed = () =>
      eventsOf(tenant.sql)
        .filter(({ action, outcome }) => action === 'credential.appoint' && outcome === 'success')
        .map(({ target }) => target);
    const by = (name: string) => ({ connector: 'good', config: { admin: name } });
    await put('root', { name: 'root' });
    await put('other', { name: 'other' });
    expect(await outcomeOf(put('one', by('nobody')))).toBe('not_found');
    await put('one', by('root'));
    await put('two', by('root'));
    await put('three', { connector: 'good', config: {} });
    expect(appointed()).toMatchObject([{ name: 'root' }]);
    await put('four', by('other'));
    expect(appointed().slice(1)).toMatchObject([{ name: 'other' }]);
    const root = { environment: 'staging', name: 'root', recoveryWindowMs: undefined, precondition: {} };
    await vault.submit((job) => deleteCredential(job, admin(), root));
    expect(await outcomeOf(put('five', by('root')))).toBe('gone');
    expect(appointed()).toHaveLength(2);
  });
});

describe('a key that is deleted', () => {
  it('has no scheduled rotation until it is restored', async () => {
    const { vault, admin, put, row, clock } = await bench();
    await put('one', { connector: 'good', config: { rotate_every_seconds: HOUR_SECONDS } });
    await vault.submit((job) => deleteCredential(job, admin(), { ...WHERE, recoveryWindowMs: undefined, precondition: {} }));
    expect(row().rotation_due_at).toBeNull();
    const madeAt = clock.now();
    clock.pass(5_000);
    await vault.submit((job) => restoreCredential(job, admin(), { ...WHERE, precondition: {} }));
    expect(row().rotation_due_at).toBe(dueAt(row().id, madeAt));
  });
});

describe('a read of a key whose value a rotation is replacing', () => {
  const doubtful = async (settle: KeyRotator['settle']) => {
    const made = await bench({ settle });
    await made.put('one');
    await made.change({ rotation: '{"doubt":"run_1"}' });
    return made;
  };
  const refused = {
    code: 'provider_unavailable',
    message: 'a rotation of this credential is replacing its value: repeat the request shortly',
    retryAfterSeconds: 1,
    extra: { cause: 'rotation_in_doubt' },
  };

  it('waits for the rotation and serves what is current then', async () => {
    const asked: string[] = [];
    const made = await doubtful(async (id) => {
      asked.push(id);
      await made.put('two');
    });
    expect(await made.read()).toBe('two');
    expect(asked).toEqual([made.row().id]);
  });

  it('is refused if the rotation does not end in time', async () => {
    const made = await doubtful(async () => {});
    const error: unknown = await made.read().catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(KeyturnError);
    expect(error).toMatchObject(refused);
  });
});
