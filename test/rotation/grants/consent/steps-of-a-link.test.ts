// What each step of a link leaves behind for the next one, for the timer and for the policies: client secrets, settings, due times, states.
// Every value is made up; not-a-real-secret.
import { describe, expect, it, vi } from 'vitest';
import type { ChoiceSpec, EgressRequest, OAuthConnector } from '../../../../rotation/connector.ts';
import { chooseAccount, expireConnectionsDue, offerChoices } from '../../../../rotation/grants/consent/choose-account.ts';
import { cancelConnection, listConnections } from '../../../../rotation/grants/consent/make-link.ts';
import { beginConsent, showConnection } from '../../../../rotation/grants/consent/visit.ts';
import { disconnectCredential } from '../../../../rotation/grants/disconnect.ts';
import { LIMITS } from '../../../../src/base/limits.ts';
import { deleteCredential } from '../../../../src/vault/change-credential.ts';
import { oauth2Config } from '../../../../src/vault/credential-kinds.ts';
import { CALLBACK, CONFIG, type ConsentBench, CRM, consentBench, type Reply, tokens } from '../../../kit/consent-bench.ts';
import { leftBy } from '../../../kit/told.ts';
import { authorizer, changing, putKey } from '../../../kit/vaults.ts';

const place = { environment: 'staging', name: 'crm' };
const nobody = () => undefined;
const choice: ChoiceSpec = {
  url: 'https://api.crm.example/sites',
  title: 'Which site?',
  items: 'sites',
  idField: 'id',
  labelField: 'name',
  accountField: 'site_id',
};
const sites = (...ids: string[]): Reply => ({ status: 200, body: { sites: ids.map((id) => ({ id, name: id })) } });
const secretOfLastExchange = (bench: ConsentBench) => bench.sent.findLast(({ url }) => url.endsWith('/token'))?.fields;
const cancel = (bench: ConsentBench, id: string) =>
  bench.tenant.vault.submit((job) => cancelConnection(job, bench.admin(), place, id));
const disconnect = (bench: ConsentBench) =>
  bench.tenant.vault.submit((job) =>
    disconnectCredential({ ...bench.ports, job }, bench.admin(), { ...place, revoke: false, precondition: {} }),
  );
const requestOf = (bench: ConsentBench, id: string) => JSON.parse(bench.connection(id).request) as Record<string, unknown>;

describe('the client secret of a link', () => {
  it('that brings none is the one of the grant, although another link waits with a new one', async () => {
    const bench = await consentBench();
    await bench.connect('crm');
    const [withSecret] = [await bench.make('crm', { secrets: { client_secret: 'new-not-a-real-secret' } })];
    const plain = await bench.make('crm', { secrets: {}, config: undefined });
    expect(requestOf(bench, withSecret.connection.id)).toMatchObject({
      secretVersion: 3,
      config: { client_id: CONFIG.client_id },
    });
    expect(requestOf(bench, plain.connection.id)).toEqual({
      redirectUri: CALLBACK,
      scopes: ['offline', 'contacts.read', 'deals.read'],
    });
    await bench.comeBack(await bench.begin(plain.linkToken));
    expect(secretOfLastExchange(bench)?.get('client_secret')).toBe('client-not-a-real-secret');
    expect(bench.row('crm')).toMatchObject({ current_version: 4, pending_version: 3 });
    await bench.comeBack(await bench.begin(withSecret.linkToken));
    expect(secretOfLastExchange(bench)?.get('client_secret')).toBe('new-not-a-real-secret');
    expect(bench.row('crm')).toMatchObject({ current_version: 5, pending_version: null });
  });

  it('of a new credential stands in its first version, and in no request', async () => {
    const bench = await consentBench();
    const made = await bench.make('crm');
    expect(Object.keys(requestOf(bench, made.connection.id)).sort()).toEqual(['redirectUri', 'scopes']);
    expect(bench.row('crm')).toMatchObject({ current_version: 1, pending_version: null, latest_version: 1 });
  });

  it('is discarded with its link, but not with one that came before it or relies on none', async () => {
    const bench = await consentBench();
    await bench.connect('crm');
    const plain = await bench.make('crm', { secrets: {}, config: undefined });
    const withSecret = await bench.make('crm', { secrets: { client_secret: 'new-not-a-real-secret' } });
    await cancel(bench, plain.connection.id);
    expect(bench.row('crm').pending_version).toBe(3);
    const { revision } = bench.row('crm');
    await cancel(bench, withSecret.connection.id);
    expect(bench.row('crm')).toMatchObject({ pending_version: null, revision: revision + 1, current_version: 2 });
    await cancel(bench, withSecret.connection.id);
    expect(bench.row('crm').revision).toBe(revision + 1);
  });

  it('proves the client as a key, too', async () => {
    const bench = await consentBench({ oauth2: { ...CRM.oauth2, clientAuthentication: 'private_key_jwt' } });
    const { privateKey } = await import('node:crypto').then(({ generateKeyPairSync }) => generateKeyPairSync('ed25519'));
    const jwk = { ...privateKey.export({ format: 'jwk' }), alg: 'EdDSA', kid: 'made-up' };
    const made = await bench.make('crm', { secrets: { client_private_jwk: jwk as never } });
    expect(await bench.comeBack(await bench.begin(made.linkToken))).toEqual({ kind: 'connected' });
    expect(secretOfLastExchange(bench)?.get('client_assertion')).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+$/);
    expect(secretOfLastExchange(bench)?.has('client_secret')).toBe(false);
  });
});

describe('the labels and the description of a link', () => {
  it('change those of the credential that is there, and are left alone where none are given', async () => {
    const bench = await consentBench();
    await bench.connect('crm');
    const before = bench.row('crm');
    await bench.make('crm', { secrets: {}, config: undefined });
    expect(bench.row('crm')).toEqual(before);
    await bench.make('crm', { secrets: {}, config: undefined, labels: { team: 'sales' } });
    expect(bench.row('crm')).toMatchObject({
      labels: '{"team":"sales"}',
      description: before.description,
      revision: before.revision + 1,
    });
    await bench.make('crm', { secrets: {}, config: undefined, description: 'Sales' });
    expect(bench.row('crm')).toMatchObject({ labels: '{"team":"sales"}', description: 'Sales', revision: before.revision + 2 });
  });
});

describe('the policies see of a link', () => {
  const asked = async (work: () => Promise<unknown>) => {
    const decide = vi.spyOn(authorizer, 'decide');
    await work();
    const resources = decide.mock.calls
      .filter(([, operation]) => operation === 'connection.create')
      .map(([, , resource]) => resource);
    decide.mockRestore();
    return resources[0];
  };

  it('kind and connector: of what is asked for, and of what is there', async () => {
    const bench = await consentBench();
    const { id: tenant } = bench.tenant.vault.tenant;
    const resource = { type: 'Credential', tenant, environment: 'staging', kind: 'oauth2', connector: CRM.id };
    expect(await asked(() => bench.make('crm'))).toEqual(resource);
    expect(await asked(() => bench.make('crm', { connector: undefined, secrets: {} }))).toEqual(resource);
    const { connector: _none, ...without } = resource;
    await putKey(bench.tenant, 'stripe', 'k-not-a-real-secret');
    expect(await asked(() => bench.make('stripe').catch(() => {}))).toEqual({ ...without, kind: 'api_key' });
    expect(await asked(() => bench.make('another', { connector: undefined }).catch(() => {}))).toEqual(without);
  });
});

describe('a connector without links', () => {
  it('is named as what is wrong', async () => {
    const bench = await consentBench();
    const { consent: _none, ...plain } = CRM;
    (bench.ports.connectors as Map<string, OAuthConnector>).set(CRM.id, plain);
    await expect(bench.make('crm')).rejects.toMatchObject({ code: 'invalid_request', pointer: '/connector' });
  });
});

describe('whoever keeps the timer is told', () => {
  const told = async (bench: ConsentBench, work: () => Promise<unknown>) => {
    const before = bench.tenant.dueChanges();
    await work();
    return bench.tenant.dueChanges() > before;
  };

  it('of each step that changes when a link ends', async () => {
    const bench = await consentBench();
    await bench.connect('crm');
    let link = '';
    let id = '';
    const made = async () => {
      const { linkToken, connection } = await bench.make('crm', { secrets: {}, config: undefined });
      link = linkToken;
      id = connection.id;
    };
    expect(await told(bench, made), 'made').toBe(true);
    let begun: Awaited<ReturnType<typeof bench.begin>> | undefined;
    const begin = async () => {
      begun = await bench.begin(link);
    };
    expect(await told(bench, begin), 'begun').toBe(true);
    expect(await told(bench, () => bench.comeBack(begun!, { error: 'access_denied' })), 'declined').toBe(true);
    expect(bench.connection(id)).toMatchObject({ state: 'declined', finished_at: bench.tenant.clock.now(), state_hash: null });
    expect(await told(bench, begin), 'begun again').toBe(true);
    expect(bench.connection(id)).toMatchObject({ state: 'open', cause: null, finished_at: null, attempt: 2 });
    expect(await told(bench, () => cancel(bench, id)), 'cancelled').toBe(true);
    expect(await told(bench, () => cancel(bench, id)), 'cancelled before').toBe(false);
    expect(await told(bench, async () => void showConnection(bench.ports, link, nobody)), 'looked at').toBe(false);
  });

  it('when nobody chose the account of a grant that was disconnected meanwhile, which stays so', async () => {
    const bench = await consentBench({ consent: { ...CRM.consent!, choice } });
    const made = await bench.make('crm');
    const begun = await bench.begin(made.linkToken);
    bench.replies.push(tokens(), sites('n', 's'));
    expect(await bench.comeBack(begun)).toEqual({ kind: 'choosing' });
    await disconnect(bench);
    const before = bench.row('crm');
    bench.tenant.clock.pass(LIMITS.connectAttemptTtlMs);
    expect(await told(bench, () => expireConnectionsDue(bench.ports))).toBe(true);
    expect(bench.row('crm')).toEqual(before);
    expect(bench.connection(made.connection.id)).toMatchObject({ state: 'connected', cause: 'account_not_chosen' });
  });
});

describe('a state', () => {
  const state = (tenant: string, connection: string) => `${tenant}.${connection}.${'A'.repeat(43)}`;

  it('of a connection that is not there, of another tenant, or of no form at all is unknown, and leaves no event', async () => {
    const bench = await consentBench();
    const made = await bench.make('crm');
    const { id } = bench.tenant.vault.tenant;
    const own = made.connection.id;
    for (const text of [
      state(id, `con_${'0'.repeat(24)}`),
      state(`ten_${'0'.repeat(24)}`, own),
      `${state(id, own)}x`,
      `x${state(id, own)}`,
      state(id, own).slice(0, -1),
      '',
    ]) {
      const { value, events } = await leftBy(bench.tenant.sql, () => bench.callback({ state: text, code: 'x' }, 'browser'));
      expect([text, value, events]).toEqual([text, { kind: 'unknown' }, []]);
    }
    expect(await bench.callback({ code: 'x' }, 'browser')).toEqual({ kind: 'unknown' });
    expect(await bench.callback({ state: state(id, own), code: 'x' }, 'browser')).toEqual({
      kind: 'refused',
      reason: 'state_unknown',
    });
  });

  it.each([
    [LIMITS.connectAttemptTtlMs - 1, { kind: 'connected' }],
    [LIMITS.connectAttemptTtlMs, { kind: 'refused', reason: 'attempt_expired' }],
  ])('is good for its attempt: after %i ms %j', async (afterMs, end) => {
    const bench = await consentBench();
    const begun = await bench.begin((await bench.make('crm')).linkToken);
    bench.tenant.clock.pass(afterMs);
    expect(await bench.comeBack(begun)).toEqual(end);
  });

  it('of a link that has expired is spent, of one that was cancelled has ended', async () => {
    const bench = await consentBench();
    const short = await bench.make('crm', { ttlMs: LIMITS.connectAttemptTtlMs / 2 });
    const begun = await bench.begin(short.linkToken);
    bench.tenant.clock.pass(LIMITS.connectAttemptTtlMs / 2);
    expect(await bench.comeBack(begun)).toEqual({ kind: 'refused', reason: 'link_spent' });
    const other = await bench.make('crm', { secrets: {} });
    const second = await bench.begin(other.linkToken);
    await cancel(bench, other.connection.id);
    expect(await bench.comeBack(second)).toEqual({ kind: 'refused', reason: 'link_ended_meanwhile' });
  });
});

describe('the page after a choice', () => {
  const arrived = async () => {
    const bench = await consentBench({ consent: { ...CRM.consent!, choice } });
    const made = await bench.make('crm', { ttlMs: LIMITS.connectLinkTtlDefaultMs });
    const begun = await bench.begin(made.linkToken);
    bench.replies.push(tokens({ expires_in: 7_200 }), sites('n', 's'));
    await bench.comeBack(begun);
    return { bench, made, begun, browserOf: () => begun.browser };
  };

  it('is due within its attempt, and its end keeps the expiry of the token', async () => {
    const { bench, made, browserOf } = await arrived();
    const attemptEndsAt = bench.tenant.clock.now() + LIMITS.connectAttemptTtlMs;
    expect(bench.connection(made.connection.id)).toMatchObject({
      state: 'choosing',
      expires_at: attemptEndsAt,
      finished_at: null,
    });
    bench.tenant.clock.pass(1_000);
    expect(await chooseAccount(bench.ports, bench.visitor(), made.linkToken, browserOf, 's')).toEqual({ kind: 'connected' });
    const versions = bench.tenant.sql.all('SELECT version, value_expires_at, origin FROM credential_version ORDER BY version');
    expect(versions.slice(1)).toEqual([
      { version: 2, value_expires_at: bench.tenant.clock.now() - 1_000 + 7_200_000, origin: 'consent' },
      { version: 3, value_expires_at: bench.tenant.clock.now() - 1_000 + 7_200_000, origin: 'consent' },
    ]);
    expect(bench.row('crm')).toMatchObject({ current_version: 3, previous_version: 2, latest_version: 3 });
    expect(bench.connection(made.connection.id)).toMatchObject({ state: 'connected', finished_at: bench.tenant.clock.now() });
  });

  it('is a result for the browser that chose, until the attempt ends', async () => {
    const { bench, made, browserOf } = await arrived();
    await chooseAccount(bench.ports, bench.visitor(), made.linkToken, browserOf, 'n');
    const done = { kind: 'done', provider: 'Made-up CRM', tenant: 'acme' };
    bench.tenant.clock.pass(LIMITS.connectAttemptTtlMs - 1);
    expect(showConnection(bench.ports, made.linkToken, browserOf)).toEqual(done);
    expect(showConnection(bench.ports, made.linkToken, nobody)).toBeUndefined();
    bench.tenant.clock.pass(1);
    expect(showConnection(bench.ports, made.linkToken, browserOf)).toBeUndefined();
  });

  it('heals a grant that was degraded because nobody chose, and only that', async () => {
    for (const [cause, health] of [
      ['account_not_chosen', 'ready'],
      ['http_5xx', 'degraded'],
    ] as const) {
      const { bench, made, browserOf } = await arrived();
      await bench.tenant.vault.submit((job) =>
        changing(job, (access) => {
          const row = job.credentials.byId(access, bench.row('crm').id);
          job.credentials.save(access, { ...row, health: 'degraded', health_cause: cause });
        }),
      );
      await chooseAccount(bench.ports, bench.visitor(), made.linkToken, browserOf, 'n');
      expect(bench.row('crm').health, cause).toBe(health);
    }
  });
});

describe('a link whose settings make no address', () => {
  it('is refused with an event, counted against the visitor, and broken on its page', async () => {
    const bench = await consentBench({ adjustable: ['tokenEndpoint'] });
    const made = await bench.make('crm');
    (bench.ports.connectors as Map<string, OAuthConnector>).set(CRM.id, {
      ...CRM,
      consent: { ...CRM.consent!, authorizeEndpoint: '' },
    });
    expect(showConnection(bench.ports, made.linkToken, nobody)).toEqual({ kind: 'broken' });
    const { events } = await leftBy(bench.tenant.sql, async () => {
      expect(await beginConsent(bench.ports, bench.visitor(), made.linkToken, {})).toEqual({ kind: 'broken' });
    });
    expect(events).toMatchObject([{ action: 'connection.complete', outcome: 'denied', reason: 'settings_unusable' }]);
    expect(bench.counted()).toBe(1);
    expect(bench.connection(made.connection.id).attempt).toBe(0);
  });

  it('a defect while the page is made is not taken for settings', async () => {
    const bench = await consentBench();
    const made = await bench.make('crm');
    const broken = { ...CRM, consent: { ...CRM.consent! } };
    Object.defineProperty(broken.consent, 'authorizeEndpoint', {
      get: () => {
        throw new RangeError('made up');
      },
    });
    (bench.ports.connectors as Map<string, OAuthConnector>).set(CRM.id, broken);
    expect(() => showConnection(bench.ports, made.linkToken, nobody)).toThrow('made up');
    await expect(beginConsent(bench.ports, bench.visitor(), made.linkToken, {})).rejects.toThrow('made up');
  });

  it('whose workflows are gone asks for nothing any more', async () => {
    const bench = await consentBench();
    const made = await bench.make('crm');
    await bench.tenant.vault.submit((job) =>
      changing(job, (access) => {
        const row = job.credentials.byId(access, bench.row('crm').id);
        const config = JSON.stringify(oauth2Config.parse({ ...CONFIG, workflows: [] }));
        job.credentials.save(access, { ...row, config });
      }),
    );
    expect(showConnection(bench.ports, made.linkToken, nobody)).toBeUndefined();
  });
});

describe('a list of places', () => {
  const arrived = async (list: Reply) => {
    const bench = await consentBench({ consent: { ...CRM.consent!, choice } });
    const made = await bench.make('crm');
    const begun = await bench.begin(made.linkToken);
    bench.replies.push(tokens(), list);
    await bench.comeBack(begun);
    return {
      bench,
      made,
      browserOf: () => begun.browser,
      asked: () => bench.sent.filter(({ url }) => url === choice.url).length,
    };
  };
  const caller = (bench: ConsentBench) => bench.visitor().caller;

  it('is asked for only while somebody is to choose', async () => {
    const { bench, made, asked } = await arrived(sites('only'));
    expect(asked()).toBe(1);
    expect(await offerChoices(bench.ports, caller(bench), made.connection.id)).toBe('connected');
    expect(await offerChoices(bench.ports, caller(bench), `con_${'0'.repeat(24)}`)).toBe('connected');
    expect(asked()).toBe(1);
  });

  it('is not asked for at a connector that has none any more, or is gone; the choice stays open', async () => {
    const { bench, made, browserOf, asked } = await arrived(sites('n', 's'));
    const connectors = bench.ports.connectors as Map<string, OAuthConnector>;
    connectors.set(CRM.id, CRM);
    expect(await chooseAccount(bench.ports, bench.visitor(), made.linkToken, browserOf, undefined)).toEqual({ kind: 'choosing' });
    expect(await chooseAccount(bench.ports, bench.visitor(), made.linkToken, browserOf, 'n')).toEqual({ kind: 'choosing' });
    connectors.clear();
    expect(await chooseAccount(bench.ports, bench.visitor(), made.linkToken, browserOf, undefined)).toEqual({ kind: 'choosing' });
    expect(asked()).toBe(1);
    expect(bench.connection(made.connection.id).state).toBe('choosing');
  });

  it('that arrives when the choice was made elsewhere changes nothing', async () => {
    const { bench, made, browserOf } = await arrived({ status: 500, body: '' });
    bench.replies.push(sites('n', 's'));
    await chooseAccount(bench.ports, bench.visitor(), made.linkToken, browserOf, undefined);
    bench.replies.push(async () => {
      await chooseAccount(bench.ports, bench.visitor(), made.linkToken, browserOf, 's');
      return sites('other');
    });
    expect(await chooseAccount(bench.ports, bench.visitor(), made.linkToken, browserOf, undefined)).toEqual({
      kind: 'connected',
    });
    expect(bench.facts('crm').account).toMatchObject({ site_id: 's' });
  });

  it('that arrives when the credential was deleted changes nothing', async () => {
    const { bench, made, browserOf } = await arrived({ status: 500, body: '' });
    bench.replies.push(async () => {
      await bench.tenant.vault.submit((job) =>
        deleteCredential(job, bench.admin(), { ...place, precondition: {}, recoveryWindowMs: undefined }),
      );
      return sites('only');
    });
    expect(await chooseAccount(bench.ports, bench.visitor(), made.linkToken, browserOf, undefined)).toEqual({
      kind: 'connected',
    });
    expect(bench.facts('crm').account).toEqual({ hub_id: '4711' });
    expect(bench.events('chosen')).toEqual([]);
  });

  it('is counted in its event', async () => {
    const { bench } = await arrived(sites('a', 'b', 'c'));
    expect(bench.events('choices')).toMatchObject([{ details: { count: 3 } }]);
    expect(bench.events('choices_asked')).toHaveLength(1);
  });
});

describe('a link that is connected or waits for a choice', () => {
  it('cannot be cancelled, and says what to do instead', async () => {
    const bench = await consentBench({ consent: { ...CRM.consent!, choice } });
    const made = await bench.make('crm');
    const begun = await bench.begin(made.linkToken);
    bench.replies.push(tokens(), sites('n', 's'));
    await bench.comeBack(begun);
    for (const state of ['choosing', 'connected']) {
      expect(bench.connection(made.connection.id).state).toBe(state);
      await expect(cancel(bench, made.connection.id)).rejects.toMatchObject({ code: 'conflict' });
      await chooseAccount(bench.ports, bench.visitor(), made.linkToken, () => begun.browser, 'n');
    }
  });

  it('of another credential is not found', async () => {
    const bench = await consentBench();
    await bench.make('crm');
    const other = await bench.make('other');
    await expect(cancel(bench, other.connection.id)).rejects.toMatchObject({ code: 'not_found' });
    await expect(cancel(bench, `con_${'0'.repeat(24)}`)).rejects.toMatchObject({ code: 'not_found' });
    expect(bench.connection(other.connection.id).state).toBe('open');
  });
});

describe('the list of links', () => {
  it('ends with its last page: the next one is named only where there is one', async () => {
    const bench = await consentBench();
    for (let i = 0; i < 3; i++) await bench.make('crm', i === 0 ? {} : { secrets: {} });
    const page = (maxRows: number) =>
      bench.tenant.vault.submit((job) => listConnections(job, bench.admin(), place, undefined, maxRows));
    const [two, three, four] = [await page(2), await page(3), await page(4)];
    expect([two.rows.length, three.rows.length, four.rows.length]).toEqual([2, 3, 3]);
    expect([two.next, three.next, four.next]).toEqual([expect.stringMatching(/^\d+ con_/), undefined, undefined]);
  });
});

describe('the page of a link that was tried', () => {
  it.each<[Reply | undefined, object]>([
    [undefined, { state: 'declined', cause: 'declined' }],
    [
      { status: 400, body: { error: 'invalid_grant' } },
      { state: 'failed', cause: 'invalid_grant' },
    ],
  ])('says what became of it (%j)', async (reply, last) => {
    const bench = await consentBench();
    const made = await bench.make('crm');
    const shown = () => showConnection(bench.ports, made.linkToken, nobody);
    expect(shown()).toMatchObject({ kind: 'ask', last: undefined });
    const begun = await bench.begin(made.linkToken);
    expect(shown()).toMatchObject({ kind: 'ask', last: undefined });
    if (reply === undefined) await bench.comeBack(begun, { error: 'access_denied' });
    else {
      bench.replies.push(reply);
      await bench.comeBack(begun);
    }
    expect(shown()).toMatchObject({ kind: 'ask', last });
    await bench.begin(made.linkToken);
    expect(shown()).toMatchObject({ kind: 'ask', last: undefined });
  });
});

describe('a browser', () => {
  it('gets cookie and state of 32 random bytes each, and has a quarter of an hour', async () => {
    const bench = await consentBench();
    const made = await bench.make('crm');
    const begun = await bench.begin(made.linkToken);
    expect(begun.browser).toMatch(/^[\w-]{43}$/);
    expect(new URL(begun.url).searchParams.get('state')?.split('.')[2]).toMatch(/^[\w-]{43}$/);
    const row = bench.connection(made.connection.id);
    expect(row).toMatchObject({ attempt: 1, attempt_expires_at: bench.tenant.clock.now() + LIMITS.connectAttemptTtlMs });
    await bench.begin(made.linkToken);
    expect(bench.connection(made.connection.id).attempt).toBe(2);
  });

  it('that has no cookie, or one of another attempt, is another browser', async () => {
    const bench = await consentBench();
    const made = await bench.make('crm');
    const first = await bench.begin(made.linkToken);
    const second = await bench.begin(made.linkToken);
    for (const browser of [undefined, '', first.browser]) {
      const state = new URL(second.url).searchParams.get('state') ?? '';
      expect(await bench.callback({ state, code: 'x' }, browser)).toEqual({ kind: 'refused', reason: 'other_browser' });
    }
    expect(bench.sent).toEqual([]);
  });
});

describe('an answer of the provider that comes late', () => {
  it.each<[string, object]>([
    ['connected', { state: 'connected' }],
    ['cancelled', { state: 'cancelled' }],
    ['expired', { state: 'expired' }],
  ])('and says no, is only logged for a link that is %s by now', async (state, changed) => {
    const bench = await consentBench();
    const made = await bench.make('crm');
    const begun = await bench.begin(made.linkToken);
    bench.replies.push(async () => {
      await bench.tenant.vault.submit((job) =>
        changing(job, (access) => {
          const { link_hash: _hash, ...row } = bench.connection(made.connection.id);
          job.connections.save(access, { ...job.connections.find(access, row.id)!, ...changed } as never);
        }),
      );
      return { status: 400, body: { error: 'invalid_grant' } };
    });
    expect(await bench.comeBack(begun)).toEqual({ kind: 'failed' });
    expect(bench.connection(made.connection.id)).toMatchObject({ state, cause: null });
    expect(bench.events('failed')).toMatchObject([{ outcome: 'failure', details: { cause: 'invalid_grant' } }]);
  });

  it('and says no, is only logged when another attempt has begun', async () => {
    const bench = await consentBench();
    const made = await bench.make('crm');
    const begun = await bench.begin(made.linkToken);
    bench.replies.push(async () => {
      await bench.begin(made.linkToken);
      return { status: 400, body: { error: 'invalid_grant' } };
    });
    expect(await bench.comeBack(begun)).toEqual({ kind: 'failed' });
    expect(bench.connection(made.connection.id)).toMatchObject({ state: 'open', attempt: 2, cause: null });
  });

  it('and is lost, says so, and the link can be begun again', async () => {
    const bench = await consentBench();
    const made = await bench.make('crm');
    bench.replies.push({ fails: 'timeout' });
    expect(await bench.comeBack(await bench.begin(made.linkToken))).toEqual({ kind: 'failed' });
    expect(bench.connection(made.connection.id)).toMatchObject({ state: 'failed', cause: 'answer_lost' });
    expect(await bench.comeBack(await bench.begin(made.linkToken))).toEqual({ kind: 'connected' });
  });
});

describe('a link whose credential is put meanwhile', () => {
  it('of the present settings goes on with the secrets of the put', async () => {
    const bench = await consentBench();
    await bench.connect('crm');
    const made = await bench.make('crm', { secrets: {}, config: undefined });
    await bench.make('crm', { secrets: { client_secret: 'later-not-a-real-secret' }, config: undefined });
    expect(await bench.comeBack(await bench.begin(made.linkToken))).toEqual({ kind: 'connected' });
    expect(secretOfLastExchange(bench)?.get('client_secret')).toBe('client-not-a-real-secret');
  });
});

describe('parameters of the person', () => {
  const parameters = [
    { name: 'shop', title: 'Shop', shape: 'label' as const, from: 'consent' as const },
    { name: 'region', title: 'Region', shape: 'label' as const, from: 'consent' as const, default: 'eu' },
  ];
  const shops = (): Partial<OAuthConnector> => ({
    parameters,
    oauth2: { ...CRM.oauth2, tokenEndpoint: 'https://{shop}.crm.example/token', hosts: ['{shop}.crm.example'] },
    consent: { authorizeEndpoint: 'https://{shop}.crm.example/authorize', pkce: 'S256' },
  });

  it('are kept with the attempt, take the place of earlier ones, and become settings with the grant', async () => {
    const bench = await consentBench(shops());
    const made = await bench.make('crm');
    expect(requestOf(bench, made.connection.id)).not.toHaveProperty('parameters');
    await bench.begin(made.linkToken, { shop: 'north', other: 'x' });
    expect(requestOf(bench, made.connection.id)['parameters']).toEqual({ shop: 'north', region: 'eu' });
    const second = await bench.begin(made.linkToken, { shop: ' south ', region: 'us' });
    expect(requestOf(bench, made.connection.id)['parameters']).toEqual({ shop: 'south', region: 'us' });
    expect(JSON.parse(bench.row('crm').config)).not.toHaveProperty('parameters');
    expect(await bench.comeBack(second)).toEqual({ kind: 'connected' });
    expect(JSON.parse(bench.row('crm').config)['parameters']).toEqual({ shop: 'south', region: 'us' });
    const shown = showConnection(bench.ports, (await bench.make('crm', { secrets: {}, config: undefined })).linkToken, nobody);
    expect(shown).toMatchObject({ parameters: [{ name: 'shop', value: 'south' }, { name: 'region', value: 'us' }], host: 'south.crm.example' }); // biome-ignore format: one line
  });

  it('that are wrong are named with what is wrong, all at once', async () => {
    const bench = await consentBench(shops());
    const made = await bench.make('crm');
    const begun = await beginConsent(bench.ports, bench.visitor(), made.linkToken, { shop: '', region: 'no spaces' });
    expect(begun).toEqual({ kind: 'again', problems: { shop: expect.any(String), region: expect.any(String) } });
    expect(bench.connection(made.connection.id).attempt).toBe(0);
  });
});

describe('the answer to an exchange', () => {
  it.each<[string, object, string | null]>([
    ['without a refresh token is connected, and says so', { refresh_token: undefined }, 'no_refresh_token'],
    ['with one says nothing', {}, null],
  ])('%s', async (_, extra, cause) => {
    const bench = await consentBench();
    const made = await bench.make('crm');
    bench.replies.push(tokens(extra as Record<string, unknown>));
    await bench.comeBack(await bench.begin(made.linkToken));
    expect(bench.connection(made.connection.id)).toMatchObject({
      state: 'connected',
      cause,
      state_hash: null,
      finished_at: bench.tenant.clock.now(),
    });
    expect(bench.events('stored')).toMatchObject([{ details: { version: 2, connection: made.connection.id } }]);
  });

  it('without an expiry plans no refresh, which would only use up the new token', async () => {
    const bench = await consentBench({ oauth2: { ...CRM.oauth2, accessTokenTtlSeconds: undefined } as never });
    await bench.make('crm').then(async ({ linkToken }) => {
      bench.replies.push(tokens({ expires_in: undefined }));
      await bench.comeBack(await bench.begin(linkToken));
    });
    const { refresh_due_at: due, value_expires_at: ends } = bench.row('crm');
    expect(due === null).toBe(ends === null);
  });

  it('without a scope grants what was asked for, and without anything asked for nothing', async () => {
    const bench = await consentBench();
    bench.replies.push(tokens({ scope: undefined }));
    await bench.connect('crm');
    expect(await bench.served('crm')).toMatchObject({ scope: 'offline contacts.read deals.read', token_type: 'bearer' });
    const none = await consentBench({ consent: { ...CRM.consent!, scopeParameter: 'none', alwaysScopes: [] } });
    none.replies.push(tokens({ scope: undefined, hub_id: undefined }));
    const made = await none.make('crm', { config: oauth2Config.parse({ client_id: 'c' }) });
    await none.comeBack(await none.begin(made.linkToken));
    const served = await none.served('crm');
    expect(served).not.toHaveProperty('scope');
    expect(served).not.toHaveProperty('account');
    expect(none.facts('crm').account).toBeUndefined();
  });

  it('ends the open refresh of the grant before, and its plans', async () => {
    const bench = await consentBench();
    await bench.connect('crm');
    await bench.tenant.vault.submit((job) =>
      changing(job, (access) => {
        const row = job.credentials.byId(access, bench.row('crm').id);
        job.credentials.save(access, { ...row, grant_ends_at: 5, review_due_at: 5_000_000_000_000 });
      }),
    );
    const made = await bench.make('crm', { secrets: {}, config: undefined });
    bench.tenant.clock.pass(1_000);
    await bench.comeBack(await bench.begin(made.linkToken));
    expect(bench.row('crm')).toMatchObject({
      grant_ends_at: null,
      review_due_at: bench.tenant.clock.now(),
      previous_version: 2,
      current_version: 3,
      latest_version: 3,
    });
    expect(bench.facts('crm')).toMatchObject({ refreshedAt: bench.tenant.clock.now(), consentedAt: bench.tenant.clock.now() });
  });
});

describe('the request for a list of places', () => {
  const asking = async (spec: Partial<ChoiceSpec>, list: Reply, hosts = CRM.oauth2.hosts) => {
    const bench = await consentBench({
      oauth2: { ...CRM.oauth2, hosts },
      consent: { ...CRM.consent!, choice: { ...choice, ...spec } },
    });
    const made = await bench.make('crm');
    const begun = await bench.begin(made.linkToken);
    let request: EgressRequest | undefined;
    bench.replies.push(tokens(), async (sent) => {
      request = sent;
      return list;
    });
    const end = await bench.comeBack(begun);
    const offered = (JSON.parse(bench.connection(made.connection.id).request) as { choices?: unknown[] }).choices;
    return { bench, made, begun, request, end, offered };
  };

  it('may go to the hosts of the connector alone', async () => {
    const both = ['api.crm.example', 'sites.crm.example'];
    const url = 'https://sites.crm.example/list';
    expect((await asking({ url }, sites('a', 'b'), both)).request).toMatchObject({ url, method: 'GET', allowedHosts: both });
    expect((await asking({}, sites('a', 'b'))).request?.allowedHosts).toEqual(['api.crm.example']);
  });

  it.each<[number, string]>([
    [200, 'connected'],
    [201, 'choosing'],
    [401, 'choosing'],
  ])('that is answered %i is believed: %s', async (status, kind) => {
    expect((await asking({}, { status, body: { sites: [{ id: 'only', name: 'Only' }] } })).end).toEqual({ kind });
  });

  it('offers labels and ids up to their length, and no number that is none', async () => {
    const [label, id] = ['l'.repeat(200), 'i'.repeat(LIMITS.accountValueMaxChars)];
    const list = `{"sites": [
      {"id": "a", "name": "${label}"}, {"id": "b", "name": "${label}l"}, {"id": "${id}", "name": "c"}, {"id": "${id}i", "name": "d"},
      {"id": 1e999, "name": "e"}, {"id": "", "name": "f"}, {"id": 0, "name": "g"}, {"id": true, "name": "h"}, {"id": "i", "name": 7}
    ]}`;
    expect((await asking({}, { status: 200, body: list })).offered).toEqual([
      { id: 'a', label },
      { id: 'b', label: 'b' },
      { id, label: 'c' },
      { id: '0', label: 'g' },
      { id: 'i', label: '7' },
    ]);
  });

  it('is not repeated for a choice that was not offered', async () => {
    const { bench, made, begun } = await asking({}, sites('a', 'b'));
    const sent = bench.sent.length;
    const chosen = await chooseAccount(bench.ports, bench.visitor(), made.linkToken, () => begun.browser, 'x');
    expect([chosen, bench.sent.length]).toEqual([{ kind: 'choosing' }, sent]);
  });
});

describe('links that expire', () => {
  it('are ended although one of them is damaged, which is said', async () => {
    const bench = await consentBench();
    const made = [await bench.make('crm'), await bench.make('other')];
    bench.tenant.sql.run('UPDATE connection SET attempt = 7 WHERE id = ?', made[0]?.connection.id ?? '');
    bench.tenant.clock.pass(LIMITS.connectLinkTtlDefaultMs);
    await expect(expireConnectionsDue(bench.ports)).rejects.toMatchObject({ code: 'integrity' });
    expect(made.map(({ connection }) => bench.connection(connection.id).state)).toEqual(['open', 'expired']);
  });

  it('of a credential that was deleted leave its pending secret as it is', async () => {
    const bench = await consentBench();
    await bench.connect('crm');
    const made = await bench.make('crm', { secrets: { client_secret: 'new-not-a-real-secret' } });
    await bench.tenant.vault.submit((job) =>
      changing(job, (access) => {
        job.credentials.save(access, { ...job.credentials.byId(access, bench.row('crm').id), state: 'deleted' });
      }),
    );
    const before = bench.row('crm');
    bench.tenant.clock.pass(LIMITS.connectLinkTtlDefaultMs);
    expect(await expireConnectionsDue(bench.ports)).toBe(1);
    expect(bench.connection(made.connection.id)).toMatchObject({ state: 'expired', cause: 'credential_removed' });
    expect(bench.row('crm')).toEqual(before);
  });
});
