// The text of rotation/catalog.ts for the files in rotation/connectors/: connectors.test.ts compares it, new-connector.ts writes it.
const camel = (id: string) => id.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());

/** @param ids of all connectors, sorted */
export function catalogText(ids: readonly string[]): string {
  const imports = ids.map((id) => `import { connector as ${camel(id)} } from './connectors/${id}.ts';\n`).join('');
  return [
    '// Every connector by its id. Generated from rotation/connectors/ by test/rotation/connectors.test.ts: never edited by hand.\n',
    "import type { Connector } from './connector.ts';\n",
    imports,
    '\nexport const connectors: ReadonlyMap<string, Connector> = new Map(\n',
    `  [\n${ids.map((id) => `    ${camel(id)},\n`).join('')}  ].map((connector) => [connector.id, connector]),\n`,
    ');\n',
  ].join('');
}
