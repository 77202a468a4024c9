// Grants that are renewed by a key instead of a refresh token, through the whole vault, and the turns that providers take.
import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { connectors } from '../../../rotation/catalog.ts';
import { type Egress, EgressFailure } from '../../../rotation/connector.ts';
import { inTurns } from '../../../rotation/grants/refresh-queue.ts';
import { RefreshEngine } from '../../../rotation/grants/refresh-runs.ts';
import { KeyturnError } from '../../../src/base/errors.ts';
import type { OAuth2Config } from '../../../src/vault/credential-kinds.ts';
import { putCredential } from '../../../src/vault/put-credential.ts';
import { readFreshCredential } from '../../../src/vault/read-credential.ts';
import { testTenant } from '../../kit/vaults.ts';
import { answerOf, textOf } from '../kit.ts';

const PEM = String(generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs1', format: 'pem' }));

async function keyedBench(answers: (call: number) => unknown) {
  const tenant = await testTenant({ demo: true });
  const { vault, clock } = tenant;
  const calls: string[] = [];
  const egress: Egress = {
    send: async (request) => {
      calls.push(`${request.url} ${textOf(request.body as never) ?? ''}`);
      const answer = answers(calls.length);
      if (answer === undefined) throw new EgressFailure('timeout');
      return { ...answerOf(200, answer), sentAtMs: clock.now() };
    },
  };
  const engine = new RefreshEngine({
    vault,
    egress,
    connectors,
    owner: 'first',
    sandboxAllowed: false,
    every: (everyMs, beat) => {
      const timer = setInterval(beat, everyMs);
      return () => clearInterval(timer);
    },
  });
  vault.refresher = engine;
  const admin = () => tenant.user(['admin'], 'everywhere', { secondFactorAtMs: clock.now() });
  return {
    tenant,
    engine,
    calls,
    put: (connector: string, config: OAuth2Config, value: object) =>
      vault.submit((job) =>
        putCredential(job, admin(), {
          environment: 'staging',
          name: 'app',
          kind: 'oauth2',
          value,
          connector,
          config,
          labels: undefined,
          description: undefined,
          expiresAtMs: undefined,
          precondition: {},
        }),
      ),
    read: async () => {
      const wanted = { environment: 'staging', name: 'app', version: undefined, stage: undefined };
      const { body } = await readFreshCredential(vault, admin(), wanted);
      return JSON.parse(new TextDecoder().decode(body)) as { version: number; value: { access_token: string } };
    },
  };
}

const tokens = (call: number) => ({ access_token: `app-${call}-not-a-real-secret`, expires_in: 3_600 });

describe('a grant renewed by a key', () => {
  it.each([
    [
      'microsoft-app',
      { client_id: 'client-7', parameters: { tenant: 'contoso' }, scope: 'https://graph.microsoft.com/.default' },
      { client_secret: 'cs-not-a-real-secret' },
      /grant_type=client_credentials/,
    ],
    [
      'google-service-account',
      { client_id: 'robot@project.iam.gserviceaccount.com', scope: 'https://www.googleapis.com/auth/drive.readonly' },
      { client_private_key_pem: PEM },
      /assertion=ey/,
    ],
  ] as const)(
    '%s needs no token to begin with: the first read brings one, the schedule the next',
    async (id, config, value, sent) => {
      const { tenant, engine, calls, put, read } = await keyedBench(tokens);
      await put(id, { ...config } as OAuth2Config, value);
      expect(await read()).toMatchObject({ version: 2, value: { access_token: 'app-1-not-a-real-secret' } });
      expect(calls[0]).toMatch(sent);
      tenant.clock.pass(3_500_000);
      await engine.runDueWork();
      expect(await read()).toMatchObject({ version: 3, value: { access_token: 'app-2-not-a-real-secret' } });
      expect(calls).toHaveLength(2);
    },
  );

  it('outlives any number of lost answers: nothing that is sent is used up by it', async () => {
    const { tenant, engine, calls, put, read } = await keyedBench((call) => (call <= 5 ? undefined : tokens(call)));
    await put('microsoft-app', { client_id: 'client-7', parameters: { tenant: 'contoso' } } as OAuth2Config, {
      client_secret: 'cs-not-a-real-secret',
    });
    await expect(read()).rejects.toMatchObject({ code: 'provider_unavailable' });
    for (let turn = 0; turn < 10 && calls.length < 6; turn++) {
      tenant.clock.atMs = Math.max(tenant.clock.atMs, tenant.vault.nextDueAt() ?? 0);
      await engine.runDueWork();
    }
    expect((await read()).value.access_token).toBe('app-6-not-a-real-secret');
  });

  it('is refused without a key, and with an unknown connector, before anything is written', async () => {
    const { tenant, put } = await keyedBench(tokens);
    const config = { client_id: 'client-7', parameters: { tenant: 'contoso' } } as OAuth2Config;
    await expect(put('microsoft-app', config, {})).rejects.toMatchObject({ code: 'invalid_request', pointer: '/value' });
    await expect(put('no-such-connector', config, { refresh_token: 'rt-not-a-real-secret' })).rejects.toMatchObject({
      code: 'invalid_request',
      pointer: '/connector',
    });
    expect(tenant.sql.all('SELECT id FROM credential')).toEqual([]);
  });
});

describe('the turns of providers', () => {
  it('a held provider costs the others nothing, and its own rest stays for later', async () => {
    const due = [
      ...Array.from({ length: 300 }, (_, i) => ({ id: `slow-${i}`, provider: 'slow' })),
      { id: 'quick', provider: 'quick' },
    ];
    const ran: string[] = [];
    const done = await inTurns(
      due,
      async (id) => {
        ran.push(id);
        return id === 'quick' ? 'done' : { heldForMs: 1_000 };
      },
      500,
    );
    expect(done).toBe(1);
    expect(ran).toContain('quick');
    expect(ran.length).toBeLessThan(100);
  });

  it('are bounded for each provider, and one that throws stops nobody', async () => {
    const due = ['a', 'b'].flatMap((provider) => Array.from({ length: 20 }, (_, i) => ({ id: `${provider}${i}`, provider })));
    const ran: string[] = [];
    const work = inTurns(
      due,
      async (id) => {
        ran.push(id);
        if (id === 'a0') throw new KeyturnError('integrity', 'a damaged row');
        return 'done';
      },
      10,
    );
    await expect(work).rejects.toMatchObject({ code: 'integrity' });
    expect(ran).toHaveLength(20);
  });
});
