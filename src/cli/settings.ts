// Settings of the command line: from options, then KEYTURN_* variables, then the user's config file.
// It must never read an address or a token from the working directory (OP-01), take a secret from argv (LK-06), nor send a stored
// token to another address than the one it was issued at.
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { exposureOf, SECRET_FILE_RULE } from '../base/file-access.ts';
import { checkAddress } from '../sdk/transport.ts';
import { CliError, EXIT } from './exit.ts';
import { readSecretFile } from './typed-in.ts';
import { hold } from './unsaid.ts';

export interface StoredConfig {
  /** The default address: the address of the last login. */
  address?: string;
  /** Tokens by the address at which each was issued (`placeOf`). */
  tokens?: Readonly<Record<string, string>>;
  tenant?: string;
  environment?: string;
  /** Verifier keys by the log's origin, stored at the first successful verification. */
  verifier_keys?: Record<string, string>;
  /** The last verified signed head by the log's origin: a log that was rolled back since is not consistent with it. */
  seen_heads?: Record<string, string>;
}

export interface GlobalOptions {
  readonly address?: string;
  readonly tenant?: string;
  readonly env?: string;
  readonly tokenFile?: string;
  readonly output?: string;
  readonly json?: boolean;
}

export interface Settings {
  readonly address: string;
  readonly tenant: string | undefined;
  readonly environment: string | undefined;
  readonly token: string | undefined;
  /** Why a stored token is not used. */
  readonly whyNoToken: string | undefined;
  readonly clientId: string | undefined;
  readonly clientSecret: string | undefined;
  /** A file with a private JWK (with `alg`), for workloads that authenticate with private_key_jwt. */
  readonly clientKeyFile: string | undefined;
  readonly output: 'table' | 'json' | 'raw';
}

export const DEFAULT_ADDRESS = 'http://127.0.0.1:8420';

export function configPath(): string {
  return join(variable('XDG_CONFIG_HOME') ?? join(homedir(), '.config'), 'keyturn', 'config.json');
}

export function readConfig(): StoredConfig {
  const path = configPath();
  if (!existsSync(path)) return {};
  try {
    return byAddress(JSON.parse(readFileSync(path, 'utf8')) as StoredConfig & { token?: string });
  } catch {
    throw new CliError(`the config file ${path} is not valid JSON`, EXIT.usage, 'repair it, or delete it and log in again');
  }
}

/** Converts a config file of an earlier version, which held a single token. */
function byAddress({ token, ...config }: StoredConfig & { token?: string }): StoredConfig {
  if (token === undefined || token === '') return config;
  return { ...config, tokens: { [placeOf(config.address ?? DEFAULT_ADDRESS)]: token, ...config.tokens } };
}

/** The key of a stored token: origin and base path. @throws KeyturnProblem refused_address */
function placeOf(address: string): string {
  return checkAddress(address, true);
}

/** Stores the token and makes its address the default. */
export function saveToken(address: string, token: string, change: StoredConfig = {}): string {
  return saveConfig({ ...change, address, tokens: { ...readConfig().tokens, [placeOf(address)]: token } });
}

/** The token stored for the address. */
export function tokenStoredFor(address: string): string | undefined {
  return readConfig().tokens?.[placeOf(address)];
}

/** True if a token was stored. */
export function forgetToken(address: string): boolean {
  const { [placeOf(address)]: found, ...others } = readConfig().tokens ?? {};
  saveConfig({ tokens: others });
  return found !== undefined;
}

/** Merges `change` into the config file (mode 0600, directory 0700) and returns its path. */
export function saveConfig(change: StoredConfig): string {
  const path = configPath();
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  chmodSync(dirname(path), 0o700);
  const next = { ...readConfig(), ...change };
  // SECURITY: the file is newly created, so that a planted symbolic link or file mode has no effect.
  rmSync(`${path}.new`, { force: true });
  writeFileSync(`${path}.new`, `${JSON.stringify(next, null, 2)}\n`, { mode: 0o600, flag: 'wx' });
  chmodSync(`${path}.new`, 0o600);
  renameSync(`${path}.new`, path);
  return path;
}

/** The value of a variable of the environment. An empty variable counts as unset, as `KEYTURN_TENANT=` before a command means. */
export function variable(name: string): string | undefined {
  const text = process.env[name];
  return text === '' ? undefined : text;
}

/** The value of a variable, or of the file that `<name>_FILE` names. */
function fromEnvironment(name: string): string | undefined {
  const file = variable(`${name}_FILE`);
  return file === undefined ? variable(name) : readSecretFile(file);
}

export function settingsFrom(options: GlobalOptions): Settings {
  const config = readConfig();
  const clientId = variable('KEYTURN_CLIENT_ID');
  const clientSecret = fromEnvironment('KEYTURN_CLIENT_SECRET');
  const given = options.tokenFile === undefined ? fromEnvironment('KEYTURN_TOKEN') : readSecretFile(options.tokenFile);
  // Client credentials in the environment take precedence over a stored token.
  const stored = given === undefined && clientId === undefined ? config.tokens : undefined;
  const { address = DEFAULT_ADDRESS, tenant, environment } = placeFrom(options, config);
  const token = given ?? storedToken(stored, address);
  return {
    address,
    tenant,
    environment,
    token: hold(token),
    whyNoToken: token === undefined ? whyNot(stored, address) : undefined,
    clientId,
    clientSecret,
    clientKeyFile: variable('KEYTURN_CLIENT_KEY_FILE'),
    output: outputOf(options),
  };
}

/** Address, tenant and environment: from options, then variables, then the config file. */
function placeFrom(options: GlobalOptions, config: StoredConfig): Pick<StoredConfig, 'address' | 'tenant' | 'environment'> {
  const first = (...candidates: readonly (string | undefined)[]) => candidates.find((one) => one !== undefined);
  const address = first(options.address, variable('KEYTURN_ADDR'), config.address);
  const tenant = first(options.tenant, variable('KEYTURN_TENANT'), config.tenant);
  const environment = first(options.env, variable('KEYTURN_ENVIRONMENT'), config.environment);
  return {
    ...(address === undefined ? {} : { address }),
    ...(tenant === undefined ? {} : { tenant }),
    ...(environment === undefined ? {} : { environment }),
  };
}

function outputOf({ json, output }: GlobalOptions): Settings['output'] {
  const wanted = (json === true ? 'json' : output) ?? variable('KEYTURN_FORMAT') ?? 'table';
  if (wanted !== 'table' && wanted !== 'json' && wanted !== 'raw')
    throw new CliError('the option -o must be table, json or raw', EXIT.usage);
  return wanted;
}

/** SECURITY: a stored token is sent only to the address it was issued at, so a planted KEYTURN_ADDR cannot obtain it. @throws CliError */
function storedToken(tokens: StoredConfig['tokens'], address: string): string | undefined {
  const token = tokens?.[placeOf(address)];
  if (token === undefined || token === '') return undefined;
  const path = configPath();
  const exposure = exposureOf(statSync(path), process.getuid?.());
  if (exposure === undefined) return token;
  throw new CliError(
    `the config file ${path} ${exposure} and holds a token: ${SECRET_FILE_RULE}`,
    EXIT.usage,
    `chmod 600 ${path}`,
  );
}

function whyNot(tokens: StoredConfig['tokens'], address: string): string | undefined {
  const places = Object.keys(tokens ?? {});
  if (places.length === 0) return undefined;
  const place = placeOf(address);
  return `the stored token is for ${places.join(', ')} and is not sent to ${place}: log in with \`keyturn login --address ${place}\``;
}
