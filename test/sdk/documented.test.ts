// docs/sdk.md: its example compiles under this project's strict settings and does what its comments say.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunningKeyturn, startKeyturn } from '../../src/node/start.ts';
import { CREDENTIALS, clientOf, setUpOwner } from '../kit/node-process.ts';

const ROOT = join(import.meta.dirname, '../..');
const folder = mkdtempSync(join(tmpdir(), 'keyturn-sdk-'));
const example = join(folder, 'example.ts');
const KEY = 'not-a-real-secret-of-stripe';
let keyturn: RunningKeyturn;
let environment: Record<string, string>;

interface Ended {
  readonly code: number | null;
  readonly text: string;
}

function run(args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, { cwd: ROOT, env: { PATH: process.env['PATH'] ?? '', ...env } });
    let text = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (part: Buffer) => (text += part.toString()));
    child.on('close', (code) => resolve({ code, text }));
  });
}

beforeAll(async () => {
  const shown = /```ts\n([\s\S]*?)```/.exec(readFileSync(join(ROOT, 'docs/sdk.md'), 'utf8'))?.[1] ?? '';
  expect(shown).toContain("'../src/sdk/node.ts'");
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  writeFileSync(example, shown.replace('../src/sdk/node.ts', join(ROOT, 'src/sdk/node.ts')));
  keyturn = await startKeyturn({ dataDirectory: join(folder, 'data'), host: '127.0.0.1', port: 0, log: () => {} });
  const owner = clientOf(keyturn.url, await setUpOwner(keyturn.url, join(folder, 'data')));
  await owner('POST', '/v1/tenants', { name: 'acme' });
  await owner('PUT', `${CREDENTIALS}/stripe`, { kind: 'api_key', value: { key: KEY } });
  const workload = { name: 'nightly-sync', environment: 'staging', patterns: ['stripe'], permissions: ['read'] };
  const { client_id, client_secret } = (await owner('POST', '/v1/tenants/acme/workloads', workload)).body;
  environment = { KEYTURN_ADDR: keyturn.url, KEYTURN_CLIENT_ID: client_id, KEYTURN_CLIENT_SECRET: client_secret };
});
afterAll(async () => {
  await keyturn.close();
  rmSync(folder, { recursive: true, force: true });
});

describe('the example of the TypeScript client', () => {
  it('compiles', { timeout: 120_000 }, async () => {
    const project = join(folder, 'tsconfig.json');
    const compilerOptions = { typeRoots: [join(ROOT, 'node_modules/@types')], skipLibCheck: true };
    writeFileSync(
      project,
      JSON.stringify({ extends: join(ROOT, 'tsconfig.json'), compilerOptions, include: [], files: [example] }),
    );
    expect(await run([join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', project])).toEqual({ code: 0, text: '' });
  });

  it('reads the value as a workload, prints none of it, and ends with the problem where it may not', async () => {
    const read = await run([example], environment);
    expect(read).toEqual({ code: 0, text: `version 1, ready, [redacted]\na key of ${KEY.length} characters\n` });
    const secret = environment['KEYTURN_CLIENT_SECRET'] ?? '';
    const forged = `${secret.slice(0, -1)}${secret.endsWith('0') ? '1' : '0'}`;
    const wrong = await run([example], { ...environment, KEYTURN_CLIENT_SECRET: forged });
    expect(wrong).toMatchObject({ code: 1, text: expect.stringMatching(/^[a-z_]+: /) });
    expect(wrong.text).not.toContain(KEY);
  });
});
