// How a connector is used, as flags: the client, its proof, workflows with their scopes, and what else a connector wants to know.
// It must never take a secret from argv (LK-06).
import type { Command } from 'commander';
import type { WireCredential } from '../../http/v1/wire.ts';
import { KeyturnProblem } from '../../sdk/problem.ts';
import { CliError, EXIT } from '../exit.ts';
import type { Session } from '../session.ts';
import { readJsonFile, readSecretFile, readSecrets } from '../typed-in.ts';
import { assignment } from './grant-text.ts';

/** What every command takes that says how a connector is used. */
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

/** What `--config-file` says in the help of every command that takes it. */
export const CONFIG_FILE =
  'every setting of the connector as JSON, the `config` that `credential show -o json` prints; flags win over it';

const collect = (value: string, before: string[] | undefined) => [...(before ?? []), value];

/** With the flags of `ClientOptions`. */
export function withClientOptions(command: Command): Command {
  return command
    .option('--name <name>', 'the credential; default: the connector without -oauth')
    .option('--client-id <id>', 'of the OAuth client at the provider')
    .option('--client-secret-file <path>', 'instead of standard input')
    .option('--client-key-file <path>', 'a private key, PEM or JWK: the client proves itself by it')
    .option('--workflow <name=scopes>', 'who uses it and the scopes it needs; repeatable', collect)
    .option('--why <name=text>', 'what a workflow needs them for, in words for who is asked', collect)
    .option('--param <name=value>', 'what the connector wants to know (`keyturn connectors <id>`)', collect)
    .option('--base-url <host=url>', 'another place for a host of the connector', collect)
    .option('--sandbox <url>', 'play it at a sandbox (`keyturn sandbox`)')
    .option('--config-file <path>', CONFIG_FILE)
    .option('--issuer <url>', 'generic-oidc: its endpoints are discovered')
    .option('--token-endpoint <url>', 'generic-oauth2')
    .option('--authorization-endpoint <url>', 'generic-oauth2')
    .option('--client-authentication <method>', 'client_secret_basic, client_secret_post, private_key_jwt, none')
    .option('--label <name=value...>', 'labels')
    .option('--description <text>', 'shown to who connects');
}

/** Undefined where nothing was said about an existing credential: it keeps its own. */
export function configOf(options: ClientOptions, existing: WireCredential | undefined): Record<string, unknown> | undefined {
  const why = new Map((options.why ?? []).map((text) => assignment(text, '--why')));
  const workflows = options.workflow?.map((text) => {
    const [name, scopes] = assignment(text, '--workflow');
    const reason = why.get(name);
    return { name, scopes: scopes.split(/[\s,]+/).filter(Boolean), ...(reason === undefined ? {} : { why: reason }) };
  });
  const told = {
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
  const given = mergedConfig(existing?.config, options.configFile, told);
  if (existing === undefined && given?.['client_id'] === undefined)
    throw new CliError('a new credential needs --client-id, or client_id in --config-file', EXIT.usage);
  return given;
}

/** The settings of the file, or else the stored ones, with those of the flags in their place; undefined where neither file nor flag sets one. */
export function mergedConfig(
  stored: Readonly<Record<string, unknown>> | undefined,
  configFile: string | undefined,
  flags: Readonly<Record<string, unknown>>,
): Record<string, unknown> | undefined {
  const given = Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== undefined));
  if (configFile === undefined && Object.keys(given).length === 0) return undefined;
  return { ...(configFile === undefined ? stored : readJsonFile(configFile)), ...given };
}

/** Undefined also where the caller may not know of it. */
export async function findCredential(session: Session, name: string): Promise<WireCredential | undefined> {
  try {
    return await session.client.describe(session.environment(), name);
  } catch (error) {
    if (error instanceof KeyturnProblem && error.code === 'not_found') return undefined;
    throw error;
  }
}

function fields(texts: readonly string[] | undefined, flag: string): Record<string, string> | undefined {
  return texts === undefined ? undefined : Object.fromEntries(texts.map((text) => assignment(text, flag)));
}

/** The proofs that files hold. */
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

/** A client without a secret is a public one; to connect again, the proof that is stored goes on to serve. */
export async function proofOf(
  options: ClientOptions,
  existing: WireCredential | undefined,
): Promise<Readonly<Record<string, string | undefined>>> {
  const proof = filesOf(options);
  if (Object.keys(proof).length > 0 || existing !== undefined || options.clientAuthentication === 'none') return proof;
  return readSecrets([{ name: 'client_secret', what: 'client secret' }]);
}
