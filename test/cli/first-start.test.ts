// What a first start has to show is shown until somebody could see it: a start that failed or was killed does not use it up.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CommandLine } from '../kit/command.ts';

const MAIN = join(import.meta.dirname, '../../src/cli/main.ts');
const ROOT_KEY = /A root key was created in \S+root\.key/;
const folder = mkdtempSync(join(tmpdir(), 'keyturn-first-'));
const cli = new CommandLine();
let taken: Server;
let port = 0;

beforeAll(async () => {
  taken = createServer();
  await new Promise<void>((done) => taken.listen(0, '127.0.0.1', done));
  port = (taken.address() as { port: number }).port;
});
afterAll(() => {
  taken.close();
  for (const path of [folder, cli.config]) rmSync(path, { recursive: true, force: true });
});

/** Serves until it says `sign`, then ends it with this signal; resolves to all it said. */
function serveUntil(data: string, sign: string, signal: NodeJS.Signals, flags: readonly string[] = []): Promise<string> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [MAIN, 'serve', '--port', '0', '--data', data, ...flags], {
      env: { PATH: process.env['PATH'], HOME: folder, NO_COLOR: '1' },
    });
    let said = '';
    child.stderr.on('data', (part: Buffer) => {
      said += part.toString();
      if (said.includes(sign)) child.kill(signal);
    });
    child.on('close', () => resolve(said));
  });
}

describe('the note about the root key', () => {
  it('is shown by the first start that comes up, not used up by one whose port is taken, and not repeated', {
    timeout: 60_000,
  }, async () => {
    const data = join(folder, 'port-taken');
    const failed = await cli.run(['serve', '--data', data, '--port', String(port)]);
    expect(failed.code).toBe(1);
    expect(failed.stderr).toContain(`port ${port} is in use`);
    expect(existsSync(data)).toBe(false);
    const first = await serveUntil(data, 'stop with Ctrl-C', 'SIGTERM');
    expect(first).toMatch(ROOT_KEY);
    expect(JSON.parse(readFileSync(join(data, 'shown.json'), 'utf8'))).toEqual({ root_key_note: expect.stringMatching(/^20/) });
    expect(await serveUntil(data, 'stop with Ctrl-C', 'SIGTERM')).not.toMatch(ROOT_KEY);
    writeFileSync(join(data, 'shown.json'), '{"root_key_no', { mode: 0o600 });
    expect(await serveUntil(data, 'stop with Ctrl-C', 'SIGTERM')).toMatch(ROOT_KEY);
  });

  it('is not for an installation with a passphrase', async () => {
    const file = join(folder, 'passphrase');
    writeFileSync(file, 'not a real secret but long enough', { mode: 0o600 });
    const data = join(folder, 'with-passphrase');
    expect(await serveUntil(data, 'stop with Ctrl-C', 'SIGTERM', ['--passphrase-file', file])).not.toMatch(ROOT_KEY);
  });
});

describe('the tour', () => {
  it('comes again when it was killed at any of its steps, goes all the way then, and is not repeated', {
    timeout: 120_000,
  }, async () => {
    const data = join(folder, 'killed');
    for (const sign of ['A short tour', 'created a tenant', 'connected a credential', 'fetched the token']) {
      expect(await serveUntil(data, sign, 'SIGKILL', ['--tour'])).toContain('A short tour');
    }
    const whole = await serveUntil(data, 'stop with Ctrl-C', 'SIGTERM', ['--tour']);
    expect(whole).not.toContain('✗');
    expect(whole).toMatch(/refreshed automatically[\s\S]*nothing edited or missing/);
    expect(await serveUntil(data, 'stop with Ctrl-C', 'SIGTERM', ['--tour'])).not.toContain('A short tour');
  });
});

describe('a data directory that cannot be used', () => {
  it('is named with the cause', async () => {
    const file = join(folder, 'a-file');
    writeFileSync(file, '');
    const below = join(file, 'data');
    expect((await cli.run(['serve', '--data', below, '--port', '0'])).stderr).toContain(
      `error: the data directory cannot be used (${below}: a part of the path is not a directory, ENOTDIR)`,
    );
    expect((await cli.run(['serve', '--data', file, '--port', '0'])).stderr).toMatch(
      new RegExp(`error: the data directory .*\\(${file}`),
    );
  });
});
