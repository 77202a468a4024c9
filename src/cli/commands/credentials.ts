// keyturn credential ...: put, read, rotate and delete credentials.
import { Command, Option } from 'commander';
import { SECONDS } from '../../base/instants.ts';
import type { ReadValue } from '../../sdk/secret.ts';
import { JsonText, mainMember, memberOf, textIn } from '../../sdk/value-bytes.ts';
import { CliError, EXIT } from '../exit.ts';
import { dim, green, json, note, plain, red, table, yellow } from '../print.ts';
import { type Session, sessionOf } from '../session.ts';
import { moment, span } from '../times.ts';
import { readStdinBytes, readValueFile } from '../typed-in.ts';
import { CONFIG_FILE, findCredential, mergedConfig } from './client-options.ts';
import { describeCredential, describeRun, fieldOf, noteDoubt, pairs } from './credential-text.ts';
import { followOnTerminal, noteFollowing } from './follow-run.ts';
import { type RotationOptions, rotationSettings, withRotationOptions } from './rotation-options.ts';
import { planText } from './run-text.ts';
import { runTable, showEnd, timeoutOption } from './runs.ts';

const KINDS = ['oauth2', 'api_key', 'basic', 'database', 'json'];

interface PutOptions extends RotationOptions {
  kind: string;
  valueFile?: string;
  fromFile?: string;
  jsonValue?: boolean;
  stripNewline?: boolean;
  username?: string;
  label?: string[];
  description?: string;
  expiresAt?: string;
  cas?: string;
  replaceDeleted?: boolean;
  tokenEndpoint?: string;
  clientId?: string;
  clientAuthentication?: string;
  discard?: string[];
}

async function bodyOf(session: Session, name: string, options: PutOptions): Promise<Record<string, unknown>> {
  const path = options.valueFile ?? options.fromFile;
  const bytes = path === undefined ? await readStdinBytes(`the ${options.kind} value`) : readValueFile(path);
  if (bytes.byteLength === 0) throw new CliError('the value is empty: pass it on standard input or by --value-file', EXIT.usage);
  return {
    kind: options.kind,
    value: putValueOf(options, bytes),
    ...(options.kind === 'oauth2' ? await grantSettings(session, name, options) : await rotationSettings(session, name, options)),
    labels: pairs(options.label),
    description: options.description,
    expires_at: options.expiresAt,
    cas: options.cas === undefined ? undefined : wholeNumber(options.cas, '--cas'),
    replace_deleted: options.replaceDeleted,
  };
}

/** Keeps the stored settings that neither file nor option replaces: an omitted setting would be another destination. */
async function grantSettings(session: Session, name: string, options: PutOptions): Promise<Record<string, unknown>> {
  const stored = await findCredential(session, name);
  const isSame = stored?.kind === 'oauth2' && (options.connector === undefined || options.connector === stored.connector);
  const kept = isSame && options.replaceDeleted !== true ? stored : undefined;
  const flags = {
    token_endpoint: options.tokenEndpoint,
    client_id: options.clientId,
    client_authentication: options.clientAuthentication,
  };
  const config = mergedConfig(kept?.config, options.configFile, flags) ?? kept?.config ?? {};
  if (config['client_id'] === undefined)
    throw new CliError('the setting client_id is missing', EXIT.usage, settingsHint(kept, name));
  return {
    config,
    connector: options.connector ?? kept?.connector ?? undefined,
    discard: options.discard,
  };
}

function settingsHint(kept: unknown, name: string): string {
  const how = 'give --client-id, or client_id in --config-file';
  return kept === undefined ? `${how}; there are no stored settings of ${plain(name)} that you may describe` : how;
}

/** The input is the bytes of a key or password; for other kinds it is the JSON of the value. */
function putValueOf(options: PutOptions, bytes: Uint8Array): unknown {
  const { kind, username } = options;
  const isBytes = options.jsonValue !== true && (kind === 'api_key' || (kind === 'basic' && username !== undefined));
  if (!isBytes) return jsonValueOf(bytes, kind);
  const kept = options.stripNewline === true ? withoutLastBreak(bytes) : bytes;
  if (endsWithBreak(kept))
    note(dim(`stored all ${kept.byteLength} bytes, including the final line break; use --strip-newline to remove it`));
  return kind === 'basic' ? { username, ...memberOf('password', kept) } : memberOf('key', kept);
}

function jsonValueOf(bytes: Uint8Array, kind: string): JsonText {
  const text = textIn(bytes);
  if (text === undefined)
    throw new CliError(`the value of kind ${kind} must be JSON in UTF-8: it has bytes that are not UTF-8`, EXIT.usage);
  try {
    return new JsonText(text);
  } catch {
    throw new CliError(`the value of kind ${kind} must be JSON`, EXIT.usage, JSON_HINTS[kind]);
  }
}

const JSON_HINTS: Readonly<Record<string, string>> = {
  basic: 'give --username and pass the password on standard input, or pass {"username": "…", "password": "…"}',
  database: 'pass a connection string as {"url": "…"}',
  oauth2: 'pass the tokens as {"access_token": "…", "refresh_token": "…"}',
  api_key: 'omit --json-value to store plain bytes, or pass {"key": "…"}',
  json: 'pass any JSON object, e.g. {"user": "…", "token": "…"}; only api_key and basic accept plain bytes',
};

const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;

function endsWithBreak(bytes: Uint8Array): boolean {
  return bytes.at(-1) === LINE_FEED;
}

function withoutLastBreak(bytes: Uint8Array): Uint8Array {
  if (!endsWithBreak(bytes)) return bytes;
  return bytes.subarray(0, bytes.at(-2) === CARRIAGE_RETURN ? -2 : -1);
}

/** @throws CliError */
function wholeNumber(text: string, flag: string): number {
  if (!/^[0-9]{1,15}$/.test(text)) throw new CliError(`the option ${flag} must be a whole number`, EXIT.usage);
  return Number(text);
}

export function credentialCommand(): Command {
  const command = new Command('credential').alias('cred').description('put, read, rotate and delete credentials');
  for (const add of [
    addPut,
    addGet,
    addList,
    addShow,
    addHistory,
    addReaders,
    addRollback,
    addRotate,
    addRuns,
    addLabel,
    addDelete,
    addRestore,
    addDestroy,
  ])
    add(command);
  return command;
}

function addPut(parent: Command): void {
  const put = parent
    .command('put <name>')
    .description('create a credential or a new version of it, with the value from standard input or --value-file')
    .addOption(new Option('--kind <kind>', 'kind of credential').choices(KINDS).makeOptionMandatory())
    .option('--value-file <path>', 'file with the value')
    .addOption(new Option('--from-file <path>', 'same as --value-file').hideHelp())
    .option('--json-value', 'the input is the JSON of the value, e.g. {"key": ..., "key_id": ...}')
    .option('--username <name>', 'basic: the user name; the input is the password')
    .option('--strip-newline', 'remove one line break at the end of the input')
    .option('--label <name=value...>', 'labels of the credential')
    .option('--description <text>', 'description of the credential')
    .option('--expires-at <instant>', 'an instant, a date, or a time from now such as 90d', moment('ahead'))
    .option('--cas <version>', 'only if this is the current version; 0: only if it does not exist')
    .option('--replace-deleted', 'rename a deleted credential of this name, which stays restorable')
    .option('--connector <id>', 'how it is refreshed or rotated (keyturn connectors); default: the stored one')
    .option('--config-file <path>', `${CONFIG_FILE}; default: the stored settings`)
    .option('--token-endpoint <url>', 'oauth2: the token endpoint')
    .option('--client-id <id>', 'oauth2: the client id')
    .option('--client-authentication <method>', 'oauth2: client_secret_basic, client_secret_post, private_key_jwt or none')
    .option(
      '--discard <part...>',
      'oauth2: stored parts to discard, e.g. refresh_token; otherwise a put that omits one is refused',
    );
  withRotationOptions(put).action(async (name: string, options: PutOptions, self: Command) => {
    const session = sessionOf(self);
    const stored = await session.client.put(session.environment(), name, await bodyOf(session, name, options));
    if (stored.set_aside !== undefined)
      note(`the deleted credential was renamed to ${plain(stored.set_aside)}; restore it with keyturn credential restore`);
    if (stored.health.state === 'expired')
      note(yellow(`its end date has passed already (${stored.expires_at}): it is served, and shown as expired`));
    session.show(
      stored,
      (credential) => `${green('stored')} ${credential.name} version ${credential.version} in ${credential.environment}`,
    );
  });
}

function addGet(parent: Command): void {
  parent
    .command('get <name>')
    .description('print the value')
    .option('--version <n>', 'this version instead of the current one')
    .option('--stage <stage>', 'current, previous or pending')
    .option('--refresh', 'the newest value that can be had; needs the right to rotate')
    .option('--field <name>', 'only this field of the value, as one line')
    .option('--raw', 'exactly the bytes of the key, password, token or --field')
    .action(async (name: string, options: GetOptions, self: Command) => {
      const session = sessionOf(self);
      const wanted = {
        ...(options.version === undefined ? {} : { version: wholeNumber(options.version, '--version') }),
        ...(options.stage === undefined ? {} : { stage: options.stage }),
        ...(options.refresh === true ? { refresh: true as const } : {}),
      };
      const read = await session.client.read(session.environment(), name, wanted);
      noteDoubt(read);
      printValue(read, options, session.settings.output === 'raw');
    });
}

function addList(parent: Command): void {
  parent
    .command('list')
    .description('list credentials, without values')
    .option('--kind <kind>', 'only this kind')
    .option('--health <state>', 'only this health state, e.g. needs_consent')
    .option('--label <name=value>', 'only with this label')
    .option('--search <text>', 'only with this text in name or description')
    .option('--deleted', 'deleted credentials in their recovery window')
    .option('--limit <n>', 'maximum number')
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
}

function addShow(parent: Command): void {
  parent
    .command('show <name>')
    .description('describe a credential, without its value')
    .action(async (name: string, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      const environment = session.environment();
      const shown = await session.client.describe(environment, name);
      const isScheduled = shown.kind !== 'oauth2' && shown.connector !== null && shown.state === 'active';
      const schedule = isScheduled ? await session.client.schedules.of(environment, name) : undefined;
      session.show({ ...shown, ...(schedule === undefined ? {} : { schedule }) }, () => describeCredential(shown, schedule));
    });
}

function addHistory(parent: Command): void {
  parent
    .command('history <name>')
    .description('list versions, newest first')
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
}

function addReaders(parent: Command): void {
  parent
    .command('readers <name>')
    .description('list who received which version last')
    .action(async (name: string, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(await session.client.readers(session.environment(), name), ({ items }) =>
        items.length === 0
          ? dim('nobody has read it')
          : table(
              ['reader', 'version', 'since', 'last read', 'live'],
              items.map((item) => [item.name ?? item.id, item.version, item.since, item.seen, item.live ? 'yes' : 'no']),
            ),
      );
    });
}

function addRollback(parent: Command): void {
  parent
    .command('rollback <name>')
    .description('make the previous version current again')
    .option('--to <version>', 'this version instead of the previous one')
    .option('--revoke-replaced', 'also end the replaced version at its target, after the grace period')
    .action(async (name: string, options: { to?: string; revokeReplaced?: true }, self: Command) => {
      const session = sessionOf(self);
      const back = await session.client.rollBack(
        session.environment(),
        name,
        options.to === undefined ? undefined : wholeNumber(options.to, '--to'),
        options.revokeReplaced,
      );
      session.show(
        back,
        (credential) =>
          `${green('rolled back')} ${credential.name} to version ${credential.version} (was ${credential.previous_version})`,
      );
    });
}

interface RotateOptions {
  wait?: boolean;
  timeout: number;
  plan?: boolean;
  ifPlan?: string;
  reason?: string;
  skipStaging?: boolean;
}

function addRotate(parent: Command): void {
  parent
    .command('rotate <name>')
    .description('rotate or refresh now')
    .option('--plan', 'show what it would do, and call nothing')
    .option('--if-plan <hash>', 'only if the plan still has this hash')
    .option('--reason <text>', 'why; shown with the run')
    .option('--skip-staging', 'in production, although it was not tried in staging; owners only, with --reason')
    .option('--wait', 'follow the run, one line a step; exits with 1 if it failed, 9 on timeout')
    .addOption(timeoutOption())
    .action(async (name: string, options: RotateOptions, self: Command) => {
      const session = sessionOf(self);
      const environment = session.environment();
      if (options.plan === true) {
        const plan = await session.client.plan(environment, name);
        session.show(plan, (shown) => planText(shown, name));
        if (!plan.ready) process.exitCode = EXIT.failed;
        return;
      }
      const request = {
        ...(options.reason === undefined ? {} : { reason: options.reason }),
        ...(options.ifPlan === undefined ? {} : { plan: options.ifPlan }),
        ...(options.skipStaging === true ? { skip_staging: true as const } : {}),
      };
      const run = await session.client.rotate(environment, name, request);
      if (options.wait !== true) return session.show(run, describeRun);
      noteFollowing(run);
      showEnd(session, await followOnTerminal(session, { name, run: run.id, timeoutSeconds: options.timeout }));
    });
}

function addRuns(parent: Command): void {
  parent
    .command('runs <name> [run]')
    .description('list runs, or show one with its journal (see keyturn runs)')
    .action(async (name: string, run: string | undefined, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      if (run !== undefined) return session.show(await session.client.run(session.environment(), name, run), describeRun);
      session.show(await session.client.runs(session.environment(), name), ({ items }) => runTable(items));
    });
}

function addLabel(parent: Command): void {
  parent
    .command('label <name>')
    .description('replace the labels or the description')
    .option('--label <name=value...>', 'the new labels')
    .option('--description <text>', 'the new description')
    .action(async (name: string, options: { label?: string[]; description?: string }, self: Command) => {
      const session = sessionOf(self);
      const labels = pairs(options.label);
      const body = {
        ...(labels === undefined ? {} : { labels }),
        ...(options.description === undefined ? {} : { description: options.description }),
      };
      session.show(await session.client.label(session.environment(), name, body), describeCredential);
    });
}

function addDelete(parent: Command): void {
  parent
    .command('delete <name>')
    .description('delete; restorable until the recovery window ends')
    .option('--recovery-window <time>', 'whole days, 7d to 90d; default 30d', span('d'))
    .action(async (name: string, options: { recoveryWindow?: number }, self: Command) => {
      const session = sessionOf(self);
      const days = options.recoveryWindow === undefined ? undefined : options.recoveryWindow / SECONDS.d;
      const gone = await session.client.delete(session.environment(), name, days);
      session.show(
        gone,
        (credential) =>
          `${yellow('deleted')} ${credential.name}; it is destroyed after ${credential.destroy_after_at}; until then: keyturn credential restore ${credential.name}`,
      );
    });
}

function addRestore(parent: Command): void {
  parent
    .command('restore <name>')
    .description('restore a deleted credential')
    .action(async (name: string, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(
        await session.client.restore(session.environment(), name),
        (credential) => `${green('restored')} ${credential.name}`,
      );
    });
}

function addDestroy(parent: Command): void {
  parent
    .command('destroy <name>')
    .description('destroy now (needs an approval: not available yet)')
    .action(async (name: string, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      await session.client.destroy(session.environment(), name);
      note(`${red('destroyed')} ${name}`);
    });
}

interface GetOptions {
  version?: string;
  stage?: string;
  refresh?: boolean;
  field?: string;
  raw?: boolean;
}

/** Prints the answer as JSON, one field as a line of text, or with --raw its bytes. */
function printValue(read: ReadValue, options: GetOptions, asLine: boolean): void {
  const raw = options.raw === true;
  process.stdout.write(raw || asLine || options.field !== undefined ? oneField(read.value.reveal(), options.field) : whole(read));
  if (!raw) process.stdout.write('\n');
}

function whole(read: ReadValue): string {
  return json({ ...read, value: read.value.reveal() });
}

/** The field, or the main field of the value, or else the value as JSON. */
function oneField(value: Readonly<Record<string, unknown>>, wanted: string | undefined): Uint8Array | string {
  const field = wanted ?? mainMember(value);
  if (field === undefined) return JSON.stringify(value);
  return fieldOf(value, field, '--field');
}
