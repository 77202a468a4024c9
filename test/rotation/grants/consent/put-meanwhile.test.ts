// A put that comes while a link is open is the newer decision, wherever the person is on the way.
import { describe, expect, it } from 'vitest';
import { chooseAccount } from '../../../../rotation/grants/consent/choose-account.ts';
import type { ConnectionInput } from '../../../../rotation/grants/consent/wanted.ts';
import { putCredential } from '../../../../src/vault/put-credential.ts';
import { CONFIG, type ConsentBench, CRM, consentBench, tokens } from '../../../kit/consent-bench.ts';

const put = (bench: ConsentBench) =>
  bench.tenant.vault.submit((job) =>
    putCredential(job, bench.admin(), {
      environment: 'staging',
      name: 'crm',
      kind: 'oauth2',
      value: {
        access_token: 'put-access-not-a-real-secret',
        refresh_token: 'put-refresh-not-a-real-secret',
        client_secret: 'put-not-a-real-secret',
        expires_in: 3600,
      },
      connector: CRM.id,
      config: CONFIG,
      labels: undefined,
      description: undefined,
      expiresAtMs: undefined,
      precondition: {},
    }),
  );

const isPut = async (bench: ConsentBench) => {
  expect(await bench.served('crm')).toMatchObject({ access_token: 'put-access-not-a-real-secret' });
  expect(bench.row('crm')).toMatchObject({ pending_version: null, health: 'ready' });
};

const OWN: [what: string, input: Partial<ConnectionInput>][] = [
  ['settings of its own', { config: { ...CONFIG, client_id: 'another-client' }, secrets: { client_secret: 'another-not-a-real-secret' } }], // biome-ignore format: one line
  ['a client secret of its own', { secrets: { client_secret: 'another-not-a-real-secret' } }],
];

describe.each(OWN)('a put ends a link with %s', (_what, input) => {
  it('that nobody opened yet', async () => {
    const bench = await consentBench();
    await bench.connect('crm');
    const made = await bench.make('crm', input);
    await put(bench);
    expect(bench.connection(made.connection.id)).toMatchObject({ state: 'cancelled', cause: 'superseded' });
    await expect(bench.begin(made.linkToken)).rejects.toThrow();
    await isPut(bench);
  });

  it('whose person is at the provider: what they bring is refused, and no code is exchanged', async () => {
    const bench = await consentBench();
    await bench.connect('crm');
    const made = await bench.make('crm', input);
    const attempt = await bench.begin(made.linkToken);
    await put(bench);
    const sent = bench.sent.length;
    expect(await bench.comeBack(attempt)).toEqual({ kind: 'refused', reason: 'link_ended_meanwhile' });
    expect(bench.sent).toHaveLength(sent);
    expect(bench.connection(made.connection.id)).toMatchObject({ state: 'cancelled', cause: 'superseded' });
    await isPut(bench);
  });

  it('whose code is being exchanged: what comes of it is not stored', async () => {
    const bench = await consentBench();
    await bench.connect('crm');
    const made = await bench.make('crm', input);
    const attempt = await bench.begin(made.linkToken);
    let release = () => {};
    const answer = new Promise<void>((resolve) => {
      release = resolve;
    });
    bench.replies.push(async () => {
      await answer;
      return tokens();
    });
    const sent = bench.sent.length;
    const coming = bench.comeBack(attempt);
    await expect.poll(() => bench.sent.length).toBe(sent + 1);
    await put(bench);
    release();
    expect(await coming).toEqual({ kind: 'refused', reason: 'link_ended_meanwhile' });
    await isPut(bench);
  });
});

describe('a put', () => {
  it('leaves a link open that asks for the credential as it is, and what comes of it is used with the settings of the put', async () => {
    const bench = await consentBench();
    const made = await bench.make('crm');
    const attempt = await bench.begin(made.linkToken);
    await put(bench);
    expect(bench.connection(made.connection.id).state).toBe('open');
    expect(await bench.comeBack(attempt)).toEqual({ kind: 'connected' });
    expect(Object.fromEntries(bench.sent.at(-1)?.fields ?? [])).toMatchObject({ client_secret: 'put-not-a-real-secret' });
    expect(bench.row('crm').current_version).toBe(3);
  });

  it('ends the choice of an account for the grant that it replaces', async () => {
    const choice = { url: 'https://api.crm.example/sites', title: 'Which site?', items: 'sites', idField: 'id', labelField: 'name', accountField: 'site_id' }; // biome-ignore format: one line
    const bench = await consentBench({ consent: { ...CRM.consent!, choice } });
    const made = await bench.make('crm');
    const attempt = await bench.begin(made.linkToken);
    const sites = [
      { id: 'n-1', name: 'North' },
      { id: 's-2', name: 'South' },
    ];
    bench.replies.push(tokens(), { status: 200, body: { sites } });
    expect(await bench.comeBack(attempt)).toEqual({ kind: 'choosing' });
    await put(bench);
    expect(bench.connection(made.connection.id)).toMatchObject({ state: 'cancelled', cause: 'superseded' });
    const chosen = await chooseAccount(bench.ports, bench.visitor(), made.linkToken, () => attempt.browser, 's-2');
    expect(chosen).toEqual({ kind: 'nowhere' });
    expect(bench.facts('crm').account).toBeUndefined();
    await isPut(bench);
  });
});
