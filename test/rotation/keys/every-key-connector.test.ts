// Every key connector through the whole vault, at a provider played from its data: rotated, served, and the old key proved dead.
import { describe, expect, it } from 'vitest';
import { connectors } from '../../../rotation/catalog.ts';
import { rotationBench } from '../../kit/rotation-bench.ts';
import { KeyProvider } from '../key-provider.ts';

const declared = [...connectors.values()].flatMap((connector) =>
  connector.kind === 'key' && connector.key.calls !== undefined ? [connector] : [],
);
const selfManaged = declared.filter(({ key }) => key.admin !== 'credential');

it('there are connectors that manage their own key', () => {
  expect(selfManaged.length).toBeGreaterThan(5);
});

describe.each(selfManaged.map((connector) => [connector.id, connector] as const))('%s', (_id, connector) => {
  it('is rotated twice: readers get a key that works, and each old one is proved dead', async () => {
    const provider = new KeyProvider(connector);
    const { old: value, parameters } = provider;
    const bench = await rotationBench('overlap', { connector, egress: provider, value, parameters });
    for (const round of [1, 2]) {
      const before = await bench.read();
      await bench.rotate();
      const [run] = bench.rows('rotation').slice(-1);
      expect([run?.state, run?.outcome, run?.cause]).toEqual(['succeeded', 'rotated', null]);
      const fresh = await bench.read();
      expect(fresh).not.toEqual(before);
      expect(Object.keys(fresh).sort()).toEqual(Object.keys(before).sort());
      await bench.finish(40);
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
});
