// The command line. It must never load the service's code for a client command; `serve` imports it when it runs.
import './protect-process.ts';
import { Command } from 'commander';
import { VERSION } from '../base/version.ts';
import { alertsCommand, forecastCommand, webhooksCommand } from './commands/alerts.ts';
import { auditCommand } from './commands/audit.ts';
import { connectCommand, connectionsCommand, connectorsCommand, disconnectCommand, importCommand } from './commands/connect.ts';
import { credentialCommand } from './commands/credentials.ts';
import { keysCommand } from './commands/keys.ts';
import { runCommand } from './commands/run.ts';
import { sandboxCommand } from './commands/sandbox.ts';
import { serveCommand } from './commands/serve.ts';
import { doctorCommand, initCommand, loginCommand, logoutCommand, statusCommand, whoamiCommand } from './commands/session.ts';
import { environmentCommand, tenantCommand, userCommand, workloadCommand } from './commands/team.ts';
import { completionCommand } from './completion.ts';
import { EXIT, sayError } from './exit.ts';
import { dim, note, red } from './print.ts';
import { refuseOpenChannels } from './protect-process.ts';
import { withoutSecrets } from './unsaid.ts';

const SHARED: readonly (readonly [string, string])[] = [
  ['--address <url>', 'address of the service (KEYTURN_ADDR)'],
  ['--tenant <name>', 'the tenant (KEYTURN_TENANT)'],
  ['--env <environment>', 'the environment (KEYTURN_ENVIRONMENT)'],
  ['--token-file <path>', 'file with the token (KEYTURN_TOKEN, KEYTURN_TOKEN_FILE)'],
  ['-o, --output <format>', 'table, json or raw (KEYTURN_FORMAT)'],
  ['--json', 'same as -o json'],
  ['--no-color', 'disable colours (NO_COLOR)'],
];

/** Adds the shared options to every command without subcommands, so that they can follow the command's name. */
function share(command: Command): void {
  for (const child of command.commands) share(child);
  if (command.commands.length > 0) return;
  for (const [flags, text] of SHARED) {
    const long = /--(?:no-)?([a-z-]+)/.exec(flags)?.[1];
    if (!command.options.some((option) => option.long === `--${long}` || option.long === `--no-${long}`))
      command.option(flags, text);
  }
}

const EXITS = `
Exit codes: 0 success, 1 failure, 2 usage error, 3 not logged in,
  4 not allowed, 5 not found, 6 conflict, 7 not available,
  8 verification failed, 9 timed out
Secrets are read from standard input or a file, never from the command line.`;

function program(): Command {
  const root = new Command('keyturn')
    .description('A secrets vault that turns its keys.')
    .version(VERSION)
    .enablePositionalOptions()
    .showHelpAfterError(dim('(see --help)'))
    .addHelpText('after', EXITS)
    .configureOutput({ outputError: (text, write) => write(withoutSecrets(withoutValues(text))) })
    .hook('preAction', refuseOpenChannels)
    .exitOverride();
  const commands = [
    initCommand(),
    loginCommand(),
    logoutCommand(),
    whoamiCommand(),
    statusCommand(),
    serveCommand(),
    tenantCommand(),
    environmentCommand(),
    userCommand(),
    workloadCommand(),
    credentialCommand(),
    connectorsCommand(),
    connectCommand(),
    connectionsCommand(),
    importCommand(),
    disconnectCommand(),
    forecastCommand(),
    alertsCommand(),
    webhooksCommand(),
    sandboxCommand(),
    runCommand(),
    auditCommand(),
    keysCommand(),
    doctorCommand(),
  ];
  for (const command of commands) root.addCommand(command);
  root.addCommand(completionCommand(() => root));
  share(root);
  inherit(root);
  return root;
}

/** SECURITY: an unexpected argument may be a secret, so an error message quotes only words that look like commands or options. */
function withoutValues(text: string): string {
  return text.replace(/( but got \d+): .*\.\n/s, '$1.\n').replace(/'([^'\n]*)'/g, (_quoted: string, word: string) => {
    const [name = ''] = word.split('=');
    return /^(-{0,2}[a-z][a-z_-]{0,30}|-[a-zA-Z], --[a-z-]+)( <[^>]*>| \[[^\]]*\])?$/.test(name) ? `'${name}'` : "'...'";
  });
}

function inherit(command: Command): void {
  for (const child of command.commands) {
    child.copyInheritedSettings(command);
    inherit(child);
  }
}

/** SECURITY: argv is visible to every user of the machine, so options that take a secret are rejected before anything else (LK-06). */
const SECRET_FLAGS =
  /^--(password|secret|client-secret|token|access-token|refresh-token|api-key|key-value|value|passphrase)(=|$)/;

async function main(argv: readonly string[]): Promise<void> {
  const end = argv.indexOf('--');
  const leaked = (end < 0 ? argv : argv.slice(0, end)).find((word) => SECRET_FLAGS.test(word));
  if (leaked !== undefined) {
    note(
      `${red('error:')} the option ${leaked.split('=')[0]} is refused: every user of this machine can read a secret on the command line`,
    );
    note('hint:  pass the secret on standard input, or by --value-file or --token-file');
    process.exitCode = EXIT.usage;
    return;
  }
  try {
    await program().parseAsync([...argv], { from: 'user' });
  } catch (error) {
    const code = (error as { code?: string }).code;
    if (code === 'commander.helpDisplayed' || code === 'commander.help' || code === 'commander.version') {
      process.exitCode = code === 'commander.help' && argv.length > 0 ? EXIT.usage : EXIT.ok;
    } else if (code?.startsWith('commander.') === true) {
      process.exitCode = EXIT.usage;
    } else {
      process.exitCode = report(error);
    }
  }
}

/** Prints the error and returns the exit code. */
function report(error: unknown): number {
  const said = sayError(error);
  for (const line of said.lines) note(line.startsWith('error:') ? `${red('error:')}${line.slice(6)}` : dim(line));
  return said.exitCode;
}

// SECURITY: by default Node prints the message and every field of an uncaught error, which may contain a secret.
process.on('uncaughtException', (error) => process.exit(report(error)));

// A closed pipe (`| head`) is not an error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
await main(process.argv.slice(2));
