import { describe, expect, it } from 'vitest';
import { expireConnectionsDue } from '../../../../rotation/grants/consent/choose-account.ts';
import { cancelConnection } from '../../../../rotation/grants/consent/make-link.ts';
import { isSameBrowser, showConnection } from '../../../../rotation/grants/consent/visit.ts';
import type { FaultPoint } from '../../../../src/base/faults.ts';
import { LIMITS } from '../../../../src/base/limits.ts';
import { deleteCredential } from '../../../../src/vault/change-credential.ts';
import { type ConsentBench, CRM, consentBench, type Reply, tokens } from '../../../kit/consent-bench.ts';

const place = { environment: 'staging', name: 'crm' };
const nobody = () => undefined;
const stateOf = ({ url }: { url: string }) => new URL(url).searchParams.get('state') ?? '';
const code = { code: 'code-not-a-real-secret' };

async function begun(changes: Parameters<typeof consentBench>[0] = {}, faults?: Parameters<typeof consentBench>[1]) {
  const bench = await consentBench(changes, faults);
  const made = await bench.make('crm');
  return { bench, made, attempt: await bench.begin(made.linkToken) };
}

/** Nothing moved: the same row, no call to the provider, no grant; and one more event that says why. */
async function changesNothing(bench: ConsentBench, id: string, reason: string, work: () => Promise<unknown>): Promise<void> {
  const before = JSON.stringify(bench.connection(id));
  const denied = () => bench.events().filter((event) => event['outcome'] === 'denied');
  const count = denied().length;
  expect(await work()).toEqual({ kind: 'refused', reason });
  expect(JSON.stringify(bench.connection(id))).toBe(before);
  expect(bench.sent).toHaveLength(0);
  expect(bench.row('crm').health).toBe('needs_consent');
  expect(denied().slice(count)).toMatchObject([
    {
      action: 'connection.complete',
      actor: { type: 'anonymous' },
      reason,
      source: expect.any(String),
      details: { connection: id },
    },
  ]);
}

describe('a callback that nobody asked for', () => {
  it('with a state that was never given, or a changed one, changes nothing', async () => {
    const { bench, made, attempt } = await begun();
    const state = stateOf(attempt);
    const forged = `${state.slice(0, -4)}AAAA`;
    await changesNothing(bench, made.connection.id, 'state_unknown', () =>
      bench.callback({ state: forged, ...code }, attempt.browser),
    );
    for (const unknown of [
      '',
      'x',
      state.slice(4),
      `${state}x`,
      state.replace(/^ten_\w/, (start) => (start === 'ten_z' ? 'ten_y' : 'ten_z')),
      state.replace('.con_', '.con_0').slice(0, -1),
    ])
      expect(await bench.callback({ state: unknown, ...code }, attempt.browser), unknown).toEqual({ kind: 'unknown' });
    expect(await bench.comeBack(attempt)).toEqual({ kind: 'connected' });
  });

  it('from another browser changes nothing, and the right one can still come', async () => {
    const { bench, made, attempt } = await begun();
    for (const browser of [undefined, 'another', `${attempt.browser}x`])
      await changesNothing(bench, made.connection.id, 'other_browser', () =>
        bench.callback({ state: stateOf(attempt), ...code }, browser),
      );
    expect(await bench.comeBack(attempt)).toEqual({ kind: 'connected' });
  });

  it('brought a second time changes nothing', async () => {
    const { bench, attempt } = await begun();
    expect(await bench.comeBack(attempt)).toEqual({ kind: 'connected' });
    const before = bench.row('crm');
    expect(await bench.comeBack(attempt)).toEqual({ kind: 'refused', reason: 'state_unknown' });
    expect(bench.sent).toHaveLength(1);
    expect(bench.row('crm')).toEqual(before);
  });

  it('brought twice at once is exchanged once', async () => {
    const { bench, attempt } = await begun();
    const ends = await Promise.all(Array.from({ length: 5 }, () => bench.comeBack(attempt)));
    expect(ends.filter((end) => end.kind === 'connected')).toHaveLength(1);
    expect(ends.filter((end) => end.kind === 'refused')).toHaveLength(4);
    expect(bench.sent).toHaveLength(1);
  });

  it('after its quarter of an hour changes nothing', async () => {
    const { bench, made, attempt } = await begun();
    bench.tenant.clock.pass(LIMITS.connectAttemptTtlMs);
    await changesNothing(bench, made.connection.id, 'attempt_expired', () => bench.comeBack(attempt));
  });

  it('without a code, or with tokens in its address, changes nothing', async () => {
    const { bench, made, attempt } = await begun();
    for (const fields of [
      {},
      { code: '' },
      { code: 'with space' },
      { code: 'x'.repeat(9_000) },
      { ...code, id_token: 'a.b.c' },
      { response: 'jwt' },
    ])
      await changesNothing(bench, made.connection.id, 'not_an_answer', () =>
        bench.comeBack(attempt, fields as Record<string, string>),
      );
  });

  it('from another issuer, or from none where there must be one, changes nothing', async () => {
    const consent = { ...CRM.consent!, issuer: 'https://login.crm.example' };
    const { bench, made, attempt } = await begun({ consent });
    await changesNothing(bench, made.connection.id, 'issuer_missing', () => bench.comeBack(attempt));
    for (const iss of ['https://evil.example', 'https://login.crm.example/', ''])
      await changesNothing(bench, made.connection.id, 'issuer_wrong', () => bench.comeBack(attempt, { ...code, iss }));
    await changesNothing(bench, made.connection.id, 'issuer_missing', () => bench.comeBack(attempt, { error: 'access_denied' }));
    expect(await bench.comeBack(attempt, { ...code, iss: consent.issuer })).toEqual({ kind: 'connected' });
  });

  it('of another link of the same credential does not fit this one', async () => {
    const { bench, attempt } = await begun();
    const other = await bench.begin((await bench.make('crm', { secrets: {} })).linkToken);
    expect(await bench.callback({ state: stateOf(attempt), ...code }, other.browser)).toMatchObject({ reason: 'other_browser' });
    expect(await bench.comeBack(attempt)).toEqual({ kind: 'connected' });
  });
});

describe('a flood of forged answers', () => {
  it('is counted against its source first, and fills no log once it is too much', async () => {
    const { bench, attempt } = await begun();
    const forged = `${stateOf(attempt).slice(0, -4)}AAAA`;
    await bench.callback({ state: forged, ...code }, attempt.browser);
    expect(bench.counted()).toBe(1);
    bench.flood();
    const size = bench.events().length;
    for (let tries = 0; tries < 5; tries++)
      await expect(bench.callback({ state: forged, ...code }, attempt.browser)).rejects.toMatchObject({ code: 'rate_limited' });
    expect(bench.events()).toHaveLength(size);
    expect(await bench.comeBack(attempt)).toEqual({ kind: 'connected' });
  });
});

describe('an answer of the provider', () => {
  it('that says no leaves the link usable, and the page says so', async () => {
    const { bench, made, attempt } = await begun();
    expect(await bench.comeBack(attempt, { error: 'access_denied', error_description: 'hostile <b>text</b>' })).toEqual({
      kind: 'declined',
    });
    expect(bench.connection(made.connection.id)).toMatchObject({ state: 'declined', cause: 'declined', state_hash: null });
    expect(showConnection(bench.ports, made.linkToken, nobody)).toMatchObject({ kind: 'ask', last: { state: 'declined' } });
    expect(await bench.comeBack(await bench.begin(made.linkToken))).toEqual({ kind: 'connected' });
  });

  it.each([
    ['invalid_scope', 'invalid_scope'],
    ['<script>alert(1)</script>', 'refused_by_provider'],
  ])('that refuses with %j is told as %s', async (error, cause) => {
    const { bench, made, attempt } = await begun();
    expect(await bench.comeBack(attempt, { error })).toEqual({ kind: 'failed' });
    expect(bench.connection(made.connection.id)).toMatchObject({ state: 'failed', cause });
  });

  it.each<[string, Reply, string]>([
    ['a spent code', { status: 400, body: { error: 'invalid_grant' } }, 'invalid_grant'],
    ['a wrong client secret', { status: 401, body: { error: 'invalid_client' } }, 'invalid_client'],
    ['an answer lost on the way', { fails: 'connection_lost' }, 'answer_lost'],
    ['no answer in time', { fails: 'timeout' }, 'answer_lost'],
    ['no way there', { fails: 'dns_failed' }, 'dns_failed'],
    ['a page instead of tokens', { status: 200, body: '<html>hello</html>' }, 'no_token_answer'],
  ])('%s: no grant, the cause recorded, the link usable', async (_, reply, cause) => {
    const { bench, made, attempt } = await begun();
    bench.replies.push(reply);
    expect(await bench.comeBack(attempt)).toEqual({ kind: 'failed' });
    expect(bench.connection(made.connection.id)).toMatchObject({ state: 'failed', cause });
    expect(bench.row('crm')).toMatchObject({ health: 'needs_consent', current_version: 1 });
    expect(await bench.comeBack(await bench.begin(made.linkToken))).toEqual({ kind: 'connected' });
    expect(bench.connection(made.connection.id)).toMatchObject({ state: 'connected', cause: null });
  });

  it('without a refresh token is stored all the same, and the connection says so', async () => {
    const { bench, made, attempt } = await begun();
    bench.replies.push(tokens({ refresh_token: undefined }));
    expect(await bench.comeBack(attempt)).toEqual({ kind: 'connected' });
    expect(bench.connection(made.connection.id)).toMatchObject({ state: 'connected', cause: 'no_refresh_token' });
    expect(bench.row('crm')).toMatchObject({ health: 'ready', refresh_due_at: null });
  });

  it('names what only it knows, and it is checked before it stands in an address', async () => {
    const changes = {
      parameters: [{ name: 'installation', title: 'Installation', shape: 'label' as const, from: 'callback' as const }],
      oauth2: { ...CRM.oauth2!, tokenEndpoint: 'https://api.crm.example/{installation}/token' },
      consent: { ...CRM.consent!, callbackParameters: { installation_id: 'installation' } },
    };
    const good = await begun(changes);
    expect(await good.bench.comeBack(good.attempt, { ...code, installation_id: 'i-77' })).toEqual({ kind: 'connected' });
    expect(good.bench.sent[0]?.url).toBe('https://api.crm.example/i-77/token');
    expect(JSON.parse(good.bench.row('crm').config)).toMatchObject({ parameters: { installation: 'i-77' } });
    for (const fields of [code, { ...code, installation_id: '../../evil' }]) {
      const { bench, made, attempt } = await begun(changes);
      expect(await bench.comeBack(attempt, fields)).toEqual({ kind: 'failed' });
      expect(bench.sent).toHaveLength(0);
      expect(bench.connection(made.connection.id)).toMatchObject({ state: 'failed', cause: 'settings_unusable' });
    }
  });
});

describe('what happens while the provider thinks', () => {
  /** The provider's answer waits until `release`. */
  function held(bench: ConsentBench): () => void {
    let release = () => {};
    const gate = new Promise<void>((done) => {
      release = done;
    });
    bench.replies.push(async () => {
      await gate;
      return tokens();
    });
    return () => release();
  }

  it('keeps the cell open until the grant is stored', async () => {
    const { bench, attempt } = await begun();
    const release = held(bench);
    const coming = bench.comeBack(attempt);
    await expect.poll(() => bench.sent.length).toBe(1);
    expect(bench.tenant.vault.idle).toBe(false);
    release();
    await bench.tenant.vault.finished();
    expect(await coming).toEqual({ kind: 'connected' });
    expect(bench.tenant.vault.idle).toBe(true);
  });

  it('takes nothing in through a link that an admin took back meanwhile', async () => {
    const { bench, made, attempt } = await begun();
    const { vault } = bench.tenant;
    const release = held(bench);
    const coming = bench.comeBack(attempt);
    await expect.poll(() => bench.sent.length).toBe(1);
    await vault.submit((job) => cancelConnection(job, bench.admin(), place, made.connection.id));
    release();
    expect(await coming).toEqual({ kind: 'refused', reason: 'link_ended_meanwhile' });
    expect(bench.row('crm')).toMatchObject({ health: 'needs_consent', current_version: 1 });
    expect(bench.connection(made.connection.id).state).toBe('cancelled');
  });

  it('takes nothing in for a credential that was deleted meanwhile', async () => {
    const { bench, attempt } = await begun();
    const { vault } = bench.tenant;
    const release = held(bench);
    const coming = bench.comeBack(attempt);
    await expect.poll(() => bench.sent.length).toBe(1);
    await vault.submit((job) =>
      deleteCredential(job, bench.admin(), { ...place, precondition: {}, recoveryWindowMs: undefined }),
    );
    release();
    expect(await coming).toEqual({ kind: 'refused', reason: 'link_ended_meanwhile' });
    expect(bench.row('crm')).toMatchObject({ state: 'deleted', current_version: 1 });
  });

  it('stores the grant although the person has begun again, and the link is spent', async () => {
    const { bench, made, attempt } = await begun();
    const release = held(bench);
    const coming = bench.comeBack(attempt);
    await expect.poll(() => bench.sent.length).toBe(1);
    const second = await bench.begin(made.linkToken);
    release();
    expect(await coming).toEqual({ kind: 'connected' });
    expect(await bench.comeBack(second)).toMatchObject({ kind: 'refused' });
    expect(bench.row('crm')).toMatchObject({ health: 'ready', current_version: 2 });
  });
});

describe('a crash', () => {
  const failingAt = (wanted: FaultPoint) => {
    let armed = true;
    return {
      at: (point: FaultPoint) => {
        if (point !== wanted || !armed) return;
        armed = false;
        throw new Error(`a crash at ${point}`);
      },
    };
  };

  it.each(['connect.before-exchange', 'connect.after-exchange'] as const)(
    'at %s leaves a link that can be used again, and expires if it is not',
    async (point) => {
      const { bench, made, attempt } = await begun({}, failingAt(point));
      await expect(bench.comeBack(attempt)).rejects.toThrow(point);
      expect(bench.connection(made.connection.id)).toMatchObject({ state: 'exchanging', state_hash: null });
      expect(await bench.comeBack(attempt)).toEqual({ kind: 'refused', reason: 'state_unknown' });
      expect(showConnection(bench.ports, made.linkToken, nobody)).toMatchObject({ kind: 'ask' });
      const again = await bench.begin(made.linkToken);
      expect(await bench.comeBack(again)).toEqual({ kind: 'connected' });
    },
  );

  it('in the middle of an exchange that nobody comes back to ends as a lost answer', async () => {
    const { bench, made, attempt } = await begun({}, failingAt('connect.after-exchange'));
    await expect(bench.comeBack(attempt)).rejects.toThrow('a crash');
    bench.tenant.clock.pass(LIMITS.connectLinkTtlDefaultMs);
    expect(await expireConnectionsDue(bench.ports)).toBe(1);
    expect(bench.connection(made.connection.id)).toMatchObject({ state: 'expired', cause: 'answer_lost' });
  });

  it('after the grant was stored loses nothing', async () => {
    const { bench, made, attempt } = await begun({}, failingAt('connect.after-store'));
    await expect(bench.comeBack(attempt)).rejects.toThrow('a crash');
    expect(bench.row('crm')).toMatchObject({ health: 'ready', current_version: 2 });
    expect(bench.connection(made.connection.id).state).toBe('connected');
    expect(await bench.served('crm')).toMatchObject({ access_token: expect.any(String) });
  });
});

describe('a browser', () => {
  it('is known by a cookie whose hash alone is kept', async () => {
    const { bench, made, attempt } = await begun();
    const connection = bench.connection(made.connection.id);
    const consent = { connection } as Parameters<typeof isSameBrowser>[0];
    expect(isSameBrowser(consent, attempt.browser)).toBe(true);
    expect(isSameBrowser(consent, undefined)).toBe(false);
    expect(isSameBrowser(consent, '')).toBe(false);
    expect(isSameBrowser({ connection: { ...connection, browser_hash: null } } as typeof consent, attempt.browser)).toBe(false);
  });

  it('that finished sees the result for a while; everybody else sees a link that leads nowhere', async () => {
    const { bench, made, attempt } = await begun();
    await bench.comeBack(attempt);
    expect(showConnection(bench.ports, made.linkToken, () => attempt.browser)).toMatchObject({ kind: 'done' });
    expect(showConnection(bench.ports, made.linkToken, nobody)).toBeUndefined();
    bench.tenant.clock.pass(LIMITS.connectAttemptTtlMs);
    expect(showConnection(bench.ports, made.linkToken, () => attempt.browser)).toBeUndefined();
  });
});
