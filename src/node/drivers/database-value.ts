// A stored value of kind `database` as a login, and the same value with another password or user in the form in which it was put.
// It must never guess: a value whose parts contradict each other is refused.
import type { StoredValue } from '../../../rotation/connector.ts';
import { StepFailed } from './step-failed.ts';

export interface Login {
  /** A name or an address, without brackets. */
  readonly host: string;
  readonly port: number;
  readonly username: string;
  readonly password: string;
  readonly database: string | undefined;
  /** The URL's query and the member `options`, as texts. */
  readonly options: Readonly<Record<string, string>>;
  /** The scheme of the URL, or the engine. */
  readonly scheme: string;
}

export interface Engine {
  /** Schemes and names of the engine; the first characters decide: `postgres` covers `postgresql`. */
  readonly names: readonly string[];
  /** By scheme; `default` otherwise. */
  readonly ports: Readonly<Record<string, number>> & { readonly default: number };
  /** Options that would name another user, host or database than the rest of the value. */
  readonly refusedOptions?: readonly string[];
}

const refused = (cause: string) => StepFailed.refused('configuration', cause);

/** @throws StepFailed configuration: value_not_of_engine | value_without_host | value_contradicts_itself | url_not_supported ... */
export function readLogin(value: StoredValue, engine: Engine): Login {
  const url = typeof value['url'] === 'string' ? readUrl(value['url']) : undefined;
  const scheme = schemeOf(engine, text(value['engine']), url?.scheme);
  const options = { ...url?.options, ...optionsOf(value) };
  if ((engine.refusedOptions ?? []).some((name) => Object.hasOwn(options, name))) throw refused('value_contradicts_itself');
  const port = agreed(url?.port, text(value['port']));
  const login = {
    host: hostOf(url?.host, text(value['host'])),
    port: Number(port ?? engine.ports[scheme] ?? engine.ports.default),
    username: agreed(url?.username, text(value['username'])) ?? '',
    password: agreed(url?.password, passwordPart(value)) ?? '',
    database: agreed(url?.database, agreed(text(value['database']), text(value['dbname']))),
    options,
    scheme,
  };
  // SECURITY: a protocol with texts that end with NUL would read a shorter name.
  if ([login.username, login.password, login.database].some((part) => part?.includes('\0'))) throw refused('value_with_nul');
  return login;
}

function schemeOf({ names }: Engine, engine: string | undefined, scheme: string | undefined): string {
  for (const name of [engine ?? scheme ?? '', scheme ?? engine ?? ''])
    if (!names.some((known) => name.startsWith(known))) throw refused('value_not_of_engine');
  return scheme ?? engine ?? '';
}

function hostOf(inUrl: string | undefined, part: string | undefined): string {
  const host = agreed(inUrl, part?.toLowerCase());
  if (host === undefined) throw refused('value_without_host');
  // Several hosts, and the folder of a Unix socket.
  if (/[,/\s\\]/.test(host)) throw refused('host_not_supported');
  return host;
}

/** The value with another password, and another user if one is given; every other character of it stays. */
export function withPassword(value: StoredValue, password: string, username?: string): StoredValue {
  const changed: Record<string, unknown> = { ...value };
  const url = text(value['url']);
  const isPart = 'password' in value || 'password_base64' in value;
  if (url !== undefined) changed['url'] = withUserinfo(url, isPart ? undefined : password, password, username);
  if (username !== undefined && (url === undefined || 'username' in value)) changed['username'] = username;
  if ('password_base64' in value) changed['password_base64'] = Buffer.from(password).toString('base64');
  else if (isPart || url === undefined) changed['password'] = password;
  return changed;
}

/** Whether both values lead to the same server. */
export function isSameServer(one: Login, other: Login): boolean {
  return one.host === other.host && one.port === other.port;
}

/** @throws StepFailed configuration if both are given and differ */
function agreed(one: string | undefined, other: string | undefined): string | undefined {
  if (one !== undefined && other !== undefined && one !== other) throw refused('value_contradicts_itself');
  return one ?? other;
}

function text(member: unknown): string | undefined {
  return typeof member === 'string' || typeof member === 'number' ? String(member) : undefined;
}

function passwordPart(value: StoredValue): string | undefined {
  const encoded = text(value['password_base64']);
  if (encoded === undefined) return text(value['password']);
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.from(encoded, 'base64'));
  } catch {
    throw refused('password_not_text');
  }
}

function optionsOf(value: StoredValue): Record<string, string> {
  const given = (value['options'] ?? {}) as Readonly<Record<string, unknown>>;
  return Object.fromEntries(Object.entries(given).map(([name, option]) => [name, String(option)]));
}

const URL_FORM = /^([a-z][a-z0-9+.-]*):\/\/(?:([^/?#]*)@)?([^/?#]*)([^?#]*)(?:\?([^#]*))?$/i;

function partsOfUrl(url: string) {
  const match = URL_FORM.exec(url);
  if (match === null) throw refused('url_not_supported');
  const [, scheme = '', userinfo, authority = '', path = '', query = ''] = match;
  const colon = userinfo?.indexOf(':') ?? -1;
  const username = userinfo === undefined ? '' : colon < 0 ? userinfo : userinfo.slice(0, colon);
  const password = userinfo === undefined || colon < 0 ? undefined : userinfo.slice(colon + 1);
  return { scheme: scheme.toLowerCase(), userinfo, username, password, authority, path, query };
}

function readUrl(url: string) {
  const { scheme, username, password, authority, path, query } = partsOfUrl(url);
  const server = /^(\[[0-9a-f:.]+\]|[^:[\]]*)(?::([1-9][0-9]{0,4}))?$/i.exec(authority);
  if (server === null) throw refused('host_not_supported');
  const host = decode(server[1] ?? '')
    .replace(/^\[|\]$/g, '')
    .toLowerCase();
  const database = decode(path.slice(1));
  return {
    scheme,
    host: host === '' ? undefined : host,
    port: server[2],
    username: username === '' ? undefined : decode(username),
    password: password === undefined ? undefined : decode(password),
    database: database === '' ? undefined : database,
    options: Object.fromEntries(new URLSearchParams(query)),
  };
}

/** @param added the password for a URL without one; undefined: it gets none, because the password is beside it */
function withUserinfo(url: string, added: string | undefined, password: string, username: string | undefined): string {
  const { userinfo, username: named, password: before } = partsOfUrl(url);
  const secret = before === undefined ? added : password;
  const user = username !== undefined && (named !== '' || added !== undefined) ? encodeURIComponent(username) : named;
  if (secret === undefined && user === '') return url;
  const start = url.indexOf('://') + 3;
  const rest = url.slice(start + (userinfo === undefined ? 0 : userinfo.length + 1));
  return `${url.slice(0, start)}${user}${secret === undefined ? '' : `:${encodeURIComponent(secret)}`}@${rest}`;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw refused('url_not_supported');
  }
}
