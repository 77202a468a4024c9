// Rotations on the command line: the plan, live steps, cancel, resume and retry, and all that a filter selects. At a provider on loopback.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { CliError } from '../../src/cli/exit.ts';
import { program } from '../../src/cli/program.ts';
import { type RunningKeyturn, startKeyturn } from '../../src/node/start.ts';
import { SendgridServer } from '../kit/sendgrid-server.ts';

const data = mkdtempSync(join(tmpdir(), 'keyturn-rotate-'));
const provider = new SendgridServer();
let keyturn: RunningKeyturn;

/** Standard output of the command, run in this process, and its exit code. */
async function run(
  ...args: readonly string[]
): Promise<{ text: string; told: string; code: number; error: CliError | undefined }> {
  const written: string[] = [];
  const noted: string[] = [];
  const spies = [process.stdout, process.stderr].map((stream, i) =>
    vi.spyOn(stream, 'write').mockImplementation((text) => {
      (i === 0 ? written : noted).push(String(text));
      return true;
    }),
  );
  process.exitCode = 0;
  let error: CliError | undefined;
  try {
    await program().parseAsync([...args], { from: 'user' });
  } catch (thrown) {
    if (!(thrown instanceof CliError)) throw thrown;
    error = thrown;
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
  const code = error === undefined ? Number(process.exitCode ?? 0) : error.exitCode;
  process.exitCode = 0;
  return { text: written.join(''), told: noted.join(''), code, error };
}

const wide = (text: string, width: number) => text.split('\n').filter((line) => [...line].length > width);

async function put(name: string, value: object, ...more: readonly string[]): Promise<void> {
  const file = join(data, 'value.json');
  writeFileSync(file, JSON.stringify(value), { mode: 0o600 });
  const options = ['--kind', 'api_key', '--json-value', '--value-file', file, ...more];
  const { error } = await run('credential', 'put', name, ...options);
  if (error !== undefined) throw error;
}

/** A key that the provider has. */
async function key(name: string, ...more: readonly string[]): Promise<void> {
  provider.keys.set(name, { secret: `SG.${name}.made-up`, name: 'by a person' });
  await put(
    name,
    { key: `SG.${name}.made-up`, key_id: name },
    '--connector',
    'sendgrid-api-key',
    '--config-file',
    join(data, 'config.json'),
    ...more,
  );
}

beforeAll(async () => {
  const sandbox = await provider.start();
  writeFileSync(join(data, 'config.json'), JSON.stringify({ sandbox, grace_seconds: 3_600 }));
  keyturn = await startKeyturn({ dataDirectory: data, host: '127.0.0.1', port: 0, log: () => {} });
  vi.stubEnv('XDG_CONFIG_HOME', join(data, 'config'));
  vi.stubEnv('KEYTURN_ADDR', keyturn.url);
  vi.stubEnv('KEYTURN_TENANT', 'acme');
  vi.stubEnv('KEYTURN_ENVIRONMENT', 'staging');
  await run('init', '--name', 'ada', '--data', data, '--address', keyturn.url);
  await run('tenant', 'create', 'acme');
});

afterAll(async () => {
  vi.unstubAllEnvs();
  await keyturn.close();
  provider.stop();
  rmSync(data, { recursive: true, force: true });
});

describe('keyturn credential rotate', () => {
  it('shows the plan within 80 columns, calls nothing, and rotates only while the plan is the same', async () => {
    await key('planned');
    const before = provider.calls;
    for (const width of [80, 120]) {
      vi.stubEnv('COLUMNS', String(width));
      const { text, code } = await run('credential', 'rotate', 'planned', '--plan');
      expect(code).toBe(0);
      expect(text).toMatch(/cannot be undone/);
      expect(text).toMatch(/all \d checks have passed; nothing was called/);
      expect(wide(text, width).filter((line) => !/ \S{40,}$/.test(line))).toEqual([]);
    }
    expect(provider.calls).toBe(before);
    const { hash } = JSON.parse((await run('credential', 'rotate', 'planned', '--plan', '--json')).text) as { hash: string };
    const changed = await run('credential', 'rotate', 'planned', '--if-plan', 'a'.repeat(64)).catch((error: Error) => error);
    expect(String((changed as Error).message)).toMatch(/the plan has changed/);
    expect(provider.calls).toBe(before);
    const { text, code } = await run('credential', 'rotate', 'planned', '--if-plan', hash, '--reason', 'a test', '--wait');
    expect([code, /reason +a test/.test(text)]).toEqual([0, true]);
  });

  it('follows the run, one line a step, each once', async () => {
    await key('followed');
    const { text, told, code } = await run('credential', 'rotate', 'followed', '--wait');
    expect(code).toBe(0);
    const steps = told.split('\n').filter((line) => /^\d\d:\d\d:\d\d\.\d{3} {2}/.test(line));
    expect(steps.map((line) => line.slice(14).trim().split(/ +/)[0])).toEqual(
      expect.arrayContaining(['queued', 'create', 'created', 'test', 'finish']),
    );
    const shown = (await run('runs', 'show', 'followed')).text;
    expect(wide(shown, 80)).toEqual([]);
    for (const line of steps) expect(shown).toContain(line);
    expect(text).toMatch(/state +succeeded: rotated/);
    expect(wide(text + told, 80)).toEqual([]);
    const watched = await run('runs', 'watch', 'followed');
    expect(watched.text).toContain(steps[0]);
  });

  it('exits with 1 for a plan that is not ready, and says why', async () => {
    await put('plain', { key: 'NotReal' });
    const { text, code } = await run('credential', 'rotate', 'plain', '--plan');
    expect(code).toBe(1);
    expect(text).toMatch(/✗ configuration: the credential has no connector/);
  });
});

describe('keyturn runs', () => {
  it('cancels a run that waits for a person, and retries it', async () => {
    await key('stopped');
    provider.refuses = 403;
    const waiting = await run('credential', 'rotate', 'stopped', '--wait', '--timeout', '3s');
    expect([waiting.code, waiting.error?.hint]).toEqual([9, expect.stringMatching(/keyturn runs resume stopped run_/)]);
    expect((await run('runs', 'cancel', 'stopped')).text).toMatch(/state +cancelled: cancelled/);
    provider.refuses = undefined;
    const retried = await run('runs', 'retry', 'stopped', '--wait');
    expect([retried.code, /retry of +run_/.test(retried.text)]).toEqual([0, true]);
    expect([...provider.keys.values()].filter(({ secret }) => secret.includes('stopped')).length).toBe(1);
  });

  it('resumes a run after its cause was removed', async () => {
    await key('resumed');
    provider.refuses = 403;
    await run('credential', 'rotate', 'resumed', '--wait', '--timeout', '3s');
    provider.refuses = undefined;
    const resumed = await run('runs', 'resume', 'resumed', '--wait');
    expect([resumed.code, /state +succeeded/.test(resumed.text)]).toEqual([0, true]);
  });
});

describe('keyturn rotate --all', () => {
  it('rotates what the filter selects after a plan, reports, and a batch is continued where it stopped', async () => {
    for (const name of ['bulk-a', 'bulk-b', 'bulk-c']) await key(name, '--label', 'batch=yes');
    const before = provider.calls;
    const plan = await run('rotate', '--all', '--where', 'label=batch=yes', '--plan');
    expect(plan.text).toMatch(/bulk-a +sendgrid-api-key +overlap +\d+ +ready/);
    expect([provider.calls, wide(plan.text, 80)]).toEqual([before, []]);
    const asked = await run('rotate', '--all', '--where', 'label=batch=yes');
    expect([asked.code, asked.error?.message]).toEqual([2, expect.stringMatching(/needs a confirmation/)]);
    expect(provider.calls).toBe(before);
    provider.refusesKeyOf = 'bulk-b';
    const args = ['rotate', '--all', '--where', 'label=batch=yes', '--yes', '--timeout', '3s'];
    const first = await run(...args, '--json');
    const told = JSON.parse(first.text) as { batch: string; rotated: number; not_rotated: number };
    expect([first.code, told.rotated, told.not_rotated]).toEqual([1, 2, 1]);
    provider.refusesKeyOf = undefined;
    await run('runs', 'resume', 'bulk-b', '--wait');
    const again = await run(...args, '--continue', told.batch, '--json');
    expect(again.code).toBe(0);
    expect((await run('rotate', '--all', '--where', 'label=batch=yes', '--plan', '--continue', told.batch)).text).toMatch(
      /succeeded in this batch/,
    );
  });

  it.each([
    [['rotate'], /--all is missing/],
    [['rotate', '--all', '--where', 'nothing=x'], /must have the form/],
    [['rotate', '--all', '--where', 'connector=a', '--where', 'connector=b'], /twice/],
    [['rotate', '--all', '--continue', 'x'], /name of a batch/],
  ] as const)('refuses %j', async (args, message) => {
    const { code, error } = await run(...args);
    expect([code, error?.message]).toEqual([2, expect.stringMatching(message)]);
  });

  it('selects by connector and by reader', async () => {
    const none = await run('rotate', '--all', '--where', 'connector=twilio-api-key', '--plan');
    expect(none.text).toMatch(/no credential with a connector is selected/);
    const unread = await run('rotate', '--all', '--where', 'read-by=nobody', '--plan');
    expect(unread.text).toMatch(/no credential/);
  });
});
