// The tour itself runs in a process of its own: the sandbox it starts lives as long as the process.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'keyturn-tour-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('the tour of a first start goes all the way, shows no token, and is not repeated', { timeout: 40_000 }, async () => {
  const once = (): Promise<string> =>
    new Promise((resolve) => {
      const child = spawn(process.execPath, [MAIN, 'serve', '--tour', '--port', '0', '--data', join(folder, 'data')], {
        env: { PATH: process.env['PATH'], HOME: folder, NO_COLOR: '1' },
      });
      let said = '';
      child.stderr.on('data', (part: Buffer) => {
        said += part.toString();
        if (said.includes('stop with Ctrl-C')) child.kill('SIGTERM');
      });
      child.on('close', () => resolve(said));
    });
  const first = await once();
  expect(first).not.toContain('✗');
  expect(first.match(/✓/g)).toHaveLength(10);
  expect(first).toMatch(/refreshed automatically/);
  expect(first).toMatch(/proved dead: the provider refuses it/);
  expect(first).not.toMatch(/sbx-/);
  expect(first).toMatch(/nothing edited or missing/);
  expect(first).not.toContain(readFileSync(join(folder, 'data', 'bootstrap-secret'), 'utf8').trim());
  expect(await once()).not.toContain('A short tour');
});
