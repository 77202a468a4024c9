// MariaDB over TCP against the server of the Debian package mariadb-server-core; the dual passwords of MySQL against a model of its accounts.
import { createConnection } from 'mysql2/promise';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Rotator, StoredValue } from '../../../rotation/connector.ts';
import { mysqlDriver, type OpenSession } from '../../../src/node/drivers/mysql.ts';
import { grantsOf, limitsOf, missingGrants } from '../../../src/node/drivers/mysql-grants.ts';
import { StepFailed } from '../../../src/node/drivers/step-failed.ts';
import { TargetNetwork } from '../../../src/node/drivers/target-network.ts';
import { mariadbProgram, OWNER, startMariadb } from '../../kit/servers/mariadb.ts';
import { isMissing } from '../../kit/servers/missing.ts';
import type { RealServer } from '../../kit/servers/real-server.ts';
import { type MadeAccount, targetOf, testDriver } from './driver.contract.ts';

const missing = isMissing('mariadb-server-core mariadb-client-core', mariadbProgram);
const driver = mysqlDriver(new TargetNetwork());

async function fresh(rotator: Rotator, old: StoredValue, admin: StoredValue) {
  const target = targetOf(old, admin);
  const created = await rotator.create(target, false);
  if (created.kind !== 'done') throw new Error(created.cause);
  return { target, value: created.value };
}

// Skipped where the program is not installed; isMissing says so on the console (console.warn).
describe.skipIf(missing)('MariaDB', () => {
  let server: RealServer;
  let accounts = 0;
  const single = driver.rotator('single_user') as Rotator;
  const alternating = driver.rotator('alternating_users') as Rotator;

  beforeAll(async () => {
    server = await startMariadb();
  });
  afterAll(() => server.stop());

  async function asUser<T>({ username, password }: StoredValue, ...statements: readonly string[]): Promise<T[]> {
    const login = { host: '127.0.0.1', port: server.port, user: String(username), password: String(password) };
    const connection = await createConnection(login);
    try {
      if (username === OWNER.username) await connection.query('SET SESSION sql_log_off = ON');
      let rows: unknown = [];
      for (const statement of statements) [rows] = await connection.query(statement);
      return rows as T[];
    } finally {
      await connection.end();
    }
  }

  const value = (username: string, password: string): StoredValue => ({
    ...{ engine: 'mariadb', host: '127.0.0.1', port: server.port, username, password },
  });

  async function account(): Promise<MadeAccount> {
    const n = ++accounts;
    const password = `First-password-${n}`;
    const by = `IDENTIFIED BY '${password}'`;
    await asUser(
      OWNER,
      `CREATE USER 'app user-${n}'@'%' ${by}, 'app user-${n}'@'10.%' ${by}, 'admin-${n}'@'%' ${by}, 'weak-${n}'@'%' ${by}`,
      `GRANT SELECT, INSERT ON app.* TO 'app user-${n}'@'%'`,
      `GRANT ALL PRIVILEGES ON *.* TO 'admin-${n}'@'%' WITH GRANT OPTION`,
    );
    const [old, admin, powerless] = [`app user-${n}`, `admin-${n}`, `weak-${n}`].map((name) => value(name, password));
    return { old, admin, powerless } as MadeAccount;
  }

  const start = async () => ({ port: server.port, account, log: server.log });
  const atPort = (one: StoredValue, port: number): StoredValue => ({ ...one, port });
  const common = { name: 'MariaDB', driver: mysqlDriver, start, atPort } as const;
  testDriver({ ...common, strategy: 'single_user', by: 'admin' });
  testDriver({ ...common, strategy: 'single_user', by: 'self' });
  testDriver({ ...common, strategy: 'alternating_users', by: 'admin' });

  const hashesOf = async (username: unknown) => {
    const rows = await asUser<{ Host: string; hash: string }>(
      OWNER,
      `SELECT Host, authentication_string AS hash FROM mysql.user WHERE User = '${username}' ORDER BY Host`,
    );
    return rows.map(({ hash }) => hash);
  };

  test('an admin replaces the password for every host that has the old one, and no other', async () => {
    const { old, admin } = await account();
    await asUser(OWNER, `CREATE USER '${old['username']}'@'192.168.%' IDENTIFIED BY 'Another-password'`);
    const [first, last, other] = await hashesOf(old['username']);
    expect(first).toBe(last);
    const { target, value: next } = await fresh(single, old, admin);
    await single.set?.(target, next);
    const [firstAfter, lastAfter, otherAfter] = await hashesOf(old['username']);
    expect(firstAfter).toBe(lastAfter);
    expect(firstAfter).not.toBe(first);
    expect(otherAfter).toBe(other);
  });

  test('the second account gets the rights and limits of the first, and later those that the first has got since', async () => {
    const { old, admin } = await account();
    const name = String(old['username']);
    await asUser(
      OWNER,
      `ALTER USER '${name}'@'%' WITH MAX_USER_CONNECTIONS 7`,
      'CREATE TABLE IF NOT EXISTS app.words (one int, `t,w``o` int)',
      `GRANT UPDATE (one, \`t,w\`\`o\`) ON app.words TO '${name}'@'%' WITH GRANT OPTION`,
    );
    const { target, value: next } = await fresh(alternating, old, admin);
    expect(await alternating.set?.(target, next)).toEqual({ kind: 'done' });
    const lines = async (user: string) => {
      const rows = await asUser<Record<string, string>>(OWNER, `SHOW GRANTS FOR '${user}'@'%'`);
      const grants = grantsOf(rows.map((row) => String(Object.values(row)[0])));
      return [...grants].map(([object, rights]) => `${[...rights].sort()} ${object}`).sort();
    };
    expect(await lines(`${name}_clone`)).toEqual(await lines(name));
    expect((await lines(name)).join()).toContain('UPDATE (`t,w``o`)');
    const [made] = await asUser<Record<string, string>>(OWNER, `SHOW CREATE USER '${name}_clone'@'%'`);
    expect(String(Object.values(made ?? {})[0])).toContain('MAX_USER_CONNECTIONS 7');

    await asUser(OWNER, `GRANT DELETE ON app.* TO '${name}_clone'@'%'`);
    const back = await fresh(alternating, next, admin);
    expect(await alternating.set?.(back.target, back.value)).toEqual({ kind: 'done' });
    expect(await lines(name)).toEqual(await lines(`${name}_clone`));
    expect((await lines(name)).join()).toContain('DELETE');
  });

  test('an account of that name with a right that the first lacks belongs to somebody else', async () => {
    const { old, admin } = await account();
    const other = `${old['username']}_clone`;
    await asUser(OWNER, `CREATE USER '${other}'@'%' IDENTIFIED BY 'Theirs'`, `GRANT DROP ON app.* TO '${other}'@'%'`);
    const { target, value: next } = await fresh(alternating, old, admin);
    const refused = { kind: 'refused', means: 'configuration', cause: 'other_user_has_other_rights' };
    expect(await alternating.set?.(target, next)).toMatchObject(refused);
    expect(await single.test(target, value(other, 'Theirs'))).toBe('works');
  });

  test('a server that is read-only, an account of another plugin and a name that needs escapes are faults of the configuration', async () => {
    const { old, admin, powerless } = await account();
    const { target, value: next } = await fresh(single, old, admin);
    await asUser(OWNER, 'SET GLOBAL read_only = ON', `REVOKE ALL PRIVILEGES ON *.* FROM '${admin['username']}'@'%'`);
    await asUser(OWNER, `GRANT CREATE USER, SELECT ON *.* TO '${admin['username']}'@'%'`);
    try {
      expect(await single.set?.(target, next)).toMatchObject({
        cause: 'server_is_read_only',
        said: { words: 'error 1290 (HY000)' },
      });
    } finally {
      await asUser(OWNER, 'SET GLOBAL read_only = OFF');
    }
    await asUser(OWNER, `ALTER USER '${powerless['username']}'@'%' IDENTIFIED VIA unix_socket`);
    const socket = await fresh(single, powerless, value(OWNER.username, OWNER.password));
    expect(await single.set?.(socket.target, socket.value)).toMatchObject({ cause: 'password_not_of_this_account' });
    const quoted = await fresh(single, { ...old, username: "a'b" }, value(OWNER.username, OWNER.password));
    expect(await single.set?.(quoted.target, quoted.value)).toMatchObject({ kind: 'refused', means: 'configuration' });
  });

  test('has no dual passwords', async () => {
    const { old, admin } = await account();
    const rotator = driver.rotator('overlap') as Rotator;
    const { target, value: next } = await fresh(rotator, old, admin);
    expect(await rotator.set?.(target, next)).toMatchObject({ cause: 'server_without_dual_passwords' });
  });
});

describe('the lines of SHOW GRANTS', () => {
  const rights = (...lines: readonly string[]) =>
    [...grantsOf(lines)].map(([object, given]) => [object, [...given]] as const).filter(([, given]) => given.length > 0);

  test('are read right by right and column by column', () => {
    expect(rights("GRANT USAGE ON *.* TO `a`@`%` IDENTIFIED BY PASSWORD '*AB'")).toEqual([]);
    expect(rights('GRANT SELECT, INSERT ON `x TO ``y``@``z``, w`.* TO `a`@`%` WITH GRANT OPTION')).toEqual([
      ['ON `x TO ``y``@``z``, w`.*', ['SELECT', 'INSERT', 'GRANT OPTION']],
    ]);
    expect(rights('GRANT SELECT (`a`, `b,)`), DELETE ON `d`.`t` TO `a`@`%`')).toEqual([
      ['ON `d`.`t`', ['SELECT (`a`)', 'SELECT (`b,)`)', 'DELETE']],
    ]);
    expect(rights('GRANT `r,one` TO `a`@`%` WITH ADMIN OPTION', 'SET DEFAULT ROLE `r` FOR `a`@`%`')).toEqual([
      ['', ['`r,one`', 'ADMIN OPTION']],
    ]);
    expect(() => grantsOf(['REVOKE ALL'])).toThrow(StepFailed);
  });

  test('become the statements that one account lacks', () => {
    const wanted = grantsOf(['GRANT SELECT, INSERT ON `d`.* TO `a`@`%` WITH GRANT OPTION', 'GRANT EXECUTE ON `e`.* TO `a`@`%`']);
    const present = grantsOf(['GRANT SELECT ON `d`.* TO `b`@`%`', 'GRANT ALL PRIVILEGES ON `e`.* TO `b`@`%`']);
    expect(missingGrants(wanted, present)).toEqual(['GRANT INSERT ON `d`.* TO {account} WITH GRANT OPTION']);
    expect(missingGrants(present, wanted)).toEqual(['GRANT ALL PRIVILEGES ON `e`.* TO {account}']);
    expect(missingGrants(wanted, wanted)).toEqual([]);
  });

  test('and the limits of SHOW CREATE USER', () => {
    const line = "CREATE USER `a REQUIRE b`@`%` IDENTIFIED BY PASSWORD '*AB' REQUIRE SSL WITH MAX_USER_CONNECTIONS 7";
    expect(limitsOf(`${line} ACCOUNT LOCK PASSWORD EXPIRE`)).toBe(' REQUIRE SSL WITH MAX_USER_CONNECTIONS 7');
    expect(limitsOf("CREATE USER `a`@`%` IDENTIFIED BY PASSWORD '*AB'")).toBe('');
    expect(() => limitsOf('CREATE USER a')).toThrow(StepFailed);
  });
});

/** No MySQL 8 is at hand: the statements are those of the manual, and this model does what the manual says of them. */
describe('dual passwords of MySQL', () => {
  const account = { username: 'app', primary: 'First', secondary: undefined as string | undefined };
  let version = '8.4.3';
  let isEncrypted = true;
  let statements: string[] = [];

  const openSession: OpenSession = async (_address, { username, password }) => {
    const isAdmin = username === 'admin' && password === 'Admin';
    if (!isAdmin && ![account.primary, account.secondary].includes(password))
      throw StepFailed.refused('configuration', 'login_rejected');
    return {
      username,
      isEncrypted,
      close: async () => {},
      query: async (text) => {
        if (text.startsWith('SELECT VERSION')) return [{ version }];
        if (text.startsWith('SELECT CURRENT_USER')) return [{ account: `${username}@%` }];
        if (text.startsWith('SELECT Host')) return [{ host: '%' }, { host: 'localhost' }];
        statements.push(text);
        const added = /IDENTIFIED BY '([^']+)' RETAIN CURRENT PASSWORD/.exec(text)?.[1];
        if (added !== undefined) [account.primary, account.secondary] = [added, account.primary];
        else if (text.includes('DISCARD OLD PASSWORD')) account.secondary = undefined;
        return [];
      },
    };
  };
  const rotator = mysqlDriver(new TargetNetwork(), openSession).rotator('overlap') as Rotator;
  const value = (username: string, password: string) => ({ engine: 'mysql', host: '127.0.0.1', username, password });

  beforeEach(() => {
    [account.primary, account.secondary, version, isEncrypted, statements] = ['First', undefined, '8.4.3', true, []];
  });

  test.each(['admin', 'self'])(
    'by %s: both work until the old one is discarded, and a repeated step retains nothing else',
    async (by) => {
      const old = value('app', 'First');
      const { target, value: next } = await fresh(rotator, old, by === 'self' ? old : value('admin', 'Admin'));
      for (let n = 0; n < 2; n++) {
        expect(await rotator.set?.(target, next)).toEqual({ kind: 'done' });
        expect([await rotator.test(target, old), await rotator.test(target, next)]).toEqual(['works', 'works']);
      }
      for (let n = 0; n < 2; n++) {
        expect(await rotator.revoke?.(target, old)).toEqual({ kind: 'done' });
        expect([await rotator.test(target, old), await rotator.test(target, next)]).toEqual(['rejected', 'works']);
      }
      const secret = String(next['password']);
      const accounts = by === 'self' ? ['USER()'] : ["'app'@'%'", "'app'@'localhost'"];
      expect(statements).toEqual([
        `ALTER USER ${accounts.map((one) => `${one} IDENTIFIED BY '${secret}' RETAIN CURRENT PASSWORD`).join(', ')}`,
        `ALTER USER ${accounts.map((one) => `${one} DISCARD OLD PASSWORD`).join(', ')}`,
      ]);
    },
  );

  test('need TLS, because the statement has the password, and a server that has them', async () => {
    const old = value('app', 'First');
    const { target, value: next } = await fresh(rotator, old, value('admin', 'Admin'));
    isEncrypted = false;
    expect(await rotator.set?.(target, next)).toMatchObject({ kind: 'refused', cause: 'clear_text_without_tls' });
    isEncrypted = true;
    for (version of ['8.0.13', '5.7.44-log', '10.11.19-MariaDB'])
      expect(await rotator.set?.(target, next)).toMatchObject({ kind: 'refused', cause: 'server_without_dual_passwords' });
    expect(statements).toEqual([]);
  });

  test('a server that is not MariaDB gets no hash as a password', async () => {
    const single = mysqlDriver(new TargetNetwork(), openSession).rotator('single_user') as Rotator;
    const old = value('app', 'First');
    const { target, value: next } = await fresh(single, old, old);
    expect(await single.set?.(target, next)).toMatchObject({ kind: 'refused', cause: 'server_is_not_mariadb' });
    expect(statements).toEqual([]);
  });
});
