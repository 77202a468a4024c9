// The command line. It must never load the service's code for a client command; `serve` imports it when it runs.
import './protect-process.ts';
import type { Command } from 'commander';
import { EXIT, sayError } from './exit.ts';
import { dim, note, red } from './print.ts';
import { program } from './program.ts';

/** SECURITY: argv is visible to every user of the machine, so options that take a secret are rejected before anything else (LK-06). */
const SECRET_FLAGS =
  /^--(password|secret|client-secret|token|access-token|refresh-token|api-key|key-value|value|passphrase)(=|$)/;

/** The command that runs, whose options the error messages name. */
let running: Command | undefined;

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
    await program((command) => {
      running = command;
    }).parseAsync([...argv], { from: 'user' });
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
  const said = sayError(error, running);
  for (const line of said.lines) note(line.startsWith('error:') ? `${red('error:')}${line.slice(6)}` : dim(line));
  return said.exitCode;
}

// SECURITY: by default Node prints the message and every field of an uncaught error, which may contain a secret.
process.on('uncaughtException', (error) => process.exit(report(error)));

// A closed pipe (`| head`) is not an error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
await main(process.argv.slice(2));
