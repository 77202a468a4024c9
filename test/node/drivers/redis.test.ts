// Redis over TCP against the server of the Debian package redis-server.
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Rotator, StoredValue } from '../../../rotation/connector.ts';
import { redisDriver } from '../../../src/node/drivers/redis.ts';
import { RespConnection } from '../../../src/node/drivers/resp-connection.ts';
import { TargetNetwork } from '../../../src/node/drivers/target-network.ts';
import { isMissing } from '../../kit/servers/missing.ts';
import type { RealServer } from '../../kit/servers/real-server.ts';
import { redisProgram, startRedis } from '../../kit/servers/redis.ts';
import { type MadeAccount, targetOf, testDriver } from './driver.contract.ts';

const missing = isMissing('redis-server', redisProgram);

// Skipped where the program is not installed; isMissing says so on the console (console.warn).
describe.skipIf(missing)('Redis', () => {
  let server: RealServer;
  let monitored = '';
  let monitor: ReturnType<typeof connect>;
  let accounts = 0;
  const OWNER = { username: 'owner', password: 'Password-of-the-owner' };

  beforeAll(async () => {
    server = await startRedis(['user default off', `user owner on >${OWNER.password} ~* &* +@all`]);
    monitor = connect(server.port, '127.0.0.1');
    monitor.on('data', (chunk) => {
      monitored += chunk.toString();
    });
    monitor.write(`AUTH ${OWNER.username} ${OWNER.password}\r\nMONITOR\r\n`);
  });
  afterAll(async () => {
    monitor.destroy();
    await server.stop();
  });

  async function ask(...words: readonly string[]) {
    const connection = await RespConnection.open('127.0.0.1', server.port, false);
    await connection.command('AUTH', OWNER.username, OWNER.password);
    const reply = await connection.command(...words);
    connection.close();
    return reply;
  }

  const value = (username: string, password: string): StoredValue => ({
    ...{ engine: 'redis', host: '127.0.0.1', port: server.port, username, password },
  });

  async function account(): Promise<MadeAccount> {
    const n = ++accounts;
    const password = `First-password-${n}`;
    const add = (name: string, ...rules: string[]) => ask('ACL', 'SETUSER', name, 'on', `>${password}`, ...rules);
    await add(`app ${n}`.replace(' ', '-'), '~*', '+@all');
    await add(`admin-${n}`, '+@all');
    await add(`weak-${n}`, '+ping');
    const [old, admin, powerless] = [`app-${n}`, `admin-${n}`, `weak-${n}`].map((name) => value(name, password));
    return { old, admin, powerless } as MadeAccount;
  }

  const start = async () => ({ port: server.port, account, log: () => withoutSetUp(monitored) + server.log() });
  /** What MONITOR saw but the test's own commands, which have passwords of the first values. */
  const withoutSetUp = (lines: string) =>
    lines
      .split('\n')
      .filter((line) => !/"SETUSER" "[a-z]+-[0-9]+" "on"/.test(line))
      .join('\n');
  const atPort = (one: StoredValue, port: number): StoredValue => ({ ...one, port });
  const common = { name: 'Redis', driver: redisDriver, start, atPort, strategy: 'overlap' } as const;
  testDriver({ ...common, by: 'admin' });
  testDriver({ ...common, by: 'self' });

  const driver = redisDriver(new TargetNetwork());
  const rotator = driver.rotator('overlap') as Rotator;

  async function fresh(old: StoredValue, admin: StoredValue) {
    const target = targetOf(old, admin);
    const created = await rotator.create(target, false);
    if (created.kind !== 'done') throw new Error(created.cause);
    return { target, value: created.value };
  }

  test('has no other strategy', () => {
    expect([driver.rotator('single_user'), driver.rotator('alternating_users')]).toEqual([undefined, undefined]);
  });

  test('saves the users, so that a restart keeps the new password', async () => {
    const { old, admin } = await account();
    const { target, value: next } = await fresh(old, admin);
    await rotator.set?.(target, next);
    const lineOf = () =>
      readFileSync(join(server.folder, 'users.acl'), 'utf8')
        .split('\n')
        .find((line) => line.startsWith(`user ${old['username']} `));
    expect(lineOf()?.match(/#[0-9a-f]{64}/g)).toHaveLength(2);
    await rotator.revoke?.(target, old);
    expect(lineOf()?.match(/#[0-9a-f]{64}/g)).toHaveLength(1);
  });

  test('refuses a user that has no password, one that does not exist, and to remove the last password', async () => {
    const { old, admin } = await account();
    const { target, value: next } = await fresh(old, admin);
    expect(await rotator.revoke?.(target, old)).toMatchObject({ kind: 'refused', cause: 'last_password' });
    await ask('ACL', 'SETUSER', String(old['username']), 'nopass');
    expect(await rotator.set?.(target, next)).toMatchObject({ kind: 'refused', cause: 'account_without_password' });
    await ask('ACL', 'DELUSER', String(old['username']));
    expect(await rotator.set?.(target, next)).toMatchObject({ kind: 'refused', cause: 'no_such_user' });
  });

  test('a URL without a user is the user "default"; users in the configuration file are saved there', async () => {
    const other = await startRedis(undefined, ['requirepass First-password']);
    try {
      const url = `redis://:First-password@127.0.0.1:${other.port}/0`;
      const { target, value: next } = await fresh({ url }, { url });
      expect(next['url']).toMatch(/^redis:\/\/:[A-Za-z2-9]{32}@127\.0\.0\.1:[0-9]+\/0$/);
      expect(await rotator.set?.(target, next)).toEqual({ kind: 'done' });
      expect(await rotator.test(target, next)).toBe('works');
      expect(await rotator.revoke?.(target, { url })).toEqual({ kind: 'done' });
      expect(await rotator.test(target, { url })).toBe('rejected');
      expect(await rotator.test(target, next)).toBe('works');
      expect(readFileSync(join(other.folder, 'redis.conf'), 'utf8')).toMatch(/user default .*#[0-9a-f]{64}/);
    } finally {
      await other.stop();
    }
  });
});
