// The command line. Commands that talk to a service load nothing of the service; `serve` loads it when it runs.
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
  ['--address <url>', 'where the service is (KEYTURN_ADDR)'],
  ['--tenant <name>', 'KEYTURN_TENANT'],
  ['--env <environment>', 'KEYTURN_ENVIRONMENT'],
  ['--token-file <path>', 'a file with the token (KEYTURN_TOKEN, KEYTURN_TOKEN_FILE)'],
  ['-o, --output <format>', 'table, json or raw (KEYTURN_FORMAT)'],
  ['--json', 'the same as -o json'],
  ['--no-color', 'no colours (NO_COLOR)'],
];

/** Every command that does something takes the shared options, wherever they stand after its name. */
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
Exit codes: 0 done, 1 failed, 2 usage, 3 not logged in, 4 not allowed, 5 not found, 6 conflict, 7 not available, 8 verification failed, 9 not over in time.
Secrets are read from standard input or a file, never from the command line.`;

function program(): Command {
  const root = new Command('keyturn')
    .description('A secrets vault that turns its keys.')
    .version(VERSION)
    .enablePositionalOptions()
    .showHelpAfterError(dim('(--help says more)'))
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

/** SECURITY: what stands on the command line by mistake may be a secret; only words that look like ours are quoted. */
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

/** SECURITY: argv is visible to every user of the machine; a secret there is refused before anything else happens (LK-06). */
const SECRET_FLAGS =
  /^--(password|secret|client-secret|token|access-token|refresh-token|api-key|key-value|value|passphrase)(=|$)/;

async function main(argv: readonly string[]): Promise<void> {
  const end = argv.indexOf('--');
  const leaked = (end < 0 ? argv : argv.slice(0, end)).find((word) => SECRET_FLAGS.test(word));
  if (leaked !== undefined) {
    note(
      `${red('error:')} ${leaked.split('=')[0]} would put a secret on the command line, where every user of this machine can read it`,
    );
    note('hint:  pipe it in, or use --value-file / --token-file');
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
      process.exitCode = tell(error);
    }
  }
}

/** Says what went wrong; returns the exit code. */
function tell(error: unknown): number {
  const said = sayError(error);
  for (const line of said.lines) note(line.startsWith('error:') ? `${red('error:')}${line.slice(6)}` : dim(line));
  return said.exitCode;
}

// SECURITY: left to itself Node prints the message and every field of an error that nobody caught.
process.on('uncaughtException', (error) => process.exit(tell(error)));

// A reader that went away (`| head`) is not an error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
await main(process.argv.slice(2));
