// Every key connector through the whole vault, at a provider played from its data: rotated, served, and the old key proved dead.
import { describe, expect, it } from 'vitest';
import { connectors } from '../../../rotation/catalog.ts';
import { rotationBench } from '../../kit/rotation-bench.ts';
import { isOnlyNamed, KeyProvider } from '../key-provider.ts';

const declared = [...connectors.values()].flatMap((connector) =>
  connector.kind === 'key' && connector.key.calls !== undefined ? [connector] : [],
);
// An admin that is an OAuth grant is not a value of these connectors.
const managed = declared.filter(({ key }) => !(key.adminKinds ?? []).includes('oauth2'));

it('there are connectors that manage their own key, and such with an admin credential', () => {
  const admins = Map.groupBy(managed, ({ key }) => key.admin);
  for (const how of ['self', 'either', 'credential'] as const) expect(admins.get(how)?.length, how).toBeGreaterThan(0);
});

describe.each(managed.map((connector) => [connector.id, connector] as const))('%s', (_id, connector) => {
  it('is rotated twice: readers get a key that works, and each old one is proved dead', async () => {
    const provider = new KeyProvider(connector);
    const { old: value, parameters } = provider;
    const admin = connector.key.admin === 'credential' ? { admin: provider.admin } : {};
    const bench = await rotationBench('overlap', { connector, egress: provider, value, parameters, ...admin });
    for (const round of [1, 2]) {
      const before = await bench.read();
      await bench.rotate();
      const [run] = bench.rows('rotation').slice(-1);
      expect([run?.state, run?.outcome, run?.cause]).toEqual(['succeeded', 'rotated', null]);
      const fresh = await bench.read();
      expect(fresh).not.toEqual(before);
      expect(Object.keys(fresh).sort()).toEqual(Object.keys(before).sort());
      await bench.finish(400); // a grace period may be a week
      expect(bench.rows('revocation').map(({ outcome, cause }) => [outcome, cause])).toEqual(
        Array(round).fill(['revoked', 'proved_dead']),
      );
      expect([...provider.keys.keys()]).toEqual([fresh[provider.idMember]]);
    }
    const written =
      JSON.stringify(bench.tenant.sql.all('SELECT * FROM run_step')) + JSON.stringify(bench.tenant.sql.all('SELECT * FROM run'));
    for (const secret of provider.secrets()) expect(written).not.toContain(secret);
    bench.close();
  });

  it('ends with one key after a crash at any point of its creation', async () => {
    // Where a list shows neither names nor instants, the key of a lost answer stays: the fact about `list` says so.
    const { calls } = connector.key;
    const isFound = (calls?.list?.name ?? calls?.list?.createdAt) !== undefined;
    if (connector.key.strategy === 'in_place') return;
    for (let nth = 1, isOver = false; !isOver; nth++) {
      const provider = new KeyProvider(connector);
      const { old: value, parameters } = provider;
      const admin = connector.key.admin === 'credential' ? { admin: provider.admin } : {};
      const bench = await rotationBench('overlap', { connector, egress: provider, value, parameters, ...admin });
      provider.now = () => bench.tenant.clock.now();
      bench.killAt(nth);
      await bench.rotate();
      isOver = bench.passed.length < nth;
      const where = `killed at ${bench.passed[nth - 1]} (${nth})`;
      bench.restart();
      if (isOnlyNamed(calls)) {
        await bench.finish(1);
        if (bench.rows('rotation')[0]?.cause === 'unknown_keys_found') provider.removeMade();
      }
      await bench.finish(400);
      const fresh = await bench.read();
      expect([...provider.keys.keys()].includes(String(fresh[provider.idMember])), where).toBe(true);
      if (isFound) expect(provider.keys.size, where).toBe(1);
      expect(bench.rows('rotation').map(({ state, outcome }) => [state, outcome])).toEqual([['succeeded', 'rotated']]);
      bench.close();
    }
  });
});
