// A stored token goes to the address it was made for and to no other: origin and path base.
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { CommandLine } from '../kit/command.ts';

const TOKEN = 'kt_usr_not-a-real-secret';
const USER = { name: 'ada', type: 'user', id: 'usr_1', roles: ['owner'], tenants: ['*'], environment: null };
interface Seen {
  readonly server: string;
  readonly url: string;
  readonly token: string | undefined;
}
const owner = (id: string, offboarded_at: string | null = null) => ({
  id,
  offboarded_at,
  grants: [{ role: 'owner', tenant: '*' }],
});
let owners: readonly unknown[] = [];
let seen: Seen[] = [];
const servers: Server[] = [];
let first = '';
let second = '';
let cli: CommandLine;

async function serve(name: string): Promise<string> {
  const server = createServer((request, answer) => {
    seen.push({ server: name, url: request.url ?? '', token: request.headers.authorization });
    answer.setHeader('content-type', 'application/json');
    if (request.url?.endsWith('/v1/setup'))
      answer.writeHead(201).end(JSON.stringify({ user: USER, token: { token: TOKEN, expires_at: 'then' } }));
    else if (request.url?.includes('/v1/users')) answer.end(JSON.stringify({ items: owners, next_cursor: null }));
    else if (request.url?.endsWith('/health')) answer.end(JSON.stringify({ status: 'ok', version: '0.0.0', parts: {} }));
    else answer.end(JSON.stringify(USER));
  });
  servers.push(server);
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

beforeAll(async () => {
  first = await serve('first');
  second = await serve('second');
});
afterAll(() => {
  for (const server of servers) server.close();
});
beforeEach(async () => {
  seen = [];
  owners = [owner('usr_1'), owner('usr_2')];
  cli = new CommandLine({ KEYTURN_MAX_RETRIES: '0' });
  expect(await cli.run(['login', '--address', `${first}/vault/`], TOKEN)).toMatchObject({ code: 0 });
});
afterEach(() => rmSync(cli.config, { recursive: true, force: true }));

const config = () => join(cli.config, 'keyturn', 'config.json');
const stored = () => JSON.parse(readFileSync(config(), 'utf8')) as { tokens: Record<string, string>; address: string };
const tokensAt = (server: string) => seen.filter((one) => one.server === server && one.token !== undefined);

describe('a stored token', () => {
  it('goes to the address it was made for, under the path it has there', async () => {
    expect(seen).toEqual([{ server: 'first', url: '/vault/v1/whoami', token: `Bearer ${TOKEN}` }]);
    seen = [];
    for (const spelt of [[], ['--address', `${first}/vault`], ['--address', `${first}/vault//`]])
      expect((await cli.run(['whoami', ...spelt])).code).toBe(0);
    expect(seen.map(({ url, token }) => [url, token])).toEqual(Array(3).fill(['/vault/v1/whoami', `Bearer ${TOKEN}`]));
  });

  it('is not sent to another host, port or path, whether a variable or a flag names it, and what to do is said', async () => {
    seen = [];
    const elsewhere = [second, first, `${first}/vault2`, `${first}/vault/more`, first.replace('127.0.0.1', 'localhost')];
    for (const address of elsewhere) {
      for (const [args, env] of [
        [['--address', address], {}],
        [[], { KEYTURN_ADDR: address }],
      ] as const) {
        const { code, stderr } = await cli.run(['whoami', ...args], '', env);
        expect([address, code]).toEqual([address, 3]);
        expect(stderr).toContain(`the stored token is for ${first}/vault and is not sent to ${address}`);
        expect(stderr).toContain(`keyturn login --address ${address}`);
      }
    }
    expect(seen).toEqual([]);
    expect((await cli.run(['status', '--address', second])).code).toBe(0);
    expect(tokensAt('second')).toEqual([]);
  });

  it('stays beside the one of another address, and each goes its own way', async () => {
    const other = `${TOKEN}-2`;
    expect((await cli.run(['login', '--address', second], other)).code).toBe(0);
    expect(stored().tokens).toEqual({ [`${first}/vault`]: TOKEN, [second]: other });
    seen = [];
    await cli.run(['whoami']);
    await cli.run(['whoami', '--address', `${first}/vault`]);
    expect(seen.map(({ server, token }) => [server, token])).toEqual([
      ['second', `Bearer ${other}`],
      ['first', `Bearer ${TOKEN}`],
    ]);
    expect((await cli.run(['logout'])).stderr).toContain('is deleted');
    expect(stored().tokens).toEqual({ [`${first}/vault`]: TOKEN });
    expect((await cli.run(['logout'])).stderr).toContain(`tokens are stored for ${first}/vault`);
  });

  it.each([
    ['the only owner', [owner('usr_1')], 6, /the token of the only owner/],
    ['the only owner who is left', [owner('usr_1'), owner('usr_2', '2026-01-01T00:00:00Z')], 6, /the token of the only owner/],
    ['an owner of whom nobody knows whether there is another', [null], 7, /did not answer whether/],
  ])('of %s is deleted only with --yes', async (_who, known, code, says) => {
    owners = known;
    const refused = await cli.run(['logout']);
    expect(refused).toMatchObject({ code, stderr: expect.stringMatching(says) });
    expect(refused.stderr).toContain('--yes');
    expect(stored().tokens).toHaveProperty([`${first}/vault`]);
    expect((await cli.run(['logout', '--yes'])).stderr).toContain('is deleted');
    expect(stored().tokens).toEqual({});
  });

  it('of a config file of before is bound to the address beside it', async () => {
    writeFileSync(config(), JSON.stringify({ address: second, token: TOKEN }), { mode: 0o600 });
    seen = [];
    expect((await cli.run(['whoami'])).code).toBe(0);
    expect((await cli.run(['whoami', '--address', first])).code).toBe(3);
    expect(seen.map(({ server }) => server)).toEqual(['second']);
  });

  it('is not read from a config file that others may touch', async () => {
    for (const mode of [0o644, 0o660]) {
      chmodSync(config(), mode);
      const { code, stderr } = await cli.run(['whoami']);
      expect([code, stderr.includes(`has mode 0${mode.toString(8)}`), stderr.includes('chmod 600')]).toEqual([2, true, true]);
    }
  });

  it('lies in a file and a folder that only its owner may touch, made anew, whatever was there', async () => {
    chmodSync(config(), 0o600);
    chmodSync(join(cli.config, 'keyturn'), 0o777);
    symlinkSync(join(cli.config, 'elsewhere'), `${config()}.new`);
    expect((await cli.run(['login', '--address', second], TOKEN)).code).toBe(0);
    expect(existsSync(join(cli.config, 'elsewhere'))).toBe(false);
    expect(statSync(config()).mode & 0o777).toBe(0o600);
    expect(statSync(join(cli.config, 'keyturn')).mode & 0o777).toBe(0o700);
  });
});

describe('an address', () => {
  it.each([
    'http://ada:not-a-real-secret@127.0.0.1:1/',
    'http://127.0.0.1:1/?x=not-a-real-secret',
    'http://127.0.0.1:1/#x',
    'nonsense',
  ])('is scheme, host, port and path: %s is refused', async (address) => {
    const { code, stderr } = await cli.run(['status', '--address', address]);
    expect(code).toBe(2);
    expect(stderr).toContain('the address must be');
    expect(stderr).not.toContain('not-a-real-secret');
  });
});

describe('the bootstrap secret in a folder of this machine', () => {
  it('is sent to another machine only when --address says so', async () => {
    const data = join(cli.config, 'data');
    mkdirSync(data, { mode: 0o700 });
    writeFileSync(join(data, 'bootstrap-secret'), 'not-a-real-secret\n', { mode: 0o600 });
    const away = await cli.run(['init', '--data', data], '', { KEYTURN_ADDR: 'https://vault.example.com' });
    expect(away.code).toBe(2);
    expect(away.stderr).toMatch(/is not sent to https:\/\/vault\.example\.com[\s\S]*--address http:\/\/127\.0\.0\.1:8420/);
    expect(await cli.run(['init', '--data', data], '', { KEYTURN_ADDR: second })).toMatchObject({ code: 0 });
    expect(tokensAt('second').map(({ token }) => token)).toEqual(['Bearer not-a-real-secret']);
    expect((await cli.run(['init', '--data', data, '--address', 'https://127.0.0.1:1'])).code).toBe(7);
  });
});
