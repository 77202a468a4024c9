// keyturn due: what is due when, in one tenant or in all that the caller may see, and the calendar feeds of it.
import { Command, Option } from 'commander';
import { LIMITS } from '../../base/limits.ts';
import type { WireDueEntry } from '../../http/v1/wire.ts';
import { CliError, EXIT } from '../exit.ts';
import { bold, columns, dim, green, json, note, out, plain, red, table, wrapped, yellow } from '../print.ts';
import { type Session, sessionOf } from '../session.ts';
import { span } from '../times.ts';
import { instant } from './grant-text.ts';

interface TenantDue {
  readonly tenant: string | null;
  readonly items: readonly WireDueEntry[];
  readonly more: boolean;
}

export function dueCommand(): Command {
  return new Command('due')
    .description('list rotations and end dates, overdue first')
    .addOption(new Option('--within <time>', 'due within this time').argParser(span('d')).default(30 * 86_400, '30d'))
    .option('--all', 'everything that is planned')
    .option('--all-tenants', 'all tenants that you may see')
    .action(async (options: { within: number; all?: boolean; allTenants?: boolean }, self: Command) => {
      const session = sessionOf(self);
      const days = options.all === true ? undefined : Math.floor(options.within / 86_400);
      const ofAll = options.allTenants === true || session.settings.tenant === undefined;
      const found = ofAll ? await dueOfAll(session, days) : [await dueOf(session, session.client.schedules, null, days)];
      session.show(ofAll ? { tenants: found } : { items: found[0]?.items }, () =>
        found.map((one) => dueText(one, days)).join('\n\n'),
      );
    });
}

async function dueOfAll(session: Session, days: number | undefined): Promise<TenantDue[]> {
  const { items } = await session.client.tenants();
  const active = items.filter(({ state }) => state === 'active');
  return Promise.all(active.map(({ id, name }) => dueOf(session, session.client.inTenant(id).schedules, name, days)));
}

async function dueOf(
  { settings: { environment } }: Session,
  schedules: Session['client']['schedules'],
  tenant: string | null,
  days: number | undefined,
): Promise<TenantDue> {
  const items: WireDueEntry[] = [];
  let cursor: string | undefined;
  for (let page = 0; page < LIMITS.listTurnsMax; page++) {
    const found = await schedules.due({ within_days: days, environment, cursor, limit: LIMITS.pageMaxRows });
    items.push(...found.items);
    cursor = found.next_cursor ?? undefined;
    if (cursor === undefined) break;
  }
  return { tenant, items, more: cursor !== undefined };
}

/** Two lines an entry: when, what and of which credential; then the state and the remedy. */
function dueText({ tenant, items, more }: TenantDue, days: number | undefined): string {
  const head = tenant === null ? [] : [bold(plain(tenant))];
  if (items.length === 0)
    return [...head, `${green('nothing is due')}${days === undefined ? '' : ` within ${days} days`}`].join('\n');
  const lines = items.flatMap((entry) => {
    const near = entry.overdue || entry.days_left <= 1 ? red : entry.days_left <= 7 ? yellow : (text: string) => text;
    const state = entry.what === 'rotation' ? `${entry.state}, ${entry.cause}` : `${entry.cause.replaceAll('_', ' ')}`;
    const doubt = entry.certain ? '' : ' (not certain)';
    const needsNothing = entry.what === 'rotation' && !entry.overdue && entry.state !== 'paused';
    const left = leftText(entry).padEnd(14);
    const when = `${entry.due_at.slice(0, 10)}  ${entry.what.padEnd(8)}`;
    const gap = left.length + when.length + 2 + entry.name.length > columns() ? `\n${' '.repeat(14)}` : '  ';
    return [
      `${near(left)}${when}${gap}${bold(plain(entry.name))}`,
      `${' '.repeat(14)}${dim(wrapped(plain(`${entry.environment}, ${state}${doubt}`), 14))}`,
      ...(needsNothing ? [] : [`${' '.repeat(14)}${wrapped(plain(entry.remedy), 14)}`]),
    ];
  });
  return [...head, ...lines, ...(more ? [dim('… and more')] : [])].join('\n');
}

function leftText({ overdue, days_left: days }: WireDueEntry): string {
  if (overdue) return days === 0 ? 'due now' : `${-days} d overdue`;
  return days === 0 ? 'today' : days === 1 ? 'in 1 day' : `in ${days} days`;
}

/** Adds the commands of calendar feeds. */
export function addFeedCommands(parent: Command): void {
  for (const add of [addFeeds, addFeed, addUnfeed]) add(parent);
}

function addFeeds(parent: Command): void {
  parent
    .command('feeds')
    .description('list calendar feeds, without their keys')
    .action(async (_options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(await session.client.schedules.feeds(), ({ items }) =>
        items.length === 0
          ? dim('no calendar feeds')
          : table(
              ['feed', 'created', 'by'],
              items.map(({ id, created_at, created_by }) => [id, instant(created_at), created_by]),
            ),
      );
    });
}

function addFeed(parent: Command): void {
  parent
    .command('feed')
    .description('create a calendar feed (iCalendar); its URL is shown once')
    .action(async (_options: unknown, self: Command) => {
      const session = sessionOf(self);
      if (session.settings.tenant === undefined) throw new CliError('the tenant is missing: give --tenant', EXIT.usage);
      const made = await session.client.schedules.createFeed();
      if (session.settings.output === 'json') return out(json(made));
      note(`${green('created')} ${made.id}; subscribe a calendar to this address (shown once; it needs no other login):`);
      out(made.url);
    });
}

function addUnfeed(parent: Command): void {
  parent
    .command('unfeed <feed>')
    .description('revoke a calendar feed')
    .action(async (feed: string, _options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(await session.client.schedules.revokeFeed(feed), ({ id }) => `${yellow('revoked')} ${plain(id)}`);
    });
}
