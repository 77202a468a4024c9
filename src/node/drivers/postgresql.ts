// PostgreSQL: passwords of roles, one account or two in turn. The server receives a SCRAM-SHA-256 verifier and never a new password.
// It must never send a statement with a password, and never answer a request for a clear-text password without TLS.
import type { EventEmitter } from 'node:events';
import { Socket } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import { Client, type ClientConfig, DatabaseError, escapeIdentifier, escapeLiteral } from 'pg';
import type { KeyDriver } from '../../../rotation/connector.ts';
import type { Entropy } from '../../base/clock.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Engine, Login } from './database-value.ts';
import { type AlternatingServer, alternatingUsers, singleUser } from './rotators.ts';
import { scramVerifier } from './scram-verifier.ts';
import { StepFailed } from './step-failed.ts';
import type { TargetNetwork } from './target-network.ts';
import { SERVER_WITHOUT_TLS, tlsModes, withTls } from './tls-modes.ts';

const ENGINE: Engine = {
  names: ['postgres', 'aurora-postgres'],
  ports: { default: 5_432 },
  refusedOptions: ['user', 'password', 'host', 'hostaddr', 'port', 'dbname', 'service', 'passfile'],
};
/** NAMEDATALEN - 1. */
const NAME_BYTES = 63;
/** The default of `scram_iterations`, for servers before version 16, which have no such setting. */
const SCRAM_ITERATIONS = 4_096;

interface Session {
  readonly client: Client;
  readonly socket: Socket;
  /** Whether the server asked for a password. */
  wasAsked: boolean;
}

export function postgresqlDriver(network: TargetNetwork): KeyDriver {
  const server: AlternatingServer<Session> = {
    engine: ENGINE,
    setting: 'ALTER ROLE with a SCRAM-SHA-256 verifier',
    usernameMaxBytes: NAME_BYTES,
    open: (login, allowLoopback) => network.dial(login.host, allowLoopback, (address) => openAt(address, login)),
    close,
    provesPassword: async (session) => {
      await query(session, 'SELECT 1');
      return session.wasAsked;
    },
    setPassword: (session, account, fresh, { isSelf, entropy }) =>
      transaction(session, async () => {
        // The account may have the setting `role`, and only the account itself may change its own password.
        if (isSelf) await query(session, 'SET LOCAL ROLE NONE');
        await alter(session, account.username, await verifierOf(session, fresh, entropy));
      }),
    setOther,
    lock: (session, { username }) =>
      transaction(session, () => query(session, `ALTER ROLE ${escapeIdentifier(username)} PASSWORD NULL`)),
  };
  return {
    rotator(strategy) {
      if (strategy === 'single_user') return singleUser(server);
      return strategy === 'alternating_users' ? alternatingUsers(server) : undefined;
    },
  };
}

async function alter(session: Session, username: string, verifier: string, login: '' | 'LOGIN' = ''): Promise<void> {
  await query(session, `ALTER ROLE ${escapeIdentifier(username)} ${login} PASSWORD ${escapeLiteral(verifier)}`);
}

async function setOther(
  session: Session,
  old: Login,
  fresh: Login,
  { base, entropy }: { readonly base: string; readonly entropy: Entropy },
): Promise<void> {
  await transaction(session, async () => {
    const verifier = await verifierOf(session, fresh, entropy);
    const [known] = await query<{ member: boolean }>(
      session,
      `SELECT EXISTS (SELECT FROM pg_auth_members WHERE roleid = base.oid AND member = other.oid) AS member
       FROM pg_roles other LEFT JOIN pg_roles base ON base.rolname = ${escapeLiteral(base)}
       WHERE other.rolname = ${escapeLiteral(fresh.username)}`,
    );
    if (known === undefined) await makeOther(session, old, fresh, base);
    // SECURITY: an account with this name that Keyturn did not make belongs to somebody else; its password must not change.
    else if (fresh.username !== base && !known.member) throw StepFailed.refused('configuration', 'other_user_not_a_member');
    await alter(session, fresh.username, verifier, 'LOGIN');
  });
}

/** A member of `base` with its attributes and settings. Its sessions act as `base`, so that both accounts own what either creates. */
async function makeOther(session: Session, old: Login, fresh: Login, base: string): Promise<void> {
  if (old.username !== base) throw StepFailed.refused('configuration', 'no_such_user');
  const [role] = await query<Record<string, boolean | number>>(
    session,
    `SELECT rolcreatedb, rolcreaterole, rolbypassrls, rolreplication, rolsuper, rolconnlimit FROM pg_roles
     WHERE rolname = ${escapeLiteral(base)}`,
  );
  if (role === undefined) throw StepFailed.refused('configuration', 'no_such_user');
  if (role['rolsuper'] === true) throw StepFailed.refused('configuration', 'account_is_superuser');
  const other = escapeIdentifier(fresh.username);
  const attributes = ['createdb', 'createrole', 'bypassrls', 'replication'].filter((name) => role[`rol${name}`] === true);
  await query(session, `CREATE ROLE ${other} LOGIN ${attributes.join(' ')} CONNECTION LIMIT ${Number(role['rolconnlimit'])}`);
  await query(session, `GRANT ${escapeIdentifier(base)} TO ${other}`);
  await copySettings(session, base, fresh.username);
  await query(session, `ALTER ROLE ${other} SET role TO ${escapeLiteral(base)}`);
}

/** Settings are taken over by `FROM CURRENT`: their stored texts have a quoting of their own. */
async function copySettings(session: Session, base: string, other: string): Promise<void> {
  const settings = await query<{ name: string; value: string; database: string | null }>(
    session,
    `SELECT split_part(entry, '=', 1) AS name, substr(entry, strpos(entry, '=') + 1) AS value, datname AS database
     FROM pg_db_role_setting JOIN pg_roles ON pg_roles.oid = setrole LEFT JOIN pg_database ON pg_database.oid = setdatabase,
     unnest(setconfig) AS entry WHERE rolname = ${escapeLiteral(base)} AND entry NOT LIKE 'role=%'`,
  );
  for (const { name, value, database } of settings) {
    const where = database === null ? '' : `IN DATABASE ${escapeIdentifier(database)}`;
    const path = name.split('.').map(escapeIdentifier).join('.');
    // SECURITY: the account chooses its settings, and by `search_path` which function an unqualified name calls.
    await query(session, `SELECT pg_catalog.set_config(${escapeLiteral(name)}, ${escapeLiteral(value)}, true)`);
    await query(session, `ALTER ROLE ${escapeIdentifier(other)} ${where} SET ${path} FROM CURRENT`);
  }
  await query(session, SAFE_PATH);
}

/** SECURITY: a database or a role can have a `search_path` in which a function of somebody else comes before one of the system. */
const SAFE_PATH = 'SET LOCAL search_path TO pg_catalog, pg_temp';

async function verifierOf(session: Session, { password }: Login, entropy: Entropy): Promise<string> {
  const [found] = await query<{ iterations: string | null; version: string }>(
    session,
    `SELECT current_setting('scram_iterations', true) AS iterations, current_setting('server_version_num') AS version`,
  );
  if (Number(found?.version) < 100_000) throw StepFailed.refused('configuration', 'server_too_old');
  return scramVerifier(password, entropy.bytes(16), Number(found?.iterations ?? SCRAM_ITERATIONS));
}

/** Everything or nothing; a connection that ends before COMMIT changes nothing. */
async function transaction(session: Session, work: () => Promise<unknown>): Promise<void> {
  await query(session, 'BEGIN');
  await query(session, SAFE_PATH);
  await query(session, `SET LOCAL statement_timeout = ${LIMITS.driverStatementTimeoutMs}`);
  await work();
  await query(session, 'COMMIT');
}

async function query<Row = unknown>(session: Session, text: string): Promise<Row[]> {
  try {
    return (await session.client.query(text)).rows as Row[];
  } catch (error) {
    if (error instanceof DatabaseError) throw refusalOf(error);
    throw StepFailed.lost('connection_lost');
  }
}

async function openAt(address: string, login: Login): Promise<Session> {
  return withTls(tlsModes(login, 'prefer'), (tls) => openWith(address, login, tls));
}

async function openWith(address: string, login: Login, tls: ConnectionOptions | false): Promise<Session> {
  const socket = new Socket();
  let wantsClearText = false;
  const session: Session = {
    socket,
    wasAsked: false,
    client: new Client({ ...configOf(address, login, tls), stream: () => socket, password }),
  };
  function password(): string {
    session.wasAsked = true;
    // SECURITY: a man in the middle could demand it, and would learn the password of the admin.
    if (wantsClearText && tls === false) throw StepFailed.refused('configuration', 'clear_text_without_tls');
    return login.password;
  }
  // An error of an idle connection would otherwise end the process; the statement in progress reports it.
  session.client.on('error', () => {});
  const { connection } = session.client as unknown as { readonly connection: EventEmitter };
  connection.on('authenticationCleartextPassword', () => {
    wantsClearText = true;
  });
  try {
    await session.client.connect();
    return session;
  } catch (error) {
    socket.destroy();
    throw loginFailure(error, session.wasAsked);
  }
}

/** Every member is given: the library takes a missing one from the environment of the process. */
function configOf(address: string, { username, port, database }: Login, ssl: ConnectionOptions | false): ClientConfig {
  return {
    host: address,
    port,
    user: username,
    database: database ?? username,
    ssl,
    sslnegotiation: 'postgres',
    application_name: 'keyturn',
    connectionTimeoutMillis: LIMITS.driverConnectTimeoutMs,
    query_timeout: LIMITS.driverStatementTimeoutMs,
  };
}

function loginFailure(error: unknown, wasAsked: boolean): StepFailed {
  if (error instanceof StepFailed) return error;
  if (error instanceof DatabaseError) {
    // 28000 has other reasons, too, such as pg_hba.conf; after the server asked for the password it is a refusal of this login.
    const isPassword = error.code === '28P01' || (error.code === '28000' && wasAsked);
    return isPassword ? StepFailed.refused('configuration', 'login_rejected', saidBy(error)) : refusalOf(error);
  }
  const { code, message } = error as { readonly code?: unknown; readonly message?: unknown };
  if (message === 'The server does not support SSL connections') return StepFailed.notSent(SERVER_WITHOUT_TLS);
  if (message === 'timeout expired' || code === 'ETIMEDOUT') return StepFailed.notSent('connect_timeout');
  return StepFailed.notSent(
    typeof code === 'string' && /CERT|SSL|TLS|SIGNATURE|ISSUER/.test(code) ? 'tls_failed' : 'connect_failed',
  );
}

/** Classes of SQLSTATE (PostgreSQL, appendix A) that pass: connection, rollback, resources, state, operator, system, internal. */
const TRANSIENT = /^(08|25P0[34]|40|53|55|57|58|XX)/;
const CAUSES: Readonly<Record<string, string>> = {
  '42501': 'insufficient_privilege',
  '25006': 'server_is_read_only',
  '42704': 'no_such_user',
  '3D000': 'no_such_database',
};

function refusalOf(error: DatabaseError): StepFailed {
  const state = /^[0-9A-Z]{5}$/.test(error.code ?? '') ? (error.code as string) : 'unknown';
  const cause = CAUSES[state] ?? `sqlstate_${state.toLowerCase()}`;
  return StepFailed.refused(TRANSIENT.test(state) ? 'transient' : 'configuration', cause, saidBy(error));
}

/** The code only: a message may repeat the statement. */
function saidBy({ code }: DatabaseError): { readonly words: string } {
  return { words: `SQLSTATE ${/^[0-9A-Z]{5}$/.test(code ?? '') ? code : 'unknown'}` };
}

/** Waits a moment for the server to end the session. */
async function close({ client, socket }: Session): Promise<void> {
  const ended = client.end().catch(() => {});
  await Promise.race([ended, new Promise((resume) => void setTimeout(resume, LIMITS.driverCloseMs).unref())]);
  socket.destroy();
}
