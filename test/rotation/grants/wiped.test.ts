// What is opened to be used at a provider is wiped when the use is over, however it ended: nothing that was made for it holds a secret any more.
import { describe, expect, it, vi } from 'vitest';
import type { ChoiceSpec, OAuthConnector, RevocationSpec } from '../../../rotation/connector.ts';
import { disconnectCredential } from '../../../rotation/grants/disconnect.ts';
import { RefreshEngine } from '../../../rotation/grants/refresh-runs.ts';
import { revokeDue } from '../../../rotation/grants/revoke.ts';
import { readGrantedScope } from '../../../rotation/grants/scope-check.ts';
import { SecretValue } from '../../../src/base/secret-value.ts';
import { oauth2Config } from '../../../src/vault/credential-kinds.ts';
import { putCredential } from '../../../src/vault/put-credential.ts';
import { CONFIG, CRM, consentBench, type Reply, tokens } from '../../kit/consent-bench.ts';

const REVOCATION: RevocationSpec = {
  url: 'https://api.crm.example/revoke',
  method: 'POST',
  authentication: 'client_secret_post',
  bodyFormat: 'form',
  token: 'refresh',
  tokenParameter: 'token',
  ends: 'grant',
};
const OURS = /^(access|refresh|client|pem)-of-the-vault$|of-the-vault/;

async function benchOf(changes: Partial<OAuthConnector> = {}) {
  const bench = await consentBench({ revocation: REVOCATION, ...changes });
  const { vault } = bench.tenant;
  const engine = new RefreshEngine({ ...bench.ports, every: () => () => {} });
  const put = (name: string) =>
    vault.submit((job) =>
      putCredential(job, bench.admin(), {
        environment: 'staging',
        name,
        kind: 'oauth2',
        value: {
          access_token: 'access-of-the-vault',
          refresh_token: 'refresh-of-the-vault',
          client_secret: 'client-of-the-vault',
          client_private_key_pem: 'pem-of-the-vault',
          client_private_jwk: { kty: 'OKP', alg: 'EdDSA', d: 'jwk-of-the-vault' },
          expires_in: 3_600,
        },
        connector: CRM.id,
        config: oauth2Config.parse(CONFIG),
        labels: undefined,
        description: undefined,
        expiresAtMs: undefined,
        precondition: {},
      }),
    );
  await put('crm');
  const disconnect = () =>
    vault.submit((job) =>
      disconnectCredential({ ...bench.ports, job }, bench.admin(), {
        environment: 'staging',
        name: 'crm',
        revoke: true,
        precondition: {},
      }),
    );
  return { ...bench, engine, put, disconnect, refresh: () => engine.refreshNow(bench.row('crm').id, 'request', true) };
}
type Bench = Awaited<ReturnType<typeof benchOf>>;

/** How many secrets of ours were made during `work`; each must be wiped by its end. */
async function wipedAfter(work: () => unknown): Promise<number> {
  const made = vi.spyOn(SecretValue, 'fromText');
  await work();
  const ours = made.mock.calls.map(([text], index) => [text, made.mock.results[index]?.value as SecretValue] as const);
  made.mockRestore();
  const held = ours.filter(([text]) => OURS.test(text));
  for (const [text, secret] of held)
    expect(
      secret.reveal((bytes) => bytes.every((byte) => byte === 0)),
      text.replaceAll(/-of.*/g, ''),
    ).toBe(true);
  return held.length;
}

const PROBE = { url: 'https://api.crm.example/me', method: 'GET' } as const;
const choice: ChoiceSpec = {
  url: 'https://api.crm.example/sites',
  title: '',
  items: '',
  idField: 'id',
  labelField: 'id',
  accountField: 'site',
};

describe('what is opened', () => {
  it.each<[string, Partial<OAuthConnector>, Reply[], (bench: Bench) => unknown, (bench: Bench) => unknown]>([
    ['for a refresh that works', {}, [], () => {}, (bench) => bench.refresh()],
    ['for a refresh that fails', {}, [{ status: 503, body: '' }], () => {}, (bench) => bench.refresh()],
    ['for a refresh that is lost', {}, [{ fails: 'timeout' }, { fails: 'timeout' }], () => {}, (bench) => bench.refresh()],
    ['for a revocation that is sent', { probe: PROBE }, [], (bench) => bench.disconnect(), (bench) => revokeDue(bench.ports)],
    ['for a revocation that fails', {}, [{ fails: 'timeout' }], (bench) => bench.disconnect(), (bench) => revokeDue(bench.ports)],
    [
      'for a revocation that another credential forbids',
      {},
      [],
      async (bench) => {
        await bench.disconnect();
        await bench.put('other');
      },
      (bench) => revokeDue(bench.ports),
    ],
    [
      'for a revocation that there is no way for',
      {},
      [],
      async (bench) => {
        await bench.disconnect();
        Object.assign(bench.ports, { connectors: new Map([[CRM.id, CRM]]) });
      },
      (bench) => revokeDue(bench.ports),
    ],
    [
      'for a look at what it may do',
      { probe: PROBE, scopes: [{ from: 'probe_body', path: 'scopes' }] },
      [{ status: 200, body: { scopes: 'a' } }],
      () => {},
      (bench) => readGrantedScope(bench.ports, bench.row('crm').id),
    ],
  ])('%s', async (_what, changes, replies, before, work) => {
    const bench = await benchOf(changes);
    await before(bench);
    bench.replies.push(...replies);
    expect(await wipedAfter(() => work(bench))).toBeGreaterThan(0);
  });

  it('for a consent, its exchange and its list of places', async () => {
    const bench = await benchOf({ consent: { ...CRM.consent!, choice } } as Partial<OAuthConnector>);
    const secrets = {
      client_secret: 'client-of-the-vault',
      client_private_key_pem: 'pem-of-the-vault',
      client_private_jwk: { d: 'jwk-of-the-vault' },
    };
    const { linkToken } = await bench.make('new', { secrets });
    const begun = await bench.begin(linkToken);
    bench.replies.push(tokens({ access_token: 'access-of-the-vault' }), { status: 200, body: [{ id: 'a' }, { id: 'b' }] });
    const made = vi.spyOn(SecretValue, 'fromText');
    await bench.comeBack(begun);
    const calls = made.mock.calls.map(([text], index) => [text, made.mock.results[index]?.value as SecretValue] as const);
    made.mockRestore();
    const left = calls.filter(
      ([text, secret]) =>
        /^(client|pem)-of|jwk-of|^Bearer /.test(text) && secret.reveal((bytes) => bytes.some((byte) => byte !== 0)),
    );
    expect(left.map(([text]) => text.slice(0, 6))).toEqual([]);
    expect(calls.filter(([text]) => text.includes('of-the-vault')).length).toBeGreaterThan(3);
  });
});
