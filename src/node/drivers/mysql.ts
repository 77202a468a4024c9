// MariaDB: one account or two in turn, with password hashes made here. MySQL 8.0.14 and newer: two passwords of one account.
// It must never send a new password in a statement without TLS, nor change an account whose password is not the one of the value.
import { createHash } from 'node:crypto';
import { connect } from 'node:net';
import type { ConnectionOptions as TlsOptions } from 'node:tls';
import type { Connection, ConnectionOptions } from 'mysql2/promise';
import type { KeyDriver } from '../../../rotation/connector.ts';
import type { Entropy } from '../../base/clock.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Engine, Login } from './database-value.ts';
import { grantsOf, limitsOf, missingGrants } from './mysql-grants.ts';
import {
  type AlternatingServer,
  alternatingUsers,
  type OverlappingServer,
  overlap,
  type Server,
  singleUser,
} from './rotators.ts';
import { StepFailed } from './step-failed.ts';
import type { TargetNetwork } from './target-network.ts';
import { SERVER_WITHOUT_TLS, tlsModes, withTls } from './tls-modes.ts';

const ENGINE: Engine = {
  names: ['mysql', 'mariadb', 'aurora-mysql'],
  ports: { default: 3_306 },
  refusedOptions: ['user', 'username', 'password', 'host', 'port', 'database', 'socketPath', 'socket'],
};
/** MariaDB's limit is 80 characters. */
const NAME_BYTES = 80;

/** What the driver needs of a connection of mysql2. */
export interface Session {
  query(text: string): Promise<readonly Readonly<Record<string, unknown>>[]>;
  close(): Promise<void>;
  readonly isEncrypted: boolean;
  readonly username: string;
}
export type OpenSession = (address: string, login: Login, tls: TlsOptions | false) => Promise<Session>;

/** @param openSession replaced in tests of statements that no server on the machine supports */
export function mysqlDriver(network: TargetNetwork, openSession: OpenSession = openWith): KeyDriver {
  const server: Server<Session> = {
    engine: ENGINE,
    open: (login, allowLoopback) => {
      for (const name of [login.username, login.database ?? '']) requirePlainName(name);
      return network.dial(login.host, allowLoopback, (address) =>
        withTls(tlsModes(login, 'prefer'), (tls) => openSession(address, login, tls)),
      );
    },
    close: (session) => session.close(),
    provesPassword: async (session) => {
      // An anonymous account, with an empty name, would accept every name.
      const [row] = await session.query('SELECT CURRENT_USER() AS account');
      return String(row?.['account']).startsWith(`${session.username}@`);
    },
  };
  return {
    rotator(strategy) {
      if (strategy === 'overlap') return overlap(dualPassword(server));
      return strategy === 'single_user' ? singleUser(mariadb(server)) : alternatingUsers(mariadb(server));
    },
  };
}

function mariadb(server: Server<Session>): AlternatingServer<Session> {
  return {
    ...server,
    setting: 'ALTER USER with a hash of the password',
    usernameMaxBytes: NAME_BYTES,
    setPassword: async (session, account, fresh, { isSelf }) => {
      await requireMariadb(session);
      if (isSelf) {
        await session.query(`SET PASSWORD = '${nativeHash(fresh.password)}'`);
        return;
      }
      const hosts = await hostsOf(session, account.username, [account, fresh]);
      await setHash(session, account.username, hosts, nativeHash(fresh.password));
    },
    setOther: async (session, old, fresh) => {
      await requireMariadb(session);
      for (const host of await hostsOf(session, old.username, [old])) await setOtherAt(session, old, fresh, host);
    },
    lock: async (session, account, entropy) => {
      await requireMariadb(session);
      const hosts = await hostsOf(session, account.username, [account]);
      await setHash(session, account.username, hosts, unknownHash(entropy));
    },
  };
}

/** A hash of which nobody knows a password. */
function unknownHash(entropy: Entropy): string {
  return `*${Buffer.from(entropy.bytes(20)).toString('hex').toUpperCase()}`;
}

/** The account for clients from `host`: made as the old one is, or found with no right that the old one lacks. */
async function setOtherAt(session: Session, old: Login, fresh: Login, host: string): Promise<void> {
  const { username } = fresh;
  const known = await session.query(`SELECT Host FROM mysql.user WHERE User = '${username}' AND Host = '${host}'`);
  const wanted = grantsOf(await grantLines(session, old.username, host));
  const present = known.length === 0 ? new Map() : grantsOf(await grantLines(session, username, host));
  // SECURITY: an account with more rights belongs to somebody else; its password must not change.
  if (missingGrants(present, wanted).length > 0) throw StepFailed.refused('configuration', 'other_user_has_other_rights');
  if (known.length === 0) {
    const [row] = await session.query(`SHOW CREATE USER '${old.username}'@'${host}'`);
    const limits = limitsOf(String(Object.values(row ?? {})[0]));
    await session.query(`CREATE USER ${account(username, host)} ${identified(nativeHash(fresh.password))}${limits}`);
  }
  for (const grant of missingGrants(wanted, present)) await session.query(grant.replace('{account}', account(username, host)));
  await setHash(session, username, [host], nativeHash(fresh.password));
}

async function grantLines(session: Session, username: string, host: string): Promise<readonly string[]> {
  const rows = await session.query(`SHOW GRANTS FOR ${account(username, host)}`);
  return rows.map((row) => String(Object.values(row)[0]));
}

/** The hosts from which the user logs in with the password of one of `logins`. @throws StepFailed no_such_user */
async function hostsOf(session: Session, username: string, logins: readonly Login[]): Promise<readonly string[]> {
  const rows = await session.query(
    `SELECT Host AS host, plugin, authentication_string AS hash FROM mysql.user WHERE User = '${username}'`,
  );
  const hashes = new Set(logins.map(({ password }) => nativeHash(password)));
  const found = rows.filter(({ plugin, hash }) => plugin === 'mysql_native_password' && hashes.has(String(hash)));
  if (rows.length === 0) throw StepFailed.refused('configuration', 'no_such_user');
  if (found.length === 0) throw StepFailed.refused('configuration', 'password_not_of_this_account');
  const hosts = found.map(({ host }) => String(host));
  hosts.forEach(requirePlainName);
  return hosts;
}

async function setHash(session: Session, username: string, hosts: readonly string[], hash: string): Promise<void> {
  const changes = hosts.map((host) => `${account(username, host)} ${identified(hash)}`);
  await session.query(`ALTER USER ${changes.join(', ')}`);
}

const identified = (hash: string) => `IDENTIFIED VIA mysql_native_password USING '${hash}'`;
const account = (username: string, host: string) => `'${username}'@'${host}'`;

/** What the server stores for the plugin mysql_native_password. */
function nativeHash(password: string): string {
  const once = createHash('sha1').update(password).digest();
  return `*${createHash('sha1').update(once).digest('hex').toUpperCase()}`;
}

/** SECURITY: names are quoted by `'` in every SQL mode; what could end or escape the quote is refused. */
function requirePlainName(name: string): void {
  if (/['"`\\\p{Cc}]/u.test(name)) throw StepFailed.refused('configuration', 'name_not_supported');
}

/** https://dev.mysql.com/doc/refman/8.4/en/password-management.html#dual-passwords */
function dualPassword(server: Server<Session>): OverlappingServer<Session> {
  return {
    ...server,
    adding: 'ALTER USER ... RETAIN CURRENT PASSWORD',
    removing: 'ALTER USER ... DISCARD OLD PASSWORD',
    addPassword: async (session, old, fresh, { isSelf, isAccepted }) => {
      await requireDualPasswords(session);
      // A repeated RETAIN would retain the new password itself and end the old one.
      if (await isAccepted(fresh)) return;
      if (!session.isEncrypted) throw StepFailed.refused('configuration', 'clear_text_without_tls');
      requirePlainName(fresh.password);
      const change = `IDENTIFIED BY '${fresh.password}' RETAIN CURRENT PASSWORD`;
      const accounts = isSelf ? ['USER()'] : await accountsOf(session, old.username);
      await session.query(`ALTER USER ${accounts.map((one) => `${one} ${change}`).join(', ')}`);
    },
    removePassword: async (session, { username }, { isSelf }) => {
      await requireDualPasswords(session);
      const accounts = isSelf ? ['USER()'] : await accountsOf(session, username);
      await session.query(`ALTER USER ${accounts.map((one) => `${one} DISCARD OLD PASSWORD`).join(', ')}`);
    },
  };
}

async function accountsOf(session: Session, username: string): Promise<readonly string[]> {
  const rows = await session.query(`SELECT Host AS host FROM mysql.user WHERE User = '${username}'`);
  if (rows.length === 0) throw StepFailed.refused('configuration', 'no_such_user');
  return rows.map(({ host }) => {
    requirePlainName(String(host));
    return account(username, String(host));
  });
}

async function versionOf(session: Session): Promise<string> {
  const [row] = await session.query('SELECT VERSION() AS version');
  return String(row?.['version']);
}

async function requireMariadb(session: Session): Promise<void> {
  // MySQL would take the hash of SET PASSWORD as the password.
  if (!/mariadb/i.test(await versionOf(session))) throw StepFailed.refused('configuration', 'server_is_not_mariadb');
}

async function requireDualPasswords(session: Session): Promise<void> {
  const version = await versionOf(session);
  const [major = 0, minor = 0, patch = 0] = version.split(/[.-]/).map(Number);
  const hasDual = major > 8 || (major === 8 && (minor > 0 || patch >= 14));
  if (/mariadb/i.test(version) || !hasDual) throw StepFailed.refused('configuration', 'server_without_dual_passwords');
}

async function openWith(address: string, login: Login, tls: TlsOptions | false): Promise<Session> {
  // Loaded at the first use: most installations have no such database.
  const { createConnection } = await import('mysql2/promise');
  const connection = await createConnection(optionsOf(address, login, tls)).catch((error: unknown) => {
    throw failureOf(error, 'not_sent');
  });
  connection.on('error', () => {});
  return {
    username: login.username,
    isEncrypted: tls !== false,
    query: async (text) => {
      try {
        const [rows] = await connection.query({ sql: text, timeout: LIMITS.driverStatementTimeoutMs });
        return Array.isArray(rows) ? (rows as Readonly<Record<string, unknown>>[]) : [];
      } catch (error) {
        throw failureOf(error, 'lost');
      }
    },
    close: () => close(connection),
  };
}

function optionsOf(address: string, login: Login, tls: TlsOptions | false): ConnectionOptions {
  const { host, port, username, password, database } = login;
  // SECURITY: the library checks a name only. Without one it would check "localhost".
  if (tls !== false && tls.rejectUnauthorized === true && tls.checkServerIdentity === undefined && tls.servername === undefined)
    throw StepFailed.refused('configuration', 'tls_needs_a_host_name');
  const { ca, rejectUnauthorized = true, checkServerIdentity } = tls === false ? ({} as TlsOptions) : tls;
  const ssl = {
    rejectUnauthorized,
    verifyIdentity: rejectUnauthorized && checkServerIdentity === undefined,
    ...(ca === undefined ? {} : { ca: String(ca) }),
  };
  return {
    ...{ host, port, user: username, password, connectTimeout: LIMITS.driverConnectTimeoutMs },
    ...(database === undefined ? {} : { database }),
    ...(tls === false ? { authPlugins: WITHOUT_TLS } : { ssl }),
    stream: () => connect(port, address),
  };
}

const refuseClearText = () => () => {
  throw StepFailed.refused('configuration', 'clear_text_without_tls');
};
/** SECURITY: without TLS these encrypt the password with a key that the server sends, and so may a man in the middle. */
const WITHOUT_TLS = { caching_sha2_password: refuseClearText, sha256_password: refuseClearText };

async function close(connection: Connection): Promise<void> {
  const ended = connection.end().catch(() => {});
  await Promise.race([ended, new Promise((resume) => void setTimeout(resume, LIMITS.driverCloseMs).unref())]);
  connection.destroy();
}

const CAUSES: Readonly<Record<number, string>> = {
  1045: 'login_rejected',
  ...{ 1044: 'insufficient_privilege', 1142: 'insufficient_privilege', 1227: 'insufficient_privilege' },
  ...{ 1410: 'insufficient_privilege', 1290: 'server_is_read_only', 1836: 'server_is_read_only' },
  ...{ 1049: 'no_such_database', 1396: 'no_such_user' },
};
/** Too many connections, shutdown, lock wait, deadlock, network, limits of an account, disk full. */
const TRANSIENT = new Set([1021, 1040, 1053, 1077, 1158, 1159, 1160, 1161, 1203, 1205, 1213, 1226, 1317, 1969, 3024]);

function failureOf(error: unknown, otherwise: 'not_sent' | 'lost'): StepFailed {
  if (error instanceof StepFailed) return error;
  const { errno, sqlState, code } = error as { errno?: unknown; sqlState?: unknown; code?: unknown };
  if (typeof errno === 'number' && typeof sqlState === 'string' && errno > 0) {
    const said = { words: `error ${errno} (${/^[0-9A-Z]{5}$/.test(sqlState) ? sqlState : 'no SQLSTATE'})` };
    const means = TRANSIENT.has(errno) ? 'transient' : 'configuration';
    return StepFailed.refused(means, CAUSES[errno] ?? `mysql_${errno}`, said);
  }
  if (otherwise === 'lost') return StepFailed.lost('connection_lost');
  if (code === 'HANDSHAKE_NO_SSL_SUPPORT') return StepFailed.notSent(SERVER_WITHOUT_TLS);
  if (code === 'ETIMEDOUT') return StepFailed.notSent('connect_timeout');
  return StepFailed.notSent(/CERT|SSL|TLS|SIGNATURE|ISSUER/.test(String(code)) ? 'tls_failed' : 'connect_failed');
}
