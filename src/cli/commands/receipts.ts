// keyturn receipt ...: the signed proof of one rotation. The check runs on the reviewer's machine, without the service.
import { Command } from 'commander';
import { type RotationStatement, type VerifiedReceipt, verifyReceipt } from '../../audit/receipt.ts';
import { CliError, EXIT } from '../exit.ts';
import { facts, green, json, out, plain, red, table, wrapped, yellow } from '../print.ts';
import { type Session, sessionOf } from '../session.ts';
import { readConfig } from '../settings.ts';
import { readTextFile } from '../typed-in.ts';

export function receiptCommand(): Command {
  const command = new Command('receipt').description('signed receipts of finished rotations');
  addShow(command);
  addVerify(command);
  return command;
}

function addShow(parent: Command): void {
  parent
    .command('show <name> [run]')
    .description('print the receipt of a rotation; default: the last one that has a receipt')
    .action(async (name: string, run: string | undefined, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      const text = await session.client.receipt(session.environment(), name, run ?? (await lastEnded(session, name)));
      if (session.settings.output !== 'table') process.stdout.write(text);
      else out(sayReceipt(verifyReceipt(text, storedKey(text))));
    });
}

function addVerify(parent: Command): void {
  parent
    .command('verify <file>')
    .description('check a receipt offline; exits with 8 if it is refused')
    .option(
      '--key <vkey>',
      'verifier key of the log stored earlier (keyturn audit key); default: the stored one, or that of the receipt',
    )
    .action((file: string, options: { key?: string }, self: Command) => {
      const text = readTextFile(file);
      const result = verifyReceipt(text, options.key ?? storedKey(text));
      out(sessionOf(self).settings.output === 'json' ? json(result) : sayReceipt(result));
      if (!result.ok) process.exitCode = EXIT.verification;
    });
}

/** @throws CliError */
async function lastEnded(session: Session, name: string): Promise<string> {
  const { items } = await session.client.runs(session.environment(), name);
  const ended = items.find((run) => run.kind === 'revocation' && run.outcome === 'revoked');
  if (ended === undefined)
    throw new CliError(
      'no rotation of this credential has a receipt yet',
      EXIT.notFound,
      `see keyturn credential runs ${plain(name)}`,
    );
  return ended.id;
}

/** The verifier key that an earlier verification of this log stored. */
function storedKey(text: string): string | undefined {
  const origin = /^\{"receipt":"[^"]*","origin":"([^"]*)"/.exec(text)?.[1];
  return origin === undefined ? undefined : readConfig().verifier_keys?.[origin];
}

const PROOFS = {
  proved_dead: green('refused, proved dead'),
  unproven: yellow('ended, but its test gave no clear answer'),
};

function sayReceipt({ ok, refused, key, origin, checkpointAtMs, statement }: VerifiedReceipt): string {
  if (!ok || statement === undefined) return red(wrapped(`✗ the receipt is refused: ${refused}`, 2));
  const at = checkpointAtMs === undefined ? '' : new Date(checkpointAtMs).toISOString();
  const by = key === 'pinned' ? 'given or stored before' : 'taken from the receipt, which a forger could replace: give --key';
  return [
    facts([...factsOf(statement), ['log', origin ?? ''], ['signed head', at], ['verifier key', by]]),
    readersText(statement),
    wrapped(green('✓ the receipt is what the vault signed, and the log has its event'), 2),
  ]
    .filter((part) => part !== '')
    .join('\n');
}

function factsOf(statement: RotationStatement): [string, string | number][] {
  const { credential, rotation, new_value, old_value, late_readers: late } = statement;
  const answer = (status: number | null) => (status === null ? '' : `, status ${status}`);
  return [
    ['credential', `${credential.environment}/${credential.name} (${credential.id})`],
    ['connector', `${statement.connector}, ${statement.strategy}`],
    ...(statement.plan === null ? [] : ([['plan', statement.plan]] as [string, string][])),
    ['rotation', `${rotation.run}, by ${rotation.trigger} of ${rotation.requested_by}`],
    ['new version', `${statement.new_version}: ${new_value.verdict} at ${new_value.at}${answer(new_value.provider_status)}`],
    [
      'old version',
      `${statement.old_version}: ${PROOFS[old_value.verdict]} at ${old_value.at}${answer(old_value.provider_status)}`,
    ],
    ...(old_value.exposed_at === null ? [] : ([['exposed', `still worked at ${old_value.exposed_at}`]] as [string, string][])),
    ...(late.count === 0 ? [] : ([['late readers', `${late.count}: ${late.names.join(', ')}`]] as [string, string][])),
  ];
}

function readersText({ readers }: RotationStatement): string {
  if (readers.count === 0) return '';
  const rows = readers.listed.map(({ id, name, version, at }) => [name ?? id, version, at]);
  return table(['reader', 'version', 'since'], rows);
}
