// `npm run new:connector` in a copy of the repository: what it writes passes the checks and the contract suite at once.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '..', '..');
const COPIED = ['src', 'rotation', 'test', 'docs', 'policies', 'package.json', 'tsconfig.json', 'biome.json', 'vitest.config.ts'];
const MINUTES = 60_000;
let copy = '';

beforeAll(() => {
  copy = mkdtempSync(join(tmpdir(), 'keyturn-new-connector-'));
  for (const name of COPIED) cpSync(join(ROOT, name), join(copy, name), { recursive: true });
  symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
}, MINUTES);
afterAll(() => rmSync(copy, { recursive: true, force: true }));

function run(script: string, ...args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(copy, script), ...args], { cwd: copy, encoding: 'utf8' });
  return { status, said: `${stdout}${stderr}` };
}

const make = (...args: readonly string[]) => run('test/rotation/new-connector.ts', ...args);
const MADE = [
  ['example-crm-api-key', 'api_key', 'overlap'],
  ['example-mail-login', 'basic', 'overlap'],
  ['example-robot-file', 'json', 'in_place'],
  ['example-by-hand', 'api_key', 'manual'],
] as const;

describe('npm run new:connector', () => {
  it('writes connectors that pass lint, types and the contract suite', { timeout: 5 * MINUTES }, () => {
    for (const [id, kind, strategy] of MADE) {
      const { status, said } = make('--id', id, '--title', `Example (${id})`, '--kind', kind, '--strategy', strategy);
      expect(status, said).toBe(0);
      expect(said).toContain(`wrote rotation/connectors/${id}.ts`);
      expect(readFileSync(join(copy, 'rotation', 'catalog.ts'), 'utf8')).toContain(`./connectors/${id}.ts`);
      expect(readFileSync(join(copy, 'docs', 'connectors.md'), 'utf8')).toContain(`### ${id}`);
    }
    const files = MADE.flatMap(([id]) => [`rotation/connectors/${id}.ts`, `test/rotation/connectors/${id}.test.ts`]);
    const linted = run('node_modules/@biomejs/biome/bin/biome', 'check', ...files);
    expect(linted.status, linted.said).toBe(0);
    // The new files and what they import; the whole is the subject of `npm run check`.
    const own = { extends: './tsconfig.json', include: [...files, 'src/*.d.ts', 'test/**/*.d.ts'] };
    writeFileSync(join(copy, 'tsconfig.own.json'), JSON.stringify(own));
    const typed = run('node_modules/typescript/bin/tsc', '--noEmit', '-p', 'tsconfig.own.json');
    expect(typed.status, typed.said).toBe(0);
    const suites = ['test/rotation/connectors.test.ts', 'test/rotation/key-connectors.test.ts', 'test/rotation/connectors'];
    const tested = run(
      'node_modules/vitest/vitest.mjs',
      'run',
      '--project=node',
      '-t',
      'example-|catalog|connectors.md|replaces a key|tells a person',
      ...suites,
    );
    expect(tested.status, tested.said).toBe(0);
  });

  it.each([
    [['--id', 'Example'], 'the option --id is not allowed: words of a-z'],
    [['--title', 'x'], 'the option --id is missing'],
    [['--id', 'a-b', '--title', "it's", '--kind', 'json', '--strategy', 'overlap'], 'the option --title is not allowed'],
    [['--id', 'a-b', '--title', 'A', '--kind', 'oauth2', '--strategy', 'overlap'], 'the option --kind is not allowed: api_key'],
    [['--id', 'a-b', '--title', 'A', '--kind', 'json', '--strategy', 'x'], 'the option --strategy is not allowed: overlap'],
    [['--id', 'sendgrid-api-key', '--title', 'A', '--kind', 'json', '--strategy', 'overlap'], 'names a connector that exists'],
  ])('refuses %j and writes nothing', (args, message) => {
    const before = readFileSync(join(copy, 'rotation', 'catalog.ts'), 'utf8');
    const { status, said } = make(...args);
    expect([status, said]).toEqual([64, expect.stringContaining(message)]);
    expect(readFileSync(join(copy, 'rotation', 'catalog.ts'), 'utf8')).toBe(before);
    expect(existsSync(join(copy, 'rotation', 'connectors', 'a-b.ts'))).toBe(false);
  });
});
