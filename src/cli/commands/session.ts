// keyturn init, login, logout, whoami, status, doctor: log in and diagnose problems.
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import type { WireHealth, WireRootKey } from '../../http/v1/wire.ts';
import type { KeyturnClient } from '../../sdk/client.ts';
import { KeyturnProblem } from '../../sdk/problem.ts';
import { isLoopback } from '../../sdk/transport.ts';
import { CliError, EXIT, sayError } from '../exit.ts';
import { bold, dim, facts, green, note, out, red, yellow } from '../print.ts';
import { clientOf, sessionOf } from '../session.ts';
import { configPath, DEFAULT_ADDRESS, forgetToken, readConfig, saveToken, settingsFrom, tokenStoredFor } from '../settings.ts';
import { readSecretFile, readStdin } from '../typed-in.ts';
import { clockFinding, type Finding } from './clock-text.ts';
import { type DeepFlags, deepText, lookDeep } from './doctor-deep.ts';

const CLOCK_SKEW_MS = 60_000;

export function initCommand(): Command {
  return new Command('init')
    .description('set up with the bootstrap secret')
    .option('--name <name>', 'your user name', 'owner')
    .option('--data <directory>', 'data directory of the service', './data')
    .option('--secret-file <path>', 'bootstrap secret, if not in the data directory; - for standard input')
    .action(async (options: { name: string; data: string; secretFile?: string }, self: Command) => {
      const globals = self.optsWithGlobals() as { address?: string };
      const settings = settingsFrom(globals);
      if (options.secretFile === undefined && globals.address === undefined) requireThisMachine(settings.address);
      const path = options.secretFile ?? join(options.data, 'bootstrap-secret');
      if (path !== '-' && !existsSync(path)) {
        throw new CliError(
          `the file ${path} does not exist`,
          EXIT.usage,
          'the first start creates it and `keyturn init` removes it; after the set-up, use `keyturn login`',
        );
      }
      const secret = path === '-' ? await readStdin('the bootstrap secret') : readSecretFile(path);
      const client = clientOf({ ...settings, tenant: undefined, token: secret });
      const made = await client.setUp(options.name);
      const config = saveToken(settings.address, made.token.token);
      out(`${green('✓')} the installation is set up; its owner is ${bold(made.user.name)} (${made.user.id})`);
      out(`  your token is stored in ${config} (0600) and expires at ${made.token.expires_at}`);
      out(
        `\nnext:  keyturn tenant create acme\n       printf %s "$API_KEY" | keyturn credential put stripe --kind api_key --tenant acme --env staging`,
      );
    });
}

/** SECURITY: a local bootstrap secret is sent only to the local service, so a planted KEYTURN_ADDR cannot obtain it. @throws CliError */
function requireThisMachine(address: string): void {
  if (isLoopback(address)) return;
  throw new CliError(
    `the local bootstrap secret is not sent to ${address}, the address in KEYTURN_ADDR or your config`,
    EXIT.usage,
    `give --address ${DEFAULT_ADDRESS}, or --address ${address}`,
  );
}

export function loginCommand(): Command {
  return new Command('login')
    .description('log in with a token or an enrolment token')
    .action(async (_options: unknown, self: Command) => {
      const globals = self.optsWithGlobals() as { tokenFile?: string };
      const given = globals.tokenFile === undefined ? await readStdin('the token') : readSecretFile(globals.tokenFile);
      if (given === '')
        throw new CliError('there is no token on standard input', EXIT.usage, 'pipe the token in, or give --token-file');
      const settings = settingsFrom({ ...globals, address: (globals as { address?: string }).address } as never);
      const enrols = given.startsWith('kt_enr_');
      const token = enrols ? (await clientOf({ ...settings, tenant: undefined, token: given }).enrol()).token.token : given;
      const client = clientOf({ ...settings, token });
      const who = await client.whoAmI();
      const path = saveToken(settings.address, token, settings.tenant === undefined ? {} : { tenant: settings.tenant });
      out(`${green('✓')} logged in as ${bold(who.name)} (${who.roles.join(', ')}); the token is stored in ${path}`);
    });
}

export function logoutCommand(): Command {
  return new Command('logout')
    .description('delete the stored token of this address')
    .option('--yes', 'also if this is the token of the only owner')
    .action(async ({ yes }: { yes?: boolean }, self: Command) => {
      const settings = settingsFrom(self.optsWithGlobals());
      const { address } = settings;
      const token = tokenStoredFor(address);
      if (token !== undefined && yes !== true) await refuseLockOut(clientOf({ ...settings, tenant: undefined, token }));
      const found = forgetToken(address);
      const others = Object.keys(readConfig().tokens ?? {});
      note(
        found
          ? 'the stored token is deleted here; a copy of it stays valid until it expires, until its person revokes it, or until the person is offboarded'
          : `no token is stored for ${address}${others.length > 0 ? `; tokens are stored for ${others.join(', ')}` : ''}`,
      );
    });
}

/** SECURITY: no person can issue a token for another, so an installation whose only owner has no token cannot be recovered. */
async function refuseLockOut(client: KeyturnClient): Promise<void> {
  let isOnly: boolean;
  try {
    isOnly = await isOnlyOwner(client);
  } catch (error) {
    if (error instanceof KeyturnProblem && error.code === 'unauthenticated') return;
    throw new CliError(
      'the service did not answer whether this is the token of the only owner; without another token of an owner nobody can administer it',
      EXIT.unavailable,
      'repeat it when the service answers, or give --yes',
    );
  }
  if (!isOnly) return;
  throw new CliError(
    'this is the token of the only owner: without another token of an owner nobody can administer the installation, and there is no way back',
    EXIT.conflict,
    'add a second owner with `keyturn user create`, or keep another token of yours (`keyturn user token`) and give --yes',
  );
}

async function isOnlyOwner(client: KeyturnClient): Promise<boolean> {
  const who = await client.whoAmI();
  if (who.type !== 'user' || !who.roles.includes('owner')) return false;
  const owners: string[] = [];
  let cursor: string | null | undefined;
  do {
    const page = await client.users(typeof cursor === 'string' ? { cursor } : {});
    const found = page.items.filter(({ offboarded_at, grants }) => offboarded_at === null && grants.some(ownsAll));
    owners.push(...found.map(({ id }) => id));
    cursor = page.next_cursor;
  } while (cursor !== null);
  return owners.length === 1 && owners[0] === who.id;
}

const ownsAll = ({ role, tenant }: { readonly role: string; readonly tenant: string }): boolean =>
  role === 'owner' && tenant === '*';

export function whoamiCommand(): Command {
  return new Command('whoami')
    .description('show the user or workload of the token')
    .action(async (_options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(await session.client.whoAmI(), (who) =>
        facts([
          ['name', who.name],
          ['type', who.type],
          ['id', who.id],
          ['roles', who.roles.join(' ')],
          ['tenants', who.tenants?.map((tenant) => (tenant === '*' ? 'all' : tenant)).join(' ')],
          ['environment', who.environment],
        ]),
      );
    });
}

export function statusCommand(): Command {
  return new Command('status').description('show the health of the service').action(async (_options: unknown, self: Command) => {
    const session = sessionOf(self);
    const health = await session.client.health();
    session.show(health, ({ status, version, parts }) =>
      [
        `${status === 'ok' ? green('●') : red('●')} ${session.settings.address}  ${status}  ${dim(`version ${version}`)}`,
        ...Object.entries(parts).map(
          ([part, state]) => `  ${state === 'ok' ? green('●') : red('●')} ${part}  ${state}${helpFor(part, state)}`,
        ),
      ].join('\n'),
    );
    if (health.status !== 'ok') process.exitCode = EXIT.unavailable;
  });
}

/** The remedy for a part that is not ok, if its name does not suggest one. */
function helpFor(part: string, state: string | undefined): string {
  return state === 'ok' ? '' : (HELP[part] ?? '');
}

const HELP: Readonly<Record<string, string>> = {
  clock: ': it jumped or is behind, so nothing is destroyed or purged; run `keyturn doctor` as owner or auditor for the remedy',
  state:
    ': stored data failed its check and is not served; `keyturn alerts` lists it by tenant, and `keyturn doctor --deep` on the stopped service finds all of it',
};

export function doctorCommand(): Command {
  return new Command('doctor')
    .description('check machine, settings and service')
    .option('--data <directory>', 'local data directory to check', './data')
    .option('--deep', 'check all stored data of a stopped service; exits with 8 if a check fails')
    .option('--root-key-file <path>', 'with --deep: as for serve')
    .option('--passphrase-file <path>', 'with --deep: as for serve')
    .option('--root-command <command>', 'with --deep: as for serve')
    .option('--root-kms-key <id>', 'with --deep: as for serve')
    .option('--root-shares <directory>', 'with --deep: as for serve')
    .option('--witness-dir <path>', 'with --deep: as for serve')
    .action(async (options: DeepFlags & { deep?: boolean }, self: Command) => {
      const session = sessionOf(self);
      if (options.deep === true) {
        const report = await lookDeep(options);
        session.show(report, deepText);
        if (!report.ok) process.exitCode = EXIT.verification;
        return;
      }
      refuseDeepOptions(options);
      const findings: Finding[] = [
        runtime(),
        config(),
        ...dataDirectory(options.data),
        ...(await service(session.client, session.settings.address, session.settings.token)),
      ];
      session.show(findings, (all) => all.map(({ level, what }) => `${MARK[level]} ${what}`).join('\n'));
      if (findings.some((finding) => finding.level === 'fail')) process.exitCode = EXIT.failed;
    });
}

function refuseDeepOptions({ rootKeyFile, passphraseFile, rootCommand, rootKmsKey, rootShares, witnessDir }: DeepFlags): void {
  const given = Object.entries({
    '--root-key-file': rootKeyFile,
    '--passphrase-file': passphraseFile,
    '--root-command': rootCommand,
    '--root-kms-key': rootKmsKey,
    '--root-shares': rootShares,
    '--witness-dir': witnessDir,
  })
    .filter(([, value]) => value !== undefined)
    .map(([name]) => name);
  if (given.length > 0) throw new CliError(`${given.join(', ')} needs --deep: give both or neither`, EXIT.usage);
}

const MARK = { ok: green('ok  '), warn: yellow('warn'), fail: red('fail') };

function runtime(): Finding {
  const major = Number(process.versions.node.split('.')[0]);
  return { level: major >= 24 ? 'ok' : 'fail', what: `Node ${process.versions.node}` };
}

function config(): Finding {
  const path = configPath();
  if (!existsSync(path)) return { level: 'warn', what: `no config file at ${path}: run keyturn init or keyturn login` };
  const mode = statSync(path).mode & 0o777;
  return mode === 0o600
    ? { level: 'ok', what: `config file ${path} (0600)` }
    : { level: 'fail', what: `other users can read the config file ${path}: chmod 600 it` };
}

function dataDirectory(directory: string): Finding[] {
  if (!existsSync(join(directory, 'installation.json'))) return [];
  const findings: Finding[] = [];
  const loose = ['.', 'home.db', 'root.key', 'root.key.previous', 'installation.json'].filter(
    (name) => existsSync(join(directory, name)) && (statSync(join(directory, name)).mode & 0o077) !== 0,
  );
  findings.push(
    loose.length === 0
      ? { level: 'ok', what: `the data directory ${directory} is private` }
      : { level: 'fail', what: `other users can read ${loose.join(', ')} in ${directory}: remove their access with chmod` },
  );
  if (existsSync(join(directory, 'root.key'))) {
    findings.push({
      level: 'warn',
      what: 'the root key is in the data directory: for production store it elsewhere (--root-key-file)',
    });
  }
  if (existsSync(join(directory, 'root.key.previous')))
    findings.push({
      level: 'warn',
      what: 'root.key.previous is the root key before the last rotation: move it to where the backups of that time are, or delete it',
    });
  if (existsSync(join(directory, 'bootstrap-secret')))
    findings.push({ level: 'warn', what: 'the bootstrap secret is not used yet: run keyturn init' });
  const { root } = JSON.parse(readFileSync(join(directory, 'installation.json'), 'utf8')) as { root: { provider: string } };
  findings.push({ level: 'ok', what: `root key from a ${root.provider}` });
  return findings;
}

function partsOf(address: string, { status, version, parts }: WireHealth): Finding[] {
  return [
    { level: status === 'ok' ? 'ok' : 'fail', what: `${address} answers: ${status}, version ${version}` },
    ...Object.entries(parts)
      .filter(([, state]) => state !== 'ok')
      .map(([part, state]): Finding => ({ level: 'fail', what: `${part}: ${state}${helpFor(part, state)}` })),
  ];
}

async function service(client: KeyturnClient, address: string, token: string | undefined): Promise<Finding[]> {
  const findings: Finding[] = [];
  try {
    const { date, ...health } = await client.health();
    findings.push(...partsOf(address, health));
    const skewMs = date === null ? 0 : Math.abs(Date.parse(date) - Date.now());
    findings.push({ level: skewMs < CLOCK_SKEW_MS ? 'ok' : 'warn', what: `clocks differ by ${Math.round(skewMs / 1_000)} s` });
    if (address.startsWith('http:'))
      findings.push({ level: 'warn', what: 'the address uses plain http, which is safe on loopback only' });
  } catch (error) {
    return [{ level: 'fail', what: sayError(error).lines[0] ?? 'unreachable' }];
  }
  if (token === undefined || token === '')
    return [...findings, { level: 'warn', what: 'no token: run keyturn init or keyturn login' }];
  return [...findings, ...(await withToken(client))];
}

/** Nothing unless a rotation of the root key is under way. */
function rootFindings({ rotating_since, done, total, blocked }: WireRootKey): Finding[] {
  if (rotating_since === null) return [];
  const waits = blocked.length === 0 ? '' : `; it waits for ${blocked.map(({ id, code }) => `${id} (${code})`).join(', ')}`;
  return [
    {
      level: 'warn',
      what: `the root key is being rotated since ${rotating_since}: ${done} of ${total} cells${waits}; keep the previous root key until it has finished`,
    },
  ];
}

async function withToken(client: KeyturnClient): Promise<Finding[]> {
  try {
    const who = await client.whoAmI();
    // Only users who may read metrics get the list of tenants that are not served.
    const root = who.type === 'user' ? await client.rootKey().catch(() => undefined) : undefined;
    const detail = who.type === 'user' ? await client.healthDetail().catch(() => undefined) : undefined;
    return [
      { level: 'ok', what: `the token is valid: ${who.name} (${who.roles.join(', ')})` },
      ...(root === undefined ? [] : rootFindings(root)),
      ...(detail?.clock ? [clockFinding(detail.clock)] : []),
      ...(detail?.tenants ?? []).map(
        ({ id, name, code }): Finding => ({ level: 'fail', what: `tenant ${name ?? id} is not served: ${code}` }),
      ),
    ];
  } catch (error) {
    return [{ level: 'fail', what: `the token check failed: ${sayError(error).lines[0]}` }];
  }
}
