// Help and tables fit a terminal of 80 and of 120 columns, with the longest names that there are.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Command, Help } from 'commander';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { alertText } from '../../src/cli/commands/alerts.ts';
import { eventText } from '../../src/cli/commands/audit.ts';
import { columns, facts, table, wrapped } from '../../src/cli/print.ts';
import { program } from '../../src/cli/program.ts';
import { type RunningKeyturn, startKeyturn } from '../../src/node/start.ts';

const WIDTHS = [80, 120];

function everyCommand(command: Command): Command[] {
  return [command, ...command.commands.flatMap(everyCommand)];
}

/** What `--help` prints on a terminal of this width. */
function helpOf(command: Command, width: number): string {
  let text = '';
  command.configureOutput({
    writeOut: (part) => {
      text += part;
    },
    getOutHelpWidth: () => width,
  });
  command.outputHelp();
  return text;
}

const tooWide = (text: string, width: number) => text.split('\n').filter((line) => [...line].length > width);

describe.each(WIDTHS)('at %i columns', (width) => {
  it('the help of every command fits', () => {
    const commands = everyCommand(program());
    expect(commands.length).toBeGreaterThan(50);
    for (const command of commands) expect(tooWide(helpOf(command, width), width), command.name()).toEqual([]);
  });
});

it('every command and every option says what it is', () => {
  const help = new Help();
  for (const command of everyCommand(program())) {
    expect(help.commandDescription(command), command.name()).not.toBe('');
    for (const option of command.options) {
      expect(option.description, `${command.name()} ${option.flags}`).not.toBe('');
      expect(`${help.optionDescription(option)}`.match(/default/g)?.length ?? 0, option.flags).toBeLessThan(2);
    }
  }
});

describe('a table', () => {
  const AT = '2026-11-28T07:04:05.000Z';

  it('keeps exact instants where they fit, and shortens them to minutes and to days where they do not', () => {
    const of = (width: number) => table(['name', 'created'], [['stripe', AT]], width).split('\n')[1];
    expect([of(32), of(31), of(25), of(24)]).toEqual([
      `stripe  ${AT}`,
      'stripe  2026-11-28 07:04Z',
      'stripe  2026-11-28 07:04Z',
      'stripe  2026-11-28',
    ]);
  });

  it('breaks cells at blanks where they do not fit otherwise', () => {
    expect(table(['id', 'title'], [['crm', 'a system of many words']], 22).split('\n')).toEqual([
      'ID   TITLE',
      'crm  a system of many',
      '     words',
    ]);
  });

  it('prints one line per column where a row does not fit, and cuts nothing', () => {
    const long = 'n'.repeat(73);
    const text = table(
      ['name', 'kinds'],
      [
        [long, 'a.b '.repeat(20).trim()],
        ['short', null],
      ],
      80,
    );
    expect(text.split('\n')).toEqual([
      `name   ${long}`,
      `kinds  ${'a.b '.repeat(18).trim()}`,
      '       a.b a.b',
      '',
      'name   short',
      'kinds  -',
    ]);
  });

  it('fits 80 columns if the terminal does not tell its width, and another width that it tells', () => {
    vi.stubEnv('COLUMNS', '');
    expect(columns()).toBe(80);
    vi.stubEnv('COLUMNS', '120');
    expect(columns()).toBe(120);
    vi.stubEnv('COLUMNS', '3');
    expect(columns()).toBe(80);
    vi.unstubAllEnvs();
  });

  it('breaks a text at blanks only', () => {
    expect(wrapped('one two three', 2, 7)).toBe('one two\n  three');
    expect(wrapped('0123456789 a', 2, 7)).toBe('0123456789\n  a');
    expect(facts([['k', 'one two']], 7)).toBe('k  one\n   two');
  });
});

describe('the output of every command that only reads', () => {
  const LONG = 'a-name-of-a-credential-that-is-as-long-as-names-in-use-may-be';
  const ON_LONG: Readonly<Record<string, readonly string[]>> = {
    'tenant list': [],
    'environment list': [],
    'user list': [],
    'workload list': [],
    'workload show': [LONG],
    'credential list': [],
    'credential show': [LONG],
    'credential history': [LONG],
    'credential runs': [LONG],
    'runs list': [LONG],
    'connections list': [LONG],
    'webhooks list': [],
    'webhooks deliveries': [],
    'keys list': [],
    'schedule list': [],
    'schedule preview': ['--credential', 'a-key-with-a-connector'],
    due: ['--all', '--all-tenants'],
    'schedule feeds': [],
    'audit list': [],
    'audit tail': ['-n', '50'],
    'audit verify': [],
    connectors: [],
    forecast: [],
    alerts: [],
    whoami: [],
  };
  /** Need a run: test/cli/rotate.test.ts, test/cli/receipts.test.ts. */
  const ELSEWHERE = new Set(['runs show', 'receipt show']);
  const data = mkdtempSync(join(tmpdir(), 'keyturn-widths-'));
  let keyturn: RunningKeyturn;

  /** Standard output of the command, run in this process. */
  async function run(args: readonly string[]): Promise<string> {
    const written: string[] = [];
    const spies = [process.stdout, process.stderr].map((stream, i) =>
      vi.spyOn(stream, 'write').mockImplementation((text) => {
        if (i === 0) written.push(String(text));
        return true;
      }),
    );
    try {
      await program().parseAsync([...args], { from: 'user' });
    } finally {
      for (const spy of spies) spy.mockRestore();
    }
    return written.join('');
  }

  beforeAll(async () => {
    keyturn = await startKeyturn({ dataDirectory: data, host: '127.0.0.1', port: 0, log: () => {} });
    vi.stubEnv('XDG_CONFIG_HOME', join(data, 'config'));
    vi.stubEnv('KEYTURN_ADDR', keyturn.url);
    vi.stubEnv('KEYTURN_TENANT', 'a-tenant-with-a-long-name');
    vi.stubEnv('KEYTURN_ENVIRONMENT', 'staging');
    await run(['init', '--name', 'a-person-with-a-long-name', '--data', data, '--address', keyturn.url]);
    await run(['tenant', 'create', 'a-tenant-with-a-long-name']);
    const grants = ['--grant', 'rotation-operator', '--grant', 'engineer@a-tenant-with-a-long-name'];
    await run(['user', 'create', `${LONG.slice(0, 40)}`, ...grants]);
    await run(['workload', 'create', LONG, '--pattern', LONG, '--pattern', `${LONG}*`, '--permission', 'rotate']);
    const value = join(data, 'value.json');
    writeFileSync(value, '{"key": "not-a-real-secret-widths"}', { mode: 0o600 });
    const put = ['credential', 'put', LONG, '--kind', 'api_key', '--json-value', '--value-file', value];
    for (const expiry of ['2020-01-01', '2027-01-01']) await run([...put, '--expires-at', expiry]);
    const key = 'a-key-with-a-connector';
    writeFileSync(value, '{"key": "not-a-real-secret-widths", "key_id": "made-up"}');
    await run([
      'credential',
      'put',
      key,
      '--kind',
      'api_key',
      '--json-value',
      '--value-file',
      value,
      '--connector',
      'sendgrid-api-key',
    ]);
    const when = [
      '--every',
      '20d',
      '--zone',
      'America/Argentina/Buenos_Aires',
      '--window',
      'mon-fri 02:00-05:00',
      'sun 22:00-06:00',
    ];
    await run(['schedule', 'set', '--credential', key, ...when, '--blackout', '12-24..01-02']);
    await run([
      'schedule',
      'set',
      LONG.slice(0, 50),
      ...when,
      '--only-connector',
      'sendgrid-api-key',
      '--only-label',
      'tier=gold',
    ]);
    await run([
      'schedule',
      'pause',
      LONG.slice(0, 50),
      '--reason',
      'a reason of several words that is as long as reasons in use may be',
    ]);
    await run(['schedule', 'feed']);
    await run(['webhooks', 'add', `https://ops.example/${LONG}`, '--kind', 'credential.expired', 'credential.needs_consent']);
  });

  afterAll(async () => {
    vi.unstubAllEnvs();
    await keyturn.close();
    rmSync(data, { recursive: true, force: true });
  });

  it('is looked at for every command that lists or describes', () => {
    const leaves = (command: Command, path: string): string[] =>
      command.commands.length === 0
        ? [path.trim()]
        : command.commands.flatMap((child) => leaves(child, `${path} ${child.name()}`));
    const reading = leaves(program(), '').filter((path) =>
      /(^| )(list|show|history|runs|deliveries|tail|alerts|forecast)$/.test(path),
    );
    expect(reading.length).toBeGreaterThan(12);
    for (const path of reading.filter((one) => !ELSEWHERE.has(one))) expect(ON_LONG).toHaveProperty(path);
  });

  it.each(Object.keys(ON_LONG))('fits 80 and 120 columns: %s', async (path) => {
    const more =
      path === 'webhooks deliveries'
        ? [(JSON.parse(await run(['webhooks', 'list', '--json'])) as { items: { id: string }[] }).items[0]?.id ?? '']
        : (ON_LONG[path] ?? []);
    for (const width of WIDTHS) {
      vi.stubEnv('COLUMNS', String(width));
      const text = await run([...path.split(' '), ...more]);
      expect(text).not.toBe('');
      // A name, id or URL is not broken, so that it can be copied: only a line that holds nothing else may be longer.
      expect(tooWide(text, width).filter((line) => !/^( *|[a-z ]+ {2,})\S+$/.test(line))).toEqual([]);
    }
  });
});

describe('one fact stands on one line', () => {
  it('in an alert, and words for the names of fields', () => {
    const facts = {
      ends_at: '2026-12-01T00:00:00.000Z',
      days_left: 2,
      cause: 'end_date',
      certain: true,
      gone: null,
      remedy: 'Put a new value.',
    };
    const credential = { id: 'crd_1', name: 'stripe', environment: 'staging' };
    expect(
      alertText({ id: 'alt_1', kind: 'credential.ends_soon', at: '2026-11-28T07:04:05.000Z', credential, facts }).split('\n'),
    ).toEqual([
      '2026-11-28 07:04 UTC  ends_soon  stripe staging',
      '  ends at    2026-12-01T00:00:00.000Z',
      '  days left  2',
      '  cause      end_date',
      '  certain    true',
      '  remedy     Put a new value.',
    ]);
  });

  it('in an event, whose steps differ', () => {
    const event = {
      index: 12,
      at: '2026-11-28T07:04:05.000Z',
      action: 'credential.rotate',
      actor: { type: 'system', id: 'refresh' },
      outcome: 'success',
      reason: 'allowed',
      request: 'req_1',
      target: { type: 'credential', name: 'stripe', environment: 'staging' },
    };
    const told = ['intent', 'stored'].map((step) => eventText({ ...event, details: { run: 'run_1', step, key_version: 3 } }));
    expect(told[0]?.split('\n')).toEqual([
      '    12  2026-11-28T07:04:05.000Z  credential.rotate  success',
      '        credential staging/stripe by system refresh',
      '        intent, run run_1, key version 3',
    ]);
    expect(told[1]).toContain('        stored, run run_1, key version 3');
    expect(eventText({ ...event, actor: { type: 'user', id: 'usr_1' }, actor_name: 'ada' })).toContain(' by user ada (usr_1)');
    expect(eventText({ ...event, outcome: 'denied', reason: 'no role' })).toContain('\n        no role');
  });
});
