// keyturn schedule ...: when keys and passwords are rotated, by rule or for one credential.
import { Command } from 'commander';
import type { WireSchedule } from '../../http/v1/wire.ts';
import { CliError, EXIT } from '../exit.ts';
import { facts, green, plain, yellow } from '../print.ts';
import { type Session, sessionOf } from '../session.ts';
import { span } from '../times.ts';
import { addFeedCommands } from './due.ts';
import { assignment, instant } from './grant-text.ts';
import { blackoutOf, rulesText, ruleText, scheduleFacts, windowOf } from './schedule-text.ts';

interface SpecOptions {
  every?: number;
  maxAge?: number;
  cron?: string;
  zone?: string;
  window?: string[];
  blackout?: string[];
  jitter?: number;
  catchUp?: number;
  overdueAfter?: number;
}

interface TargetOptions {
  credential?: string;
}

interface SetOptions extends SpecOptions, TargetOptions {
  onlyEnv?: string;
  onlyConnector?: string;
  onlyLabel?: string;
  priority?: string;
}

export function scheduleCommand(): Command {
  const command = new Command('schedule').description('manage when keys and passwords are rotated');
  for (const add of [addList, addSet, addRemove, addPreview, addPause, addResume, addFeedCommands]) add(command);
  return command;
}

function withSpec(command: Command): Command {
  return command
    .option('--every <duration>', 'this long after each new value, e.g. 30d', span('s'))
    .option('--max-age <duration>', 'before a value is older than this, e.g. 90d', span('s'))
    .option('--cron <pattern>', 'minute, hour, day of month, month, day of week, e.g. "30 2 * * sun"')
    .option('--zone <zone>', 'IANA time zone of cron, windows and blackouts, e.g. Europe/Berlin')
    .option('--window <window...>', 'only then, e.g. "mon-fri 02:00-05:00"')
    .option('--blackout <days...>', 'not on these days, e.g. 2026-12-24..2027-01-02, or 12-24 of every year')
    .option('--jitter <duration>', 'spread of credentials, e.g. 2h', span('s'))
    .option('--catch-up <duration>', 'spread of rotations that were missed, e.g. 4h', span('s'))
    .option('--overdue-after <duration>', 'alert this long after the date, e.g. 2d', span('s'));
}

function specOf(options: SpecOptions): Record<string, unknown> {
  return {
    every_seconds: options.every,
    max_age_seconds: options.maxAge,
    cron: options.cron,
    zone: options.zone,
    windows: options.window?.map(windowOf),
    blackouts: options.blackout?.map(blackoutOf),
    jitter_seconds: options.jitter,
    catch_up_seconds: options.catchUp,
    overdue_after_seconds: options.overdueAfter,
  };
}

type Target = { readonly rule: string } | { readonly environment: string; readonly name: string };

/** @throws CliError unless either a rule or a credential is named */
function targetOf(session: Session, rule: string | undefined, { credential }: TargetOptions): Target {
  if (rule !== undefined && credential === undefined) return { rule };
  if (rule === undefined && credential !== undefined) return { environment: session.environment(), name: credential };
  throw new CliError('give the name of a rule, or --credential <name>', EXIT.usage);
}

const credentialText = (said: string, name: string) => (found: WireSchedule) =>
  `${said} ${plain(name)}\n${facts(scheduleFacts(found))}`;

function addList(parent: Command): void {
  parent
    .command('list', { isDefault: true })
    .description('list the rules')
    .action(async (_options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(await session.client.schedules.rules(), ({ items }) => rulesText(items));
    });
}

function addSet(parent: Command): void {
  const set = parent
    .command('set [rule]')
    .description('set a rule, or the schedule of one credential')
    .option('--credential <name>', 'the credential in --env, instead of a rule')
    .option('--only-env <environment>', 'rule: only credentials of this environment')
    .option('--only-connector <id>', 'rule: only credentials with this connector')
    .option('--only-label <name=value>', 'rule: only credentials with this label')
    .option('--priority <n>', 'rule: the highest of equally specific rules applies');
  withSpec(set).action(async (rule: string | undefined, options: SetOptions, self: Command) => {
    const session = sessionOf(self);
    const { schedules } = session.client;
    const target = targetOf(session, rule, options);
    if ('name' in target) {
      const { environment, name } = target;
      return session.show(await schedules.setOwn(environment, name, specOf(options)), credentialText(green('scheduled'), name));
    }
    const body = { schedule: specOf(options), ...conditionsOf(options) };
    session.show(await schedules.setRule(target.rule, body), (stored) => `${green('set')}\n${ruleText(stored)}`);
  });
}

function conditionsOf({ onlyEnv, onlyConnector, onlyLabel, priority }: SetOptions): Record<string, unknown> {
  if (priority !== undefined && !/^-?\d{1,4}$/.test(priority))
    throw new CliError('the option --priority must be a whole number', EXIT.usage);
  const [name, value] = onlyLabel === undefined ? [] : assignment(onlyLabel, '--only-label');
  return {
    environment: onlyEnv,
    connector: onlyConnector,
    label: name === undefined ? undefined : { name, value },
    priority: priority === undefined ? undefined : Number(priority),
  };
}

function addRemove(parent: Command): void {
  parent
    .command('remove [rule]')
    .description("remove a rule, or a credential's own schedule")
    .option('--credential <name>', 'the credential in --env, instead of a rule')
    .action(async (rule: string | undefined, options: TargetOptions, self: Command) => {
      const session = sessionOf(self);
      const { schedules } = session.client;
      const target = targetOf(session, rule, options);
      if ('rule' in target)
        return session.show(await schedules.removeRule(target.rule), ({ name }) => `${yellow('removed')} ${plain(name)}`);
      const { environment, name } = target;
      session.show(await schedules.removeOwn(environment, name), credentialText(yellow('removed the own schedule of'), name));
    });
}

function addPreview(parent: Command): void {
  const preview = parent
    .command('preview')
    .description('print the next dates of a schedule, stored or not')
    .option('--credential <name>', 'counted from the value of this credential in --env');
  withSpec(preview).action(async (options: SpecOptions & TargetOptions, self: Command) => {
    const session = sessionOf(self);
    const { schedules } = session.client;
    const spec = specOf(options);
    const isGiven = Object.values(spec).some((one) => one !== undefined);
    const { credential } = options;
    const of = credential === undefined ? undefined : { environment: session.environment(), name: credential };
    if (!isGiven && of === undefined)
      throw new CliError('give --every, --max-age or --cron, or --credential with a stored schedule', EXIT.usage);
    if (!isGiven && of !== undefined)
      return session.show(await schedules.of(of.environment, of.name), (found) => facts(scheduleFacts(found)));
    session.show(await schedules.preview(spec, of), ({ next }) =>
      next.length === 0 ? yellow('this schedule has no date') : next.map(instant).join('\n'),
    );
  });
}

function addPause(parent: Command): void {
  parent
    .command('pause [rule]')
    .description('pause a rule, or the schedule of one credential')
    .option('--credential <name>', 'the credential in --env, instead of a rule')
    .requiredOption('--reason <text>', 'why; shown to everybody who looks at it')
    .action(async (rule: string | undefined, options: TargetOptions & { reason: string }, self: Command) => {
      const session = sessionOf(self);
      const { schedules } = session.client;
      const target = targetOf(session, rule, options);
      if ('rule' in target)
        return session.show(await schedules.pauseRule(target.rule, options.reason), (stored) => ruleText(stored));
      const { environment, name } = target;
      session.show(await schedules.pauseOwn(environment, name, options.reason), credentialText(yellow('paused'), name));
    });
}

function addResume(parent: Command): void {
  parent
    .command('resume [rule]')
    .description('end a pause; what became due meanwhile is spread over the catch-up time')
    .option('--credential <name>', 'the credential in --env, instead of a rule')
    .action(async (rule: string | undefined, options: TargetOptions, self: Command) => {
      const session = sessionOf(self);
      const { schedules } = session.client;
      const target = targetOf(session, rule, options);
      if ('rule' in target) return session.show(await schedules.resumeRule(target.rule), (stored) => ruleText(stored));
      const { environment, name } = target;
      session.show(await schedules.resumeOwn(environment, name), credentialText(green('resumed'), name));
    });
}
