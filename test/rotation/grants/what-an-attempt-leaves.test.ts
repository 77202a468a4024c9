// What one attempt of a refresh leaves in the credential, its versions, its run and its event. Every value is made up; not-a-real-secret.
import { describe, expect, it } from 'vitest';
import type { OAuthConnector } from '../../../rotation/connector.ts';
import { RefreshEngine } from '../../../rotation/grants/refresh-runs.ts';
import { LIMITS } from '../../../src/base/limits.ts';
import { oauth2Config } from '../../../src/vault/credential-kinds.ts';
import { type PutCredentialInput, putCredential } from '../../../src/vault/put-credential.ts';
import { CONFIG, CRM, consentBench, type Reply, tokens } from '../../kit/consent-bench.ts';
import { changing } from '../../kit/vaults.ts';

async function benchOf(changes: Partial<OAuthConnector> = {}) {
  const bench = await consentBench(changes);
  const { vault, sql, clock } = bench.tenant;
  const engine = new RefreshEngine({ ...bench.ports, every: () => () => {} });
  vault.refresher = engine;
  return {
    ...bench,
    clock,
    engine,
    put: (value: object = {}, rest: Partial<PutCredentialInput> = {}) =>
      vault.submit((job) =>
        putCredential(job, bench.admin(), {
          environment: 'staging',
          name: 'crm',
          precondition: {},
          kind: 'oauth2',
          value: { access_token: 'a-not-a-real-secret', refresh_token: 'r-not-a-real-secret', client_secret: 'c-not-a-real-secret', expires_in: 3_600, ...value }, // biome-ignore format: one line
          connector: CRM.id,
          config: oauth2Config.parse(CONFIG),
          labels: undefined,
          description: undefined,
          expiresAtMs: undefined,
          ...rest,
        }),
      ),
    refresh: () => engine.refreshNow(bench.row('crm').id, 'request', true),
    open: () => vault.submit((job) => engine.open(job, bench.admin(), 'staging', 'crm')),
    run: () => sql.get('SELECT * FROM run ORDER BY rowid DESC') as Record<string, unknown>,
    steps: () =>
      sql
        .all<{ line: string }>(
          "SELECT step || ':' || status AS line FROM run_step WHERE run_id = (SELECT id FROM run ORDER BY rowid DESC LIMIT 1) ORDER BY sequence",
        )
        .map(({ line }) => line),
    versions: () => sql.all('SELECT version, origin, run_id, value_expires_at FROM credential_version ORDER BY version'),
    change: (changed: object) =>
      vault.submit((job) =>
        changing(job, (access) => {
          job.credentials.save(access, { ...job.credentials.byId(access, bench.row('crm').id), ...changed });
        }),
      ),
  };
}
const DOWN: Reply = { status: 503, body: '' };

describe('a version that a refresh stored', () => {
  it.each([
    ['refresh', false],
    ['rotation', true],
  ])('comes from a %s, and names its run', async (origin, isRequested) => {
    const bench = await benchOf();
    await bench.put();
    if (isRequested) await bench.open();
    await bench.refresh();
    const expiresAt = bench.clock.now() + 1_800_000;
    expect(bench.versions().at(-1)).toEqual({ version: 2, origin, run_id: bench.run()['id'], value_expires_at: expiresAt });
    bench.replies.push(tokens({ access_token: '', refresh_token: 'kept-not-a-real-secret' }));
    if (isRequested) await bench.open();
    await bench.refresh();
    expect(bench.versions().at(-1)).toEqual({ version: 3, origin, run_id: bench.run()['id'], value_expires_at: expiresAt });
    expect(bench.row('crm')).toMatchObject({ current_version: 3, previous_version: 2, latest_version: 3 });
  });

  it('keeps the present refresh token where the answer has none, and sends the new one where it has', async () => {
    const bench = await benchOf();
    await bench.put();
    bench.replies.push(tokens({ refresh_token: undefined }), tokens({ refresh_token: 'second-not-a-real-secret' }));
    for (let i = 0; i < 3; i++) await bench.refresh();
    expect(bench.sent.map(({ fields }) => fields.get('refresh_token'))).toEqual([
      'r-not-a-real-secret',
      'r-not-a-real-secret',
      'second-not-a-real-secret',
    ]);
    expect(bench.facts('crm').fingerprint).toMatch(/^[\w-]{22}$/);
  });

  it('has no account where nobody told one', async () => {
    const bench = await benchOf();
    await bench.put();
    bench.replies.push(tokens({ hub_id: undefined }));
    await bench.refresh();
    expect(bench.facts('crm').account).toBeUndefined();
    expect(await bench.served('crm')).not.toHaveProperty('account');
  });
});

describe('health after a refresh', () => {
  it('is ready again, with its cause gone', async () => {
    const bench = await benchOf();
    await bench.put();
    bench.clock.pass(3_600_001);
    bench.replies.push(DOWN);
    await bench.refresh();
    expect(bench.row('crm')).toMatchObject({ health: 'degraded', health_cause: 'http_5xx' });
    bench.clock.pass(600_000);
    await bench.refresh();
    expect(bench.row('crm')).toMatchObject({ health: 'ready', health_cause: null });
  });

  it.each<[string, Reply[], number, string]>([
    ['one failure with a token that lives', [DOWN], 0, 'ready'],
    ['two', [DOWN, DOWN], 0, 'ready'],
    ['three', [DOWN, DOWN, DOWN], 0, 'degraded'],
    ['one failure one moment before the token ends', [DOWN], 3_600_000 - 1, 'ready'],
    ['one failure when it has ended', [DOWN], 3_600_000, 'degraded'],
    ['one refusal of the client', [{ status: 401, body: { error: 'invalid_client' } }], 0, 'degraded'],
  ])('after %s', async (_, replies, afterMs, health) => {
    const bench = await benchOf();
    await bench.put();
    bench.clock.pass(afterMs);
    for (const reply of replies) {
      bench.replies.push(reply);
      await bench.refresh();
    }
    expect(bench.row('crm').health).toBe(health);
  });

  it('of a grant that needs consent is no better for a failure', async () => {
    const bench = await benchOf();
    await bench.put();
    bench.replies.push(async () => {
      await bench.change({ health: 'needs_consent', health_cause: 'invalid_grant' });
      return { status: 401, body: { error: 'invalid_client' } };
    });
    await bench.refresh();
    expect(bench.row('crm')).toMatchObject({ health: 'needs_consent', health_cause: 'invalid_grant' });
  });

  it('of a grant without an access token is degraded by its first failure', async () => {
    const bench = await benchOf();
    await bench.put({ access_token: undefined, expires_in: undefined });
    bench.replies.push(DOWN);
    await bench.refresh();
    expect(bench.row('crm').health).toBe('degraded');
  });

  it('of a grant whose token never ends is not', async () => {
    const bench = await benchOf();
    await bench.put();
    await bench.change({ value_expires_at: null });
    bench.replies.push(DOWN);
    await bench.refresh();
    expect(bench.row('crm').health).toBe('ready');
  });
});

describe('an attempt that was withdrawn before anything was sent', () => {
  const withdrawn = async (before: Reply[]) => {
    const bench = await benchOf({ oauth2: { ...CRM.oauth2, lostAnswer: { kind: 'safe' } } });
    await bench.put();
    for (const reply of before) bench.replies.push(reply);
    bench.replies.push({ fails: 'withdrawn' } as never, tokens());
    await bench.refresh();
    return bench;
  };

  it('does not count, and is repeated at once', async () => {
    const bench = await withdrawn([]);
    expect(bench.run()).toMatchObject({ state: 'succeeded', attempts: 1, lost_answers: 0 });
    expect(bench.steps()).toEqual([
      'queued:request',
      'intent:first',
      'withdrawn:lease_lapsed',
      'intent:first',
      'stored:refreshed',
    ]);
  });

  it('leaves the doubt of an answer that was lost before', async () => {
    const bench = await withdrawn([{ fails: 'timeout' }]);
    expect(bench.steps()).toEqual([
      'queued:request',
      'intent:first',
      'answer_lost:timeout',
      'intent:again',
      'withdrawn:lease_lapsed',
      'intent:again',
      'stored:refreshed',
    ]);
  });
});

describe('an answer that is lost for good', () => {
  it('is journalled as lost, counted, and ends the run and the grant', async () => {
    const bench = await benchOf();
    await bench.put();
    bench.replies.push({ fails: 'timeout' }, { fails: 'timeout' });
    await bench.refresh();
    expect(bench.steps()).toEqual([
      'queued:request',
      'intent:first',
      'answer_lost:timeout',
      'intent:again',
      'answer_lost:timeout',
      'failed:dead',
    ]);
    expect(bench.run()).toMatchObject({ state: 'failed', outcome: 'dead', cause: 'answer_lost', lost_answers: 2, attempts: 2 });
    expect(bench.events('failed').map(({ reason, details }) => [reason, (details as { cause: string }).cause])).toEqual([
      ['provider_unavailable', 'timeout'],
      ['provider_unavailable', 'answer_lost'],
    ]);
  });
});

describe('a refusal in unknown words', () => {
  const REFUSED: Reply = { status: 400, body: { error: 'made_up' } };
  const journalled = (bench: Awaited<ReturnType<typeof benchOf>>) =>
    bench.steps().filter((line) => line.startsWith('unknown_words')).length;

  it('is journalled as such each time, a known one is not', async () => {
    const bench = await benchOf();
    await bench.put();
    bench.replies.push(REFUSED, DOWN, { status: 401, body: { error: 'invalid_client' } }, REFUSED);
    for (let i = 0; i < 4; i++) await bench.refresh();
    expect(journalled(bench)).toBe(2);
  });

  it.each([
    [0, 'degraded'],
    [3_600_000 - 1, 'degraded'],
    [3_600_000, 'needs_consent'],
  ])('that goes on for the life of a token ends the grant: after %i ms it is %s', async (afterMs, health) => {
    const bench = await benchOf();
    await bench.put();
    bench.clock.pass(3_600_000);
    bench.replies.push(REFUSED, REFUSED);
    await bench.refresh();
    bench.clock.pass(afterMs);
    await bench.refresh();
    expect(bench.row('crm')).toMatchObject({
      health,
      health_cause: health === 'degraded' ? 'unrecognised_error' : 'refused_too_long',
    });
    expect(bench.facts('crm').guard).toBeUndefined();
  });

  it('counts by proven time: a clock that jumped ends no grant', async () => {
    const bench = await benchOf();
    await bench.put();
    bench.clock.pass(3_600_000);
    bench.replies.push(REFUSED, REFUSED, REFUSED);
    await bench.refresh();
    bench.clock.pass(3_600_000);
    bench.clock.unprovenMs = 3_600_000;
    await bench.refresh();
    expect(bench.row('crm').health).toBe('degraded');
    bench.clock.unprovenMs = 0;
    await bench.refresh();
    expect(bench.row('crm').health).toBe('needs_consent');
  });

  it.each([
    ['is none', 0, LIMITS.refreshDefaultTtlMs],
    ['is known', 1_800, 1_800_000],
  ])('counts by the life of the token, where that %s', async (_, expiresIn, lifeMs) => {
    const bench = await benchOf();
    await bench.put({ expires_in: expiresIn });
    bench.clock.pass(expiresIn * 1_000);
    bench.replies.push(REFUSED, REFUSED, REFUSED);
    await bench.refresh();
    bench.clock.pass(lifeMs - 1);
    await bench.refresh();
    expect(bench.row('crm').health).toBe('degraded');
    bench.clock.pass(1);
    await bench.refresh();
    expect(bench.row('crm').health).toBe('needs_consent');
  });
});

describe('a token that somebody else may have used', () => {
  it('is told of when an import is refused while it is watched, but not when its refusal may be our doing', async () => {
    const cases: [Reply[], unknown][] = [
      [[], expect.any(String)],
      [[{ fails: 'timeout' }], undefined],
    ];
    for (const [before, sign] of cases) {
      const bench = await benchOf();
      await bench.put({}, { imported: { from: 'nango', stillUsedThere: false } });
      bench.replies.push(...before, { status: 400, body: { error: 'invalid_grant' } });
      await bench.refresh();
      expect(bench.row('crm').health).toBe('needs_consent');
      expect(bench.facts('crm').guard?.sign).toEqual(sign);
    }
  });
});
