// Where the command line takes its settings from: flags, then KEYTURN_* variables, then the user's own config file.
// It must never read an address or a token from the working directory (OP-01), nor take a secret from argv (LK-06).
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { CliError, EXIT } from './exit.ts';
import { readSecretFile } from './typed-in.ts';

export interface StoredConfig {
  address?: string;
  token?: string;
  tenant?: string;
  environment?: string;
  /** Verifier keys noted when a log was first seen, by origin. */
  verifier_keys?: Record<string, string>;
  /** The newest signed head that was verified here, by origin: a log that went back since does not hold it. */
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
  readonly clientId: string | undefined;
  readonly clientSecret: string | undefined;
  /** A file with a private JWK (with `alg`), for workloads that prove themselves with private_key_jwt. */
  readonly clientKeyFile: string | undefined;
  readonly output: 'table' | 'json' | 'raw';
}

export const DEFAULT_ADDRESS = 'http://127.0.0.1:8420';

export function configPath(): string {
  return join(process.env['XDG_CONFIG_HOME'] ?? join(homedir(), '.config'), 'keyturn', 'config.json');
}

export function readConfig(): StoredConfig {
  const path = configPath();
  if (!existsSync(path)) return {};
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as StoredConfig;
  } catch {
    throw new CliError(`the config file ${path} is not JSON`, EXIT.usage, 'delete it, or repair it');
  }
}

/** Merged into the config file; 0600 in a 0700 directory. */
export function saveConfig(change: StoredConfig): string {
  const path = configPath();
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const next = { ...readConfig(), ...change };
  writeFileSync(`${path}.new`, `${JSON.stringify(next, null, 2)}\n`, { mode: 0o600 });
  chmodSync(`${path}.new`, 0o600);
  renameSync(`${path}.new`, path);
  return path;
}

/** A variable, or the first line of the file its `_FILE` twin names. */
function fromEnvironment(name: string): string | undefined {
  const file = process.env[`${name}_FILE`];
  return file === undefined || file === '' ? process.env[name] : readSecretFile(file);
}

export function settingsFrom(options: GlobalOptions): Settings {
  const config = readConfig();
  const output = (options.json === true ? 'json' : options.output) ?? process.env['KEYTURN_FORMAT'] ?? 'table';
  if (output !== 'table' && output !== 'json' && output !== 'raw') throw new CliError('-o takes table, json or raw', EXIT.usage);
  const clientId = process.env['KEYTURN_CLIENT_ID'];
  const clientSecret = fromEnvironment('KEYTURN_CLIENT_SECRET');
  const given = options.tokenFile === undefined ? fromEnvironment('KEYTURN_TOKEN') : readSecretFile(options.tokenFile);
  // Client credentials in the environment go before the stored token of whoever logged in on this machine.
  const token = given ?? (clientId === undefined ? config.token : undefined);
  return {
    address: options.address ?? process.env['KEYTURN_ADDR'] ?? config.address ?? DEFAULT_ADDRESS,
    tenant: options.tenant ?? process.env['KEYTURN_TENANT'] ?? config.tenant,
    environment: options.env ?? process.env['KEYTURN_ENVIRONMENT'] ?? config.environment,
    token,
    clientId,
    clientSecret,
    clientKeyFile: process.env['KEYTURN_CLIENT_KEY_FILE'],
    output,
  };
}
