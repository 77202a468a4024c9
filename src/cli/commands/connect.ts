// keyturn connectors, connect, connections, import, disconnect: connect and disconnect accounts.
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
    .description('list connectors, or describe one')
    .argument('[id]')
    .action(async (id: string | undefined, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      const { items } = await session.client.grants.connectors();
      if (id !== undefined) return session.show(chosenConnector(items, id), describeConnector);
      session.show({ items }, () =>
        table(
          ['connector', 'kind', 'link', 'renewal'],
          items.map((one) => [one.id, one.kind, one.consent ? 'yes' : 'no', one.renewal ?? one.rotation?.strategy]),
        ),
      );
    });
}

export function connectCommand(): Command {
  return withClientOptions(
    new Command('connect')
      .description('create a link to connect an account')
      .argument('[connector]', 'e.g. hubspot; not needed to connect again'),
  )
    .option('--expires-in <time>', 'lifetime of the link: 30m, 12h, 7d', span())
    .option('--wait', 'wait until the account is connected')
    .action(async (wanted: string | undefined, options: ConnectOptions, self: Command) => {
      const session = sessionOf(self);
      const environment = session.environment();
      const { connector, existing, name } = await targetOf(session, wanted, options);
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
  const command = new Command('connections').description('list or cancel links of a credential');
  command
    .command('list <name>', { isDefault: true })
    .description('list links, newest first, without the link itself')
    .action(async (name: string, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(await session.client.grants.connections(session.environment(), name), ({ items }) =>
        items.length === 0
          ? dim('no links')
          : table(
              ['link', 'state', 'cause', 'created', 'by', 'expires', 'finished'],
              items.map((one) => [one.id, one.state, one.cause, one.created_at, one.created_by, one.expires_at, one.finished_at]),
            ),
      );
    });
  command
    .command('cancel <name> <link>')
    .description('cancel a link')
    .action(async (name: string, link: string, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      const ended = await session.client.grants.cancelConnection(session.environment(), name, link);
      session.show(ended, (one) => `${yellow(one.state)} ${one.id}`);
    });
  return command;
}

export function importCommand(): Command {
  return withClientOptions(new Command('import').description('import a grant from another system').argument('<connector>'))
    .requiredOption('--from <system>', 'the other system, e.g. nango')
    .option('--json-value', 'standard input is a JSON object instead of lines')
    .option('--still-used-there', 'the other system still refreshes the grant')
    .addHelpText(
      'after',
      '\nStandard input: the refresh token on the first line, the client secret on the' +
        '\nsecond. With --json-value: a JSON object with refresh_token, client_secret and' +
        '\noptionally access_token, expires_in and scope. At a terminal, input is hidden.',
    )
    .action(async (wanted: string, options: ImportOptions, self: Command) => {
      const session = sessionOf(self);
      const { connector, name } = await targetOf(session, wanted, options);
      const prompts = [
        { name: 'refresh_token', what: 'refresh token' },
        ...(options.clientSecretFile === undefined && options.clientKeyFile === undefined
          ? [{ name: 'client_secret', what: 'client secret' }]
          : []),
      ] as const;
      const typed: Record<string, unknown> = options.jsonValue === true ? await readSecretObject() : await readSecrets(prompts);
      if (typed['refresh_token'] === undefined)
        throw new CliError('standard input has no refresh token', EXIT.usage, 'see keyturn import --help');
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
            ? dim(
                `Two systems refresh this grant now. Stop the refresh in ${plain(options.from)} soon, then connect the account again.`,
              )
            : dim(
                `Stop the refresh in ${plain(options.from)}. If it still uses the grant, an alert is raised and the credential shows it.`,
              ),
        ].join('\n'),
      );
    });
}

export function disconnectCommand(): Command {
  return new Command('disconnect')
    .description('disconnect an account and revoke its grant')
    .argument('<name>')
    .option('--keep-at-provider', 'do not revoke the grant at the provider')
    .action(async (name: string, options: { keepAtProvider?: boolean }, self: Command) => {
      const session = sessionOf(self);
      const gone = await session.client.grants.disconnect(session.environment(), name, options.keepAtProvider !== true);
      session.show(gone, (credential) => {
        const state = credential.grant?.revocation?.state;
        const steps = credential.manual_steps.map((step, i) => `  ${i + 1}. ${plain(step)}`);
        return [
          `${yellow('disconnected')} ${bold(credential.name)}: its value can no longer be read`,
          ...(state === undefined ? [] : [REVOCATIONS[state]]),
          ...(steps.length === 0 ? [] : ['Do this at the provider:', ...steps]),
          dim(`connect it again: keyturn connect --name ${credential.name} --env ${credential.environment}`),
        ].join('\n');
      });
    });
}

const REVOCATIONS = {
  waiting: 'The grant is being revoked at the provider; `keyturn credential show` shows the state.',
  revoked: 'The grant is revoked at the provider.',
  not_possible: 'The provider has no revocation call for this grant.',
  shared: 'The grant stays valid at the provider, because another credential uses it.',
  not_asked: 'The grant stays valid at the provider, as requested.',
  given_up: 'Revocation at the provider failed: revoke the grant there by hand.',
} as const;

interface Target {
  readonly connector: WireConnector | undefined;
  readonly existing: WireCredential | undefined;
  readonly name: string;
}

async function targetOf(session: Session, wanted: string | undefined, options: ClientOptions): Promise<Target> {
  const { items } = await session.client.grants.connectors();
  const grants = items.filter(({ kind }) => kind === 'oauth2');
  const chosen = wanted === undefined ? undefined : chosenConnector(grants, wanted);
  const name = options.name ?? chosen?.id.replace(/-oauth$/, '');
  if (name === undefined) throw new CliError('give a connector, or --name of a credential to connect again', EXIT.usage);
  const existing = await findCredential(session, name);
  if (existing === undefined && chosen === undefined)
    throw new CliError(
      `the credential ${plain(name)} does not exist in this environment`,
      EXIT.notFound,
      'give a connector to create it',
    );
  return { connector: chosen ?? items.find(({ id }) => id === existing?.connector), existing, name };
}

const OVER = new Set(['connected', 'cancelled', 'expired']);

async function waitFor(session: Session, environment: string, name: string, id: string): Promise<void> {
  note(dim('waiting for the account to be connected; the link stays valid after Ctrl-C'));
  let printed = '';
  for (;;) {
    const { items } = await session.client.grants.connections(environment, name);
    const one = items.find((connection) => connection.id === id);
    if (one === undefined)
      throw new CliError('the link is no longer in the newest page of links: see keyturn connections list', EXIT.failed);
    const now = one.cause === null ? one.state : `${one.state}: ${plain(one.cause)}`;
    if (now !== printed && one.state !== 'open') note(`  ${dim(instant(new Date().toISOString()))}  ${now}`);
    printed = now;
    if (OVER.has(one.state)) {
      if (one.state === 'connected') note(`${green('connected')} ${bold(plain(name))}`);
      else process.exitCode = EXIT.failed;
      return;
    }
    await sleep(POLL_MS);
  }
}
