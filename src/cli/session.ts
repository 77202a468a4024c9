// One command's view of the vault: its settings and a client made from them.
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { KeyturnClient, type Runtime } from '../sdk/client.ts';
import { CliError, EXIT } from './exit.ts';
import { json, out } from './print.ts';
import { type GlobalOptions, readSecretFile, type Settings, settingsFrom } from './settings.ts';

export const NODE_RUNTIME: Runtime = {
  fetch: (url, init) => fetch(url, init),
  nowMs: () => Date.now(),
  deadline: (ms) => AbortSignal.timeout(ms),
  sleep: (ms) => sleep(ms),
  fraction: () => Math.random(),
  newKey: () => randomUUID(),
};

export interface Session {
  readonly settings: Settings;
  readonly client: KeyturnClient;
  /** The environment meant; @throws CliError when none was named. */
  environment(): string;
  /** Prints `value` as JSON when asked for, else what `asTable` makes of it. */
  show<T>(value: T, asTable: (value: T) => string): void;
}

export function sessionOf(command: Command): Session {
  const settings = settingsFrom(command.optsWithGlobals() as GlobalOptions);
  const client = clientOf(settings);
  return {
    settings,
    client,
    environment: () => settings.environment ?? missing('environment', '--env staging, or KEYTURN_ENVIRONMENT'),
    show: (value, asTable) => out(settings.output === 'json' ? json(value) : asTable(value)),
  };
}

export function clientOf(settings: Settings, workflow?: string): KeyturnClient {
  return new KeyturnClient(
    {
      address: settings.address,
      tenant: settings.tenant,
      token: settings.token,
      clientId: settings.clientId,
      clientSecret: settings.clientSecret,
      clientAssertion: assertionFrom(settings),
      workflow: workflow ?? process.env['KEYTURN_WORKFLOW'],
      workflowRun: process.env['KEYTURN_RUN'],
      maxRetries: Number(process.env['KEYTURN_MAX_RETRIES'] ?? 3),
      timeoutMs: Number(process.env['KEYTURN_CLIENT_TIMEOUT'] ?? 30) * 1_000,
    },
    NODE_RUNTIME,
  );
}

/** RFC 7523 section 3: one minute, one use. */
function assertionFrom({ clientKeyFile, clientId, clientSecret }: Settings): ((audience: string) => Promise<string>) | undefined {
  if (clientKeyFile === undefined || clientId === undefined || clientSecret !== undefined) return undefined;
  return async (audience) => {
    const { importJWK, SignJWT } = await import('jose');
    const jwk = JSON.parse(readSecretFile(clientKeyFile)) as { kid?: string; alg?: string };
    if (jwk.alg === undefined) throw new CliError('the key needs its `alg`', EXIT.usage);
    return new SignJWT({})
      .setProtectedHeader({ alg: jwk.alg, ...(jwk.kid === undefined ? {} : { kid: jwk.kid }) })
      .setIssuer(clientId)
      .setSubject(clientId)
      .setAudience(audience)
      .setJti(randomUUID())
      .setIssuedAt()
      .setExpirationTime('1m')
      .sign(await importJWK(jwk));
  };
}

export function missing(what: string, how: string): never {
  throw new CliError(`no ${what} was named`, EXIT.usage, how);
}

/** All of standard input; a person at a terminal is told what is expected. */
export async function readStdin(what: string): Promise<string> {
  if (process.stdin.isTTY === true) process.stderr.write(`reading ${what} from standard input; end with Ctrl-D\n`);
  const parts: Buffer[] = [];
  for await (const part of process.stdin) parts.push(part as Buffer);
  return Buffer.concat(parts)
    .toString('utf8')
    .replace(/\r?\n$/, '');
}
