// keyturn rotate --all: rotates every credential that a filter selects: a plan first, then one at a time for each connector, then a report.
// It must never rotate a credential whose plan has changed since it was confirmed. A batch has an id, and can be continued with it.
import { randomUUID } from 'node:crypto';
import { createInterface } from 'node:readline/promises';
import { Command } from 'commander';
import { SECONDS } from '../../base/instants.ts';
import type { WireCredential, WireRotationPlan, WireRun } from '../../http/v1/wire.ts';
import { KeyturnProblem } from '../../sdk/client.ts';
import { CliError, EXIT } from '../exit.ts';
import { bar, bold, dim, green, note, out, plain, red, table, wrapped, yellow } from '../print.ts';
import { clientOf, type Session, sessionOf } from '../session.ts';
import { span } from '../times.ts';
import { followed } from './follow-run.ts';

const FILTERS = ['connector', 'tenant', 'environment', 'read-by', 'label'] as const;
type Filter = (typeof FILTERS)[number];
type Wanted = Readonly<Partial<Record<Filter, string>>>;

interface Options {
  all?: boolean;
  where?: string[];
  continue?: string;
  reason?: string;
  plan?: boolean;
  yes?: boolean;
  timeout: number;
}

/** One credential of a batch. */
interface Item {
  readonly credential: WireCredential;
  readonly plan: WireRotationPlan;
  /** Its run of this batch, if an earlier execution of it has opened one. */
  readonly earlier: WireRun | undefined;
}

interface Ended {
  readonly item: Item;
  readonly run: WireRun | undefined;
  readonly fault: string | undefined;
}

/** Connectors whose credentials are rotated at the same time; those of one connector follow each other. */
const CONNECTORS_AT_ONCE = 4;
const PLANS_AT_ONCE = 8;
const PAGE_ROWS = 200;

export function rotateCommand(): Command {
  const collect = (value: string, before: string[] = []) => [...before, value];
  return new Command('rotate')
    .description('rotate all credentials that a filter selects')
    .option('--all', 'all that --where selects; without --where, all of the environment')
    .option('--where <filter>', `${FILTERS.join('=, ')}=; repeatable, all must hold`, collect)
    .option('--plan', 'only show what would be done')
    .option('--yes', 'do not ask')
    .option('--continue <batch>', 'continue an interrupted batch: what it has rotated stays')
    .option('--reason <text>', 'why; shown with each run')
    .option('--timeout <time>', 'how long to wait for each run', span(), 5 * SECONDS.m)
    .action(async (options: Options, self: Command) => {
      const session = within(sessionOf(self), filtersOf(options));
      const batch = options.continue ?? `batch-${randomUUID().slice(0, 8)}`;
      const items = await planned(session, batch, filtersOf(options));
      const todo = items
        .filter((item) => item.plan.ready || isUnderWay(item))
        .filter(({ earlier }) => earlier?.state !== 'succeeded');
      if (options.plan === true || todo.length === 0) {
        showPlan(session, items);
        return;
      }
      if (session.settings.output !== 'json') out(planTable(items));
      await confirm(options, todo.length);
      note(dim(`batch ${batch}; if it is interrupted, continue it with --continue ${batch}`));
      const ended = await rotateAll(session, batch, todo, options);
      report(session, batch, items, ended);
    });
}

/** @throws CliError */
function filtersOf({ all, where = [], continue: batch }: Options): Wanted {
  if (all !== true)
    throw new CliError('the option --all is missing', EXIT.usage, 'rotate one credential with: keyturn credential rotate <name>');
  if (batch !== undefined && !/^batch-[0-9a-f]{8}$/.test(batch))
    throw new CliError('the option --continue must be the name of a batch, such as batch-1a2b3c4d', EXIT.usage);
  const pairs = where.map((text) => {
    const at = text.indexOf('=');
    const filter = FILTERS.find((one) => one === text.slice(0, at));
    if (filter === undefined || at + 1 === text.length)
      throw new CliError(`the option --where must have the form ${FILTERS.map((one) => `${one}=...`).join(' or ')}`, EXIT.usage);
    return [filter, text.slice(at + 1)] as const;
  });
  if (new Set(pairs.map(([filter]) => filter)).size !== pairs.length)
    throw new CliError('the option --where names a filter twice: give it once', EXIT.usage);
  return Object.fromEntries(pairs);
}

/** The session at the tenant and environment of the filters. */
function within(session: Session, { tenant, environment }: Wanted): Session {
  const settings = { ...session.settings, ...(tenant === undefined ? {} : { tenant }) };
  return {
    ...session,
    settings,
    client: tenant === undefined ? session.client : clientOf(settings),
    environment: () => environment ?? session.environment(),
  };
}

/** Every selected credential with its plan, in the order of execution: by connector and name. */
async function planned(session: Session, batch: string, wanted: Wanted): Promise<Item[]> {
  const found = await selected(session, wanted);
  const items = await atOnce(found, PLANS_AT_ONCE, async (credential): Promise<Item | undefined> => {
    const { environment, name } = credential;
    if (wanted['read-by'] !== undefined && !(await isReadBy(session, credential, wanted['read-by']))) return undefined;
    const { items: runs } = await session.client.runs(environment, name, { limit: 20 });
    const earlier = runs.find(({ reason, kind }) => kind !== 'revocation' && reason?.includes(batch) === true);
    return { credential, plan: await session.client.plan(environment, name), earlier };
  });
  return items.filter((item) => item !== undefined).sort((a, b) => keyOf(a).localeCompare(keyOf(b)));
}

const keyOf = ({ credential: { connector, environment, name } }: Item) => [connector, environment, name].join('\n');

async function selected(session: Session, { connector, label }: Wanted): Promise<WireCredential[]> {
  const found: WireCredential[] = [];
  let cursor: string | undefined;
  do {
    const page = await session.client.list(session.environment(), { limit: PAGE_ROWS, label, cursor });
    found.push(...page.items);
    cursor = page.next_cursor ?? undefined;
  } while (cursor !== undefined);
  const isRotated = (one: WireCredential) => one.connector !== null && one.config['manages'] !== true;
  return found.filter((one) => isRotated(one) && (connector === undefined || one.connector === connector));
}

async function isReadBy(session: Session, { environment, name }: WireCredential, reader: string): Promise<boolean> {
  const { items } = await session.client.readers(environment, name);
  return items.some((one) => one.live && (one.name === reader || one.id === reader));
}

function isUnderWay({ earlier }: Item): boolean {
  return earlier?.state === 'open';
}

function showPlan(session: Session, items: readonly Item[]): void {
  const plans = items.map(({ credential, plan }) => ({ name: credential.name, environment: credential.environment, ...plan }));
  session.show(plans, () => planTable(items));
  if (items.some(({ plan, earlier }) => !plan.ready && earlier === undefined)) process.exitCode = EXIT.failed;
}

function planTable(items: readonly Item[]): string {
  if (items.length === 0) return dim('no credential with a connector is selected');
  const rows = items.map(({ credential, plan, earlier }, index) => [
    index + 1,
    credential.name,
    credential.connector,
    plan.plan.strategy,
    plan.readers.filter(({ live }) => live).length,
    earlier === undefined ? (plan.ready ? 'ready' : 'not ready') : `${earlier.state} in this batch`,
  ]);
  const blocked = items.filter(({ plan, earlier }) => !plan.ready && earlier === undefined);
  const faults = blocked.map(({ credential, plan }) => {
    const failed = plan.checks.find(({ ok }) => !ok);
    return `${yellow('!')} ${bold(credential.name)}: ${wrapped(plain(failed?.fault), credential.name.length + 4)}`;
  });
  return [table(['', 'credential', 'connector', 'strategy', 'readers', 'state'], rows), ...faults].join('\n');
}

/** @throws CliError if the answer is no, or nobody can be asked */
async function confirm({ yes }: Options, count: number): Promise<void> {
  if (yes === true) return;
  if (process.stdin.isTTY !== true)
    throw new CliError(
      'the rotation needs a confirmation, and there is no terminal to ask at',
      EXIT.usage,
      'look at --plan, then give --yes',
    );
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await terminal.question(
    `Rotate ${count === 1 ? 'this credential' : `these ${count} credentials`}? Type ${count} to begin: `,
  );
  terminal.close();
  if (answer.trim() !== String(count)) throw new CliError('not confirmed: nothing was rotated', EXIT.failed);
}

async function rotateAll(session: Session, batch: string, todo: readonly Item[], options: Options): Promise<Ended[]> {
  const queues = [...Map.groupBy(todo, ({ credential }) => credential.connector).values()];
  const progress = progressOf(todo.length, session.settings.output !== 'json');
  const ended = await atOnce(queues, CONNECTORS_AT_ONCE, async (queue) => {
    const done: Ended[] = [];
    for (const item of queue) {
      const one = await rotateOne(session, batch, item, options);
      done.push(one);
      progress.step(one);
    }
    return done;
  });
  progress.end();
  return ended.flat();
}

/** A failure is a result: the others are rotated nevertheless. */
async function rotateOne(session: Session, batch: string, item: Item, { reason, timeout }: Options): Promise<Ended> {
  const { name, environment } = item.credential;
  try {
    const why = reason === undefined ? batch : `${reason} (${batch})`;
    const begun =
      item.earlier?.state === 'open'
        ? item.earlier
        : await session.client.rotate(environment, name, { reason: why, plan: item.plan.hash });
    const run = await followed(session, { name, environment, run: begun.id, timeoutSeconds: timeout });
    return { item, run, fault: run.state === 'open' ? `waits in the step ${run.step}` : undefined };
  } catch (error) {
    if (!(error instanceof KeyturnProblem)) throw error;
    return { item, run: undefined, fault: error.message };
  }
}

/** A bar on a terminal, a line for each credential elsewhere. */
function progressOf(total: number, isText: boolean) {
  let done = 0;
  let failed = 0;
  const isBar = isText && process.stderr.isTTY === true;
  return {
    step: (ended: Ended) => {
      done += 1;
      if (ended.run?.state !== 'succeeded') failed += 1;
      const tail = `${done}/${total}${failed === 0 ? '' : `, ${failed} not rotated`}`;
      if (isBar) process.stderr.write(`\r\u001b[2K${bar(done, total)}  ${tail}`);
      else if (isText) note(`${tail}  ${plain(ended.item.credential.name)}: ${stateText(ended)}`);
    },
    end: () => {
      if (isBar) process.stderr.write('\n');
    },
  };
}

function stateText({ run, fault }: Ended): string {
  return run === undefined ? `refused: ${fault}` : (fault ?? [run.state, run.cause].filter((part) => part !== null).join(': '));
}

function report(session: Session, batch: string, items: readonly Item[], ended: readonly Ended[]): void {
  const rotated = ended.filter(({ run }) => run?.state === 'succeeded').length;
  const before = items.filter(({ earlier }) => earlier?.state === 'succeeded').length;
  const left = items.length - rotated - before;
  if (left > 0) process.exitCode = EXIT.failed;
  const rows = ended.map((one) => ({
    credential: one.item.credential.name,
    connector: one.item.credential.connector,
    run: one.run?.id ?? null,
    state: one.run?.state ?? 'refused',
    version: one.run?.new_version ?? null,
    cause: one.fault ?? one.run?.cause ?? null,
  }));
  const counts = [green(`${rotated} rotated`), before > 0 ? `${before} before` : '', left > 0 ? red(`${left} not rotated`) : ''];
  const total = `${counts.filter((part) => part !== '').join(', ')}${left > 0 ? dim(`; continue with --continue ${batch}`) : ''}`;
  session.show({ batch, rotated, rotated_before: before, not_rotated: left, runs: rows }, ({ runs }) => {
    const cells = runs.map(({ credential, connector, state, version, cause }) => [credential, connector, state, version, cause]);
    return `${table(['credential', 'connector', 'state', 'version', 'cause'], cells)}\n${total}`;
  });
}

/** The results in the order of the items, with at most `width` under way. */
async function atOnce<T, R>(items: readonly T[], width: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const at = next++;
      results[at] = await work(items[at] as T);
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, worker));
  return results;
}
