// The contract suite: every file in rotation/connectors/ passes it, present or future, without being listed anywhere by hand.
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Connector, OAuth2Spec } from '../../rotation/connector.ts';

const DIRECTORY = new URL('../../rotation/connectors/', import.meta.url);
const ids = readdirSync(DIRECTORY)
  .filter((file) => file.endsWith('.ts'))
  .map((file) => file.slice(0, -3))
  .sort();

const loaded = new Map<string, Connector>();
for (const id of ids) loaded.set(id, (await import(new URL(`${id}.ts`, DIRECTORY).href)).connector);

const camel = (id: string) => id.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());

it('the catalog holds exactly the files of rotation/connectors (`vitest run test/rotation/connectors.test.ts -u` rewrites it)', async () => {
  const imports = ids.map((id) => `import { connector as ${camel(id)} } from './connectors/${id}.ts';\n`).join('');
  const catalog = [
    '// Every connector by its id. Generated from rotation/connectors/ by test/rotation/connectors.test.ts: never edited by hand.\n',
    "import type { Connector } from './connector.ts';\n",
    imports,
    '\nexport const connectors: ReadonlyMap<string, Connector> = new Map(\n',
    `  [\n${ids.map((id) => `    ${camel(id)},\n`).join('')}  ].map((connector) => [connector.id, connector]),\n`,
    ');\n',
  ].join('');
  await expect(catalog).toMatchFileSnapshot('../../rotation/catalog.ts');
});

describe.each(ids)('connector %s', (id) => {
  const connector = loaded.get(id) as Connector;
  const oauth2 = connector.oauth2 as OAuth2Spec;

  it('is named after its file and imports the contract only', () => {
    expect(connector.id).toBe(id);
    expect(id).toMatch(/^[a-z0-9]+(-[a-z0-9]+)*$/);
    const source = readFileSync(new URL(`${id}.ts`, DIRECTORY), 'utf8');
    const imported = [...source.matchAll(/from '([^']+)'/g)].map((match) => match[1]);
    expect(imported.filter((path) => path !== '../connector.ts' && !path?.startsWith('../../src/base/'))).toEqual([]);
  });

  it('can do something, or says what a person does', () => {
    expect(connector.oauth2 ?? connector.keyRotation ?? connector.manualSteps).toBeDefined();
    if (connector.kind === 'oauth2') expect(connector.oauth2).toBeDefined();
  });

  // Skipped for keys and passwords: they have no refresh.
  it.skipIf(oauth2 === undefined)('declares an endpoint whose host is declared too, or leaves it to the credential', () => {
    if (oauth2.tokenEndpoint === '') {
      expect(connector.adjustable).toContain('tokenEndpoint');
      return;
    }
    const url = new URL(oauth2.tokenEndpoint.replaceAll(/\{[a-z0-9_]+\}/g, 'x'));
    expect(oauth2.hosts.map((host) => host.replaceAll(/\{[a-z0-9_]+\}/g, 'x'))).toContain(url.host);
    if (id !== 'local-sandbox') expect(url.protocol).toBe('https:');
  });

  // Skipped for keys and passwords: they have no refresh.
  it.skipIf(oauth2 === undefined)('declares every parameter its URLs and hosts use', () => {
    const names = connector.parameters?.map(({ name }) => name) ?? [];
    const used = [...[oauth2.tokenEndpoint, ...oauth2.hosts].join(' ').matchAll(/\{([a-z0-9_]+)\}/g)].map((match) => match[1]);
    expect(names).toEqual(expect.arrayContaining(used));
  });

  it('has error rows that match something and causes that are safe to show', () => {
    for (const row of oauth2?.errorTable ?? []) {
      expect(row.status ?? row.code ?? row.text).toBeDefined();
      expect(row.cause).toMatch(/^[a-z0-9_]{1,64}$/);
    }
  });

  // Skipped for keys and passwords: they have no refresh.
  it.skipIf(oauth2 === undefined)('does not let a credential move its hosts, and a rotating provider is not called safe', () => {
    expect(connector.adjustable ?? []).not.toContain('hosts');
    expect(connector.adjustable ?? []).not.toContain('errorTable');
    // Entra alone says in writing that a used refresh token goes on working.
    if (oauth2.refreshTokenRotates === 'always' && oauth2.lostAnswer.kind === 'safe')
      expect(connector.facts?.['oauth2.lostAnswer']?.sureness).toBe('documented');
  });

  it('says where its facts come from', () => {
    for (const fact of Object.values(connector.facts ?? {})) expect(fact.source.length).toBeGreaterThan(10);
  });
});
