// Redis and Valkey: a user of the ACL has both passwords until the old one is removed. Passwords are set as SHA-256 hashes, so that neither
// MONITOR nor the slow log has them. It must never change users that a restart would undo: the server has to save its ACL.
import { createHash } from 'node:crypto';
import type { KeyDriver } from '../../../rotation/connector.ts';
import type { Engine, Login } from './database-value.ts';
import { type Reply, RespConnection, RespError } from './resp-connection.ts';
import { type OverlappingServer, overlap } from './rotators.ts';
import { StepFailed } from './step-failed.ts';
import type { TargetNetwork } from './target-network.ts';
import { tlsModes, withTls } from './tls-modes.ts';

const ENGINE: Engine = { names: ['redis', 'rediss', 'valkey'], ports: { default: 6_379 } };

export function redisDriver(network: TargetNetwork): KeyDriver {
  const server: OverlappingServer<RespConnection> = {
    engine: ENGINE,
    adding: 'ACL SETUSER with the hash of a second password',
    removing: 'ACL SETUSER without the hash of the old password',
    open: (login, allowLoopback) => network.dial(login.host, allowLoopback, (address) => openAt(address, login)),
    close: async (connection) => connection.close(),
    provesPassword: async (connection) => {
      await ask(connection, 'PING');
      return true;
    },
    addPassword: async (connection, _old, fresh) => {
      const { flags, hashes } = await userOf(connection, fresh);
      if (flags.includes('nopass')) throw StepFailed.refused('configuration', 'account_without_password');
      if (!hashes.includes(hashOf(fresh))) await change(connection, fresh, `#${hashOf(fresh)}`);
      else await save(connection);
    },
    removePassword: async (connection, account) => {
      const { hashes } = await userOf(connection, account);
      const others = hashes.filter((hash) => hash !== hashOf(account));
      if (others.length === 0) throw StepFailed.refused('configuration', 'last_password');
      if (others.length < hashes.length) await change(connection, account, `!${hashOf(account)}`);
      else await save(connection);
    },
  };
  return { rotator: (strategy) => (strategy === 'overlap' ? overlap(server) : undefined) };
}

/** The user without a name is `default`. */
const nameOf = ({ username }: Login) => (username === '' ? 'default' : username);
const hashOf = ({ password }: Login) => createHash('sha256').update(password).digest('hex');

async function openAt(address: string, login: Login): Promise<RespConnection> {
  const preset = login.scheme === 'rediss' ? 'verify-full' : 'disable';
  const connection = await withTls(tlsModes(login, preset), (tls) => RespConnection.open(address, login.port, tls));
  try {
    await ask(connection, 'AUTH', nameOf(login), login.password);
    return connection;
  } catch (error) {
    connection.close();
    // Nothing but the login was sent.
    throw error instanceof StepFailed && error.failure.kind === 'lost' ? StepFailed.notSent('connect_failed') : error;
  }
}

async function userOf(connection: RespConnection, login: Login) {
  const reply = await ask(connection, 'ACL', 'GETUSER', nameOf(login));
  if (reply === null) throw StepFailed.refused('configuration', 'no_such_user');
  if (!Array.isArray(reply)) throw StepFailed.odd('answer_of_another_shape');
  const member = (name: string): readonly unknown[] => {
    const list = reply[reply.indexOf(name) + 1];
    if (!reply.includes(name) || !Array.isArray(list)) throw StepFailed.odd('answer_of_another_shape');
    return list;
  };
  return { flags: member('flags'), hashes: member('passwords') };
}

async function change(connection: RespConnection, login: Login, rule: string): Promise<void> {
  // Before the change, so that a server that cannot save is refused while nothing has changed.
  await save(connection);
  await ask(connection, 'ACL', 'SETUSER', nameOf(login), rule);
  try {
    await save(connection);
  } catch {
    throw StepFailed.lost('acl_not_saved');
  }
}

/** Users are in the ACL file, or else in the configuration file. */
async function save(connection: RespConnection): Promise<void> {
  const inFile = await connection.command('ACL', 'SAVE');
  if (!(inFile instanceof RespError)) return;
  if (inFile.code !== 'ERR') throw refusalOf(inFile);
  const inConfiguration = await connection.command('CONFIG', 'REWRITE');
  if (!(inConfiguration instanceof RespError)) return;
  throw inConfiguration.code === 'ERR' ? StepFailed.refused('configuration', 'acl_not_persistent') : refusalOf(inConfiguration);
}

async function ask(connection: RespConnection, ...words: readonly string[]): Promise<Exclude<Reply, RespError>> {
  const reply = await connection.command(...words);
  if (reply instanceof RespError) throw refusalOf(reply);
  return reply;
}

const TRANSIENT = new Set(['LOADING', 'MASTERDOWN', 'BUSY', 'TRYAGAIN', 'CLUSTERDOWN', 'OOM', 'MISCONF', 'UNBLOCKED']);
const CAUSES: Readonly<Record<string, string>> = {
  WRONGPASS: 'login_rejected',
  NOPERM: 'insufficient_privilege',
  READONLY: 'server_is_read_only',
};

function refusalOf({ code }: RespError): StepFailed {
  const cause = Object.hasOwn(CAUSES, code) ? (CAUSES[code] as string) : `redis_${code.toLowerCase()}`;
  return StepFailed.refused(TRANSIENT.has(code) ? 'transient' : 'configuration', cause, { words: code });
}
