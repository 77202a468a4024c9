// Whole rotations at a real PostgreSQL: the engine, the connectors and the driver together, with a crash at every fault point.
import { Client } from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { connectors } from '../../../rotation/catalog.ts';
import type { KeyConnector, StoredValue } from '../../../rotation/connector.ts';
import { parseNetworks } from '../../../rotation/engine/target-networks.ts';
import { postgresqlDriver } from '../../../src/node/drivers/postgresql.ts';
import { TargetNetwork } from '../../../src/node/drivers/target-network.ts';
import { type RotationBench, rotationBench } from '../../kit/rotation-bench.ts';
import { type PostgresServer, startPostgres } from '../../kit/servers/postgresql.ts';

let server: PostgresServer;
let accounts = 0;
beforeAll(async () => {
  server = await startPostgres();
});
afterAll(() => server.stop());

const driver = postgresqlDriver(new TargetNetwork({ networks: parseNetworks(['127.0.0.0/8']) }));
const connectorOf = (id: string) => connectors.get(id) as KeyConnector;
const noEgress = { send: () => Promise.reject(new Error('a driver must not use HTTP')) };
const value = (username: string, password: string): StoredValue => ({
  ...{ engine: 'postgresql', host: '127.0.0.1', port: server.port, username, password, database: 'postgres' },
});

async function isAccepted({ username, password }: StoredValue): Promise<boolean> {
  const login = {
    host: '127.0.0.1',
    port: server.port,
    database: 'postgres',
    user: String(username),
    password: String(password),
  };
  const client = new Client(login);
  return client.connect().then(
    async () => {
      await client.end();
      return true;
    },
    () => false,
  );
}

async function newAccount(): Promise<StoredValue> {
  const { username, password } = server.superuser;
  const client = new Client({ host: '127.0.0.1', port: server.port, database: 'postgres', user: username, password });
  await client.connect();
  const name = `app_${++accounts}`;
  await client.query(`CREATE ROLE ${name} LOGIN PASSWORD 'First-${name}'`);
  await client.end();
  return value(name, `First-${name}`);
}

async function benchFor(id: 'postgresql' | 'postgresql-alternating', first: StoredValue): Promise<RotationBench> {
  const connector = connectorOf(id);
  const strategy = id === 'postgresql' ? 'single_user' : 'alternating_users';
  const { username, password } = server.superuser;
  const admin = id === 'postgresql' ? {} : { admin: value(username, password) };
  return rotationBench(strategy, { connector, egress: noEgress, value: first, parameters: {}, driver, ...admin });
}

it.each(['postgresql', 'postgresql-alternating'] as const)(
  '%s: a crash at any point ends with one value that works',
  async (id) => {
    let kills = 0;
    for (let nth = 1, isOver = false; !isOver; nth++) {
      const first = await newAccount();
      const bench = await benchFor(id, first);
      try {
        bench.killAt(nth);
        await bench.rotate();
        await bench.finish(40);
        isOver = bench.passed.length < nth;
        if (!isOver) kills++;
        bench.restart();
        await bench.finish(40);
        const current = await bench.read();
        expect(current['password']).not.toBe(first['password']);
        expect([await isAccepted(current), await isAccepted(first)], `killed at ${bench.passed[nth - 1]}`).toEqual([true, false]);
        expect(bench.rows('rotation').map(({ state, outcome }) => [state, outcome])).toEqual([['succeeded', 'rotated']]);
        expect(bench.rows('revocation').at(-1)).toMatchObject({ state: 'succeeded', outcome: 'revoked' });
        const log = server.log();
        for (const one of [current, first]) expect(log.split(String(one['password'])).length - 1).toBe(one === first ? 1 : 0);
      } finally {
        bench.close();
      }
    }
    expect(kills).toBeGreaterThan(5);
  },
);
