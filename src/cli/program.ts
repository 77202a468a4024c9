// All commands of the command line with their options. It must never act: main.ts runs it.
import { Command } from 'commander';
import { VERSION } from '../base/version.ts';
import { alertsCommand, forecastCommand, webhooksCommand } from './commands/alerts.ts';
import { auditCommand } from './commands/audit.ts';
import { connectCommand, connectionsCommand, connectorsCommand, disconnectCommand, importCommand } from './commands/connect.ts';
import { credentialCommand } from './commands/credentials.ts';
import { dueCommand } from './commands/due.ts';
import { keysCommand } from './commands/keys.ts';
import { receiptCommand } from './commands/receipts.ts';
import { rotateCommand } from './commands/rotate-all.ts';
import { runCommand } from './commands/run.ts';
import { runsCommand } from './commands/runs.ts';
import { sandboxCommand } from './commands/sandbox.ts';
import { scheduleCommand } from './commands/schedules.ts';
import { serveCommand } from './commands/serve.ts';
import { doctorCommand, initCommand, loginCommand, logoutCommand, statusCommand, whoamiCommand } from './commands/session.ts';
import { environmentCommand, tenantCommand, userCommand, workloadCommand } from './commands/team.ts';
import { completionCommand } from './completion.ts';
import { dim } from './print.ts';
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
Exit codes: 0 success, 1 failure, 2 usage error, 3 not logged in, 4 not allowed,
  5 not found, 6 conflict, 7 not available, 8 verification failed, 9 timed out
Secrets are read from standard input or a file, never from the command line.`;

/** All commands. `onStart` gets the command that runs, before it does. */
export function program(onStart: (command: Command) => void = () => {}): Command {
  const root = new Command('keyturn')
    .description('A secrets vault that turns its keys.')
    .version(VERSION)
    .enablePositionalOptions()
    .configureHelp({ minWidthToWrap: 20 })
    .showHelpAfterError(dim('(see --help)'))
    .addHelpText('after', EXITS)
    .configureOutput({ outputError: (text, write) => write(withoutSecrets(withoutValues(text))) })
    .hook('preAction', refuseOpenChannels)
    .hook('preAction', (_root, command) => onStart(command))
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
    rotateCommand(),
    runsCommand(),
    scheduleCommand(),
    dueCommand(),
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
    receiptCommand(),
    keysCommand(),
    doctorCommand(),
  ];
  // `due` contains the forecast; the command stays for scripts.
  for (const command of commands) root.addCommand(command, { hidden: command.name() === 'forecast' });
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
