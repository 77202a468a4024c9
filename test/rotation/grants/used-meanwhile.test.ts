// What happens to a grant between the opening of its tokens and the outcome of the call: another version, a cancelled run, a new consent.
// Every value is made up; not-a-real-secret.
import { describe, expect, it } from 'vitest';
import type { EgressRequest, OAuthConnector, RevocationSpec } from '../../../rotation/connector.ts';
import { disconnectCredential } from '../../../rotation/grants/disconnect.ts';
import { RefreshEngine } from '../../../rotation/grants/refresh-runs.ts';
import { revokeDue } from '../../../rotation/grants/revoke.ts';
import { readGrantedScope } from '../../../rotation/grants/scope-check.ts';
import { LIMITS } from '../../../src/base/limits.ts';
import { oauth2Config } from '../../../src/vault/credential-kinds.ts';
import { type PutCredentialInput, putCredential } from '../../../src/vault/put-credential.ts';
import { CONFIG, CRM, consentBench, type Reply, tokens } from '../../kit/consent-bench.ts';
import { changing } from '../../kit/vaults.ts';

const REVOCATION: RevocationSpec = {
  url: 'https://api.crm.example/revoke',
  method: 'POST',
  authentication: 'client_secret_post',
  bodyFormat: 'form',
  token: 'refresh',
  tokenParameter: 'token',
  ends: 'grant',
};
const OK: Reply = { status: 200, body: {} };

async function benchOf(changes: Partial<OAuthConnector> = {}) {
  const bench = await consentBench({ revocation: REVOCATION, ...changes });
  const { vault, sql } = bench.tenant;
  const engine = new RefreshEngine({ ...bench.ports, every: () => () => {} });
  vault.refresher = engine;
  const put = (name = 'crm', value: object = {}, rest: Partial<PutCredentialInput> = {}) =>
    vault.submit((job) =>
      putCredential(job, bench.admin(), {
        environment: 'staging',
        name,
        precondition: {},
        kind: 'oauth2',
        value: {
          access_token: `access-of-${name}-not-a-real-secret`,
          refresh_token: `refresh-of-${name}-not-a-real-secret`,
          client_secret: 'c-not-a-real-secret',
          expires_in: 3_600,
          ...value,
        },
        connector: CRM.id,
        config: oauth2Config.parse(CONFIG),
        labels: undefined,
        description: undefined,
        expiresAtMs: undefined,
        ...rest,
      }),
    );
  return {
    ...bench,
    engine,
    put,
    refresh: (name = 'crm', trigger: 'request' | 'schedule' | 'read' = 'request', force = true) =>
      engine.refreshNow(bench.row(name).id, trigger, force),
    disconnect: (name = 'crm') =>
      vault.submit((job) =>
        disconnectCredential({ ...bench.ports, job }, bench.admin(), {
          environment: 'staging',
          name,
          revoke: true,
          precondition: {},
        }),
      ),
    run: () => sql.get('SELECT * FROM run ORDER BY rowid DESC') as Record<string, unknown>,
    journal: () =>
      sql
        .all<{ line: string }>(
          "SELECT step || ':' || status AS line FROM run_step WHERE run_id = (SELECT id FROM run ORDER BY rowid DESC LIMIT 1) ORDER BY sequence",
        )
        .map(({ line }) => line),
    /** As no use case does: another version becomes the current one while the run stays open. */
    moveCurrent: (name = 'crm') =>
      vault.submit((job) =>
        changing(job, (access) => {
          const row = job.credentials.byId(access, bench.row(name).id);
          const version = job.credentials.findVersion(access, row.id, row.current_version);
          if (version === undefined) throw new Error('no version');
          job.credentials.save(access, { ...row, previous_version: row.current_version, current_version: 1, latest_version: row.latest_version + 1 }); // biome-ignore format: one line
        }),
      ),
  };
}

describe('a refresh that may not leave any more', () => {
  const leaving = (work: (bench: Awaited<ReturnType<typeof benchOf>>) => Promise<unknown>) => async () => {
    const bench = await benchOf();
    await bench.put();
    bench.replies.push(tokens());
    await bench.refresh();
    let may: boolean | undefined;
    bench.replies.push(async (request: EgressRequest) => {
      expect(request.mayLeave?.()).toBe(true);
      await work(bench);
      may = request.mayLeave?.();
      return { status: 503, body: '' };
    });
    await bench.refresh();
    return may;
  };

  it.each<[string, (bench: Awaited<ReturnType<typeof benchOf>>) => Promise<unknown>, boolean]>([
    ['because another version is current', (bench) => bench.moveCurrent(), false],
    ['because the grant was disconnected', (bench) => bench.disconnect(), false],
    ['because another version was put', (bench) => bench.put('crm', { refresh_token: 'new-not-a-real-secret' }), false],
    ['no: nothing happened', async () => {}, true],
    ['no: another grant was put', (bench) => bench.put('erp'), true],
  ])('%s', async (_, work, may) => {
    expect(await leaving(work)()).toBe(may);
  });

  it('because its row is damaged', async () => {
    const bench = await benchOf();
    await bench.put();
    bench.replies.push(async (request: EgressRequest) => {
      const { sql } = bench.tenant;
      const before = sql.get<{ description: string }>('SELECT description FROM credential')?.description ?? '';
      sql.run("UPDATE credential SET description = 'edited'");
      const may = request.mayLeave?.();
      sql.run('UPDATE credential SET description = ?', before);
      expect(may).toBe(false);
      return tokens();
    });
    await bench.refresh();
    expect(bench.row('crm').current_version).toBe(2);
  });

  it('and a defect in the question is no answer to it', async () => {
    const bench = await benchOf();
    await bench.put();
    const { sql } = bench.tenant;
    bench.replies.push(async (request: EgressRequest) => {
      const get = sql.get.bind(sql);
      sql.get = () => {
        throw new RangeError('made up');
      };
      try {
        expect(() => request.mayLeave?.()).toThrow('made up');
      } finally {
        sql.get = get;
      }
      return tokens();
    });
    await bench.refresh();
  });
});

describe('a failure that comes late', () => {
  it('touches no newer version, although its run is still open: the run ends as superseded', async () => {
    const bench = await benchOf();
    await bench.put();
    bench.replies.push(tokens());
    await bench.refresh();
    bench.replies.push(async () => {
      await bench.moveCurrent();
      return { status: 400, body: { error: 'invalid_grant' } };
    });
    await bench.refresh();
    expect(bench.row('crm')).toMatchObject({ health: 'ready', current_version: 1 });
    expect(bench.run()).toMatchObject({ state: 'cancelled', outcome: 'superseded' });
    expect(bench.events('superseded')).toMatchObject([{ outcome: 'failure', details: { cause: 'invalid_grant' } }]);
  });
});

describe('a new pair', () => {
  it('for a run that has ended is stored, and the journal of the run says so', async () => {
    const bench = await benchOf();
    await bench.put();
    bench.replies.push(async () => {
      await bench.tenant.vault.submit((job) =>
        changing(job, (access) => {
          const run = job.runs.get(access, String(bench.run()['id']));
          job.runs.save(access, { ...run, state: 'cancelled', outcome: 'superseded', next_attempt_at: null, lease_owner: '' });
        }),
      );
      return tokens();
    });
    await bench.refresh();
    expect(bench.row('crm')).toMatchObject({ current_version: 2, health: 'ready' });
    expect(bench.run()).toMatchObject({ state: 'cancelled', outcome: 'superseded', new_version: null });
    expect(bench.journal().at(-1)).toBe('stored:after_the_run');
  });

  it('for a grant that was found dead meanwhile makes it ready, and is refreshed soon to find out', async () => {
    const bench = await benchOf();
    await bench.put();
    const { clock, vault } = bench.tenant;
    bench.replies.push(async () => {
      await vault.submit((job) =>
        changing(job, (access) => {
          const row = job.credentials.byId(access, bench.row('crm').id);
          job.credentials.save(access, { ...row, health: 'needs_consent', health_cause: 'invalid_grant' });
        }),
      );
      return tokens();
    });
    await bench.refresh();
    expect(bench.row('crm')).toMatchObject({ health: 'ready', refresh_due_at: clock.now() });
  });

  it('is planned by its own expiry otherwise', async () => {
    const bench = await benchOf();
    await bench.put();
    await bench.refresh();
    const { refresh_due_at: due } = bench.row('crm');
    expect(due).toBeGreaterThan(bench.tenant.clock.now());
    expect(due).toBeLessThan(bench.tenant.clock.now() + 1_800_000);
  });

  it('that came in an unusable answer leaves the plan and the health of a grant that works as they were', async () => {
    const bench = await benchOf();
    await bench.put();
    const before = bench.row('crm');
    bench.replies.push(tokens({ access_token: '', refresh_token: 'kept-not-a-real-secret' }));
    await bench.refresh();
    const after = bench.row('crm');
    expect(after).toMatchObject({
      current_version: 2,
      refresh_due_at: before.refresh_due_at,
      value_expires_at: before.value_expires_at,
    });
    expect(after.health).toBe('ready');
    expect(bench.run()).toMatchObject({ kind: 'refresh', state: 'open', generation: 2, lost_answers: 0 });
    expect(bench.journal()).toContain('kept:refresh_token');
  });

  it('that came in an unusable answer for a grant that was disconnected meanwhile is the one that is revoked', async () => {
    const bench = await benchOf();
    await bench.put();
    bench.replies.push(async () => {
      await bench.disconnect();
      return tokens({ access_token: '', refresh_token: 'kept-not-a-real-secret' });
    });
    await bench.refresh();
    bench.replies.push(OK);
    await revokeDue(bench.ports);
    const revoked = bench.sent.filter(({ url }) => url.endsWith('/revoke')).map(({ fields }) => fields.get('token'));
    expect(revoked).toEqual(['kept-not-a-real-secret']);
    expect(bench.row('crm')).toMatchObject({ health: 'disconnected', refresh_due_at: null });
  });

  it.each([
    ['the same refresh token', { refresh_token: 'refresh-of-crm-not-a-real-secret' }],
    ['none', { refresh_token: undefined }],
  ])('an unusable answer with %s makes no version', async (_, extra) => {
    const bench = await benchOf();
    await bench.put();
    bench.replies.push(tokens({ access_token: '', ...extra }));
    await bench.refresh();
    expect(bench.row('crm')).toMatchObject({ current_version: 1, latest_version: 1 });
    expect(bench.journal()).not.toContain('kept:refresh_token');
  });
});

describe('an answer about a token', () => {
  it('that a new consent replaced meanwhile is not taken for the new one', async () => {
    const bench = await benchOf({
      introspection: {
        url: 'https://api.crm.example/introspect',
        method: 'POST',
        authentication: 'client_secret_post',
        bodyFormat: 'form',
        tokenParameter: 'token',
        fields: { active: 'active', scope: 'scope' },
      },
      scopes: [{ from: 'introspection' }],
    });
    await bench.connect('crm');
    bench.replies.push(async () => {
      await bench.connect('crm');
      return { status: 200, body: { active: true, scope: 'contacts.read' } };
    });
    await readGrantedScope(bench.ports, bench.row('crm').id);
    expect(bench.facts('crm')).toMatchObject({ grantedScope: 'offline contacts.read deals.read', scopeSource: 'answer' });
    expect(bench.facts('crm').lookedAt).toBeUndefined();
    expect(bench.events('scopes_read')).toEqual([]);
  });

  it('of a grant that was disconnected meanwhile is dropped', async () => {
    const bench = await benchOf({ probe: { url: 'https://api.crm.example/me', method: 'GET' } });
    await bench.put('crm', {}, { imported: { from: 'nango', stillUsedThere: false } });
    bench.replies.push(async () => {
      await bench.disconnect();
      return { status: 401, body: {} };
    });
    await readGrantedScope(bench.ports, bench.row('crm').id);
    expect(bench.events('token_refused')).toEqual([]);
    expect(bench.facts('crm').lookedAt).toBeUndefined();
  });

  it('of a grant that was put by hand is asked for once a day', async () => {
    const bench = await benchOf({
      probe: { url: 'https://api.crm.example/me', method: 'GET' },
      scopes: [{ from: 'probe_header', header: 'x-scopes', separator: ' ' }],
    });
    await bench.put('crm', { expires_in: 30 * 86_400, scope: undefined });
    const asked = () => bench.sent.filter(({ url }) => url.endsWith('/me')).length;
    for (let day = 1; day < 3; day++) {
      for (const _ of [1, 2]) {
        bench.replies.push({ status: 200, body: {}, headers: { 'x-scopes': 'contacts.read deals.read' } });
        await readGrantedScope(bench.ports, bench.row('crm').id);
      }
      expect(asked()).toBe(day);
      bench.replies.length = 0;
      bench.tenant.clock.pass(LIMITS.reviewEveryMs);
    }
    expect(bench.facts('crm')).toMatchObject({ grantedScope: 'contacts.read deals.read' });
  });
});
