// `npm run new:connector`: writes a connector of keys that passes every check, its line in the catalog and on the page, and a test of it.
// What it writes is made up: a person replaces it by the facts of the provider, and the facts say so until then.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import type { Connector } from '../../rotation/connector.ts';
import { catalogText } from './catalog-text.ts';
import { connectorPage } from './connector-page.ts';

const KINDS = ['api_key', 'basic', 'json'] as const;
const STRATEGIES = ['overlap', 'in_place', 'manual'] as const;
const ROOT = join(import.meta.dirname, '..', '..');

interface Wanted {
  readonly id: string;
  readonly title: string;
  readonly kind: (typeof KINDS)[number];
  readonly strategy: (typeof STRATEGIES)[number];
}

const RULES: Readonly<Record<keyof Wanted, { readonly rule: string; readonly holds: (text: string) => boolean }>> = {
  id: {
    rule: 'words of a-z and 0-9 with - between, at most 48 characters, e.g. example-crm-api-key',
    holds: (text) => /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/.test(text) && text.length <= 48,
  },
  title: {
    rule: 'the provider and, in parentheses, the kind of key, at most 80 characters, e.g. Example CRM (API key)',
    holds: (text) => /^[\p{L}\p{N}][^\p{Cc}'"`\\|]{0,79}$/u.test(text),
  },
  kind: { rule: KINDS.join(', '), holds: (text) => KINDS.some((kind) => kind === text) },
  strategy: { rule: STRATEGIES.join(', '), holds: (text) => STRATEGIES.some((strategy) => strategy === text) },
};
const FIELDS = Object.keys(RULES) as (keyof Wanted)[];

async function wantedFrom(args: readonly string[]): Promise<Wanted> {
  const { values } = parseArgs({
    args: [...args],
    options: { id: { type: 'string' }, title: { type: 'string' }, kind: { type: 'string' }, strategy: { type: 'string' } },
  });
  const given: Record<string, string> = {};
  const isPerson = process.stdin.isTTY && process.stdout.isTTY;
  const lines = isPerson ? createInterface({ input: process.stdin, output: process.stdout }) : undefined;
  for (const field of FIELDS) {
    let text = values[field];
    while (lines !== undefined && (text === undefined || !RULES[field].holds(text)))
      text = (await lines.question(`${field} (${RULES[field].rule}): `)).trim();
    if (text === undefined || !RULES[field].holds(text))
      throw new Error(`the option --${field} is ${text === undefined ? 'missing' : 'not allowed'}: ${RULES[field].rule}`);
    given[field] = text;
  }
  lines?.close();
  return given as unknown as Wanted;
}

/** Members of the value: what names the key, what is secret, and how a call authenticates with them. */
const MEMBERS = {
  api_key: { id: 'key_id', secret: 'key' },
  basic: { id: 'username', secret: 'password' },
  json: { id: 'key_id', secret: 'secret' },
} as const;

function authentication(kind: Wanted['kind'], group: string): string {
  const { id, secret } = MEMBERS[kind];
  return kind === 'basic'
    ? `{ by: 'basic', username: '{${group}.${id}}', password: '{${group}.${secret}}' }`
    : `{ by: 'headers', headers: { authorization: 'Bearer {${group}.${secret}}' } }`;
}

function callsText({ id, kind, strategy }: Wanted): string {
  const host = `api.${id.split('-')[0]}.example`;
  const members = MEMBERS[kind];
  const idMember = members.id === 'key_id' ? '' : `idMember: '${members.id}',`;
  const takes = `takes: { ${members.secret}: '/secret', ${members.id}: '/id' }`;
  const overlap = `
      list: { method: 'GET', url: 'https://${host}/keys', items: '/keys', id: '/id', name: '/name' },
      mint: { method: 'POST', url: 'https://${host}/keys', json: { name: '{name}' }, ${takes} },`;
  const inPlace = `
      mint: { method: 'POST', url: 'https://${host}/keys/{old.${members.id}}/rotate', ${takes} },`;
  const revoke = `revoke: { method: 'DELETE', url: 'https://${host}/keys/{value.${members.id}}' },`;
  return `
    hosts: ['${host}'],
    calls: {
      authentication: ${authentication(kind, 'admin')},
      ${idMember}${strategy === 'overlap' ? overlap : inPlace}
      test: {
        method: 'GET',
        url: 'https://${host}/me',
        authentication: ${authentication(kind, 'value')},
        worksWhen: { at: '/id' },
      },
      ${strategy === 'overlap' ? revoke : ''}
    },`;
}

function connectorText(wanted: Wanted): string {
  const { id, title, kind, strategy } = wanted;
  const parts = ['mint', 'inspect', 'list', 'test', 'revoke'].map((name) => `key.calls.${name}`);
  const named = strategy === 'manual' ? [] : [...parts, 'key.keysMaxCount', 'key.rateBudget'];
  const facts = strategy === 'overlap' ? named : ['key.strategy', ...named];
  return `// ${title}: say here what is special about it, in one or two lines. Every call below is made up: replace it by the provider's.
import type { KeyConnector } from '../connector.ts';

const TO_READ = 'made up by npm run new:connector: read the pages of the provider, and name them here with the date';

export const connector: KeyConnector = {
  id: '${id}',
  title: '${title}',
  kind: 'key',
  key: {
    credential: '${kind}',
    strategy: '${strategy}',
    admin: '${strategy === 'overlap' ? 'either' : 'self'}',
    ${strategy === 'manual' ? 'hosts: [],' : callsText(wanted)}
  },
  manualSteps: ['${strategy === 'manual' ? 'Make a new value at the provider, put it, and then end the old one.' : `Put the value with its ${MEMBERS[kind].id}.`}'],
  facts: {
    ${facts.map((part) => `'${part}': { sureness: 'unknown', source: TO_READ },`).join('\n    ')}
  },
};
`;
}

function testText({ id, title, strategy }: Wanted): string {
  const head = `// ${title}: what is special about it. test/rotation/key-connectors.test.ts tests what holds for every connector.
import { expect, it } from 'vitest';
import { connector } from '../../../rotation/connectors/${id}.ts';
`;
  if (strategy === 'manual')
    return `${head}
it('tells a person what to do, and calls nothing', () => {
  expect(connector.key).toEqual({ credential: connector.key.credential, strategy: 'manual', admin: 'self', hosts: [] });
  expect(connector.manualSteps?.length).toBeGreaterThan(0);
});
`;
  return `${head}import { declaredRotator } from '../../../rotation/keys/declared.ts';
import { KeyProvider } from '../key-provider.ts';

it('replaces a key at a provider that is played from its data', async () => {
  const provider = new KeyProvider(connector);
  const rotator = declaredRotator(connector);
  const made = await rotator.create(provider.target(), false);
  if (made.kind !== 'done') throw new Error(\`create ended with \${made.kind} \${made.cause}\`);
  expect(await rotator.test(provider.target(), made.value)).toBe('works');
  await rotator.revoke?.(provider.target(), provider.old);
  expect(await rotator.test(provider.target(), provider.old)).toBe('rejected');
});
`;
}

async function write(wanted: Wanted): Promise<readonly string[]> {
  const folder = join(ROOT, 'rotation', 'connectors');
  const file = join(folder, `${wanted.id}.ts`);
  if (existsSync(file)) throw new Error(`the option --id names a connector that exists: ${wanted.id}`);
  const test = join(ROOT, 'test', 'rotation', 'connectors', `${wanted.id}.test.ts`);
  mkdirSync(join(test, '..'), { recursive: true });
  writeFileSync(file, connectorText(wanted));
  writeFileSync(test, testText(wanted));
  format([file, test]);
  const ids = readdirSync(folder)
    .map((name) => name.replace(/\.ts$/, ''))
    .sort();
  const all = await Promise.all(
    ids.map(async (id) => ((await import(pathToFileURL(join(folder, `${id}.ts`)).href)) as { connector: Connector }).connector),
  );
  const [catalog, page] = [join(ROOT, 'rotation', 'catalog.ts'), join(ROOT, 'docs', 'connectors.md')];
  writeFileSync(catalog, catalogText(ids));
  writeFileSync(page, connectorPage(all));
  return [file, test, catalog, page];
}

function format(files: readonly string[]): void {
  const biome = join(ROOT, 'node_modules', '@biomejs', 'biome', 'bin', 'biome');
  const { status, stderr } = spawnSync(process.execPath, [biome, 'check', '--write', ...files], { cwd: ROOT, encoding: 'utf8' });
  if (status !== 0) throw new Error(`the files could not be formatted:\n${stderr}`);
}

try {
  const wanted = await wantedFrom(process.argv.slice(2));
  const written = await write(wanted);
  for (const file of written) console.log(`wrote ${file.slice(ROOT.length + 1)}`);
  console.log('\nReplace what is made up, then check it:');
  console.log('  npm test -- test/rotation/connectors.test.ts test/rotation/key-connectors.test.ts -u');
} catch (error) {
  console.error(`new:connector: ${(error as Error).message}`);
  process.exitCode = 64;
}
