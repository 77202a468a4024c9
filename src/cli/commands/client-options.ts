// Options that configure a connector: the OAuth client, its credentials, workflows with their scopes, and connector parameters.
// It must never take a secret from argv (LK-06).
import type { Command } from 'commander';
import type { WireCredential } from '../../http/v1/wire.ts';
import { KeyturnProblem } from '../../sdk/problem.ts';
import { CliError, EXIT } from '../exit.ts';
import type { Session } from '../session.ts';
import { readJsonFile, readSecretFile, readSecrets } from '../typed-in.ts';
import { assignment } from './grant-text.ts';

/** The options that `withClientOptions` adds. */
export interface ClientOptions {
  name?: string;
  clientId?: string;
  clientSecretFile?: string;
  clientKeyFile?: string;
  workflow?: string[];
  why?: string[];
  param?: string[];
  baseUrl?: string[];
  sandbox?: string;
  configFile?: string;
  issuer?: string;
  tokenEndpoint?: string;
  authorizationEndpoint?: string;
  clientAuthentication?: string;
  label?: string[];
  description?: string;
}

/** The help text of `--config-file`. */
export const CONFIG_FILE = 'connector settings as JSON, as in `config` of `credential show -o json`; options override them';

const collect = (value: string, before: string[] | undefined) => [...(before ?? []), value];

/** Adds the options of `ClientOptions`. */
export function withClientOptions(command: Command): Command {
  return command
    .option('--name <name>', 'name of the credential; default: the connector id without -oauth')
    .option('--client-id <id>', 'id of the OAuth client at the provider')
    .option('--client-secret-file <path>', 'client secret; default: standard input')
    .option('--client-key-file <path>', 'private key of the client, PEM or JWK')
    .option('--workflow <name=scopes>', 'a workflow and the scopes it needs; repeatable', collect)
    .option('--why <name=text>', 'purpose of a workflow, shown to the person who consents', collect)
    .option('--param <name=value>', 'connector parameter (see `keyturn connectors <id>`)', collect)
    .option('--base-url <host=url>', 'other base URL for a host of the connector', collect)
    .option('--sandbox <url>', 'use a sandbox (`keyturn sandbox`) as the provider')
    .option('--config-file <path>', CONFIG_FILE)
    .option('--issuer <url>', 'generic-oidc: issuer, for discovery')
    .option('--token-endpoint <url>', 'generic-oauth2: token endpoint')
    .option('--authorization-endpoint <url>', 'generic-oauth2: authorization endpoint')
    .option('--client-authentication <method>', 'client_secret_basic, client_secret_post, private_key_jwt, none')
    .option('--label <name=value...>', 'labels of the credential')
    .option('--description <text>', 'shown to the person who consents');
}

/** The settings to send; undefined to keep those of an existing credential. @throws CliError */
export function configOf(options: ClientOptions, existing: WireCredential | undefined): Record<string, unknown> | undefined {
  const why = new Map((options.why ?? []).map((text) => assignment(text, '--why')));
  const workflows = options.workflow?.map((text) => {
    const [name, scopes] = assignment(text, '--workflow');
    const reason = why.get(name);
    return { name, scopes: scopes.split(/[\s,]+/).filter(Boolean), ...(reason === undefined ? {} : { why: reason }) };
  });
  const flags = {
    client_id: options.clientId,
    workflows,
    parameters: fields(options.param, '--param'),
    base_urls: fields(options.baseUrl, '--base-url'),
    sandbox: options.sandbox,
    issuer: options.issuer,
    token_endpoint: options.tokenEndpoint,
    authorization_endpoint: options.authorizationEndpoint,
    client_authentication: options.clientAuthentication,
  };
  const given = mergedConfig(existing?.config, options.configFile, flags);
  if (existing === undefined && given?.['client_id'] === undefined)
    throw new CliError('a new credential needs --client-id, or client_id in --config-file', EXIT.usage);
  return given;
}

/** The settings of the file, or else the stored ones, overridden by the options; undefined if neither file nor option sets one. */
export function mergedConfig(
  stored: Readonly<Record<string, unknown>> | undefined,
  configFile: string | undefined,
  flags: Readonly<Record<string, unknown>>,
): Record<string, unknown> | undefined {
  const given = Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== undefined));
  if (configFile === undefined && Object.keys(given).length === 0) return undefined;
  return { ...(configFile === undefined ? stored : readJsonFile(configFile)), ...given };
}

/** Undefined if it does not exist or the caller may not describe it. */
export async function findCredential(session: Session, name: string): Promise<WireCredential | undefined> {
  try {
    return await session.client.describe(session.environment(), name);
  } catch (error) {
    if (error instanceof KeyturnProblem && error.code === 'not_found') return undefined;
    throw error;
  }
}

export function fields(texts: readonly string[] | undefined, flag: string): Record<string, string> | undefined {
  return texts === undefined ? undefined : Object.fromEntries(texts.map((text) => assignment(text, flag)));
}

/** The client credentials in files. */
export function filesOf(options: ClientOptions): Record<string, string> {
  const proof: Record<string, string> = {};
  if (options.clientSecretFile !== undefined) proof['client_secret'] = readSecretFile(options.clientSecretFile);
  if (options.clientKeyFile !== undefined) {
    const key = readSecretFile(options.clientKeyFile);
    if (key.trimStart().startsWith('{')) proof['client_private_jwk'] = key;
    else proof['client_private_key_pem'] = key;
  }
  return proof;
}

/** The client credentials to send. For an existing credential the stored ones are kept; an empty secret means a public client. */
export async function proofOf(
  options: ClientOptions,
  existing: WireCredential | undefined,
): Promise<Readonly<Record<string, string | undefined>>> {
  const proof = filesOf(options);
  if (Object.keys(proof).length > 0 || existing !== undefined || options.clientAuthentication === 'none') return proof;
  return readSecrets([{ name: 'client_secret', what: 'client secret' }]);
}
