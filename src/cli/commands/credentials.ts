// keyturn credential ...
import { setTimeout as sleep } from 'node:timers/promises';
import { Command, Option } from 'commander';
import { CliError, EXIT } from '../exit.ts';
import { dim, green, json, note, out, red, table, yellow } from '../print.ts';
import { sessionOf } from '../session.ts';
import { readStdin, readValueFile } from '../typed-in.ts';
import { describeCredential, describeRun, pairs } from './credential-text.ts';
import { durationSeconds } from './grant-text.ts';

const KINDS = ['oauth2', 'api_key', 'basic', 'database', 'json'];
const POLL_MS = 300;

interface PutOptions {
  kind: string;
  fromFile?: string;
  label?: string[];
  description?: string;
  expiresAt?: string;
  cas?: string;
  connector?: string;
  tokenEndpoint?: string;
  clientId?: string;
  clientAuthentication?: string;
}

async function bodyOf(options: PutOptions): Promise<Record<string, unknown>> {
  const text = options.fromFile === undefined ? await readStdin(`the ${options.kind} value`) : readValueFile(options.fromFile);
  if (text === '') throw new CliError('the value is empty: pipe it in, or use --from-file', EXIT.usage);
  const value = options.kind === 'api_key' && !text.trimStart().startsWith('{') ? { key: text } : parsed(text);
  const config = {
    token_endpoint: options.tokenEndpoint,
    client_id: options.clientId,
    client_authentication: options.clientAuthentication,
  };
  return {
    kind: options.kind,
    value,
    ...(options.kind === 'oauth2' ? { config, connector: options.connector } : {}),
    labels: pairs(options.label),
    description: options.description,
    expires_at: options.expiresAt,
    cas: options.cas === undefined ? undefined : Number(options.cas),
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new CliError('the value must be JSON for this kind', EXIT.usage, 'only --kind api_key takes plain text');
  }
}

export function credentialCommand(): Command {
  const command = new Command('credential').alias('cred').description('put, read, rotate and delete credentials');
  command
    .command('put <name>')
    .description('store a credential or a new version of it; the value comes from standard input or --from-file')
    .addOption(new Option('--kind <kind>', 'what it is').choices(KINDS).makeOptionMandatory())
    .option('--from-file <path>', 'read the value from a file')
    .option('--label <name=value...>', 'labels')
    .option('--description <text>')
    .option('--expires-at <instant>', 'RFC 3339')
    .option('--cas <version>', 'only if this is the current version; 0: only if it does not exist')
    .option('--connector <id>', 'oauth2: which connector refreshes it (default generic-oauth2)')
    .option('--token-endpoint <url>', 'oauth2')
    .option('--client-id <id>', 'oauth2')
    .option('--client-authentication <method>', 'oauth2: client_secret_basic, client_secret_post, private_key_jwt, none')
    .action(async (name: string, options: PutOptions, self: Command) => {
      const session = sessionOf(self);
      const stored = await session.client.put(session.environment(), name, await bodyOf(options));
      session.show(
        stored,
        (credential) => `${green('stored')} ${credential.name} version ${credential.version} in ${credential.environment}`,
      );
    });
  command
    .command('get <name>')
    .description('print the value (as a workload); never written anywhere else')
    .option('--version <n>', 'a version other than the current one')
    .option('--stage <stage>', 'current, previous or pending')
    .option('--field <name>', 'only this field of the value')
    .action(async (name: string, options: { version?: string; stage?: string; field?: string }, self: Command) => {
      const session = sessionOf(self);
      const wanted = {
        ...(options.version === undefined ? {} : { version: Number(options.version) }),
        ...(options.stage === undefined ? {} : { stage: options.stage }),
      };
      const read = await session.client.read(session.environment(), name, wanted);
      const value = read.value.reveal();
      const field = options.field ?? (session.settings.output === 'raw' ? mainField(value) : undefined);
      if (field === undefined) out(json({ ...read, value }));
      else if (typeof value[field] === 'string') out(value[field]);
      else
        throw new CliError(`the value has no text field of this name`, EXIT.notFound, `it has ${Object.keys(value).join(', ')}`);
    });
  command
    .command('list')
    .description('list credentials, never their values')
    .option('--kind <kind>')
    .option('--health <state>')
    .option('--label <name=value>')
    .option('--search <text>')
    .option('--deleted', 'those in their recovery window')
    .option('--limit <n>')
    .action(async (options: Record<string, string | boolean | undefined>, self: Command) => {
      const session = sessionOf(self);
      const query: Record<string, string | undefined> = {};
      for (const name of ['kind', 'health', 'label', 'search', 'limit'])
        if (typeof options[name] === 'string') query[name] = options[name];
      if (options['deleted'] === true) query['deleted'] = 'true';
      const page = await session.client.list(session.environment(), query);
      session.show(page, ({ items, next_cursor }) =>
        items.length === 0
          ? dim('no credentials')
          : table(
              ['name', 'kind', 'version', 'health', 'expires', 'updated'],
              items.map((item) => [item.name, item.kind, item.version, item.health.state, item.expires_at, item.updated_at]),
            ) + (next_cursor === null ? '' : `\n${dim('… more: raise --limit, or use the API with a cursor')}`),
      );
    });
  command
    .command('show <name>')
    .description('what is known of a credential, without its value')
    .action(async (name: string, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(await session.client.describe(session.environment(), name), describeCredential);
    });
  command
    .command('history <name>')
    .description('versions, newest first')
    .action(async (name: string, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(await session.client.versions(session.environment(), name), ({ items }) =>
        table(
          ['version', 'stages', 'origin', 'created', 'by', 'expires'],
          items.map((item) => [
            item.version,
            item.stages.join(' '),
            item.origin,
            item.created_at,
            item.created_by,
            item.expires_at,
          ]),
        ),
      );
    });
  command
    .command('rollback <name>')
    .description('make the previous version (or --to) current again')
    .option('--to <version>')
    .action(async (name: string, options: { to?: string }, self: Command) => {
      const session = sessionOf(self);
      const back = await session.client.rollBack(
        session.environment(),
        name,
        options.to === undefined ? undefined : Number(options.to),
      );
      session.show(
        back,
        (credential) =>
          `${green('rolled back')} ${credential.name} to version ${credential.version} (was ${credential.previous_version})`,
      );
    });
  command
    .command('rotate <name>')
    .description('rotate or refresh now')
    .option('--wait', 'until the run ended; exit code 1 when it failed, 9 when time was over')
    .option('--timeout <time>', 'how long --wait waits', '2m')
    .action(async (name: string, options: { wait?: boolean; timeout: string }, self: Command) => {
      const session = sessionOf(self);
      const untilMs = Date.now() + durationSeconds(options.timeout, '--timeout') * 1_000;
      let run = await session.client.rotate(session.environment(), name);
      if (options.wait === true && run.state === 'open' && process.stderr.isTTY) note(dim(`waiting for ${run.id} ...`));
      while (options.wait === true && run.state === 'open') {
        if (Date.now() >= untilMs) {
          const look = `see how it goes: keyturn credential runs ${name} ${run.id}`;
          throw new CliError(`the run had not ended after ${options.timeout}; it goes on by itself`, EXIT.notYet, look);
        }
        await sleep(POLL_MS);
        run = await session.client.run(session.environment(), name, run.id);
      }
      session.show(run, describeRun);
      if (options.wait === true && run.state !== 'succeeded') process.exitCode = EXIT.failed;
    });
  command
    .command('runs <name> [run]')
    .description('refreshes and rotations of a credential, or one with its journal')
    .action(async (name: string, run: string | undefined, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      if (run !== undefined) return session.show(await session.client.run(session.environment(), name, run), describeRun);
      session.show(await session.client.runs(session.environment(), name), ({ items }) =>
        table(
          ['run', 'kind', 'trigger', 'state', 'outcome', 'started', 'version'],
          items.map((item) => [item.id, item.kind, item.trigger, item.state, item.outcome, item.started_at, item.new_version]),
        ),
      );
    });
  command
    .command('label <name>')
    .description('replace labels or description')
    .option('--label <name=value...>')
    .option('--description <text>')
    .action(async (name: string, options: { label?: string[]; description?: string }, self: Command) => {
      const session = sessionOf(self);
      const labels = pairs(options.label);
      const body = {
        ...(labels === undefined ? {} : { labels }),
        ...(options.description === undefined ? {} : { description: options.description }),
      };
      session.show(await session.client.label(session.environment(), name, body), describeCredential);
    });
  command
    .command('delete <name>')
    .description('delete: unreadable at once, restorable within the window')
    .option('--recovery-window <days>', '7 to 90; default 30')
    .action(async (name: string, options: { recoveryWindow?: string }, self: Command) => {
      const session = sessionOf(self);
      const days = options.recoveryWindow === undefined ? undefined : Number(options.recoveryWindow);
      const gone = await session.client.delete(session.environment(), name, days);
      session.show(
        gone,
        (credential) =>
          `${yellow('deleted')} ${credential.name}; destroyed after ${credential.destroy_after_at}, until then: keyturn credential restore ${credential.name}`,
      );
    });
  command
    .command('restore <name>')
    .description('take a deletion back')
    .action(async (name: string, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(
        await session.client.restore(session.environment(), name),
        (credential) => `${green('restored')} ${credential.name}`,
      );
    });
  command
    .command('destroy <name>')
    .description('destroy now, without a window (needs a second person)')
    .action(async (name: string, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      await session.client.destroy(session.environment(), name);
      note(`${red('destroyed')} ${name}`);
    });
  return command;
}

function mainField(value: Readonly<Record<string, unknown>>): string | undefined {
  return ['key', 'access_token', 'password'].find((field) => typeof value[field] === 'string');
}
