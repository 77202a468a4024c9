// keyturn tenant, environment, user, workload: manage who and what uses the vault.
import { Command, Option } from 'commander';
import type { WireCreatedWorkload, WireWorkload } from '../../http/v1/wire.ts';
import { CliError, EXIT } from '../exit.ts';
import { bold, dim, facts, green, note, out, table, yellow } from '../print.ts';
import { type Session, sessionOf } from '../session.ts';
import { span } from '../times.ts';
import { readTextFile } from '../typed-in.ts';
import { hold } from '../unsaid.ts';

const collect = (value: string, before: string[] = []) => [...before, value];

/** Adds `--expires-in` and the older, hidden `--expires-in-days`. */
function withExpiry(command: Command, what: string): Command {
  return command
    .option('--expires-in <time>', `${what}, e.g. 12h or 30d`, span('s'))
    .addOption(new Option('--expires-in-days <days>', 'same as --expires-in, in days').argParser(span('d')).hideHelp());
}

interface ExpiryOptions {
  expiresIn?: number;
  expiresInDays?: number;
}

const secondsOf = ({ expiresIn, expiresInDays }: ExpiryOptions) => expiresIn ?? expiresInDays;

/** Prints the token alone on standard output and its description on standard error. */
function showOnce(what: string, token: string): void {
  note(`${yellow(what)} (shown once):`);
  out(token);
}

export function tenantCommand(): Command {
  const command = new Command('tenant').description('create and list tenants');
  command
    .command('create <name>')
    .description('create a tenant')
    .option('--environment <name>', 'repeatable; default staging and production', collect)
    .action(async (name: string, options: { environment?: string[] }, self: Command) => {
      const session = sessionOf(self);
      session.show(
        await session.client.createTenant(name, options.environment),
        (tenant) => `${green('created')} tenant ${tenant.name} (${tenant.id})`,
      );
    });
  command
    .command('list')
    .description('list the tenants in which you have a role')
    .action(async (_options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(await session.client.tenants({ limit: 500 }), ({ items }) =>
        items.length === 0
          ? dim('no tenants')
          : table(
              ['name', 'id', 'state', 'created'],
              items.map((item) => [item.name, item.id, item.demo ? `${item.state} (demo)` : item.state, item.created_at]),
            ),
      );
    });
  return command;
}

export function environmentCommand(): Command {
  const command = new Command('environment').description('create and list environments of a tenant');
  command
    .command('create <name>')
    .description('create an environment')
    .option('--production', 'rotations must have completed elsewhere first; default: if the name is production')
    .action(async (name: string, options: { production?: true }, self: Command) => {
      const session = sessionOf(self);
      session.show(
        await session.client.createEnvironment(name, options.production),
        (made) => `${green('created')} environment ${made.name}`,
      );
    });
  command
    .command('list')
    .description('list environments')
    .action(async (_options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(await session.client.environments(), ({ items }) =>
        table(
          ['name', 'id', 'production', 'created'],
          items.map((item) => [item.name, item.id, item.production ? 'yes' : 'no', item.created_at]),
        ),
      );
    });
  return command;
}

export function userCommand(): Command {
  const command = new Command('user').description('manage users and their tokens');
  withExpiry(command.command('create <name>'), 'lifetime of the enrolment token; default 1d')
    .description('create a user; the enrolment token for the person is printed once')
    .requiredOption('--grant <role[@tenant]>', 'repeatable: owner, admin, rotation-operator, engineer@tenant, auditor', collect)
    .action(async (name: string, options: ExpiryOptions & { grant: string[] }, self: Command) => {
      const session = sessionOf(self);
      const grants = options.grant.map((grant) => {
        const [role, tenant] = grant.split('@');
        return tenant === undefined ? { role } : { role, tenant };
      });
      const made = await session.client.createUser({ name, grants, expires_in: secondsOf(options) });
      if (session.settings.output === 'json') return session.show(made, () => '');
      note(`${green('created')} user ${made.user.name} (${made.user.id})`);
      showOnce('enrolment token, for the person to use with `keyturn login`', made.enrolment.token);
    });
  addUserList(command);
  command
    .command('offboard <user>')
    .description('offboard a user and revoke all their tokens')
    .action(async (user: string, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(await session.client.offboardUser(user), (gone) => `${yellow('offboarded')} ${gone.name}`);
    });
  withExpiry(command.command('token <user>'), 'lifetime of the token; default 12h')
    .description('create a further token for yourself; <user> is your own name or id')
    .action(async (user: string, options: ExpiryOptions, self: Command) => {
      const session = sessionOf(self);
      const issued = await session.client.createUserToken(user, secondsOf(options));
      if (session.settings.output === 'json') return session.show(issued, () => '');
      showOnce(`token until ${issued.expires_at}`, issued.token);
    });
  return command;
}

function addUserList(parent: Command): void {
  parent
    .command('list')
    .description('list users')
    .action(async (_options: unknown, self: Command) => {
      const session = sessionOf(self);
      const page = await session.client.users({ limit: 500 });
      const names = session.settings.output === 'json' ? new Map<string, string>() : await tenantNames(session);
      const scope = (tenant: string) => (tenant === '*' ? '' : `@${names.get(tenant) ?? tenant}`);
      session.show(page, ({ items }) =>
        table(
          ['name', 'id', 'grants', 'offboarded'],
          items.map((item) => [
            item.name,
            item.id,
            item.grants.map(({ role, tenant }) => role + scope(tenant)).join(' '),
            item.offboarded_at,
          ]),
        ),
      );
    });
}

/** Names by id, of the tenants that the caller may see. */
async function tenantNames({ client }: Session): Promise<ReadonlyMap<string, string>> {
  const { items } = await client.tenants({ limit: 500 });
  return new Map(items.map(({ id, name }) => [id, name]));
}

function describeWorkload(workload: WireWorkload): string {
  return facts([
    ['name', workload.name],
    ['client id', workload.id],
    ['environment', workload.environment],
    ['patterns', workload.patterns.join(' ')],
    ['permissions', workload.permissions.join(' ')],
    ['networks', workload.networks.length === 0 ? 'any' : workload.networks.join(' ')],
    ['authentication', workload.authentication],
    ['expires', workload.expires_at],
    ['last used', workload.last_used_at],
    ['revoked', workload.revoked_at],
  ]);
}

interface CreateOptions extends ExpiryOptions {
  pattern: string[];
  permission?: string[];
  network?: string[];
  jwksFile?: string;
}

export function workloadCommand(): Command {
  const command = new Command('workload').description('manage programs that fetch credentials');
  for (const add of [addCreate, addList, addShow, addRevoke, addSecret, addToken, addRevokeToken]) add(command);
  return command;
}

function addCreate(parent: Command): void {
  withExpiry(parent.command('create <name>'), 'lifetime of the workload; default 365d')
    .description('create a workload in --env; its client secret is printed once')
    .requiredOption('--pattern <glob>', 'credential names; * matches any characters; repeatable', collect)
    .option('--permission <name>', 'read (default), put or rotate; repeatable', collect)
    .option('--network <cidr>', 'network it may call from; default any; repeatable', collect)
    .option('--jwks-file <path>', 'public keys, for authentication with private_key_jwt')
    .action(async (name: string, options: CreateOptions, self: Command) => {
      const session = sessionOf(self);
      const made = await session.client.createWorkload({
        name,
        environment: session.environment(),
        patterns: options.pattern,
        permissions: options.permission,
        networks: options.network,
        jwks: options.jwksFile === undefined ? undefined : jwksFrom(options.jwksFile),
        expires_in: secondsOf(options),
      });
      session.show(made, describeCreated);
    });
}

function addList(parent: Command): void {
  parent
    .command('list')
    .description('list workloads')
    .action(async (_options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(await session.client.workloads({ limit: 500 }), ({ items }) =>
        items.length === 0
          ? dim('no workloads')
          : table(
              ['name', 'client id', 'environment', 'patterns', 'permissions', 'last used', 'revoked'],
              items.map((item) => [
                item.name,
                item.id,
                item.environment,
                item.patterns.join(' '),
                item.permissions.join(' '),
                item.last_used_at,
                item.revoked_at,
              ]),
            ),
      );
    });
}

function addShow(parent: Command): void {
  parent
    .command('show <workload>')
    .description('describe a workload and its tokens')
    .action(async (workload: string, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(
        await session.client.workload(workload),
        (found) => `${describeWorkload(found)}

${tokenTable(found.tokens)}`,
      );
    });
}

type WireTokens = readonly Readonly<Record<string, unknown>>[];

/** The tokens, without access tokens that have ended: each call with client credentials leaves one, until the service deletes it. */
function tokenTable(tokens: WireTokens): string {
  const textOf = (token: WireTokens[number], name: string) => (token[name] as string | null | undefined) ?? null;
  const hasEnded = (token: WireTokens[number]) => Date.parse(String(token['expires_at'])) <= Date.now();
  const kept = tokens.filter((token) => token['type'] !== 'acc' || !hasEnded(token));
  const shown = table(
    ['token', 'type', 'state', 'expires', 'last used'],
    kept.map((token) => [
      textOf(token, 'id'),
      TOKEN_TYPES[String(token['type'])] ?? '',
      textOf(token, 'revoked_at') !== null ? 'revoked' : hasEnded(token) ? 'expired' : 'valid',
      textOf(token, 'expires_at'),
      textOf(token, 'last_used_at'),
    ]),
  );
  const ended = tokens.length - kept.length;
  return ended === 0 ? shown : `${shown}\n${dim(`and ${ended} expired access tokens, which the service deletes`)}`;
}

function addRevoke(parent: Command): void {
  parent
    .command('revoke <workload>')
    .description('revoke a workload and all its tokens')
    .action(async (workload: string, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(await session.client.revokeWorkload(workload), (gone) => `${yellow('revoked')} ${gone.name}`);
    });
}

function addSecret(parent: Command): void {
  parent
    .command('secret <workload>')
    .description('create a further client secret')
    .action(async (workload: string, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      const issued = await session.client.createClientSecret(workload);
      if (session.settings.output === 'json') return session.show(issued, () => '');
      showOnce('client secret', issued.token);
    });
}

function addToken(parent: Command): void {
  withExpiry(parent.command('token <workload>'), 'lifetime of the token; default 30d')
    .description('create a direct token, for a program that cannot use the token endpoint')
    .option('--permission <name>', 'read, put or rotate; default: all of the workload; repeatable', collect)
    .action(async (workload: string, options: ExpiryOptions & { permission?: string[] }, self: Command) => {
      const session = sessionOf(self);
      const issued = await session.client.createToken(workload, {
        permissions: options.permission,
        expires_in: secondsOf(options),
      });
      if (session.settings.output === 'json') return session.show(issued, () => '');
      showOnce(`token until ${issued.expires_at}`, issued.token);
    });
}

function addRevokeToken(parent: Command): void {
  parent
    .command('revoke-token <workload> <token>')
    .description('revoke one token or client secret by its id')
    .action(async (workload: string, token: string, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      await session.client.revokeToken(workload, token);
      note(`${yellow('revoked')} ${token}`);
    });
}

const TOKEN_TYPES: Readonly<Record<string, string>> = { acc: 'access', wlk: 'direct', cs: 'client secret' };

function jwksFrom(path: string): unknown {
  // The text is registered as a secret: the file may contain private keys by mistake.
  const text = hold(readTextFile(path));
  try {
    return JSON.parse(text);
  } catch {
    throw new CliError(`the file ${path} must hold a JSON Web Key Set`, EXIT.usage);
  }
}

function describeCreated(made: WireCreatedWorkload): string {
  const secret =
    made.client_secret === null ? '' : `\n${yellow('client secret')} ${dim('(shown once)')}\n${bold(made.client_secret)}`;
  return `${green('created')}\n${describeWorkload(made.workload)}${secret}`;
}
