// The settings of one command and a client made from them.
import { randomUUID, X509Certificate } from 'node:crypto';
import * as tls from 'node:tls';
import type { Command } from 'commander';
import { DURATION_FORMS } from '../base/instants.ts';
import type { KeyturnClient } from '../sdk/client.ts';
import { keyturnClient } from '../sdk/node.ts';
import { CliError, EXIT } from './exit.ts';
import { json, out } from './print.ts';
import { type GlobalOptions, type Settings, settingsFrom, variable } from './settings.ts';
import { span } from './times.ts';
import { readSecretFile, readTextFile } from './typed-in.ts';

export interface Session {
  readonly settings: Settings;
  readonly client: KeyturnClient;
  /** The environment of the command. @throws CliError if none is set */
  environment(): string;
  /** Prints `value` as JSON if requested, or else the text that `asTable` returns. */
  show<T>(value: T, asTable: (value: T) => string): void;
}

export function sessionOf(command: Command): Session {
  const settings = settingsFrom(command.optsWithGlobals() as GlobalOptions);
  const client = clientOf(settings);
  return {
    settings,
    client,
    environment: () => settings.environment ?? missing('environment', 'give --env, or set KEYTURN_ENVIRONMENT'),
    show: (value, asTable) => out(settings.output === 'json' ? json(value) : asTable(value)),
  };
}

/** RFC 7523 section 3. An assertion is valid for one minute and has a unique `jti`. */
function assertionFrom({ clientKeyFile, clientId, clientSecret }: Settings): ((audience: string) => Promise<string>) | undefined {
  if (clientKeyFile === undefined || clientId === undefined || clientSecret !== undefined) return undefined;
  return async (audience) => {
    const { importJWK, SignJWT } = await import('jose');
    const text = readSecretFile(clientKeyFile);
    try {
      const jwk = JSON.parse(text) as { kid?: string; alg?: string };
      return await new SignJWT({})
        .setProtectedHeader({ alg: jwk.alg ?? '', ...(jwk.kid === undefined ? {} : { kid: jwk.kid }) })
        .setIssuer(clientId)
        .setSubject(clientId)
        .setAudience(audience)
        .setJti(randomUUID())
        .setIssuedAt()
        .setExpirationTime('1m')
        .sign(await importJWK(jwk));
    } catch {
      // SECURITY: the parser's message may quote the private key, so it is dropped.
      throw new CliError(
        `the file ${clientKeyFile} (KEYTURN_CLIENT_KEY_FILE) must hold a private JWK with the member alg`,
        EXIT.usage,
      );
    }
  };
}

/** Trusts a private certificate authority in addition to the default ones. */
function trustAuthority(): void {
  const path = variable('KEYTURN_CACERT');
  if (path === undefined) return;
  const pem = readTextFile(path);
  try {
    new X509Certificate(pem);
    tls.setDefaultCACertificates([...tls.getCACertificates('default'), pem]);
  } catch {
    throw new CliError(`the file ${path} (KEYTURN_CACERT) must hold a certificate in PEM`, EXIT.usage);
  }
}

function timeoutSeconds(): number {
  try {
    return span()(variable('KEYTURN_CLIENT_TIMEOUT') ?? '30');
  } catch {
    throw new CliError(`KEYTURN_CLIENT_TIMEOUT must be ${DURATION_FORMS}`, EXIT.usage);
  }
}

export function clientOf(settings: Settings, workflow?: string): KeyturnClient {
  trustAuthority();
  return keyturnClient({
    address: settings.address,
    tenant: settings.tenant,
    token: settings.token,
    whyNoToken: settings.whyNoToken,
    clientId: settings.clientId,
    clientSecret: settings.clientSecret,
    clientAssertion: assertionFrom(settings),
    workflow: workflow ?? variable('KEYTURN_WORKFLOW'),
    workflowRun: variable('KEYTURN_RUN'),
    maxRetries: Number(variable('KEYTURN_MAX_RETRIES') ?? 3),
    timeoutMs: timeoutSeconds() * 1_000,
  });
}

export function missing(what: string, how: string): never {
  throw new CliError(`the ${what} is missing`, EXIT.usage, how);
}
