// LDAP directories with the Password Modify operation (RFC 3062), such as OpenLDAP: the server hashes the new password by its own policy.
// It must never bind or send a password without TLS, nor on a connection that the library opened again by itself.
import { connect } from 'node:net';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import type { Client } from 'ldapts';
import type { KeyDriver } from '../../../rotation/connector.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Engine, Login } from './database-value.ts';
import { type SettingServer, singleUser } from './rotators.ts';
import { StepFailed } from './step-failed.ts';
import type { TargetNetwork } from './target-network.ts';
import { tlsModes } from './tls-modes.ts';

const ENGINE: Engine = { names: ['ldap'], ports: { ldaps: 636, default: 389 } };
const PASSWORD_MODIFY = '1.3.6.1.4.1.4203.1.11.1';

export function ldapDriver(network: TargetNetwork): KeyDriver {
  const server: SettingServer<Client> = {
    engine: ENGINE,
    setting: 'Password Modify (RFC 3062)',
    open: (login, allowLoopback) => network.dial(login.host, allowLoopback, (address) => openAt(address, login)),
    close: async (client) => {
      await client.unbind().catch(() => {});
    },
    provesPassword: async (client) => {
      await ask(() => client.search('', { scope: 'base', attributes: ['1.1'] }));
      return true;
    },
    setPassword: async (client, account, fresh, { isSelf }) => {
      const request = passwordModify(account.username, isSelf ? account.password : undefined, fresh.password);
      await ask(() => client.exop(PASSWORD_MODIFY, request));
    },
  };
  return { rotator: (strategy) => (strategy === 'single_user' ? singleUser(server) : undefined) };
}

/** BER of PasswdModifyRequestValue. */
function passwordModify(identity: string, before: string | undefined, after: string): Buffer {
  const members = [element(0x80, Buffer.from(identity))];
  if (before !== undefined) members.push(element(0x81, Buffer.from(before)));
  return element(0x30, Buffer.concat([...members, element(0x82, Buffer.from(after))]));
}

/** Tag, length, content (X.690 section 8.1). */
function element(tag: number, content: Buffer): Buffer {
  const size = content.byteLength;
  const length = size < 0x80 ? [size] : size < 0x100 ? [0x81, size] : [0x82, size >> 8, size & 0xff];
  return Buffer.concat([Buffer.of(tag, ...length), content]);
}

async function openAt(address: string, login: Login): Promise<Client> {
  // SECURITY: without a name or a password the server answers with success to a login that proves nothing (RFC 4513 section 5.1).
  if (login.username === '' || login.password === '') throw StepFailed.refused('configuration', 'value_without_login');
  const [tls] = tlsModes(login, 'verify-full');
  // SECURITY: a simple bind has the password.
  if (tls === false) throw StepFailed.refused('configuration', 'clear_text_without_tls');
  const secure = { ...tls, host: login.host };
  const isStartTls = login.scheme !== 'ldaps';
  const client = await clientAt(address, login.port, secure, isStartTls);
  try {
    if (isStartTls) await client.startTLS(secure);
    await client.bind(login.username, login.password);
    return client;
  } catch (error) {
    await client.unbind().catch(() => {});
    throw failureOf(error, (cause) => StepFailed.notSent(cause));
  }
}

async function clientAt(address: string, port: number, tls: ConnectionOptions, isStartTls: boolean): Promise<Client> {
  // Loaded at the first use: most installations have no such server.
  const library = await import('ldapts');
  let dials = 0;
  // SECURITY: the library would connect again by itself, without a bind and without StartTLS.
  const once = () => {
    dials++;
    if (dials > 1) throw StepFailed.lost('connection_lost');
  };
  return new library.Client({
    url: `${isStartTls ? 'ldap' : 'ldaps'}://target.invalid:${port}`,
    strictDN: false,
    connectTimeout: LIMITS.driverConnectTimeoutMs,
    timeout: LIMITS.driverStatementTimeoutMs,
    createConnection: (() => {
      once();
      return connect(port, address);
    }) as unknown as typeof connect,
    createSecureConnection: ((...args: readonly unknown[]) => {
      // To upgrade a connection, the library gives the socket in the options.
      if (isStartTls) return connectTls(args[0] as ConnectionOptions);
      once();
      return connectTls({ ...tls, port, socket: connect(port, address) });
    }) as unknown as typeof connectTls,
  });
}

async function ask<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw failureOf(error, (cause) => (cause === 'connect_failed' ? StepFailed.lost('connection_lost') : StepFailed.lost(cause)));
  }
}

/** Result codes of RFC 4511 section 4.1.9. */
const CAUSES: Readonly<Record<number, string>> = {
  2: 'password_modify_not_supported',
  10: 'server_is_read_only',
  19: 'password_refused_by_policy',
  32: 'no_such_user',
  49: 'login_rejected',
  50: 'insufficient_privilege',
};
const TRANSIENT = new Set([3, 11, 51, 52]);

function failureOf(error: unknown, without: (cause: string) => StepFailed): StepFailed {
  if (error instanceof StepFailed) return error;
  const { code, message } = error as { readonly code?: unknown; readonly message?: unknown };
  if (typeof code !== 'number') {
    const isTls = typeof code === 'string' && /CERT|SSL|TLS|SIGNATURE|ISSUER/.test(code);
    return without(isTls ? 'tls_failed' : 'connect_failed');
  }
  // Active Directory says in the message why: only 52e and 525 are about the name or the password.
  const reason = code === 49 ? /\bdata ([0-9a-f]{3})\b/.exec(String(message))?.[1] : undefined;
  const isPassword = reason === undefined || reason === '52e' || reason === '525';
  const cause = isPassword ? (CAUSES[code] ?? `ldap_${code}`) : 'account_not_usable';
  return StepFailed.refused(TRANSIENT.has(code) ? 'transient' : 'configuration', cause, { words: `LDAP result ${code}` });
}
