// The whole row of a run and of a connection at each step of its way, column by column; only what seals it is left out.
import { describe, expect, it } from 'vitest';
import type { ChoiceSpec, OAuthConnector, RevocationSpec } from '../../../rotation/connector.ts';
import { LEAVES_WITHIN_MS } from '../../../rotation/egress.ts';
import { expireConnectionsDue } from '../../../rotation/grants/consent/choose-account.ts';
import { cancelConnection } from '../../../rotation/grants/consent/make-link.ts';
import { disconnectCredential } from '../../../rotation/grants/disconnect.ts';
import { RefreshEngine } from '../../../rotation/grants/refresh-runs.ts';
import { reviewDue } from '../../../rotation/grants/review.ts';
import { revokeDue } from '../../../rotation/grants/revoke.ts';
import { LIMITS } from '../../../src/base/limits.ts';
import { deleteCredential } from '../../../src/vault/change-credential.ts';
import { oauth2Config } from '../../../src/vault/credential-kinds.ts';
import { putCredential } from '../../../src/vault/put-credential.ts';
import { CALLBACK, CONFIG, CRM, consentBench, type Reply, tokens } from '../../kit/consent-bench.ts';
import { changing, START_MS } from '../../kit/vaults.ts';

const RFC_7009: RevocationSpec = {
  url: 'https://api.crm.example/revoke',
  method: 'POST',
  authentication: 'client_secret_post',
  bodyFormat: 'form',
  token: 'refresh',
  tokenParameter: 'token',
  ends: 'grant',
};
const at = { environment: 'staging', name: 'crm', precondition: {} };
const SEALS = ['mac', 'mac_key_id', 'link_hash'];
const plain = (row: object | undefined): Record<string, unknown> =>
  Object.fromEntries(Object.entries(row ?? {}).filter(([column]) => !SEALS.includes(column)));

async function benchOf(changes: Partial<OAuthConnector> = {}) {
  const bench = await consentBench(changes);
  const { vault, sql, clock } = bench.tenant;
  const engine = new RefreshEngine({ ...bench.ports, every: () => () => {} });
  vault.refresher = engine;
  const put = (value: object = {}) =>
    vault.submit((job) =>
      putCredential(job, bench.admin(), {
        ...at,
        kind: 'oauth2',
        value: {
          access_token: 'a-not-a-real-secret',
          refresh_token: 'r-not-a-real-secret',
          client_secret: 'c-not-a-real-secret',
          expires_in: 3_600,
          ...value,
        },
        connector: CRM.id,
        config: oauth2Config.parse(CONFIG),
        labels: undefined,
        description: undefined,
        expiresAtMs: undefined,
      }),
    );
  const run = () => plain(sql.get('SELECT * FROM run ORDER BY rowid DESC'));
  const journal = () =>
    sql
      .all<{ step: string; status: string }>(
        'SELECT step, status FROM run_step WHERE run_id = ? ORDER BY sequence',
        String(run()['id']),
      )
      .map(({ step, status }) => `${step}:${status}`);
  const evidence = () =>
    sql.get<{ evidence: string | null }>('SELECT evidence FROM run_step ORDER BY rowid DESC')?.evidence ?? null;
  const refresh = (trigger: 'request' | 'schedule' = 'request') => engine.refreshNow(bench.row('crm').id, trigger, true);
  return { ...bench, vault, sql, clock, engine, put, run, journal, evidence, refresh };
}
type Bench = Awaited<ReturnType<typeof benchOf>>;

describe('the run of a refresh', () => {
  const NEW = {
    kind: 'refresh',
    trigger: 'request',
    requested_by: 'refresh',
    state: 'open',
    generation: 1,
    attempts: 1,
    lost_answers: 0,
    facts: '{}',
    fence: 1,
    lease_until: 0,
    lease_owner: '',
    next_attempt_at: null,
    outcome: null,
    cause: null,
    new_version: null,
    started_at: START_MS,
    finished_at: null,
  };
  const is = ({ run, row }: Bench, changed: object) =>
    expect(run()).toEqual({ ...NEW, id: expect.stringMatching(/^run_/), credential_id: row('crm').id, ...changed });

  it('is leased while it is under way, and ends with the version that it stored', async () => {
    const bench = await benchOf();
    await bench.put();
    bench.replies.push(async () => {
      const leased = {
        step: 'intent',
        lease_until: START_MS + LIMITS.leaseMs,
        lease_owner: 'bench',
        next_attempt_at: START_MS + LIMITS.leaseMs,
      };
      is(bench, leased);
      bench.clock.pass(5);
      return tokens();
    });
    await bench.refresh();
    const now = START_MS + 5;
    is(bench, { state: 'succeeded', step: 'stored', outcome: 'refreshed', new_version: 2, finished_at: now });
    expect(bench.journal()).toEqual(['queued:request', 'intent:first', 'stored:refreshed']);
    expect(bench.row('crm')).toMatchObject({
      current_version: 2,
      previous_version: 1,
      latest_version: 2,
      health: 'ready',
      revision: 2,
    });
    const version = bench.sql.get('SELECT origin, run_id, value_expires_at FROM credential_version WHERE version = 2');
    expect(version).toEqual({ origin: 'refresh', run_id: bench.run()['id'], value_expires_at: now + 1_800_000 });
  });

  it.each<[string, Reply, object, object, string[]]>([
    [
      'waits after a failure of the provider, five seconds or as long as it has failed',
      { status: 503, body: 'x' },
      { state: 'open', step: 'answer_lost', outcome: 'transient', cause: 'http_5xx', lease_until: START_MS },
      { health: 'ready' },
      ['queued:request', 'intent:first', 'answer_lost:http_5xx'],
    ],
    [
      'waits as long as the provider says',
      { status: 429, body: 'x' },
      { state: 'open', step: 'waiting', outcome: 'transient', cause: 'http_429', lease_until: START_MS },
      { health: 'ready' },
      ['queued:request', 'intent:first', 'waiting:http_429'],
    ],
    [
      'waits for the operator',
      { status: 401, body: { error: 'invalid_client' } },
      { state: 'open', step: 'waiting', outcome: 'configuration', cause: 'invalid_client', lease_until: START_MS },
      { health: 'degraded', health_cause: 'invalid_client' },
      ['queued:request', 'intent:first', 'waiting:invalid_client'],
    ],
    [
      'waits with words that nobody knows, which are kept as a step of their own',
      { status: 400, body: { error: 'made_up' } },
      { state: 'open', step: 'waiting', outcome: 'unrecognised', cause: 'unrecognised_error', lease_until: START_MS },
      { health: 'degraded', health_cause: 'unrecognised_error' },
      ['queued:request', 'intent:first', 'unknown_words:unrecognised_error', 'waiting:unrecognised_error'],
    ],
    [
      'ends with the grant',
      { status: 400, body: { error: 'invalid_grant' } },
      { state: 'failed', step: 'failed', outcome: 'dead', cause: 'invalid_grant', finished_at: START_MS },
      { health: 'needs_consent', health_cause: 'invalid_grant', refresh_due_at: null },
      ['queued:request', 'intent:first', 'failed:dead'],
    ],
  ])('%s', async (_what, reply, changed, credential, journal) => {
    const bench = await benchOf();
    await bench.put();
    bench.replies.push(reply);
    await bench.refresh();
    const waits = (changed as { state: string }).state === 'open';
    is(bench, { ...changed, ...(waits ? { next_attempt_at: expect.any(Number) } : {}) });
    expect(bench.row('crm')).toMatchObject(credential);
    expect(bench.journal()).toEqual(journal);
    const status = 'status' in reply ? reply.status : undefined;
    expect(JSON.parse(bench.evidence() ?? '{}')).toMatchObject({ status, excerpt: expect.any(String) });
  });

  it('whose answers are lost counts them, and ends with the grant when it may not be sent again', async () => {
    const bench = await benchOf();
    await bench.put();
    bench.replies.push({ fails: 'connection_lost' }, async () => {
      is(bench, {
        step: 'intent',
        attempts: 2,
        fence: 2,
        lost_answers: 1,
        outcome: 'sent_and_lost',
        cause: 'connection_lost',
        lease_until: START_MS + LIMITS.leaseMs,
        lease_owner: 'bench',
        next_attempt_at: START_MS + LIMITS.leaseMs,
      });
      return { fails: 'timeout' };
    });
    await bench.refresh();
    is(bench, {
      state: 'failed',
      step: 'failed',
      outcome: 'dead',
      cause: 'answer_lost',
      attempts: 2,
      fence: 2,
      lost_answers: 2,
      finished_at: START_MS,
    });
    expect(bench.journal()).toEqual([
      'queued:request',
      'intent:first',
      'answer_lost:connection_lost',
      'intent:again',
      'answer_lost:timeout',
      'failed:dead',
    ]);
    expect(bench.row('crm')).toMatchObject({ health: 'needs_consent', health_cause: 'answer_lost' });
  });

  it('that keeps a token from an odd answer goes on with the version that holds it', async () => {
    const bench = await benchOf();
    await bench.put();
    bench.replies.push(tokens({ access_token: '', refresh_token: 'kept-not-a-real-secret' }));
    await bench.refresh();
    is(bench, {
      step: 'answer_lost',
      generation: 2,
      outcome: 'answered_oddly',
      cause: 'malformed_token',
      lease_until: START_MS,
      next_attempt_at: expect.any(Number),
    });
    expect(bench.journal()).toEqual(['queued:request', 'intent:first', 'kept:refresh_token', 'answer_lost:malformed_token']);
    expect(bench.row('crm')).toMatchObject({ current_version: 2, previous_version: 1, latest_version: 2 });
    bench.replies.push(tokens());
    await bench.refresh();
    expect(bench.sent.at(-1)?.fields.get('refresh_token')).toBe('kept-not-a-real-secret');
    is(bench, {
      state: 'succeeded',
      step: 'stored',
      generation: 2,
      attempts: 2,
      fence: 2,
      outcome: 'refreshed',
      new_version: 3,
      finished_at: START_MS,
    });
  });

  it('that somebody else ended meanwhile is not opened again; what it brought is in its journal', async () => {
    const bench = await benchOf();
    await bench.put();
    bench.replies.push(async () => {
      await bench.put({ refresh_token: 's-not-a-real-secret' });
      return tokens();
    });
    await bench.refresh();
    is(bench, { state: 'cancelled', step: 'cancelled', outcome: 'superseded', finished_at: START_MS });
    expect(bench.journal()).toEqual(['queued:request', 'intent:first', 'cancelled:superseded']);
    expect(bench.row('crm')).toMatchObject({ current_version: 2 });
  });
});

describe('a request under way', () => {
  const remove = (bench: Bench) =>
    bench.vault.submit((job) => deleteCredential(job, bench.admin(), { ...at, recoveryWindowMs: undefined }));
  const disconnect = (bench: Bench) =>
    bench.vault.submit((job) => disconnectCredential({ ...bench.ports, job }, bench.admin(), { ...at, revoke: false }));

  it.each<[string, (bench: Bench) => unknown, boolean]>([
    ['nothing happened', () => {}, true],
    ['its lease holds for long enough', ({ clock }) => clock.pass(LIMITS.leaseMs - LEAVES_WITHIN_MS - 1), true],
    ['its lease does not hold long enough', ({ clock }) => clock.pass(LIMITS.leaseMs - LEAVES_WITHIN_MS), false],
    ['its grant was put anew', (bench) => bench.put({ refresh_token: 's' }), false],
    ['its grant was disconnected', disconnect, false],
    ['its credential was deleted', remove, false],
  ])('may leave while it is worth it: %s', async (_what, meanwhile, mayLeave) => {
    const bench = await benchOf();
    await bench.put();
    let asked: boolean | undefined;
    bench.replies.push(async (request) => {
      await meanwhile(bench);
      asked = request.mayLeave?.();
      return { fails: 'withdrawn' };
    });
    await bench.refresh();
    expect(asked).toBe(mayLeave);
  });

  it('that brings a token for a grant that was put anew meanwhile stores nothing', async () => {
    const bench = await benchOf();
    await bench.put();
    bench.replies.push(async () => {
      await bench.put({ refresh_token: 's-not-a-real-secret' });
      return tokens({ access_token: '' });
    });
    await bench.refresh();
    expect(bench.row('crm')).toMatchObject({ current_version: 2, latest_version: 2, health: 'ready' });
    expect(bench.journal()).toEqual(['queued:request', 'intent:first', 'cancelled:superseded']);
  });
});

describe('a run', () => {
  it('that went through another generation begins anew with this one', async () => {
    const bench = await benchOf();
    await bench.put();
    const { id } = await bench.vault.submit((job) => bench.engine.open(job, bench.admin(), 'staging', 'crm'));
    await bench.vault.submit((job) =>
      changing(job, (access) => {
        const run = job.runs.get(access, id);
        job.runs.save(access, { ...run, generation: 0, step: 'intent', lost_answers: 2 });
      }),
    );
    await bench.refresh();
    expect(bench.run()).toMatchObject({ id, state: 'succeeded', generation: 1, lost_answers: 0, new_version: 2 });
    expect(bench.journal()).toEqual(['queued:request', 'intent:first', 'stored:refreshed']);
  });
});

describe('the next review', () => {
  const HOUR = 3_600_000;
  const DAY = 24 * HOUR;

  it('is a day later, less by chance, and on the very instant of a notice before that', async () => {
    const bench = await benchOf();
    const dated = (expiresAtMs: number | undefined) =>
      bench.vault.submit((job) =>
        putCredential(job, bench.admin(), {
          ...at,
          kind: 'api_key',
          value: { key: 'k' },
          connector: undefined,
          config: undefined,
          labels: undefined,
          description: undefined,
          expiresAtMs,
        }),
      );
    const due = async () => {
      await reviewDue(bench.ports);
      return Number(bench.row('crm').review_due_at) - bench.clock.now();
    };
    // The chance of these tests is one half: half of a tenth of a day.
    const daily = DAY * 0.95;
    await dated(START_MS + 100 * DAY);
    expect(await due()).toBe(daily);
    await dated(START_MS + 30 * DAY + 3 * HOUR);
    expect(await due()).toBe(3 * HOUR);
    bench.clock.pass(3 * HOUR);
    expect(await due()).toBe(daily);
    bench.clock.atMs = START_MS + 29 * DAY + 4 * HOUR;
    expect(await due()).toBe(daily);
    bench.clock.atMs = START_MS + 30 * DAY + 3 * HOUR - 360_000;
    expect(await due(), 'its end itself').toBe(360_000);
    expect(bench.row('crm').revision).toBe(2);
  });

  it('of a grant of which no end is known is a day later, too', async () => {
    const bench = await benchOf();
    await bench.put();
    await reviewDue(bench.ports);
    expect(bench.row('crm').review_due_at).toBe(START_MS + DAY * 0.95);
  });
});

describe('the run of a revocation', () => {
  const NEW = {
    kind: 'revocation',
    trigger: 'request',
    requested_by: 'usr_admin',
    state: 'open',
    step: 'queued',
    generation: 1,
    attempts: 0,
    facts: '{}',
    lost_answers: 0,
    fence: 0,
    lease_until: 0,
    lease_owner: '',
    next_attempt_at: START_MS,
    outcome: null,
    cause: null,
    new_version: null,
    started_at: START_MS,
    finished_at: null,
  };
  const is = ({ run, row }: Bench, changed: object) =>
    expect(run()).toEqual({ ...NEW, id: expect.stringMatching(/^run_/), credential_id: row('crm').id, ...changed });
  const disconnect = (bench: Bench, revoke = true) =>
    bench.vault.submit((job) => disconnectCredential({ ...bench.ports, job }, bench.admin(), { ...at, revoke }));

  it('waits to be sent, is leased while it is, and ends', async () => {
    const bench = await benchOf({ revocation: RFC_7009 });
    await bench.put();
    await disconnect(bench);
    is(bench, {});
    bench.replies.push(async () => {
      is(bench, {
        step: 'intent',
        attempts: 1,
        fence: 1,
        lease_owner: 'bench',
        lease_until: START_MS + LIMITS.leaseMs,
        next_attempt_at: START_MS + LIMITS.leaseMs,
      });
      bench.clock.pass(5);
      return { status: 200, body: '' };
    });
    expect(await revokeDue(bench.ports)).toBe(1);
    is(bench, {
      state: 'succeeded',
      step: 'revoked',
      outcome: 'revoked',
      attempts: 1,
      fence: 1,
      next_attempt_at: null,
      finished_at: START_MS + 5,
    });
    expect(bench.journal()).toEqual(['queued:request', 'intent:first', 'revoked:revoked']);
    expect(await revokeDue(bench.ports)).toBe(0);
  });

  it('waits longer after each failure, half a minute at first, and then as long as it is told', async () => {
    const bench = await benchOf({ revocation: RFC_7009 });
    await bench.put();
    const { row } = bench;
    await disconnect(bench);
    const revision = row('crm').revision;
    bench.replies.push({ status: 503, body: '' });
    await revokeDue(bench.ports);
    const failed = { step: 'waiting', attempts: 1, fence: 1, cause: 'http_5xx', lease_until: START_MS };
    is(bench, { ...failed, next_attempt_at: expect.any(Number) });
    const waitMs = Number(bench.run()['next_attempt_at']) - START_MS;
    expect(waitMs).toBeGreaterThanOrEqual(LIMITS.revokeBackoffBaseMs / 2);
    expect(waitMs).toBeLessThanOrEqual(LIMITS.revokeBackoffBaseMs);
    expect(bench.journal()).toEqual(['queued:request', 'intent:first', 'failed:http_5xx']);
    // Whoever holds the credential by its revision sees that its revocation moved on.
    expect(row('crm').revision).toBe(revision + 1);
    expect(bench.sql.all("SELECT kind FROM alert WHERE kind = 'credential.exposed'")).toHaveLength(1);
    bench.clock.atMs = Number(bench.run()['next_attempt_at']);
    bench.replies.push({ status: 503, body: '' });
    await revokeDue(bench.ports);
    expect(Number(bench.run()['next_attempt_at']) - bench.clock.now()).toBeGreaterThan(waitMs);
    expect(bench.sql.all("SELECT kind FROM alert WHERE kind = 'credential.exposed'"), 'told once').toHaveLength(1);
  });

  it.each<[string, Partial<OAuthConnector>, boolean, object]>([
    ['nobody asks for', { revocation: RFC_7009 }, false, { step: 'not_asked', outcome: 'not_asked' }],
    ['there is no way to do', {}, true, { step: 'not_possible', outcome: 'not_possible', cause: 'no_way_to_revoke' }],
  ])('that %s ends at once', async (_what, changes, revoke, changed) => {
    const bench = await benchOf(changes);
    await bench.put();
    await disconnect(bench, revoke);
    is(bench, { state: 'cancelled', next_attempt_at: null, finished_at: START_MS, ...changed });
  });

  it.each([
    [true, { state: 'open', step: 'queued', generation: 2 }, ['cancelled', 'open']],
    [false, { state: 'cancelled', step: 'not_asked', generation: 1 }, ['cancelled']],
  ])('follows the pair that a refresh brings meanwhile, where it was asked for (%s)', async (revoke, last, states) => {
    const bench = await benchOf({ revocation: RFC_7009 });
    await bench.put();
    bench.replies.push(async () => {
      await disconnect(bench, revoke);
      return tokens();
    });
    await bench.refresh();
    expect(bench.row('crm')).toMatchObject({ health: 'disconnected', current_version: 2, refresh_due_at: null });
    const runs = bench.sql.all("SELECT state, step, generation FROM run WHERE kind = 'revocation' ORDER BY rowid");
    expect(runs.map(({ state }) => state)).toEqual(states);
    expect(runs.at(-1)).toEqual(last);
  });

  it('was not asked for at first and can be asked for later, once', async () => {
    const bench = await benchOf({ revocation: RFC_7009 });
    await bench.put();
    await disconnect(bench, false);
    const first = bench.run()['id'];
    await disconnect(bench, false);
    expect(bench.run()['id'], 'repeated').toBe(first);
    await disconnect(bench);
    const second = bench.run()['id'];
    expect(second).not.toBe(first);
    is(bench, {});
    await disconnect(bench);
    expect(bench.run()['id'], 'repeated').toBe(second);
  });
});

describe('what a person does at the provider', () => {
  const STEPS = ['Open the settings.', 'To withdraw access, remove the app.'];
  const steps = async (changes: Partial<OAuthConnector>, revoke = true, replies: Reply[] = []) => {
    const bench = await benchOf(changes);
    await bench.put();
    const disconnect = () =>
      bench.vault.submit((job) => disconnectCredential({ ...bench.ports, job }, bench.admin(), { ...at, revoke }));
    const { manualSteps } = await disconnect();
    if (replies.length === 0) return manualSteps;
    bench.clock.pass(LIMITS.revokeGiveUpMs);
    bench.replies.push(...replies);
    await revokeDue(bench.ports);
    return (await disconnect()).manualSteps;
  };

  it('is told where no call does it: what withdraws, or else all there is', async () => {
    expect(await steps({ manualSteps: STEPS })).toEqual([STEPS[1]]);
    expect(await steps({ manualSteps: STEPS.slice(0, 1) })).toEqual([STEPS[0]]);
    expect(await steps({})).toEqual([]);
    expect(await steps({ manualSteps: STEPS, revocation: RFC_7009 }, true, [{ status: 503, body: '' }]), 'given up').toEqual([
      STEPS[1],
    ]);
  });

  it('is nothing where the provider is told, was told, or is not to be told', async () => {
    expect(await steps({ manualSteps: STEPS, revocation: RFC_7009 })).toEqual([]);
    expect(await steps({ manualSteps: STEPS, revocation: RFC_7009 }, true, [{ status: 200, body: '' }])).toEqual([]);
    expect(await steps({ manualSteps: STEPS, revocation: RFC_7009 }, false)).toEqual([]);
  });
});

describe('the row of a connection', () => {
  const choice: ChoiceSpec = {
    url: 'https://api.crm.example/sites',
    title: '',
    items: '',
    idField: 'id',
    labelField: 'name',
    accountField: 'site_id',
  };
  const linked = async (changes: Partial<OAuthConnector> = {}) => {
    const bench = await benchOf(changes);
    bench.clock.pass(3);
    const { connection, linkToken } = await bench.make('crm');
    const created_at = START_MS + 3;
    const NEW = {
      id: connection.id,
      credential_id: bench.row('crm').id,
      state: 'open',
      state_hash: null,
      browser_hash: null,
      attempt: 0,
      request: JSON.stringify({ redirectUri: CALLBACK, scopes: ['offline', 'contacts.read', 'deals.read'] }),
      cause: null,
      created_at,
      created_by: 'usr_admin',
      expires_at: created_at + LIMITS.connectLinkTtlDefaultMs,
      attempt_expires_at: null,
      finished_at: null,
    };
    const is = (changed: object) => expect(plain(bench.connection(connection.id))).toEqual({ ...NEW, ...changed });
    const HASH = expect.any(Uint8Array);
    return { bench, id: connection.id, linkToken, is, HASH, expires_at: NEW.expires_at, NEW };
  };

  it('is open, begun, exchanging and connected, one after another', async () => {
    const { bench, linkToken, is, HASH, NEW } = await linked();
    is({});
    bench.clock.pass(4);
    const begun = await bench.begin(linkToken);
    const attempt = {
      attempt: 1,
      browser_hash: HASH,
      attempt_expires_at: START_MS + 7 + LIMITS.connectAttemptTtlMs,
      request: JSON.stringify({ ...JSON.parse(NEW.request), parameters: {} }),
    };
    is({ ...attempt, state_hash: HASH });
    bench.replies.push(async () => {
      is({ ...attempt, state: 'exchanging' });
      bench.clock.pass(5);
      return tokens();
    });
    await bench.comeBack(begun);
    is({ ...attempt, state: 'connected', finished_at: START_MS + 12 });
    expect(bench.row('crm')).toMatchObject({
      health: 'ready',
      health_cause: null,
      current_version: 2,
      previous_version: 1,
      latest_version: 2,
      pending_version: null,
      revision: 2,
      review_due_at: START_MS + 12,
    });
    expect(bench.facts('crm')).toEqual({
      consentedAt: START_MS + 12,
      refreshedAt: START_MS + 12,
      account: { hub_id: '4711' },
      fingerprint: expect.any(String),
      alwaysScope: 'offline',
      grantedScope: 'offline contacts.read deals.read',
      scopeSource: 'answer',
    });
  });

  it('says that it brought no refresh token', async () => {
    const { bench, linkToken, id } = await linked();
    const begun = await bench.begin(linkToken);
    bench.replies.push(tokens({ refresh_token: undefined }));
    await bench.comeBack(begun);
    expect(bench.connection(id)).toMatchObject({ state: 'connected', cause: 'no_refresh_token' });
    expect(bench.facts('crm')).not.toHaveProperty('fingerprint');
    expect(bench.row('crm')).toMatchObject({ refresh_due_at: null });
  });

  it.each([
    ['declined', { error: 'access_denied' }, 'declined'],
    ['failed', { error: 'invalid_scope' }, 'invalid_scope'],
  ] as const)('is %s, and can be begun again, which forgets it', async (state, fields, cause) => {
    const { bench, linkToken, is, HASH, NEW } = await linked();
    const begun = await bench.begin(linkToken);
    const request = JSON.stringify({ ...JSON.parse(NEW.request), parameters: {} });
    const attempt = { browser_hash: HASH, attempt_expires_at: START_MS + 3 + LIMITS.connectAttemptTtlMs, request };
    await bench.comeBack(begun, fields);
    is({ ...attempt, attempt: 1, state, cause, finished_at: START_MS + 3 });
    await bench.begin(linkToken);
    is({ ...attempt, attempt: 2, state_hash: HASH });
  });

  it('is choosing until somebody chose, at least for the rest of the attempt', async () => {
    const { bench, linkToken, id } = await linked({ consent: { ...CRM.consent!, choice } } as Partial<OAuthConnector>);
    const begun = await bench.begin(linkToken);
    bench.replies.push(tokens(), { status: 200, body: [{ id: 'n', name: 'N' }, { id: 's' }] });
    await bench.comeBack(begun);
    expect(bench.connection(id)).toMatchObject({
      state: 'choosing',
      state_hash: null,
      finished_at: null,
      expires_at: START_MS + 3 + LIMITS.connectAttemptTtlMs,
    });
    expect(JSON.parse(bench.connection(id).request)).toMatchObject({
      choices: [
        { id: 'n', label: 'N' },
        { id: 's', label: 's' },
      ],
    });
    bench.clock.atMs = bench.connection(id).expires_at - 1;
    expect(await expireConnectionsDue(bench.ports)).toBe(0);
    bench.clock.pass(1);
    expect(await expireConnectionsDue(bench.ports)).toBe(1);
    expect(bench.connection(id)).toMatchObject({
      state: 'connected',
      cause: 'account_not_chosen',
      finished_at: bench.clock.now(),
    });
    expect(bench.row('crm')).toMatchObject({ health: 'degraded', health_cause: 'account_not_chosen' });
  });

  it('is cancelled once, and not after its time', async () => {
    const { bench, id, is } = await linked();
    const cancel = () => bench.vault.submit((job) => cancelConnection(job, bench.admin(), at, id));
    bench.clock.pass(2);
    await cancel();
    is({ state: 'cancelled', finished_at: START_MS + 5 });
    bench.clock.pass(2);
    await cancel();
    is({ state: 'cancelled', finished_at: START_MS + 5 });
    const late = await linked();
    late.bench.clock.atMs = late.expires_at;
    await late.bench.vault.submit((job) => cancelConnection(job, late.bench.admin(), at, late.id));
    late.is({});
  });

  it('expires as what it was: open, or with an answer that was lost', async () => {
    const { bench, id, is, expires_at } = await linked();
    bench.clock.atMs = expires_at;
    await expireConnectionsDue(bench.ports);
    is({ state: 'expired', finished_at: expires_at });
    expect(bench.connection(id).state).toBe('expired');
  });
});

describe('a further link of a credential', () => {
  const again = async (input: Parameters<Bench['make']>[1]) => {
    const bench = await benchOf();
    await bench.connect('crm');
    const before = bench.row('crm');
    bench.clock.pass(9);
    const { connection } = await bench.make('crm', { config: undefined, connector: undefined, secrets: {}, ...input });
    const { secretVersion, config } = JSON.parse(connection.request) as { secretVersion?: number; config?: object };
    const after = bench.row('crm');
    const changed = Object.entries(after).filter(
      ([column, value]) => !SEALS.includes(column) && value !== before[column as keyof typeof before],
    );
    return { changed: Object.fromEntries(changed), secretVersion, config };
  };
  const now = START_MS + 9;

  it('without anything new changes nothing', async () => {
    expect(await again({})).toEqual({ changed: {}, secretVersion: undefined, config: undefined });
  });

  it('changes what is said of the credential alone', async () => {
    expect((await again({ labels: { a: 'b' } })).changed).toEqual({ labels: '{"a":"b"}', revision: 3, updated_at: now });
    expect((await again({ description: 'd' })).changed).toEqual({ description: 'd', revision: 3, updated_at: now });
  });

  it('brings a secret in a version that waits for the consent', async () => {
    const pending = { latest_version: 3, pending_version: 3, revision: 3, updated_at: now };
    const brought = await again({ secrets: { client_secret: 'new-not-a-real-secret' } });
    expect(brought).toMatchObject({ changed: pending, secretVersion: 3, config: CONFIG });
    expect(Object.keys(brought.changed).sort()).toEqual(Object.keys(pending).sort());
  });

  it('keeps free settings for itself until the consent, and needs no version for them', async () => {
    const config = oauth2Config.parse({ ...CONFIG, workflows: [{ name: 'one', scopes: ['contacts.read'] }] });
    expect(await again({ config })).toEqual({ changed: {}, secretVersion: undefined, config });
  });
});
