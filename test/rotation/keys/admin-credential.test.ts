// Which credential may manage another one at its target: who may say so, and that its secret stays where it is bound to.
import { afterEach, describe, expect, it } from 'vitest';
import type { Caller } from '../../../src/access/principals.ts';
import { putCredential } from '../../../src/vault/put-credential.ts';
import type { KeyConfig } from '../../../src/vault/rotation-state.ts';
import { type RotationBench, rotationBench } from '../../kit/rotation-bench.ts';
import { eventsOf } from '../../kit/vaults.ts';

let bench: RotationBench | undefined;
afterEach(() => bench?.close());

const put = (b: RotationBench, caller: Caller, name: string, config: KeyConfig) =>
  b.vault.submit((job) =>
    putCredential(job, caller, {
      environment: 'staging',
      name,
      kind: 'database',
      value: { engine: 'postgresql', host: 'db.example', username: 'root', password: 'made-up' },
      connector: 'made-up-target',
      config,
      labels: undefined,
      description: undefined,
      expiresAtMs: undefined,
      precondition: {},
    }),
  );

describe('the admin credential of a key or password', () => {
  it('is named by whoever may put it, with an event of its own on it', async () => {
    bench = await rotationBench('alternating_users');
    const admin = bench.tenant.user(['admin'], 'everywhere');
    await put(bench, admin, 'root', {});
    await put(bench, admin, 'db', { admin: 'root' });
    const appointed = eventsOf(bench.tenant.sql).filter(({ action }) => action === 'credential.appoint');
    expect(appointed).toMatchObject([
      { outcome: 'success', target: { type: 'credential', environment: 'staging', name: 'root' } },
    ]);
    await put(bench, admin, 'db', { admin: 'root' });
    expect(eventsOf(bench.tenant.sql).filter(({ action }) => action === 'credential.appoint').length).toBe(1);
  });

  it('must exist, and a caller who may not manage it stores nothing', async () => {
    bench = await rotationBench('alternating_users');
    const b = bench;
    await expect(put(b, b.tenant.user(['admin'], 'everywhere'), 'db', { admin: 'nobody' })).rejects.toMatchObject({
      code: 'not_found',
    });
    expect(b.tenant.sql.get("SELECT current_version AS v, config FROM credential WHERE name = 'db'")).toEqual({
      v: 1,
      config: '{}',
    });
  });

  it('is named in the event of each of its uses', async () => {
    bench = await rotationBench('alternating_users');
    const admin = bench.tenant.user(['admin'], 'everywhere');
    await put(bench, admin, 'root', {});
    await put(bench, admin, 'db', { admin: 'root' });
    await bench.rotate();
    await bench.finish();
    const id = bench.tenant.sql.get("SELECT id FROM credential WHERE name = 'root'")?.['id'];
    const used = eventsOf(bench.tenant.sql).filter(
      ({ details }) => (details as { admin?: string } | undefined)?.admin !== undefined,
    );
    expect([...new Set(used.map(({ action }) => action))]).toEqual(['credential.rotate', 'credential.revoke']);
    for (const { details } of used) expect(details).toMatchObject({ admin: id });
  });
});
