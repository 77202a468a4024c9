// DESIGN section 2 and 4, executed: the import table, what may touch the machine, and how files are named and headed.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { describe, expect, test } from 'vitest';
import { checkArchitecture, longFiles, partOf, type SourceFile } from './kit/architecture.ts';
import { codeOf, importsOf } from './kit/source-text.ts';

const ROOT = join(import.meta.dirname, '..');

function sources(folder: string): SourceFile[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(ts|tsx|mjs)$/.test(entry.name))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)).split(sep).join('/'))
    .filter((path) => !path.includes('node_modules/'))
    .sort()
    .map((path) => ({ path, text: readFileSync(join(ROOT, path), 'utf8') }));
}

const HEAD = '// A made-up module.\n';
const planted = (path: string, text: string) => checkArchitecture([{ path, text: HEAD + text }]);

describe('the source', () => {
  const files = ['src', 'rotation', 'test', 'bench'].filter((folder) => existsSync(join(ROOT, folder))).flatMap(sources);

  test('is found: every part of the house has files, and their imports are seen', () => {
    const parts = new Set(files.map((file) => partOf(file.path)));
    expect([...parts]).toEqual(
      expect.arrayContaining([
        'base',
        'crypto',
        'cell',
        'audit',
        'access',
        'vault',
        'http',
        'engine',
        'connector',
        'cli',
        'test',
      ]),
    );
    const edges = files.flatMap((file) => importsOf(file.text));
    expect(edges.length).toBeGreaterThan(files.length * 2);
    expect(edges.filter((edge) => !/^[@a-z.<][^\s'"]*$/.test(edge.specifier))).toEqual([]);
  });

  test('follows the house in every file', () => {
    const violations = checkArchitecture(files);
    for (const long of longFiles(files)) console.warn(long);
    if (violations.length > 0) expect.fail(`${violations.length} violations:\n${violations.join('\n')}`);
  });
});

describe('the import table', () => {
  test.each([
    ['src/base/x.ts', '../crypto/y.ts'],
    ['src/crypto/x.ts', '../cell/y.ts'],
    ['src/cell/x.ts', '../audit/y.ts'],
    ['src/audit/x.ts', '../access/y.ts'],
    ['src/access/x.ts', '../vault/y.ts'],
    ['src/vault/x.ts', '../http/y.ts'],
    ['src/vault/x.ts', '../../rotation/engine/y.ts'],
    ['src/vault/x.ts', '../../rotation/connector.ts'],
    ['rotation/engine/x.ts', '../../src/http/y.ts'],
    ['rotation/engine/x.ts', '../connectors/hubspot.ts'],
    ['rotation/connectors/x.ts', '../../src/vault/y.ts'],
    ['rotation/connectors/x.ts', '../engine/y.ts'],
    ['rotation/connectors/x.ts', './other.ts'],
    ['rotation/oauth2/x.ts', '../../src/crypto/y.ts'],
    ['src/http/x.ts', '../console/y.ts'],
    ['src/http/x.ts', '../node/start.ts'],
    ['src/vault/x.ts', '../../rotation/grants/y.ts'],
    ['rotation/engine/x.ts', '../grants/y.ts'],
    ['rotation/oauth2/x.ts', '../engine/y.ts'],
    ['rotation/grants/x.ts', '../keys/y.ts'],
    ['src/node/x.ts', '../worker/y.ts'],
    ['src/worker/x.ts', '../node/y.ts'],
    ['src/sdk/x.ts', '../vault/y.ts'],
    ['src/sdk/x.ts', '../http/v1/wire.ts'],
    ['src/http/x.ts', '../../rotation/catalog.ts'],
    ['rotation/engine/x.ts', '../catalog.ts'],
    ['src/cli/x.ts', '../cell/y.ts'],
    ['src/cli/main.ts', '../node/start.ts'],
    ['src/vault/x.ts', '../node/sqlite.ts'],
    ['src/vault/x.ts', '../../test/kit/y.ts'],
    ['src/http/x.ts', '../elsewhere/y.ts'],
  ])('keeps %s from importing %s', (path, specifier) => {
    expect(planted(path, `import { y } from '${specifier}';\n`)).toEqual([expect.stringMatching(`^${path}:2 import: `)]);
  });

  test.each([
    ['src/access/x.ts', '../cell/y.ts'],
    ['src/http/x.ts', '../../rotation/engine/y.ts'],
    ['rotation/engine/x.ts', '../connector.ts'],
    ['rotation/connectors/x.ts', '../connector.ts'],
    ['rotation/connectors/x.ts', '../../src/base/y.ts'],
    ['src/console/x.ts', '../http/v1/wire.ts'],
    ['src/node/x.ts', '../http/app.ts'],
    ['src/node/x.ts', '../../rotation/catalog.ts'],
    ['src/alerts/deliver-webhooks.ts', '../../rotation/engine/y.ts'],
    ['rotation/grants/consent/x.ts', '../../engine/y.ts'],
    ['rotation/catalog.ts', './connectors/hubspot.ts'],
    ['src/access/x.ts', '../../policies/schema.cedarschema'],
  ])('lets %s import %s', (path, specifier) => {
    expect(planted(path, `import { y } from '${specifier}';\n`)).toEqual([]);
  });

  test('sees an import however it is written, at its line', () => {
    const forms = [
      "import type { A } from '../vault/y.ts';",
      "import {\n  type A,\n  B, // from 'nowhere'\n} from '../vault/y.ts';",
      "export * from '../vault/y.ts';",
      'export { a as b } from "../vault/y.ts";',
      "import '../vault/y.ts';",
      "const y = await import('../vault/y.ts');",
      'const y = await import(\n  `../vault/y.ts`\n);',
      "let t: import('../vault/y.ts').T;",
      "const y = require('../vault/y.ts');",
    ];
    for (const form of forms)
      expect(planted('src/cell/x.ts', form), form).toEqual([expect.stringContaining('cell may not import vault')]);
    expect(planted('src/cell/x.ts', `\n\n\n${forms[1]}`)).toEqual([expect.stringMatching(/^src\/cell\/x\.ts:8 /)]);
    expect(planted('src/cell/x.ts', 'const y = await import(name);')).toEqual([expect.stringContaining('computed')]);
    expect(planted('src/cell/x.ts', 'const y = await import(`../vault/$' + '{name}.ts`);')).toEqual([
      expect.stringContaining('computed'),
    ]);
  });

  test('sees none in comments, strings, templates and regular expressions', () => {
    const text = [
      "// import { y } from '../vault/y.ts';",
      "/* import '../vault/y.ts'; Date.now() */",
      'const a = "import x from \'../vault/y.ts\'; Math.random()";',
      'const b = `process.exit() $' + "{a + `fetch('x')`} takeAccessMint`;",
      "const c = /from '..\\/vault\\/y.ts'/.test(a) ? 4 / 2 : /[/'\"]/u;",
      "const d = Array.from('x'); // it's over",
      'const e = "// not a comment";',
    ].join('\n');
    expect(planted('src/cell/x.ts', text)).toEqual([]);
  });

  test('lets the client know the shapes of the wire, and load nothing of them', () => {
    expect(
      planted('src/sdk/x.ts', "import type {\n  A,\n} from '../http/v1/wire.ts';\nexport type { B } from '../http/v1/wire.ts';"),
    ).toEqual([]);
    expect(planted('src/sdk/x.ts', "import { type A } from '../http/v1/wire.ts';")).toEqual([
      expect.stringContaining('types only'),
    ]);
    expect(planted('src/sdk/x.ts', "import type from '../http/v1/wire.ts';")).toEqual([expect.stringContaining('types only')]);
  });

  test('lets cli load the composition root lazily, and nobody else', () => {
    const lazy = "const { start } = await import('../node/start.ts');";
    expect(planted('src/cli/main.ts', lazy)).toEqual([]);
    expect(planted('src/vault/x.ts', lazy)).toEqual([expect.stringContaining('vault may not import node')]);
  });
});

describe('what touches the machine', () => {
  test.each([
    'node:fs',
    'fs',
    'fs/promises',
    'node:crypto',
    'cloudflare:workers',
    'better-sqlite3',
    'mysql2/promise',
    '@hono/node-server/conninfo',
  ])('%s is kept out of use cases', (name) => {
    const text = `import { y } from '${name}';\n`;
    expect(planted('src/vault/x.ts', text)).toEqual([
      `src/vault/x.ts:2 runtime: ${name} belongs to src/node, src/worker and cli`,
    ]);
    for (const path of ['src/node/x.ts', 'src/worker/x.ts', 'src/cli/x.ts']) expect(planted(path, text), path).toEqual([]);
  });

  test('node:crypto is for src/crypto, and nothing else of Node', () => {
    expect(planted('src/crypto/x.ts', "import { hkdfSync } from 'node:crypto';")).toEqual([]);
    expect(planted('src/crypto/x.ts', "import { readFileSync } from 'node:fs';")).toHaveLength(1);
  });

  test.each([
    'Date.now()',
    'new Date()',
    'Date\n  .now()',
    'performance.now()',
    'Math.random()',
    'crypto.randomUUID()',
    "process.env['HOME']",
    "process['env']",
    'process?.exit()',
    'globalThis.fetch',
    "fetch('https://example.com')",
    'setTimeout(() => {}, 5)',
    'setInterval(f, 5)',
    'setImmediate(f)',
    'AbortSignal.timeout(5)',
  ])('%j is passed in, not taken', (expression) => {
    expect(planted('src/vault/x.ts', `const a = ${expression};`)).toEqual([
      expect.stringMatching(/^src\/vault\/x\.ts:2 global: /),
    ]);
    expect(planted('src/node/x.ts', `const a = ${expression};`)).toEqual([]);
  });

  test.each([
    'new Date(atMs)',
    'egress.fetch(request)',
    'timers.setTimeout(f, 5)',
    'subprocess.x',
    'dateNow()',
    'this.#process.x',
  ])('%j is nobody else', (expression) => {
    expect(planted('src/vault/x.ts', `const a = ${expression};`)).toEqual([]);
  });
});

describe('the door', () => {
  test('is the only place that takes the mint', () => {
    const text = "import { takeAccessMint } from '../cell/access.ts';";
    expect(planted('src/access/guard.ts', text)).toEqual([]);
    expect(planted('src/access/other.ts', text)).toEqual([expect.stringContaining('only src/access/guard.ts')]);
    expect(planted('test/access/other.test.ts', text)).toEqual([expect.stringContaining('only src/access/guard.ts')]);
  });

  test('keeps SQL in the cell, and a change of rows from what may only look', () => {
    expect(planted('src/vault/x.ts', "vault.sql.run('DELETE FROM token');")).toEqual([
      expect.stringContaining('SQL is reachable'),
    ]);
    for (const path of ['rotation/grants/x.ts', 'src/audit/x.ts', 'src/access/x.ts', 'src/http/x.ts'])
      expect(planted(path, 'cell.sql.all<Row>(query);'), path).toHaveLength(1);
    // By another name it would be as much SQL: outside the cell and the drivers nobody holds it.
    expect(planted('src/audit/x.ts', 'const { sql: database } = rows;')).toHaveLength(1);
    expect(planted('src/vault/x.ts', "import type { Sql } from '../cell/sql.ts';")).toHaveLength(1);
    // The opening of a cell hands the driver's database on, and asks it nothing.
    expect(planted('src/vault/open-cell.ts', 'const rows = new CellRows(kind, options.sql);')).toEqual([]);
    expect(planted('src/vault/open-cell.ts', 'options.sql.get(query);')).toHaveLength(1);
    const method = (access: string, statement: string) =>
      `class Store {\n  drop(access: ${access}, id: string): void {\n    this.#sql.run('${statement}', id);\n  }\n}\n`;
    expect(planted('src/cell/x.ts', method('Lookup', 'DELETE FROM token WHERE id = ?'))).toEqual([
      'src/cell/x.ts:3 door: drop changes rows for a Lookup',
    ]);
    expect(planted('src/cell/x.ts', method('ReadAccess', 'UPDATE token SET x = ?'))).toHaveLength(1);
    expect(planted('src/cell/x.ts', method('WriteAccess', 'DELETE FROM token WHERE id = ?'))).toEqual([]);
    expect(planted('src/cell/x.ts', method('Lookup', 'SELECT 1 FROM token WHERE id = ?'))).toEqual([]);
  });

  test.each(['{} as Lookup', '{} as unknown as WriteAccess', '{} as\n  any as ReadAccess', '[x] as Bookkeeping[]'])(
    'is not passed by %j',
    (expression) => {
      expect(planted('test/cell/x.test.ts', `const a = ${expression};`)).toEqual([expect.stringContaining('never by a cast')]);
    },
  );
});

describe('files', () => {
  test.each(['src/vault/Utils.ts', 'src/vault/putCredential.ts', 'src/vault/put_credential.ts'])(
    '%s is not kebab-case',
    (path) => {
      expect(planted(path, '')).toEqual([`${path}:1 name: files are kebab-case`]);
    },
  );

  test.each([
    'src/vault/utils.ts',
    'src/vault/token-helpers.ts',
    'rotation/service.ts',
    'test/kit/common.ts',
    'src/cell/sql-impl.ts',
  ])('%s has a name that says nothing', (path) => {
    expect(planted(path, '')).toEqual([expect.stringContaining('says nothing')]);
  });

  test('past 400 lines are asked why, and are headed by one to three lines', () => {
    const long = (count: number) => longFiles([{ path: 'src/vault/x.ts', text: 'const a = 1;\n'.repeat(count) }]);
    expect(long(400)).toEqual([]);
    expect(long(401)).toEqual([expect.stringMatching(/^src\/vault\/x\.ts: 401 lines/)]);
    expect(checkArchitecture([{ path: 'src/vault/x.ts', text: "import 'a';\n// late\n" }])).toEqual([
      expect.stringContaining('head: the module starts'),
    ]);
    expect(planted('src/vault/x.ts', '// 2\n// 3\n// 4\nconst a = 1;')).toEqual([expect.stringContaining('head: 4 lines')]);
    expect(checkArchitecture([{ path: 'src/cli/x.mjs', text: `#!/usr/bin/env node\n${HEAD}` }])).toEqual([]);
  });

  test('outside the rooms of the house are refused', () => {
    for (const path of ['src/x.ts', 'src/lib/x.ts', 'rotation/lib/x.ts'])
      expect(planted(path, ''), path).toEqual([expect.stringContaining('not part of the house')]);
  });
});

describe('tests', () => {
  test('that are skipped give a reason, and .only never stays', () => {
    const check = (text: string) => planted('test/x.test.ts', `\n${text}`);
    expect(check("test.skip('x', () => {});")).toEqual([expect.stringContaining('.skip needs its reason')]);
    expect(check("describe.concurrent.todo('x');")).toHaveLength(1);
    expect(check("test.skipIf(isAbsent)('x', () => {});")).toHaveLength(1);
    expect(check("// the vectors are not copied\ntest.skipIf(isAbsent)('x', () => {});")).toEqual([]);
    expect(check("if (isAbsent) console.warn('skipped');\ntest.skipIf(isAbsent)('x', () => {});")).toEqual([]);
    expect(check("// because\ntest.only('x', () => {});")).toEqual([expect.stringContaining('.only hides')]);
  });
});

describe('the reader of sources', () => {
  test('keeps every offset, so that lines are right', () => {
    const text = "const a = 'x'; // y\n/* z\n */ const b = `p$" + '{1 + /}/.source}q`;\n';
    const code = codeOf(text);
    expect(code).toHaveLength(text.length);
    expect(code).toBe("const a = ' ';     \n    \n    const b = ` $" + '{1 + / /.source} `;\n');
  });

  test('reports every violation of a file, in order', () => {
    const text = "import { y } from '../http/y.ts';\nconst a = Math.random() + Date.now();\nconst b = {} as Lookup;\n";
    expect(planted('src/cell/utils.ts', text).map((violation) => violation.split(' ', 2).join(' '))).toEqual([
      'src/cell/utils.ts:1 name:',
      'src/cell/utils.ts:2 import:',
      'src/cell/utils.ts:3 global:',
      'src/cell/utils.ts:3 global:',
      'src/cell/utils.ts:4 door:',
    ]);
  });
});

describe('the way out', () => {
  test.each([
    'await ports.egress.send(request);',
    'const { vault, egress } = ports;',
    'function call({ egress }: DueWorkPorts) {}',
    'const { egress } = this.#o;',
  ])('is bound to the settings of the secrets: %s', (line) => {
    const path = 'rotation/grants/x.ts';
    expect(planted(path, line)).toEqual([expect.stringMatching(`^${path}:2 way out: `)]);
    expect(planted(path, `${line}\nconst out = boundEgress(one, resolved);`)).toEqual([]);
  });
});

describe('a credential', () => {
  test.each([
    'vault.credentials.save(access, { ...row });',
    'vault.credentials.insert(access, row);',
    'const next = row as CredentialRow;',
    'const config = JSON.parse(row.config);',
    'const config = JSON.parse(located.row.grant_facts);',
  ])('has one way to be read and changed: %s', (line) => {
    expect(planted('src/vault/x.ts', line)).toEqual([expect.stringMatching(/^src\/vault\/x\.ts:2 credential: /)]);
  });
});
