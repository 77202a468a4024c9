// keyturn forecast, alerts and webhooks: the expected end dates of credentials, past changes, and the URLs that are notified.
import { setTimeout as sleep } from 'node:timers/promises';
import { Command, Option } from 'commander';
import { LIMITS } from '../../base/limits.ts';
import type { WireAlert, WireForecastEntry } from '../../http/v1/wire.ts';
import { CliError, EXIT } from '../exit.ts';
import { columns, dim, green, json, note, out, plain, red, table, wrapped, yellow } from '../print.ts';
import { type Session, sessionOf } from '../session.ts';
import { span } from '../times.ts';
import { describeForecast, instant } from './grant-text.ts';

const FOLLOW_MS = 3_000;
const FOLLOW_ROWS = LIMITS.pageMaxRows;
const PAGES_MAX = 20;
const DAY_SECONDS = 86_400;

export function forecastCommand(): Command {
  return new Command('forecast')
    .description('list credentials that ended or end soon')
    .addOption(new Option('--within <time>', 'end dates within this time').argParser(span('d')).default(30 * DAY_SECONDS, '30d'))
    .option('--all', 'all end dates')
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
    .description('list alerts, newest first')
    .option('--credential <name>', 'only for this credential in --env')
    .option('--limit <n>', 'maximum number', '30')
    .option('--follow', 'also print new alerts as they come')
    .action(async (options: { credential?: string; limit: string; follow?: boolean; env?: string }, self: Command) => {
      if (options.env !== undefined && options.credential === undefined)
        throw new CliError('the option --env needs --credential: give both or neither', EXIT.usage);
      const session = sessionOf(self);
      const credential =
        options.credential === undefined
          ? undefined
          : (await session.client.describe(session.environment(), options.credential)).id;
      if (options.follow === true) return follow(session, credential, Number(options.limit));
      const page = await session.client.grants.alerts({ limit: options.limit, credential });
      session.show(page, ({ items }) => (items.length === 0 ? dim('no alerts') : items.map(alertText).join('\n\n')));
    });
}

/** Prints the newest `first` alerts in order of time, then each new one. Does not return. */
async function follow(session: Session, credential: string | undefined, first: number): Promise<never> {
  const seen = new Set<string>();
  for (let round = 0; ; round++) {
    const { items } = await session.client.grants.alerts({ limit: FOLLOW_ROWS, credential });
    const shown = round === 0 ? items.slice(0, first) : items.filter(({ id }) => !seen.has(id));
    for (const alert of [...shown].reverse()) out(session.settings.output === 'json' ? JSON.stringify(alert) : alertText(alert));
    for (const { id } of items) seen.add(id);
    await sleep(FOLLOW_MS);
  }
}

const keyOf = (name: string) => plain(name).replaceAll('_', ' ');

/** One alert: when, what and of which credential, then one fact per line. Facts without a value are omitted. */
export function alertText({ credential, kind, at, facts }: WireAlert): string {
  const colour =
    kind === 'credential.ready' ? green : kind === 'credential.ends_soon' || kind === 'credential.degraded' ? yellow : red;
  const what = plain(kind).replace('credential.', '');
  const place = credential === null ? 'this tenant' : `${plain(credential.name)} ${plain(credential.environment)}`;
  const gap = `${instant(at)}  ${what}  ${place}`.length > columns() ? '\n  ' : '  ';
  const where = credential === null ? 'this tenant' : `${plain(credential.name)} ${dim(plain(credential.environment))}`;
  const known = Object.entries(facts).filter(([, value]) => value !== null && value !== '');
  const width = Math.max(0, ...known.map(([name]) => name.length)) + 4;
  return [
    `${dim(instant(at))}  ${colour(what)}${gap}${where}`,
    ...known.map(([name, value]) => `  ${dim(keyOf(name).padEnd(width - 2))}${wrapped(plain(value), width)}`),
  ].join('\n');
}

export function webhooksCommand(): Command {
  const command = new Command('webhooks').description('manage the URLs that alerts are sent to');
  for (const add of [addList, addAdd, addRemove, addDeliveries]) add(command);
  return command;
}

function addList(parent: Command): void {
  parent
    .command('list', { isDefault: true })
    .description('list webhooks, without their secrets')
    .action(async (_options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(await session.client.grants.webhooks(), ({ items }) =>
        items.length === 0
          ? dim('no webhooks')
          : table(
              ['webhook', 'url', 'kinds', 'created', 'by'],
              items.map((one) => [one.id, one.url, one.kinds.join(' ') || 'all', one.created_at, one.created_by]),
            ),
      );
    });
}

function addAdd(parent: Command): void {
  parent
    .command('add <url>')
    .description('add a webhook; its secret is shown once')
    .option('--kind <kind...>', 'only these alerts, e.g. credential.needs_consent')
    .action(async (url: string, options: { kind?: string[] }, self: Command) => {
      const session = sessionOf(self);
      const made = await session.client.grants.createWebhook(url, options.kind ?? []);
      if (session.settings.output === 'json') return out(json(made));
      note(`${green('added')} ${made.id}; its signing secret (shown once):`);
      out(made.secret);
    });
}

function addRemove(parent: Command): void {
  parent
    .command('remove <webhook>')
    .description('remove a webhook and its waiting deliveries')
    .action(async (webhook: string, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(await session.client.grants.deleteWebhook(webhook), (gone) => `${yellow('removed')} ${gone.id}`);
    });
}

function addDeliveries(parent: Command): void {
  parent
    .command('deliveries <webhook>')
    .description('list deliveries and their results, newest first')
    .action(async (webhook: string, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(await session.client.grants.deliveries(webhook), ({ items }) =>
        items.length === 0
          ? dim('no deliveries')
          : table(
              ['alert', 'state', 'attempts', 'cause', 'created', 'finished', 'next attempt'],
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
