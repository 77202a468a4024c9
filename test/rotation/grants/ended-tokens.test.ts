import { describe, expect, it } from 'vitest';
import { connectors } from '../../../rotation/catalog.ts';
import { RefreshEngine } from '../../../rotation/grants/refresh-runs.ts';
import { LIMITS } from '../../../src/base/limits.ts';
import { SecretValue } from '../../../src/base/secret-value.ts';
import { oauth2Config } from '../../../src/vault/credential-kinds.ts';
import { putCredential } from '../../../src/vault/put-credential.ts';
import { readFreshCredential } from '../../../src/vault/read-credential.ts';
import { testTenant } from '../../kit/vaults.ts';

/** A grant whose provider says so of the tokens it hands out; the first one it holds has ended. */
async function grantOf(told: (nowMs: number) => object) {
  const tenant = await testTenant({ demo: true });
  const { vault, clock, user } = tenant;
  const sent: number[] = [];
  const egress = {
    send: async () => {
      sent.push(clock.now());
      const tokens = {
        access_token: `at-not-a-real-secret-${sent.length}`,
        refresh_token: `rt-not-a-real-secret-${sent.length}`,
      };
      const body = SecretValue.fromText(JSON.stringify({ ...tokens, ...told(clock.now()) }));
      return { status: 200, headers: {}, sentAtMs: clock.now(), body };
    },
  };
  const engine = new RefreshEngine({ vault, egress, connectors, owner: 'one', sandboxAllowed: false, every: () => () => {} });
  vault.refresher = engine;
  const place = { environment: 'staging', name: 'crm' };
  await vault.submit((job) =>
    putCredential(job, user(['admin'], 'everywhere'), {
      ...place,
      kind: 'oauth2',
      value: {
        access_token: 'at-not-a-real-secret',
        refresh_token: 'rt-not-a-real-secret',
        expires_in: 0,
        client_secret: 'cs-not-a-real-secret',
      },
      connector: 'generic-oauth2',
      config: oauth2Config.parse({ token_endpoint: 'https://provider.example/token', client_id: 'client' }),
      labels: undefined,
      description: undefined,
      expiresAtMs: undefined,
      precondition: {},
    }),
  );
  const read = () => {
    const reader = user(['admin'], 'everywhere', { secondFactorAtMs: clock.now() });
    return readFreshCredential(vault, reader, { ...place, version: undefined, stage: undefined });
  };
  return { clock, engine, sent, read };
}

/** An instant is believed, even one that has passed; a life of nothing is not. */
const endsAfter = (seconds: number) => (nowMs: number) => ({ expires_at: new Date(nowMs + seconds * 1_000).toISOString() });

describe('tokens that have ended when the provider hands them out', () => {
  it.each([0, -5, 0.4])('twice over are asked for once in a cool-down, however many read (%s s from now)', async (seconds) => {
    const { clock, sent, read } = await grantOf(endsAfter(seconds));
    await read().catch(() => {});
    clock.pass(2_000);
    await read().catch(() => {});
    expect(sent).toHaveLength(2);
    clock.pass(2_000);
    for (let i = 0; i < 20; i++) {
      await expect(read()).rejects.toMatchObject({ code: 'provider_unavailable', retryAfterSeconds: 5 });
      clock.pass(1_000);
    }
    expect(sent).toHaveLength(2);
    clock.pass(LIMITS.refreshCoolDownMs);
    await read().catch(() => {});
    expect(sent).toHaveLength(3);
  });

  it('are asked for once in a cool-down by the scheduler, too', async () => {
    const { clock, engine, sent } = await grantOf(endsAfter(0));
    for (let second = 0; second < 120; second++) {
      await engine.runDueWork();
      clock.pass(1_000);
    }
    expect(sent.length).toBeGreaterThan(2);
    expect(sent.length).toBeLessThanOrEqual(1 + 120_000 / LIMITS.refreshCoolDownMs);
  });
});

describe('tokens that live for seconds', () => {
  it('are refreshed at half of their life, and at a read that finds them ended', async () => {
    const { clock, engine, sent, read } = await grantOf(() => ({ expires_in: 12 }));
    await read();
    const startedAt = clock.now();
    clock.pass(6_001);
    await engine.runDueWork();
    expect(sent).toHaveLength(2);
    clock.pass(12_001);
    expect((await read()).expiresAtMs).toBe(startedAt + 6_001 + 12_001 + 12_000);
    expect(sent).toHaveLength(3);
  });
});
