// keyturn init, login, logout, whoami, status, doctor: getting in and finding out what is wrong.
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import type { WireHealth } from '../../http/v1/wire.ts';
import type { KeyturnClient } from '../../sdk/client.ts';
import { isLoopback } from '../../sdk/transport.ts';
import { CliError, EXIT, sayError } from '../exit.ts';
import { bold, dim, facts, green, note, out, red, yellow } from '../print.ts';
import { clientOf, sessionOf } from '../session.ts';
import { configPath, DEFAULT_ADDRESS, forgetToken, readConfig, saveToken, settingsFrom } from '../settings.ts';
import { readSecretFile, readStdin } from '../typed-in.ts';
import { clockFinding, type Finding } from './clock-text.ts';
import { type DeepFlags, deepText, lookDeep } from './doctor-deep.ts';

const CLOCK_SKEW_MS = 60_000;

export function initCommand(): Command {
  return new Command('init')
    .description('set up: spend the bootstrap secret')
    .option('--name <name>', 'your name, as it stands in the log', 'owner')
    .option('--data <directory>', 'where the service keeps its data', './data')
    .option('--secret-file <path>', 'the bootstrap secret, if it is not in the data directory; - for standard input')
    .action(async (options: { name: string; data: string; secretFile?: string }, self: Command) => {
      const globals = self.optsWithGlobals() as { address?: string };
      const settings = settingsFrom(globals);
      if (options.secretFile === undefined && globals.address === undefined) requireThisMachine(settings.address);
      const path = options.secretFile ?? join(options.data, 'bootstrap-secret');
      if (path !== '-' && !existsSync(path)) {
        throw new CliError(
          `there is no ${path}`,
          EXIT.usage,
          'it is made by the first start and gone once it is spent; if you are set up already, use `keyturn login`',
        );
      }
      const secret = path === '-' ? await readStdin('the bootstrap secret') : readSecretFile(path);
      const client = clientOf({ ...settings, tenant: undefined, token: secret });
      const made = await client.setUp(options.name);
      const config = saveToken(settings.address, made.token.token);
      out(`${green('✓')} this installation is yours, ${bold(made.user.name)} (${made.user.id})`);
      out(`  your token lies in ${config} (0600) until ${made.token.expires_at}; the bootstrap secret is spent`);
      out(
        `\nnext:  keyturn tenant create acme\n       printf %s "$API_KEY" | keyturn credential put stripe --kind api_key --tenant acme --env staging`,
      );
    });
}

/** SECURITY: the secret in a folder here is for the service here, whatever a variable or a former log-in says. @throws CliError */
function requireThisMachine(address: string): void {
  if (isLoopback(address)) return;
  throw new CliError(
    `the bootstrap secret lies on this machine and is not sent to ${address}, which KEYTURN_ADDR or your config names`,
    EXIT.usage,
    `say where: --address ${DEFAULT_ADDRESS}, or --address ${address}`,
  );
}

export function loginCommand(): Command {
  return new Command('login')
    .description('store your token, or spend an enrolment token')
    .action(async (_options: unknown, self: Command) => {
      const globals = self.optsWithGlobals() as { tokenFile?: string };
      const given = globals.tokenFile === undefined ? await readStdin('the token') : readSecretFile(globals.tokenFile);
      const settings = settingsFrom({ ...globals, address: (globals as { address?: string }).address } as never);
      const enrols = given.startsWith('kt_enr_');
      const token = enrols ? (await clientOf({ ...settings, tenant: undefined, token: given }).enrol()).token.token : given;
      const client = clientOf({ ...settings, token });
      const who = await client.whoAmI();
      const path = saveToken(settings.address, token, settings.tenant === undefined ? {} : { tenant: settings.tenant });
      out(`${green('✓')} logged in as ${bold(who.name)} (${who.roles.join(', ')}); the token lies in ${path}`);
    });
}

export function logoutCommand(): Command {
  return new Command('logout')
    .description('forget the stored token of this address')
    .action((_options: unknown, self: Command) => {
      const { address } = settingsFrom(self.optsWithGlobals());
      const found = forgetToken(address);
      const others = Object.keys(readConfig().tokens ?? {});
      note(
        found
          ? 'the token is forgotten here; to end it everywhere, an admin revokes it'
          : `no token is stored for ${address}${others.length > 0 ? `; there are some for ${others.join(', ')}` : ''}`,
      );
    });
}

export function whoamiCommand(): Command {
  return new Command('whoami').description('who the vault takes you for').action(async (_options: unknown, self: Command) => {
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
  return new Command('status').description('whether the service answers').action(async (_options: unknown, self: Command) => {
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

/** What to do about a part that is not well; empty where the name of the part says it. */
function helpFor(part: string, state: string | undefined): string {
  return part === 'clock' && state !== 'ok'
    ? ': it jumped or is behind, and nothing is destroyed or purged; `keyturn doctor` as owner or auditor says what to do'
    : '';
}

export function doctorCommand(): Command {
  return new Command('doctor')
    .description('check machine, settings and service')
    .option('--data <directory>', 'a local data directory to look at', './data')
    .option('--deep', 'look at everything in it, with its keys, while nobody serves it; exit 8 when something fails its check')
    .option('--root-key-file <path>', 'with --deep: as for serve')
    .option('--passphrase-file <path>', 'with --deep: as for serve')
    .option('--witness-dir <path>', 'with --deep: as for serve')
    .action(async (options: DeepFlags & { deep?: boolean }, self: Command) => {
      const session = sessionOf(self);
      if (options.deep === true) {
        const report = await lookDeep(options);
        session.show(report, deepText);
        if (!report.ok) process.exitCode = EXIT.verification;
        return;
      }
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
    ? { level: 'ok', what: `config ${path} (0600)` }
    : { level: 'fail', what: `config ${path} is readable by others (chmod 600)` };
}

function dataDirectory(directory: string): Finding[] {
  if (!existsSync(join(directory, 'installation.json'))) return [];
  const findings: Finding[] = [];
  const loose = ['.', 'home.db', 'root.key', 'installation.json'].filter(
    (name) => existsSync(join(directory, name)) && (statSync(join(directory, name)).mode & 0o077) !== 0,
  );
  findings.push(
    loose.length === 0
      ? { level: 'ok', what: `data in ${directory} is private` }
      : { level: 'fail', what: `in ${directory} others may read ${loose.join(', ')}` },
  );
  if (existsSync(join(directory, 'root.key'))) {
    findings.push({
      level: 'warn',
      what: 'the root key lies beside the data: for production put it elsewhere (--root-key-file)',
    });
  }
  if (existsSync(join(directory, 'bootstrap-secret')))
    findings.push({ level: 'warn', what: 'the bootstrap secret is not spent yet: keyturn init' });
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
    if (address.startsWith('http:')) findings.push({ level: 'warn', what: 'plain http: fine on this machine, nowhere else' });
  } catch (error) {
    return [{ level: 'fail', what: sayError(error).lines[0] ?? 'unreachable' }];
  }
  if (token === undefined || token === '')
    return [...findings, { level: 'warn', what: 'no token: run keyturn init or keyturn login' }];
  return [...findings, ...(await withToken(client))];
}

async function withToken(client: KeyturnClient): Promise<Finding[]> {
  try {
    const who = await client.whoAmI();
    // Who may see the metrics learns which tenants; all others only that there are some.
    const detail = who.type === 'user' ? await client.healthDetail().catch(() => undefined) : undefined;
    return [
      { level: 'ok', what: `the token is good: ${who.name} (${who.roles.join(', ')})` },
      ...(detail?.clock ? [clockFinding(detail.clock)] : []),
      ...(detail?.tenants ?? []).map(
        ({ id, name, code }): Finding => ({ level: 'fail', what: `tenant ${name ?? id} is not served: ${code}` }),
      ),
    ];
  } catch (error) {
    return [{ level: 'fail', what: `the token: ${sayError(error).lines[0]}` }];
  }
}
