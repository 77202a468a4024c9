// What every driver of this platform does with a server that accepts connections and never answers, and with one that speaks another protocol.
import { createServer, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import type { Rotator, StoredValue } from '../../../rotation/connector.ts';
import { createDrivers } from '../../../src/node/drivers/drivers.ts';
import { targetOf } from './driver.contract.ts';

const STRATEGIES = ['single_user', 'alternating_users', 'overlap'] as const;
const drivers = createDrivers(['127.0.0.0/8']);
const cases = [...drivers].flatMap(([name, driver]) =>
  STRATEGIES.flatMap((strategy) => {
    const rotator = driver.rotator(strategy);
    return rotator === undefined ? [] : [{ name, strategy, rotator }];
  }),
);

let server: Server | undefined;
const sockets = new Set<Socket>();
afterEach(() => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  server?.close();
});

async function serve(answer: (socket: Socket) => void): Promise<number> {
  const started = createServer((socket) => {
    sockets.add(socket.on('error', () => {}));
    answer(socket);
  });
  server = started;
  await new Promise<void>((done) => started.listen(0, '127.0.0.1', done));
  return (started.address() as { port: number }).port;
}

const ENGINES: Readonly<Record<string, string>> = { ldap: 'ldaps' };
const loginValue = (name: string, username: string, port: number): StoredValue => ({
  ...{ engine: ENGINES[name] ?? name, host: '127.0.0.1', port, username, password: `Password-of-${username}` },
  options: name === 'postgresql' || name === 'mysql' ? { sslmode: 'disable' } : {},
});

async function outcomesOf({ name, rotator }: { name: string; rotator: Rotator }, port: number) {
  const old = loginValue(name, 'app', port);
  const target = { ...targetOf(old, loginValue(name, 'admin', port)), allowLoopback: false };
  const created = await rotator.create(target, false);
  if (created.kind !== 'done') throw new Error(created.cause);
  const [verdict, set, revoked] = await Promise.all([
    rotator.test(target, old),
    rotator.set?.(target, created.value),
    rotator.revoke?.(target, old),
  ]);
  const told = JSON.stringify([set, revoked]);
  for (const secret of [old['password'], 'Password-of-admin', created.value['password']]) expect(told).not.toContain(secret);
  return { verdict, kinds: [set, revoked].filter((outcome) => outcome !== undefined).map(({ kind }) => kind) };
}

test('every driver is here', () => {
  expect([...drivers.keys()].sort()).toEqual(['ldap', 'mysql', 'postgresql', 'redis']);
  expect(cases).toHaveLength(7);
});

describe('a server that never answers', () => {
  test('is unknown to a test, and a step ends by itself without having changed anything', async () => {
    const port = await serve(() => {});
    const found = await Promise.all(cases.map((one) => outcomesOf(one, port)));
    for (const [index, { verdict, kinds }] of found.entries()) {
      expect(verdict, cases[index]?.name).toBe('unknown');
      expect(new Set(kinds), cases[index]?.name).toEqual(new Set(['not_sent']));
    }
  });
});

describe('a server of another kind', () => {
  test.each(['HTTP/1.1 400 Bad Request\r\n\r\n', '-ERR\r\n', '\0\0\0\0\0\0\0\0', 'R\0\0\0\x08\0\0\0\0'])(
    '%j is unknown to a test, and a step reports a failure',
    async (text) => {
      const port = await serve((socket) => void socket.end(text));
      const found = await Promise.all(cases.map((one) => outcomesOf(one, port)));
      for (const [index, { verdict, kinds }] of found.entries()) {
        expect(verdict, cases[index]?.name).toBe('unknown');
        expect(kinds, cases[index]?.name).not.toContain('done');
      }
    },
  );
});
