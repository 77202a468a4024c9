// keyturn connectors, connect, connections, import, disconnect: how an account comes into the vault and leaves it.
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import type { WireConnector, WireCredential } from '../../http/v1/wire.ts';
import { CliError, EXIT } from '../exit.ts';
import { bold, dim, green, note, plain, table, yellow } from '../print.ts';
import { type Session, sessionOf } from '../session.ts';
import { span } from '../times.ts';
import { readSecretObject, readSecrets } from '../typed-in.ts';
import { type ClientOptions, configOf, filesOf, findCredential, proofOf, withClientOptions } from './client-options.ts';
import { pairs } from './credential-text.ts';
import { chosenConnector, describeConnector, describeLink, instant } from './grant-text.ts';

const POLL_MS = 1_000;

interface ConnectOptions extends ClientOptions {
  expiresIn?: number;
  wait?: boolean;
}
interface ImportOptions extends ClientOptions {
  from: string;
  stillUsedThere?: boolean;
  jsonValue?: boolean;
}

export function connectorsCommand(): Command {
  return new Command('connectors')
    .description('the systems it knows, or one of them')
    .argument('[id]')
    .action(async (id: string | undefined, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      const { items } = await session.client.grants.connectors();
      if (id !== undefined) return session.show(chosenConnector(items, id), describeConnector);
      session.show({ items }, () =>
        table(
          ['connector', 'system', 'by a link', 'renewed by'],
          items.map((one) => [one.id, one.title, one.consent ? 'yes' : 'no', one.renewal]),
        ),
      );
    });
}

export function connectCommand(): Command {
  return withClientOptions(
    new Command('connect')
      .description('a link to connect an account, or again')
      .argument('[connector]', 'e.g. hubspot; not needed to connect again'),
  )
    .option('--expires-in <time>', 'how long the link lives: 30m, 12h, 7d', span())
    .option('--wait', 'until the account is connected')
    .action(async (wanted: string | undefined, options: ConnectOptions, self: Command) => {
      const session = sessionOf(self);
      const environment = session.environment();
      const { connector, existing, name } = await meant(session, wanted, options);
      const body = {
        ...(existing === undefined ? { connector: connector?.id } : {}),
        config: configOf(options, existing),
        ...(await proofOf(options, existing)),
        expires_in: options.expiresIn,
        labels: pairs(options.label),
        description: options.description,
      };
      const made = await session.client.grants.connect(environment, name, body);
      const provider = connector?.title ?? 'provider';
      session.show(made, () => describeLink(made, provider));
      if (options.wait === true) await waitFor(session, environment, name, made.id);
    });
}

export function connectionsCommand(): Command {
  const command = new Command('connections').description('links of a credential, how each ended');
  command
    .command('list <name>', { isDefault: true })
    .description('newest first; never the link itself')
    .action(async (name: string, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(await session.client.grants.connections(session.environment(), name), ({ items }) =>
        items.length === 0
          ? dim('no links')
          : table(
              ['link', 'state', 'cause', 'made', 'by', 'expires', 'ended'],
              items.map((one) => [one.id, one.state, one.cause, one.created_at, one.created_by, one.expires_at, one.finished_at]),
            ),
      );
    });
  command
    .command('cancel <name> <link>')
    .description('the link leads nowhere from now on')
    .action(async (name: string, link: string, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      const ended = await session.client.grants.cancelConnection(session.environment(), name, link);
      session.show(ended, (one) => `${yellow(one.state)} ${one.id}`);
    });
  return command;
}

export function importCommand(): Command {
  return withClientOptions(new Command('import').description('take over a grant that was made elsewhere').argument('<connector>'))
    .requiredOption('--from <system>', 'where it comes from, e.g. nango')
    .option('--json-value', 'standard input is one JSON object instead of lines')
    .option('--still-used-there', 'the other system goes on refreshing it for now')
    .addHelpText(
      'after',
      '\nStandard input: the refresh token on the first line and the client secret on the second; with --json-value one JSON object with' +
        '\nrefresh_token, client_secret and, if you have them, access_token, expires_in and scope. At a terminal each is asked for and not shown.',
    )
    .action(async (wanted: string, options: ImportOptions, self: Command) => {
      const session = sessionOf(self);
      const { connector, name } = await meant(session, wanted, options);
      const asked = [
        { name: 'refresh_token', what: 'refresh token' },
        ...(options.clientSecretFile === undefined && options.clientKeyFile === undefined
          ? [{ name: 'client_secret', what: 'client secret' }]
          : []),
      ] as const;
      const typed: Record<string, unknown> = options.jsonValue === true ? await readSecretObject() : await readSecrets(asked);
      if (typed['refresh_token'] === undefined)
        throw new CliError('no refresh token came in', EXIT.usage, 'see keyturn import --help');
      const body = {
        kind: 'oauth2',
        connector: connector?.id,
        config: configOf(options, undefined),
        value: { ...typed, ...filesOf(options) },
        import: { from: options.from, ...(options.stillUsedThere === true ? { still_used_there: true } : {}) },
        labels: pairs(options.label),
        description: options.description,
      };
      const stored = await session.client.put(session.environment(), name, body);
      session.show(stored, (credential) =>
        [
          `${green('imported')} ${credential.name} version ${credential.version} in ${credential.environment}, from ${plain(options.from)}`,
          options.stillUsedThere === true
            ? dim(`Two systems refresh one grant now: stop it in ${plain(options.from)} soon, then connect the account again.`)
            : dim(
                `Stop its refresh in ${plain(options.from)}. Should anything there still use it, the credential and an alert will say so.`,
              ),
        ].join('\n'),
      );
    });
}

export function disconnectCommand(): Command {
  return new Command('disconnect')
    .description('make unreadable, revoke at the provider')
    .argument('<name>')
    .option('--keep-at-provider', 'do not revoke it there')
    .action(async (name: string, options: { keepAtProvider?: boolean }, self: Command) => {
      const session = sessionOf(self);
      const gone = await session.client.grants.disconnect(session.environment(), name, options.keepAtProvider !== true);
      session.show(gone, (credential) => {
        const state = credential.grant?.revocation?.state;
        const steps = credential.manual_steps.map((step, i) => `  ${i + 1}. ${plain(step)}`);
        return [
          `${yellow('disconnected')} ${bold(credential.name)}: no one reads it any more`,
          ...(state === undefined ? [] : [REVOCATIONS[state]]),
          ...(steps.length === 0 ? [] : ['What a person does there:', ...steps]),
          dim(`connect it again: keyturn connect --name ${credential.name} --env ${credential.environment}`),
        ].join('\n');
      });
    });
}

const REVOCATIONS = {
  waiting: 'It is being revoked at the provider; `keyturn credential show` says how far that is.',
  revoked: 'It is revoked at the provider.',
  not_possible: 'The provider has no way to revoke it by a call.',
  shared: 'Another credential uses the same grant, so it stays alive at the provider.',
  not_asked: 'It stays alive at the provider, as asked.',
  given_up: 'It could not be revoked at the provider: a person must.',
} as const;

interface Meant {
  readonly connector: WireConnector | undefined;
  readonly existing: WireCredential | undefined;
  readonly name: string;
}

async function meant(session: Session, wanted: string | undefined, options: ClientOptions): Promise<Meant> {
  const { items } = await session.client.grants.connectors();
  const chosen = wanted === undefined ? undefined : chosenConnector(items, wanted);
  const name = options.name ?? chosen?.id.replace(/-oauth$/, '');
  if (name === undefined) throw new CliError('say which connector, or the --name of a credential to connect again', EXIT.usage);
  const existing = await findCredential(session, name);
  if (existing === undefined && chosen === undefined)
    throw new CliError(
      `there is no credential ${plain(name)} in this environment`,
      EXIT.notFound,
      'name the connector to make one',
    );
  return { connector: chosen ?? items.find(({ id }) => id === existing?.connector), existing, name };
}

const OVER = new Set(['connected', 'cancelled', 'expired']);

async function waitFor(session: Session, environment: string, name: string, id: string): Promise<void> {
  note(dim('waiting for the account to be connected; Ctrl-C leaves the link as it is'));
  let said = '';
  for (;;) {
    const { items } = await session.client.grants.connections(environment, name);
    const one = items.find((connection) => connection.id === id);
    if (one === undefined) throw new CliError('the link is gone', EXIT.failed);
    const now = one.cause === null ? one.state : `${one.state}: ${plain(one.cause)}`;
    if (now !== said && one.state !== 'open') note(`  ${dim(instant(new Date().toISOString()))}  ${now}`);
    said = now;
    if (OVER.has(one.state)) {
      if (one.state === 'connected') note(`${green('connected')} ${bold(plain(name))}`);
      else process.exitCode = EXIT.failed;
      return;
    }
    await sleep(POLL_MS);
  }
}
