// Why the token of a grant is not served, whole: the code, the words, when to come again and what else the caller is told.
import { describe, expect, it } from 'vitest';
import { leaseRun, openRun, waitRun } from '../../rotation/engine/run.ts';
import { toTimestamp } from '../../src/base/clock.ts';
import { KeyturnError } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { WriteAccess } from '../../src/cell/access.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import { changeCredential, type Draft } from '../../src/vault/credential.ts';
import { oauth2Config } from '../../src/vault/credential-kinds.ts';
import { mayBeTriedAgain } from '../../src/vault/grant-health.ts';
import { putCredential } from '../../src/vault/put-credential.ts';
import { readCredential } from '../../src/vault/read-credential.ts';
import { reconnectPath } from '../../src/vault/reconnect.ts';
import { StaleGrant } from '../../src/vault/stale-grant.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { changing, START_MS, testTenant } from '../kit/vaults.ts';

const WHOLE = {
  access_token: 'a-not-a-real-secret',
  refresh_token: 'r-not-a-real-secret',
  client_secret: 'c-not-a-real-secret',
  expires_in: 600,
};

async function bench(value: object = WHOLE) {
  const tenant = await testTenant();
  const { vault, clock, sql } = tenant;
  const admin = () => tenant.user(['admin'], 'everywhere', { secondFactorAtMs: clock.now() });
  await vault.submit((job) =>
    putCredential(job, admin(), {
      environment: 'staging',
      name: 'team/crm',
      kind: 'oauth2',
      value,
      connector: 'generic-oauth2',
      config: oauth2Config.parse({ client_id: 'c', token_endpoint: 'https://good.example/token' }),
      labels: undefined,
      description: undefined,
      expiresAtMs: undefined,
      precondition: {},
    }),
  );
  const row = () => sql.get<CredentialRow>('SELECT * FROM credential') as CredentialRow;
  const change = (by: (job: TenantJob, access: WriteAccess, row: CredentialRow) => void) =>
    vault.submit((job) => changing(job, (access) => by(job, access, job.credentials.byId(access, row().id))));
  const draft = (by: (draft: Draft) => void) =>
    change((job, access, found) => {
      const environment = job.credentials.environmentById(access, found.environment_id);
      changeCredential(job, access, { environment, row: found }, by);
    });
  const told = (wanted: { version?: number; stage?: 'previous' } = {}) =>
    vault
      .submit((job) =>
        readCredential(job, admin(), {
          environment: 'staging',
          name: 'team/crm',
          version: undefined,
          stage: undefined,
          ...wanted,
        }),
      )
      .then(
        () => 'served',
        (error: unknown) => {
          if (!(error instanceof KeyturnError)) throw error;
          const { code, message, extra, retryAfterSeconds } = error;
          return { code, message, extra, retryAfterSeconds, isStale: error instanceof StaleGrant && error.credentialId };
        },
      );
  return {
    tenant,
    clock,
    row,
    change,
    draft,
    told,
    reconnect: `/v1/tenants/${vault.tenant.id}/environments/staging/credentials/team%2Fcrm/connections`,
  };
}
type Bench = Awaited<ReturnType<typeof bench>>;

describe('a grant whose token has ended', () => {
  const stale = ({ row }: Bench, message: string, retryAfterSeconds: number, extra: object = {}) => ({
    code: 'provider_unavailable',
    message: `the access token has expired: ${message}`,
    extra,
    retryAfterSeconds,
    isStale: row().id,
  });

  it('is served until that instant, and from it on is due for a refresh', async () => {
    const made = await bench();
    made.clock.pass(599_999);
    expect(await made.told()).toBe('served');
    made.clock.pass(1);
    expect(await made.told()).toEqual(stale(made, 'a refresh is due', LIMITS.readerRetryMs / 1_000));
    expect(await made.told({ version: 1 })).toMatchObject({ code: 'provider_unavailable' });
  });

  it.each<[string, (job: TenantJob, access: WriteAccess, row: CredentialRow) => void, string, number, object?]>([
    [
      'opened and not begun',
      (job, access, { id }) => openRun(job, access, { credentialId: id, kind: 'rotation', trigger: 'request', generation: 1 }),
      'a refresh is due',
      2,
    ],
    [
      'under way',
      (job, access, { id }) => {
        const run = openRun(job, access, { credentialId: id, kind: 'refresh', trigger: 'read', generation: 1 });
        leaseRun(job, access, run, 'somebody', 'first');
      },
      'a refresh is under way',
      2,
    ],
    [
      'failed',
      (job, access, { id }) => {
        const run = openRun(job, access, { credentialId: id, kind: 'refresh', trigger: 'read', generation: 1 });
        const failed = { ...run, attempts: 1, cause: 'http_5xx', outcome: 'transient' };
        waitRun(job, access, failed, { step: 'waiting', status: 'http_5xx', nextAttemptAt: START_MS + 600_000 + 3_001 });
      },
      'the last refresh failed (http_5xx); a read in 4 s or later tries again, a rotation on request tries at once',
      4,
      { cause: 'http_5xx' },
    ],
    [
      'failed, and is due again already',
      (job, access, { id }) => {
        const run = openRun(job, access, { credentialId: id, kind: 'refresh', trigger: 'read', generation: 1 });
        const failed = { ...run, attempts: 1, cause: 'http_5xx', outcome: 'transient' };
        waitRun(job, access, failed, { step: 'waiting', status: 'http_5xx', nextAttemptAt: START_MS });
      },
      'the last refresh failed (http_5xx); a read in 1 s or later tries again, a rotation on request tries at once',
      1,
      { cause: 'http_5xx' },
    ],
  ])('and whose refresh is %s says so', async (_what, prepare, message, seconds, extra) => {
    const made = await bench();
    made.clock.pass(600_000);
    await made.change(prepare);
    expect(await made.told()).toEqual(stale(made, message, seconds, extra));
  });

  it('says how long its provider is left alone, and never less than a second', () => {
    const held = (againInMs: number) => new StaleGrant('crd', { kind: 'held', againInMs });
    expect(held(2_001)).toMatchObject({
      retryAfterSeconds: 3,
      extra: {},
      message: expect.stringMatching(/none is sent for 3 s$/),
    });
    expect(held(0)).toMatchObject({ retryAfterSeconds: 1 });
  });
});

describe('a grant that nothing can bring a fresh token of', () => {
  it('says that it must be connected, with when its token ended', async () => {
    const { refresh_token: _none, ...value } = WHOLE;
    const made = await bench(value);
    expect(await made.told()).toBe('served');
    made.clock.pass(600_000);
    expect(await made.told()).toEqual({
      code: 'needs_consent',
      message: 'the access token has expired and there is no refresh token: connect the account again',
      extra: { health: 'ready', since: toTimestamp(START_MS + 600_000), cause: 'no_refresh_token', reconnect: made.reconnect },
      retryAfterSeconds: undefined,
      isStale: false,
    });
  });

  it('is served where its token has no end, and is due where it was never fetched', async () => {
    const { expires_in: _none, refresh_token: _neither, ...endless } = WHOLE;
    expect(await (await bench(endless)).told()).toBe('served');
    const { access_token: _unfetched, expires_in: _end, ...unfetched } = WHOLE;
    expect(await (await bench(unfetched)).told()).toMatchObject({ code: 'provider_unavailable' });
  });
});

describe('a grant that needs a person', () => {
  const CAUSES: readonly (readonly [cause: string | null, message: string])[] = [
    ['not_connected_yet', 'the account is not connected yet: create a link and have a person consent'],
    [
      'answer_lost',
      'an answer of the provider was lost: connect the account again, or request a rotation, which tries the stored tokens once more',
    ],
    [
      'refused_too_long',
      'the provider has refused every refresh for longer than a token lives, with an unknown error (see the runs): ' +
        'connect the account again, or request a rotation, which tries the stored tokens once more',
    ],
    ['invalid_grant', 'the grant is dead at the provider: connect the account again'],
  ];

  it.each(CAUSES)('since %s is served while its token lives, and then says why it is not', async (cause, message) => {
    const made = await bench();
    await made.draft((draft) => {
      draft.health = 'needs_consent';
      draft.health_since = START_MS;
      draft.health_cause = cause;
    });
    expect(await made.told()).toBe('served');
    made.clock.pass(600_000);
    expect(await made.told()).toEqual({
      code: 'needs_consent',
      message,
      extra: { health: 'needs_consent', since: toTimestamp(START_MS), cause, reconnect: made.reconnect },
      retryAfterSeconds: undefined,
      isStale: false,
    });
  });

  it('since it was disconnected is served to nobody, in no version', async () => {
    const made = await bench();
    await made.draft((draft) => {
      draft.health = 'disconnected';
      draft.health_cause = 'on_request';
    });
    const refusal = {
      code: 'needs_consent',
      message: 'the account is disconnected: connect it again',
      extra: { health: 'disconnected', cause: 'on_request' },
    };
    expect(await made.told()).toMatchObject(refusal);
    expect(await made.told({ version: 1 })).toMatchObject(refusal);
  });

  it('may be tried once more only where nobody called it dead', () => {
    const causes = ['answer_lost', 'refused_too_long', 'invalid_grant', 'not_connected_yet', null];
    expect(causes.map(mayBeTriedAgain)).toEqual([true, true, false, false, false]);
  });

  it.each([
    ['needs_consent', true],
    ['disconnected', true],
    ['ready', false],
    ['degraded', false],
  ])('that is %s has a path to connect it: %s', (health, expected) => {
    const path = reconnectPath('ten_1', 'staging', { kind: 'oauth2', health, name: 'a/b' });
    expect(path).toBe(expected ? '/v1/tenants/ten_1/environments/staging/credentials/a%2Fb/connections' : undefined);
  });
});
