// What the pages show is tried: every command exists with its flags, the receiver of webhooks verifies, the sandbox page is walked.
import { type ChildProcess, spawn } from 'node:child_process';
import { createSecretKey, randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ALERT_KINDS } from '../../src/alerts/raise-alert.ts';
import { signMessage } from '../../src/alerts/sign-message.ts';
import { type RunningKeyturn, startKeyturn } from '../../src/node/start.ts';
import { CommandLine } from '../kit/command.ts';
import { newBrowser } from '../kit/consent-provider.ts';

const ROOT = join(import.meta.dirname, '../..');
const read = (page: string): string => readFileSync(join(ROOT, page), 'utf8');
const pages = [
  'README.md',
  'rotation/README.md',
  'SECURITY.md',
  ...readdirSync(join(ROOT, 'docs')).flatMap((file) => (file.endsWith('.md') ? [`docs/${file}`] : [])),
];
const scratch = mkdtempSync(join(tmpdir(), 'keyturn-docs-'));
const alone = new CommandLine();

afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
  rmSync(alone.config, { recursive: true, force: true });
});

/** Every `keyturn ...` in a block of shell or between backticks, as words; a line that goes on is one line. */
function commandsOf(page: string): string[][] {
  const text = read(page);
  const blocks = [...text.matchAll(/```sh\n(.*?)```/gs)].map(([, block = '']) => block.replace(/\\\n/g, ' '));
  const lines = blocks.flatMap((block) => block.split('\n').flatMap((line) => /(?:^|\|)\s*(keyturn .*)$/.exec(line)?.[1] ?? []));
  const inline = [...text.replace(/```.*?```/gs, '').matchAll(/`(keyturn [^`]+)`/g)].map(([, command = '']) => command);
  return [...lines, ...inline].map((line) =>
    (line.replace(/\s+#.*$/, '').match(/'[^']*'|"[^"]*"|[^\s|]+/g) ?? [])
      .slice(1)
      .map((word) => word.replace(/^['"]|['"]$/g, '')),
  );
}

describe('the pages', () => {
  it('show no command and no flag that there is not', async () => {
    const bash = (await alone.run(['completion', 'bash'])).stdout;
    const known = new Map(
      [...bash.matchAll(/"([^"]*)"\) words="([^"]*)"/g)].map(([, path = '', words = '']) => [path, words.split(' ')]),
    );
    expect(known.get('')).toContain('forecast');
    const shown = pages.flatMap((page) => commandsOf(page).map((words) => [page, words] as const));
    expect(shown.length).toBeGreaterThan(25);
    for (const [page, words] of shown) {
      const where = `${page}: keyturn ${words.join(' ')}`;
      let path = '';
      for (const word of words) {
        const deeper = `${path} ${word}`.trim();
        if (!known.has(deeper)) break;
        path = deeper;
      }
      if (words[0]?.startsWith('--') !== true) expect(path, where).not.toBe('');
      const end = words.indexOf('--');
      for (const word of end < 0 ? words : words.slice(0, end)) {
        if (!word.startsWith('--')) continue;
        const flags = [...known].filter(([name]) => name === path || name.startsWith(`${path} `)).flatMap(([, all]) => all);
        expect(flags, where).toContain(word);
      }
    }
  });

  it('name a tenant, and an environment where one is needed, with each command of a block or before it on the page', () => {
    const neither =
      /^(keys \w+ (home|root)|init|login|logout|status|doctor|serve|sandbox|completion|connectors|tenant|user|whoami|--version|audit verify \S+\.jsonl|receipt verify)\b/;
    const tenantOnly =
      /^(schedule|due|forecast|alerts|webhooks|audit|keys|environment|connections|workload (list|show|revoke))\b/;
    const both = /^(credential|rotate|runs|receipt show|connect|import|disconnect|run|workload create)\b/;
    let checked = 0;
    for (const page of pages) {
      const blocks = [...read(page).matchAll(/^ *```sh\n([\s\S]*?)^ *```/gm)].map(([, block = '']) =>
        block.replace(/\\\n/g, ' '),
      );
      let before = '';
      for (const line of blocks.flatMap((block) => block.split('\n'))) {
        before += `${line}\n`;
        const command = /(?:^|\|)\s*keyturn (.*)$/.exec(line)?.[1];
        if (command === undefined || neither.test(command)) continue;
        checked++;
        expect(tenantOnly.test(command) || both.test(command), `${page}: ${line}`).toBe(true);
        const has = (flag: string, variable: string) =>
          line.includes(` ${flag} `) || new RegExp(`^\\s*export .*${variable}=`, 'm').test(before);
        expect(has('--tenant', 'KEYTURN_TENANT'), `${page}: no tenant: ${line}`).toBe(true);
        if (both.test(command)) expect(has('--env', 'KEYTURN_ENVIRONMENT'), `${page}: no environment: ${line}`).toBe(true);
      }
    }
    expect(checked).toBeGreaterThan(20);
  });

  it('read a value as a workload only: people have no second factor yet', () => {
    for (const page of pages) {
      const text = read(page);
      for (const { index } of text.matchAll(/^ *keyturn (credential get|run )/gm))
        expect(text.slice(0, index), page).toMatch(/KEYTURN_CLIENT_ID=/);
    }
  });

  it('start nothing by npx, which a machine with Node and npm alone may run on an older Node', () => {
    for (const page of [...pages, 'policies/README.md', 'CONTRIBUTING.md']) expect(read(page), page).not.toMatch(/\bnpx /);
  });

  it('fit the list of commands on one screen', async () => {
    const help = (await alone.run(['--help'])).stdout;
    expect(help.split('\n').length).toBeLessThanOrEqual(44);
    for (const word of ['connect ', 'due ', 'sandbox']) expect(help).toContain(word);
  });

  it('name every kind of alert there is', () => {
    for (const kind of ALERT_KINDS) expect(read('docs/webhooks.md')).toContain(`\`${kind}\``);
  });
});

describe('the receiver shown for webhooks', () => {
  type Verify = (secret: string, headers: Record<string, string>, body: Buffer, nowMs?: number) => unknown;
  const key = randomBytes(32);
  const secret = `whsec_${key.toString('base64')}`;
  const atSeconds = 1_800_000_000;
  const body = Buffer.from('{"kind":"credential.ready","facts":{"account":"Łódź"}}');
  const signed = signMessage(createSecretKey(key), 'alr_1', atSeconds, body);
  const headers = { 'webhook-id': 'alr_1', 'webhook-timestamp': String(atSeconds), 'webhook-signature': signed };
  let verify: Verify;

  beforeAll(async () => {
    const file = join(scratch, 'receiver.mjs');
    writeFileSync(file, /```js\n(.*?)```/s.exec(read('docs/webhooks.md'))?.[1] ?? '');
    ({ verify } = (await import(/* @vite-ignore */ file)) as { verify: Verify });
  });

  it('takes what the vault signed, also among signatures it does not know', () => {
    expect(verify(secret, headers, body, atSeconds * 1_000)).toMatchObject({ kind: 'credential.ready' });
    const among = { ...headers, 'webhook-signature': `v1a,AAAA v1,AAAA ${signed}` };
    expect(verify(secret, among, body, atSeconds * 1_000)).toMatchObject({ kind: 'credential.ready' });
  });

  it.each<[string, () => unknown]>([
    ['another secret', () => verify(`whsec_${randomBytes(32).toString('base64')}`, headers, body, atSeconds * 1_000)],
    ['another body', () => verify(secret, headers, Buffer.from(`${body} `), atSeconds * 1_000)],
    ['another id', () => verify(secret, { ...headers, 'webhook-id': 'alr_2' }, body, atSeconds * 1_000)],
    ['another time', () => verify(secret, { ...headers, 'webhook-timestamp': String(atSeconds + 1) }, body, atSeconds * 1_000)],
    ['no time', () => verify(secret, { 'webhook-id': 'alr_1', 'webhook-signature': signed }, body, atSeconds * 1_000)],
    ['an old message', () => verify(secret, headers, body, (atSeconds + 301) * 1_000)],
    ['no signature', () => verify(secret, { ...headers, 'webhook-signature': '' }, body, atSeconds * 1_000)],
  ])('refuses %s', (_what, attempt) => {
    expect(attempt).toThrow(/not genuine|too old/);
  });
});

describe('the page on trying failures, walked', () => {
  let keyturn: RunningKeyturn;
  let sandbox: ChildProcess;
  let origin: string;
  let owner: CommandLine;

  beforeAll(async () => {
    const data = join(scratch, 'data');
    keyturn = await startKeyturn({ dataDirectory: data, host: '127.0.0.1', port: 0, log: () => {} });
    owner = new CommandLine({ KEYTURN_ADDR: keyturn.url, KEYTURN_TENANT: 'demo', KEYTURN_ENVIRONMENT: 'staging' });
    await owner.run(['init', '--name', 'ada', '--data', data]);
    await owner.run(['tenant', 'create', 'demo']);
    sandbox = spawn(process.execPath, [join(ROOT, 'src/cli/main.ts'), 'sandbox', '--port', '0'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    origin = await new Promise<string>((found, failed) => {
      let printed = '';
      sandbox.once('exit', () => failed(new Error('the sandbox ended before it was ready')));
      sandbox.stdout?.on('data', (part: Buffer) => {
        printed += part.toString();
        const url = /Keyturn sandbox {2}(http:\/\/127\.0\.0\.1:\d+)/.exec(printed)?.[1];
        if (url !== undefined) found(url);
      });
    });
  });

  afterAll(async () => {
    const ended = new Promise((done) => sandbox.once('exit', done));
    sandbox.kill('SIGTERM');
    await ended;
    await keyturn.close();
    rmSync(owner.config, { recursive: true, force: true });
  });

  it('connects at the sandbox, and sees the end of the grant in a run, on the credential and in an alert', async () => {
    const page = read('docs/try-failures.md');
    const words = commandsOf('docs/try-failures.md').find(([first]) => first === 'connect') ?? [];
    const secret = /printf %s (\S+)/.exec(page)?.[1] ?? '';
    const args = words
      .filter((word) => word !== '--wait')
      .map((word) => (word.startsWith('http://127.0.0.1:8421') ? origin : word));
    const made = await owner.run([...args, '--json'], secret);
    expect(made).toMatchObject({ code: 0, stderr: '' });
    const browser = newBrowser();
    const { link } = JSON.parse(made.stdout) as { link: string };
    await browser.get(link);
    const allow = new URL((await browser.post(link)).location);
    allow.searchParams.set('auto', 'allow');
    const answered = await browser.get((await newBrowser().get(allow.href)).location);
    expect((await browser.get(new URL(answered.location, link).href)).html).toContain('is connected');
    expect((await owner.run(['credential', 'rotate', 'try', '--wait'])).stdout).toMatch(/succeeded/);

    const slow = JSON.stringify({ kind: 'slow', ms: 3_000 });
    await fetch(`${origin}/_control/misbehave`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: slow });
    const waited = await owner.run(['credential', 'rotate', 'try', '--wait', '--timeout', '1s']);
    expect(waited).toMatchObject({ code: 9, stdout: '' });
    expect(waited.stderr).toMatch(/has not ended after 1 s; it continues in the service\n.*keyturn runs show try run_/);
    const [, run = ''] = /(run_\S+)/.exec(waited.stderr) ?? [];
    await expect
      .poll(async () => (await owner.run(['credential', 'runs', 'try', run])).stdout, { timeout: 10_000 })
      .toMatch(/succeeded/);

    const [, body = '', path = ''] = /curl --json '([^']+)' \$S(\/\S+)/.exec(page) ?? [];
    const told = await fetch(`${origin}/_control${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    });
    expect(told.ok).toBe(true);
    expect(await owner.run(['credential', 'rotate', 'try', '--wait'])).toMatchObject({ code: 1 });
    expect((await owner.run(['credential', 'show', 'try'])).stdout).toMatch(/health +needs_consent/);
    expect((await owner.run(['alerts'])).stdout).toMatch(/needs_consent +try staging/);
  });

  it('follows alerts: those there are, oldest first, then each new one once', async () => {
    const mine = { XDG_CONFIG_HOME: owner.config, NO_COLOR: '1', KEYTURN_ADDR: keyturn.url, KEYTURN_TENANT: 'demo' };
    const following = spawn(process.execPath, [join(ROOT, 'src/cli/main.ts'), 'alerts', '--follow', '--limit', '1'], {
      env: { ...process.env, ...mine },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = new Promise((done) => following.once('exit', done));
    let printed = '';
    following.stdout.on('data', (part: Buffer) => {
      printed += part.toString();
    });
    await expect.poll(() => printed, { timeout: 10_000 }).toMatch(/UTC +needs_consent +try/);
    expect(await owner.run(['disconnect', 'try', '--env', 'staging'])).toMatchObject({ code: 0 });
    await expect.poll(() => printed, { timeout: 10_000 }).toMatch(/UTC +disconnected +try/);
    following.kill('SIGTERM');
    await ended;
    expect(printed.split('\n').filter((line) => line.includes(' UTC ')).length, printed).toBe(2);
  });

  it('ends quietly when it is interrupted', async () => {
    const other = spawn(process.execPath, [join(ROOT, 'src/cli/main.ts'), 'sandbox', '--port', '0', '--seed', '2'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let complaint = '';
    other.stderr.on('data', (part: Buffer) => {
      complaint += part.toString();
    });
    const ended = new Promise((done) => other.once('exit', done));
    await new Promise((ready) => other.stdout.once('data', ready));
    other.kill('SIGINT');
    expect(await ended).toBe(0);
    expect(complaint).toBe('');
    expect(await alone.run(['sandbox', '--port', 'high'])).toMatchObject({ code: 2 });
  });
});
