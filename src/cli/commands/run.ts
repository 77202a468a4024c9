// keyturn run --env NAME=credential -- cmd: runs a program with secrets in its environment. It must never write them anywhere else.
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { Command } from 'commander';
import { mainMember, textIn } from '../../sdk/value-bytes.ts';
import { CliError, EXIT } from '../exit.ts';
import { dim, note } from '../print.ts';
import { clientOf, missing } from '../session.ts';
import { type GlobalOptions, settingsFrom } from '../settings.ts';
import { hold } from '../unsaid.ts';
import { fieldOf, noteDoubt } from './credential-text.ts';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
const collect = (value: string, before: string[] = []) => [...before, value];

interface Wanted {
  readonly variable: string;
  readonly credential: string;
  readonly field: string | undefined;
}

function wantedFrom(text: string): Wanted {
  const match = /^([A-Za-z_][A-Za-z0-9_]*)=([A-Za-z0-9_][A-Za-z0-9._/-]*?)(?::([A-Za-z0-9_]+))?$/.exec(text);
  if (match === null)
    throw new CliError(
      'the option --env of `keyturn run` must have the form NAME=credential or NAME=credential:field',
      EXIT.usage,
      'the environment of the credentials is given by --environment here, or by KEYTURN_ENVIRONMENT',
    );
  return { variable: match[1] ?? '', credential: match[2] ?? '', field: match[3] };
}

function textFrom(value: Readonly<Record<string, unknown>>, wanted: Wanted): string {
  const field = wanted.field ?? mainMember(value);
  if (field === undefined) return settable(JSON.stringify(value), wanted);
  const bytes = fieldOf(value, field, '--env');
  return settable(typeof bytes === 'string' ? bytes : textIn(bytes), wanted);
}

/** SECURITY: checked here because the error of the system call would quote the value. @param text undefined if the bytes are not text */
function settable(text: string | undefined, { variable, credential }: Wanted): string {
  if (text !== undefined) hold(text);
  if (text !== undefined && !text.includes('\0')) return text;
  throw new CliError(
    `the variable ${variable} cannot be set: the value of ${credential} contains ${text === undefined ? 'bytes that are not UTF-8 text' : 'a NUL byte'}, which an environment variable cannot hold`,
    EXIT.usage,
    `pipe the value to the program: keyturn credential get ${credential} --raw`,
  );
}

export function runCommand(): Command {
  return new Command('run')
    .description('run a program with credentials as variables')
    .option('--env <NAME=credential[:field]>', 'variable and credential; repeatable', collect)
    .option('--environment <name>', 'environment of the credentials (KEYTURN_ENVIRONMENT)')
    .argument('<command...>', 'the program and its arguments, after --')
    .passThroughOptions()
    .action(async (command: string[], options: { env?: string[]; environment?: string }, self: Command) => {
      const { env: _env, ...globals } = self.optsWithGlobals() as GlobalOptions & { env?: unknown };
      const settings = settingsFrom(globals);
      const environment =
        options.environment ?? settings.environment ?? missing('environment', 'give --environment, or set KEYTURN_ENVIRONMENT');
      const wanted = (options.env ?? []).map(wantedFrom);
      if (wanted.length === 0) note(dim('no --env is given: the program runs without credentials'));
      const client = clientOf(settings);
      const secrets: Record<string, string> = {};
      for (const one of wanted) {
        const read = await client.read(environment, one.credential);
        noteDoubt(read);
        secrets[one.variable] = textFrom(read.value.reveal(), one);
      }
      await runChild(command, secrets);
    });
}

/** The caller's environment, without Keyturn's own credentials, with the requested secrets. */
function childEnvironment(secrets: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  const { KEYTURN_CALLER_ENVIRONMENT: changed, ...inherited } = process.env;
  for (const [name, value] of Object.entries(callerEnvironment(changed))) {
    if (value === null) delete inherited[name];
    else inherited[name] = value;
  }
  for (const name of ['KEYTURN_TOKEN', 'KEYTURN_CLIENT_SECRET', 'KEYTURN_CLIENT_KEY'])
    for (const one of [name, `${name}_FILE`]) delete inherited[one];
  return { ...inherited, ...secrets };
}

/** The caller's values of the variables that the launcher changed; null if a variable was not set. */
function callerEnvironment(changed: string | undefined): Record<string, string | null> {
  try {
    return JSON.parse(changed ?? '{}') as Record<string, string | null>;
  } catch {
    return {};
  }
}

function runChild(command: readonly string[], secrets: Readonly<Record<string, string>>): Promise<void> {
  const [program = '', ...rest] = command;
  return new Promise((resolve, reject) => {
    const child = start(program, rest, secrets);
    for (const signal of SIGNALS) {
      // A terminal sends Ctrl-C to the child as well; forwarding it would send it twice.
      process.on(signal, () => (signal === 'SIGINT' && process.stdin.isTTY === true ? true : child.kill(signal)));
    }
    child.on('error', (error: NodeJS.ErrnoException) => {
      reject(
        new CliError(
          error.code === 'ENOENT'
            ? `the program ${program} was not found`
            : `the program ${program} could not be started (${error.code})`,
          127,
        ),
      );
    });
    child.on('exit', (code, signal) => {
      process.exitCode = signal === null ? (code ?? EXIT.failed) : 128 + constants.signals[signal];
      resolve();
    });
  });
}

/** SECURITY: Node's error quotes the invalid argument or variable, so its message is dropped. @throws CliError */
function start(program: string, args: readonly string[], secrets: Readonly<Record<string, string>>): ChildProcess {
  try {
    return spawn(program, args, { stdio: 'inherit', env: childEnvironment(secrets) });
  } catch {
    throw new CliError(
      `the program ${program} could not be started: its name, an argument or a variable contains a NUL byte`,
      127,
    );
  }
}
