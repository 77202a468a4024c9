// What is piped in is what comes out, byte for byte, by the command line and by the interface; what cannot be kept is refused in words.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunningKeyturn, startKeyturn } from '../../src/node/start.ts';
import { CommandLine } from '../kit/command.ts';

const data = mkdtempSync(join(tmpdir(), 'keyturn-cli-values-'));
let keyturn: RunningKeyturn;
let owner: CommandLine;
let reader: CommandLine;
let token: string;

beforeAll(async () => {
  keyturn = await startKeyturn({ dataDirectory: data, host: '127.0.0.1', port: 0, log: () => {} });
  const place = { KEYTURN_ADDR: keyturn.url, KEYTURN_TENANT: 'acme', KEYTURN_ENVIRONMENT: 'staging' };
  owner = new CommandLine(place);
  await owner.run(['init', '--name', 'ada', '--data', data]);
  await owner.run(['tenant', 'create', 'acme']);
  await owner.run(['workload', 'create', 'reader', '--pattern', '*']);
  token = (await owner.run(['workload', 'token', 'reader', '--expires-in', '2h'])).stdout.trim();
  reader = new CommandLine({ ...place, KEYTURN_TOKEN: token });
});

afterAll(async () => {
  await keyturn.close();
  rmSync(data, { recursive: true, force: true });
});

const SAMPLES: readonly (readonly [string, Uint8Array])[] = [
  ['binary', Uint8Array.from({ length: 256 }, (_, i) => 255 - i)],
  ['latin1', Buffer.from('gru\u00df not-a-real-secret', 'latin1')],
  ['break', Buffer.from('not-a-real-secret\n')],
  ['crlf', Buffer.from('not-a-real-secret\r\n\r\n')],
  ['bom', Buffer.from('\ufeffnot-a-real-secret')],
  ['json', Buffer.from('{"type": "service_account", "id": 12345678901234567890}\n')],
  ['brace', Buffer.from('{not-a-real-secret')],
  ['ssh', Buffer.from('-----BEGIN OPENSSH PRIVATE KEY-----\nbm90LWEtcmVhbC1zZWNyZXQ=\n-----END OPENSSH PRIVATE KEY-----\n')],
];

/** The value as the interface gives it. */
async function served(name: string): Promise<Record<string, unknown>> {
  const path = `${keyturn.url}/v1/tenants/acme/environments/staging/credentials/${name}/value`;
  const answer = await fetch(path, { headers: { authorization: `Bearer ${token}` } });
  expect(answer.status).toBe(200);
  return ((await answer.json()) as { value: Record<string, unknown> }).value;
}

describe('a key that is piped in', () => {
  it.each(SAMPLES)('comes out byte for byte by --raw and by the interface: %s', async (name, bytes) => {
    const put = await owner.run(['cred', 'put', name, '--kind', 'api_key'], bytes);
    expect(put).toMatchObject({ code: 0, stdout: `stored ${name} version 1 in staging\n` });
    const got = await reader.run(['cred', 'get', name, '--raw']);
    expect(got.code, got.stderr).toBe(0);
    expect(got.bytes).toEqual(Buffer.from(bytes));
    const { key, key_base64 } = await served(name);
    expect(key === undefined ? Buffer.from(String(key_base64), 'base64') : Buffer.from(String(key))).toEqual(Buffer.from(bytes));
    if (bytes.at(-1) === 10) expect(put.stderr).toContain(`stored all ${bytes.byteLength} bytes, including the final line break`);
    else expect(put.stderr).toBe('');
  });

  it('comes from a file, and without its last line break when that is asked', async () => {
    const file = join(data, 'key');
    writeFileSync(file, 'not-a-real-secret\r\n');
    for (const flag of ['--value-file', '--from-file']) {
      expect(await owner.run(['cred', 'put', 'file', '--kind', 'api_key', flag, file])).toMatchObject({ code: 0 });
      expect((await reader.run(['cred', 'get', 'file', '--raw'])).bytes).toEqual(readFileSync(file));
    }
    await owner.run(['cred', 'put', 'file', '--kind', 'api_key', '--value-file', file, '--strip-newline']);
    expect((await reader.run(['cred', 'get', 'file', '--raw'])).stdout).toBe('not-a-real-secret');
  });

  it('is the JSON of the whole value only when that is asked', async () => {
    const value = { key: 'not-a-real-secret', key_id: 'AKIAEXAMPLE' };
    await owner.run(['cred', 'put', 'pair', '--kind', 'api_key', '--json-value'], JSON.stringify(value));
    expect(await served('pair')).toEqual(value);
    expect((await owner.run(['cred', 'put', 'pair', '--kind', 'api_key', '--json-value'], 'text')).code).toBe(2);
  });

  it('is refused where it is empty', async () => {
    expect(await owner.run(['cred', 'put', 'none', '--kind', 'api_key'])).toMatchObject({ code: 2 });
  });
});

describe('other kinds', () => {
  it('a password is bytes beside a user name', async () => {
    const bytes = Uint8Array.of(0xff, 0, 10);
    expect(await owner.run(['cred', 'put', 'login', '--kind', 'basic', '--username', 'ada'], bytes)).toMatchObject({ code: 0 });
    expect((await reader.run(['cred', 'get', 'login', '--raw'])).bytes).toEqual(Buffer.from(bytes));
    expect((await reader.run(['cred', 'get', 'login', '--field', 'username'])).stdout).toBe('ada\n');
  });

  it('a document is read once, by the service: a number that nobody could keep is refused and not rounded', async () => {
    const lost = await owner.run(['cred', 'put', 'doc', '--kind', 'json'], '{"id": 12345678901234567890}');
    expect(lost.code).toBe(2);
    expect(lost.stderr).toContain('/value/id');
    const twice = await owner.run(['cred', 'put', 'doc', '--kind', 'json'], '{"id": 1, "id": 2}');
    expect(twice.stderr).toContain('given twice');
    expect(await owner.run(['cred', 'put', 'doc', '--kind', 'json'], '{"id": 1.5, "list": [null, "é"]}\n')).toMatchObject({
      code: 0,
    });
    expect(JSON.parse((await reader.run(['cred', 'get', 'doc', '--raw'])).stdout)).toEqual({ id: 1.5, list: [null, 'é'] });
    expect((await owner.run(['cred', 'put', 'doc', '--kind', 'json'], '{"a":1},"kind":"api_key"')).code).toBe(2);
  });
});

describe('a program that gets values in its environment', () => {
  const script = 'process.stdout.write(process.env.KEY ?? "none")';
  const ran = (name: string) => reader.run(['run', '--env', `KEY=${name}`, '--', process.execPath, '-e', script]);

  it('gets exactly the text, by any name', async () => {
    await owner.run(['cred', 'put', 'Team/DB_PASSWORD', '--kind', 'api_key'], 'not-a-real-secret\n');
    expect(await ran('Team/DB_PASSWORD')).toMatchObject({ code: 0, stdout: 'not-a-real-secret\n' });
    expect(await ran('Team/DB_PASSWORD:key')).toMatchObject({ code: 0, stdout: 'not-a-real-secret\n' });
  });

  it('is not started with what no environment variable can hold, and the refusal says so', async () => {
    await owner.run(['cred', 'put', 'nul', '--kind', 'api_key'], 'a\0b');
    await owner.run(['cred', 'put', 'bytes', '--kind', 'api_key'], Uint8Array.of(0xff));
    expect(await ran('nul')).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringContaining('the value of nul contains a NUL byte, which an environment variable cannot hold'),
    });
    expect(await ran('bytes')).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringContaining('bytes that are not UTF-8 text'),
    });
  });
});

it('an end date that has passed is said beside the value, which is served', async () => {
  const old = await owner.run(['cred', 'put', 'old', '--kind', 'api_key', '--expires-at', '2020-01-01'], 'not-a-real-secret');
  expect(old.stderr).toContain('has passed already');
  const got = await reader.run(['cred', 'get', 'old', '--raw']);
  expect(got).toMatchObject({ code: 0, stdout: 'not-a-real-secret' });
  expect(got.stderr).toContain('the end date of old has passed (2020-01-01T00:00:00.000Z)');
  expect((await owner.run(['cred', 'list', '--health', 'expired'])).stdout).toMatch(/old +api_key +1 +expired/);
  expect((await owner.run(['forecast'])).stdout).toMatch(/ended +2020-01-01 +old/);
});
