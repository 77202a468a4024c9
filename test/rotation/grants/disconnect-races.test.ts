// Disconnecting against the sandbox provider and its own revocation endpoint, while refreshes are under way.
import { afterEach, expect, it, vi } from 'vitest';
import { disconnectCredential } from '../../../rotation/grants/disconnect.ts';
import { toldRevocation } from '../../kit/consent-bench.ts';
import { type RefreshBench, refreshBench } from '../../kit/refresh-bench.ts';

let bench: RefreshBench;
afterEach(async () => {
  await bench.stop();
});

async function connected() {
  bench = await refreshBench();
  const revocation_endpoint = `${new URL(bench.sandbox.tokenEndpoint).origin}/token/revocation`;
  await bench.connect('crm', { revocation_endpoint });
  const { vault } = bench.tenant;
  const disconnect = () =>
    vault.submit((job) =>
      disconnectCredential({ ...bench.engine.ports, job }, bench.tenant.user(['admin'], 'everywhere'), {
        environment: 'staging',
        name: 'crm',
        revoke: true,
        precondition: {},
      }),
    );
  const revocation = () => toldRevocation(vault, bench.row('crm').id);
  return { disconnect, revocation };
}

const works = async (accessToken: string) =>
  (await fetch(bench.sandbox.userinfoEndpoint, { headers: { authorization: `Bearer ${accessToken}` } })).status === 200;

it('ends the grant at the provider: its access token is dead, and nothing refreshes it any more', async () => {
  const { disconnect, revocation } = await connected();
  const { value } = await bench.read('crm');
  expect(await works(value.access_token)).toBe(true);
  await disconnect();
  await bench.engine.runDueWork();
  expect(revocation()).toMatchObject({ state: 'revoked', attempts: 1 });
  expect(await works(value.access_token)).toBe(false);
  const before = bench.sandbox.counters.tokenCalls;
  bench.tenant.clock.pass(86_400_000);
  await bench.engine.runDueWork();
  expect(bench.sandbox.counters.tokenCalls).toBe(before);
  expect((await bench.refused('crm')).extra).toMatchObject({ health: 'disconnected', cause: 'on_request' });
  await expect(bench.rotate('crm')).rejects.toMatchObject({ code: 'needs_consent' });
});

it('stays disconnected when the answer of a refresh comes after it, and revokes the pair that came', async () => {
  const { disconnect, revocation } = await connected();
  const held = bench.hold();
  const run = await bench.rotate('crm');
  await vi.waitFor(() => expect(held.waiting()).toBe(1));
  await disconnect();
  held.release();
  await bench.engine.stop();
  const row = bench.row('crm');
  expect(row).toMatchObject({ health: 'disconnected', refresh_due_at: null, current_version: 2 });
  expect(bench.runs('crm').find(({ id }) => id === run.id)).toMatchObject({ state: 'cancelled', outcome: 'disconnected' });
  expect(revocation()).toMatchObject({ state: 'waiting', version: 2 });
  await bench.engine.runDueWork();
  expect(revocation()).toMatchObject({ state: 'revoked', version: 2 });
  expect((await bench.refused('crm')).extra).toMatchObject({ health: 'disconnected' });
});
