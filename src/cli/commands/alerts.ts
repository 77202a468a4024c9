// keyturn forecast, alerts and webhooks: what is going to happen to grants, what happened, and where that is told.
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { LIMITS } from '../../base/limits.ts';
import type { WireAlert, WireForecastEntry } from '../../http/v1/wire.ts';
import { CliError, EXIT } from '../exit.ts';
import { dim, green, json, note, out, plain, red, table, yellow } from '../print.ts';
import { type Session, sessionOf } from '../session.ts';
import { span } from '../times.ts';
import { describeForecast, instant } from './grant-text.ts';

const FOLLOW_MS = 3_000;
const FOLLOW_ROWS = LIMITS.pageMaxRows;
const PAGES_MAX = 20;
const DAY_SECONDS = 86_400;

export function forecastCommand(): Command {
  return new Command('forecast')
    .description('what ended or ends soon, and what to do')
    .option('--within <time>', 'only what ends so soon; default 30d', span('d'), 30 * DAY_SECONDS)
    .option('--all', 'however far away')
    .action(async (options: { within: number; all?: boolean }, self: Command) => {
      const session = sessionOf(self);
      const days = options.all === true ? undefined : Math.floor(options.within / DAY_SECONDS);
      const { environment } = session.settings;
      const items: WireForecastEntry[] = [];
      let cursor: string | undefined;
      for (let page = 0; page < PAGES_MAX; page++) {
        const found = await session.client.grants.forecast({ within_days: days, environment, cursor, limit: 100 });
        items.push(...found.items);
        cursor = found.next_cursor ?? undefined;
        if (cursor === undefined) break;
      }
      session.show({ items }, () => describeForecast(items, days) + (cursor === undefined ? '' : `\n${dim('… and more')}`));
    });
}

export function alertsCommand(): Command {
  return new Command('alerts')
    .description('what got worse or better, newest first')
    .option('--credential <name>', 'of this one, in --env')
    .option('--limit <n>', '', '30')
    .option('--follow', 'and every new one as it comes')
    .action(async (options: { credential?: string; limit: string; follow?: boolean; env?: string }, self: Command) => {
      if (options.env !== undefined && options.credential === undefined)
        throw new CliError('--env says where a --credential is: name one, too', EXIT.usage);
      const session = sessionOf(self);
      const credential =
        options.credential === undefined
          ? undefined
          : (await session.client.describe(session.environment(), options.credential)).id;
      if (options.follow === true) return follow(session, credential, Number(options.limit));
      const page = await session.client.grants.alerts({ limit: options.limit, credential });
      session.show(page, ({ items }) =>
        items.length === 0 ? dim('no alerts') : items.map((item) => line(item, widthOf(items))).join('\n'),
      );
    });
}

/** The newest `first` alerts, oldest of them first, then each as it comes. Never ends by itself. */
async function follow(session: Session, credential: string | undefined, first: number): Promise<never> {
  const seen = new Set<string>();
  let width = 0;
  for (let round = 0; ; round++) {
    const { items } = await session.client.grants.alerts({ limit: FOLLOW_ROWS, credential });
    const shown = round === 0 ? items.slice(0, first) : items.filter(({ id }) => !seen.has(id));
    width = Math.max(width, widthOf(shown));
    for (const alert of [...shown].reverse())
      out(session.settings.output === 'json' ? JSON.stringify(alert) : line(alert, width));
    for (const { id } of items) seen.add(id);
    await sleep(FOLLOW_MS);
  }
}

const placeOf = ({ credential }: WireAlert) =>
  credential === null ? 'this tenant' : `${plain(credential.name)} ${plain(credential.environment)}`;
const widthOf = (alerts: readonly WireAlert[]) => Math.max(0, ...alerts.map((alert) => placeOf(alert).length));

function line(alert: WireAlert, width: number): string {
  const { credential, kind, at, facts } = alert;
  const colour =
    kind === 'credential.ready' ? green : kind === 'credential.ends_soon' || kind === 'credential.degraded' ? yellow : red;
  const told = Object.entries(facts)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${name} ${plain(value)}`)
    .join(', ');
  const place = credential === null ? placeOf(alert) : `${plain(credential.name)} ${dim(plain(credential.environment))}`;
  const where = `${place}${' '.repeat(width - placeOf(alert).length)}`;
  return `${dim(instant(at))}  ${colour(plain(kind).replace('credential.', '').padEnd(15))} ${where}${told === '' ? '' : `  ${dim(told)}`}`;
}

export function webhooksCommand(): Command {
  const command = new Command('webhooks').description('where alerts are sent');
  for (const add of [addList, addAdd, addRemove, addDeliveries]) add(command);
  return command;
}

function addList(parent: Command): void {
  parent
    .command('list', { isDefault: true })
    .description('never the secrets')
    .action(async (_options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(await session.client.grants.webhooks(), ({ items }) =>
        items.length === 0
          ? dim('no webhooks')
          : table(
              ['webhook', 'url', 'told of', 'made', 'by'],
              items.map((one) => [one.id, one.url, one.kinds.join(' ') || 'everything', one.created_at, one.created_by]),
            ),
      );
    });
}

function addAdd(parent: Command): void {
  parent
    .command('add <url>')
    .description('the secret to verify with is shown once')
    .option('--kind <kind...>', 'only these alerts, e.g. credential.needs_consent')
    .action(async (url: string, options: { kind?: string[] }, self: Command) => {
      const session = sessionOf(self);
      const made = await session.client.grants.createWebhook(url, options.kind ?? []);
      if (session.settings.output === 'json') return out(json(made));
      note(`${green('added')} ${made.id}; verify with this secret, shown only now:`);
      out(made.secret);
    });
}

function addRemove(parent: Command): void {
  parent
    .command('remove <webhook>')
    .description('what waits to be delivered to it ends')
    .action(async (webhook: string, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(await session.client.grants.deleteWebhook(webhook), (gone) => `${yellow('removed')} ${gone.id}`);
    });
}

function addDeliveries(parent: Command): void {
  parent
    .command('deliveries <webhook>')
    .description('what was sent and how that went, newest first')
    .action(async (webhook: string, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(await session.client.grants.deliveries(webhook), ({ items }) =>
        items.length === 0
          ? dim('nothing was sent yet')
          : table(
              ['alert', 'state', 'attempts', 'cause', 'made', 'ended', 'next try'],
              items.map((one) => [
                one.alert,
                one.state,
                one.attempts,
                one.cause,
                one.created_at,
                one.finished_at,
                one.next_attempt_at,
              ]),
            ),
      );
    });
}
