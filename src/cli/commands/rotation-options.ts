// Options of a put that say how a key or password is rotated at its target.
import type { Command } from 'commander';
import { CliError, EXIT } from '../exit.ts';
import type { Session } from '../session.ts';
import { span } from '../times.ts';
import { fields, findCredential, mergedConfig } from './client-options.ts';

export interface RotationOptions {
  connector?: string;
  configFile?: string;
  param?: string[];
  admin?: string;
  manages?: boolean;
  grace?: number;
  deadline?: number;
  readerWindow?: number;
  rotateEvery?: number;
}

export function withRotationOptions(put: Command): Command {
  return put
    .option('--param <name=value...>', 'keys and passwords: parameters of the connector')
    .option('--admin <name>', 'keys and passwords: the credential that makes and ends them')
    .option('--manages', 'keys and passwords: it makes and ends others, and is not rotated itself')
    .option('--grace <duration>', 'keys and passwords: how long an old value works, e.g. 1d', span('s'))
    .option('--deadline <duration>', 'keys and passwords: end the old value then, whoever still has it', span('s'))
    .option('--reader-window <duration>', 'keys and passwords: wait for readers seen within this time', span('s'))
    .option('--rotate-every <duration>', 'keys and passwords: rotate on this schedule, e.g. 30d', span('s'));
}

/** The stored settings stay unless an option replaces them. @throws CliError */
export async function rotationSettings(
  session: Session,
  name: string,
  options: RotationOptions,
): Promise<Record<string, unknown>> {
  const flags = {
    parameters: fields(options.param, '--param'),
    admin: options.admin,
    manages: options.manages,
    grace_seconds: options.grace,
    deadline_seconds: options.deadline,
    reader_window_seconds: options.readerWindow,
    rotate_every_seconds: options.rotateEvery,
  };
  const isAsked =
    options.connector !== undefined ||
    options.configFile !== undefined ||
    Object.values(flags).some((flag) => flag !== undefined);
  if (!isAsked) return {};
  const stored = await findCredential(session, name);
  const connector = options.connector ?? stored?.connector ?? undefined;
  if (connector === undefined)
    throw new CliError('these settings need a connector', EXIT.usage, 'give --connector; keyturn connectors lists them');
  const kept = stored?.connector === connector ? stored.config : undefined;
  return { connector, config: mergedConfig(kept, options.configFile, flags) ?? {} };
}
