// The house of DESIGN section 2 as a function: from source files to every violation of its table and its writing rules.
// It must never stop at the first violation, and knows no file system: planted sources go through the same function.
import { builtinModules } from 'node:module';
import { posix } from 'node:path';
import { codeOf, type ImportEdge, importsOf, lineAt } from './source-text.ts';

export interface SourceFile {
  /** From the root of the repository, with `/`. */
  readonly path: string;
  readonly text: string;
}

/** `path:line rule: what is wrong`. */
export type Violation = string;

const CORE = ['base', 'crypto', 'cell', 'audit', 'access', 'vault'] as const;
const ABOVE_VAULT = [
  'alerts',
  'protocol',
  'connector',
  'catalog',
  'engine',
  'delivery',
  'grants',
  'keys',
  'runs',
  'sandbox',
  'wire',
  'http',
  'console',
];
const upTo = (last: (typeof CORE)[number]): string[] => CORE.slice(0, CORE.indexOf(last) + 1);

/**
 * Which parts a part may import, beside itself. `wire` is src/http/v1/wire*: the shapes; `catalog` the generated list of connectors;
 * `protocol` the connector contract and rotation/oauth2; `runs` those of grants and keys together; `delivery` the alerts on their way out, which needs the engine's call.
 */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  base: [],
  crypto: upTo('base'),
  cell: upTo('crypto'),
  audit: upTo('cell'),
  access: upTo('audit'),
  vault: [...upTo('access'), 'alerts'],
  alerts: [...upTo('access'), 'vault'],
  protocol: ['base'],
  connector: ['base', 'protocol'],
  catalog: ['protocol', 'connector'],
  engine: [...upTo('vault'), 'alerts', 'protocol'],
  delivery: [...upTo('vault'), 'alerts', 'protocol', 'engine'],
  grants: [...upTo('vault'), 'alerts', 'protocol', 'engine', 'delivery'],
  keys: [...upTo('vault'), 'alerts', 'protocol', 'engine'],
  runs: [...upTo('vault'), 'protocol', 'engine', 'grants', 'keys'],
  sandbox: ['base', 'protocol', 'catalog'],
  wire: [...upTo('vault'), 'alerts'],
  http: [...upTo('vault'), 'alerts', 'engine', 'delivery', 'grants', 'keys', 'protocol', 'wire'],
  console: [...upTo('vault'), 'alerts', 'engine', 'grants', 'keys', 'protocol', 'wire', 'http'],
  sdk: ['base', 'wire'],
  cli: ['base', 'crypto', 'audit', 'wire', 'sdk', 'sandbox', 'node'],
  node: [...upTo('vault'), ...ABOVE_VAULT],
  worker: [...upTo('vault'), ...ABOVE_VAULT],
  data: [],
};

/** Above this a file is asked why; told as a warning, since a reader wants together what belongs together. */
const LINES_ASKED = 400;
const HEAD_LINES_MAX = 3;

/** Packages that exist on one runtime only. */
const RUNTIME_PACKAGES = new Set([
  ...['better-sqlite3', '@hono/node-server', 'undici', 'oidc-provider', 'pg', 'mysql2', 'ldapts'],
  ...builtinModules,
]);
const BANNED_WORDS = new Set(['utils', 'util', 'helpers', 'helper', 'manager', 'service', 'impl', 'common', 'misc']);
const FILE_NAME = /^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9-]+)*\.(ts|tsx|mjs)$/;

/** What is passed in everywhere but in the two platforms and cli (D11). */
const FORBIDDEN_GLOBALS: readonly (readonly [RegExp, string])[] = [
  [/\bDate\s*\.\s*now\b|\bnew\s+Date\s*\(\s*\)|(?<![.\w$#])(?<!new\s+)Date\s*\(\s*\)/g, 'the time is passed in (base/clock.ts)'],
  [/(?<![.\w$#])performance\s*\./g, 'the time is passed in (base/clock.ts)'],
  [/\bMath\s*\.\s*random\b/g, 'chance is passed in (base/clock.ts)'],
  [/(?<![.\w$#])crypto\s*\.\s*(getRandomValues|randomUUID|randomBytes)\b/g, 'chance is passed in (base/clock.ts)'],
  [/(?<![.\w$#])process\s*(\?\.|\.|\[)/g, 'the process belongs to src/node and src/worker'],
  [/(?<![.\w$#])globalThis\b/g, 'globals belong to src/node and src/worker'],
  [/(?<![.\w$#])(?<!\b(async|function)\s+)fetch\s*\(/g, 'the network is passed in'],
  [/(?<![.\w$#])(setTimeout|setInterval|setImmediate)\s*\(|\bAbortSignal\s*\.\s*timeout\b/g, 'timers are passed in'],
];

/** Which part of the house a file is; undefined for what is not in it. */
export function partOf(path: string): string | undefined {
  const [top, second = '', third] = path.split('/');
  if (top === 'rotation') return partOfRotation(path, second, third);
  if (top === 'test' || top === 'bench') return top;
  if (top !== 'src') return 'data';
  if (path === 'src/alerts/deliver-webhooks.ts') return 'delivery';
  if (path.startsWith('src/http/v1/wire')) return 'wire';
  if (third === undefined) return undefined;
  return ROOMS.has(second) ? second : undefined;
}

const ROOMS = new Set([...CORE, 'alerts', 'http', 'console', 'cli', 'sdk', 'node', 'worker']);
const ROTATION_ROOMS: Readonly<Record<string, string>> = {
  engine: 'engine',
  oauth2: 'protocol',
  grants: 'grants',
  keys: 'keys',
  connectors: 'connector',
  sandbox: 'sandbox',
};

function partOfRotation(path: string, second: string, third: string | undefined): string | undefined {
  if (path === 'rotation/catalog.ts') return 'catalog';
  if (path === 'rotation/credential-runs.ts') return 'runs';
  if (third === undefined) return 'protocol';
  return Object.hasOwn(ROTATION_ROOMS, second) ? ROTATION_ROOMS[second] : undefined;
}

const ON_THE_MACHINE = new Set(['node', 'worker', 'cli', 'sandbox']);

/** True where the machine may be touched: the two platforms, the command line, the sandbox, and where programs on Node begin. */
function mayTouchMachine(path: string): boolean {
  return ON_THE_MACHINE.has(partOf(path) ?? '') || path === 'src/sdk/node.ts';
}

/** Files long enough to be asked why; never a failure. */
export function longFiles(files: readonly SourceFile[]): readonly string[] {
  return files
    .filter(({ path }) => !['test', 'bench', 'data'].includes(partOf(path) ?? 'data'))
    .map(({ path, text }) => ({ path, lines: text.trimEnd().split('\n').length }))
    .filter(({ lines }) => lines > LINES_ASKED)
    .map(({ path, lines }) => `${path}: ${lines} lines (more than ${LINES_ASKED}: does a reader need all of it together?)`);
}

export function checkArchitecture(files: readonly SourceFile[]): Violation[] {
  return files.flatMap((file) => {
    const code = codeOf(file.text);
    const found: [number, string][] = [...checkName(file.path), ...checkEverywhere(file, code)];
    const part = partOf(file.path);
    if (part === 'test') found.push(...checkTests(file, code));
    else if (part !== 'bench') found.push(...checkProduct(file, code, part));
    return found.sort((a, b) => a[0] - b[0]).map(([line, text]) => `${file.path}:${line} ${text}`);
  });
}

function matches(file: SourceFile, code: string, pattern: RegExp, text: string): [number, string][] {
  return [...code.matchAll(pattern)].map((match) => [lineAt(file.text, match.index), text]);
}

function checkName(path: string): [number, string][] {
  const name = posix.basename(path);
  const found: [number, string][] = [];
  if (!FILE_NAME.test(name)) found.push([1, 'name: files are kebab-case']);
  // A connector is named as its provider names the thing: a service account is no service.
  const named = path.startsWith('rotation/connectors/') ? name.replace('service-account', 'account') : name;
  const banned = named.split(/[.-]/).find((word) => BANNED_WORDS.has(word));
  if (banned !== undefined) found.push([1, `name: "${banned}" says nothing; use a word of DESIGN section 1`]);
  return found;
}

function checkEverywhere(file: SourceFile, code: string): [number, string][] {
  // The door's own test takes and forges, to show that neither works.
  if (file.path === 'test/access/guard.test.ts') return [];
  const isDoor = file.path === 'src/access/guard.ts' || file.path === 'src/cell/access.ts';
  return [
    ...(isDoor ? [] : matches(file, code, /\btakeAccessMint\b/g, 'door: only src/access/guard.ts takes the access mint')),
    ...matches(
      file,
      code,
      /\bas\s+(?:\w+\s+as\s+)?(?:Lookup|ReadAccess|WriteAccess|Bookkeeping)\b/g,
      'door: an access is made by the guard, never by a cast',
    ),
  ];
}

function checkProduct(file: SourceFile, code: string, part: string | undefined): [number, string][] {
  if (part === undefined) {
    const isAmbient = /^src\/[a-z-]+\.d\.ts$/.test(file.path);
    return isAmbient ? [] : [[1, 'house: this folder is not part of the house (DESIGN section 2)']];
  }
  const found = [...checkHead(file), ...checkImports(file, code, part), ...checkSql(file, code, part)];
  found.push(...checkCredential(file, code, part));
  if (USES_GRANTS.has(part)) found.push(...checkWayOut(file, code));
  if (!mayTouchMachine(file.path)) {
    for (const [pattern, reason] of FORBIDDEN_GLOBALS) found.push(...matches(file, code, pattern, `global: ${reason}`));
  }
  return found;
}

/** A credential is one thing with one way to change it: src/vault/credential.ts (what the rows say is read there, too). */
const CREDENTIAL_RULES: readonly (readonly [RegExp, string])[] = [
  [/\bcredentials\s*\.\s*(?:save|insert)\s*\(/g, 'a credential is made and changed by src/vault/credential.ts alone'],
  [/\bas\s+(?:CredentialRow|StoredCredential)\b/g, 'a credential is never made by a cast'],
  [/\bJSON\.parse\(\s*[\w.]+\.(?:config|labels)\s*\)/g, 'settings and labels are read by configOf and labelsOf'],
  [/\bJSON\.parse\(\s*[\w.]+\.grant_facts\s*\)/g, 'what is known of a grant is read by grantOf'],
];
const IS_THE_CREDENTIAL = new Set(['src/vault/credential.ts', 'src/vault/grant.ts']);

function checkCredential(file: SourceFile, code: string, part: string): [number, string][] {
  if (part === 'cell' || IS_THE_CREDENTIAL.has(file.path)) return [];
  return CREDENTIAL_RULES.flatMap(([pattern, reason]) => matches(file, code, pattern, `credential: ${reason}`));
}

const USES_GRANTS = new Set(['grants', 'keys']);

/** The network as it is handed in goes into `boundEgress`, or to discovery, which sends no secret (D14). */
function checkWayOut(file: SourceFile, code: string): [number, string][] {
  const taken =
    /\b(?:ports|options|this\.#o)\.egress\b|\begress\b[^=;(]*\}\s*=\s*(?:ports|options|this\.#o)\b|\{[^}]*\begress\b[^}]*\}\s*:\s*\w*Ports\b/g;
  const isBound = /\bboundEgress\(/.test(code) || /\bdiscover\(/.test(code);
  return isBound ? [] : matches(file, code, taken, 'way out: a secret leaves through boundEgress alone');
}

/** Parts that speak SQL: the cell and the drivers. */
const SPEAKS_SQL = new Set(['cell', 'node', 'worker']);
/** They hand the driver's database on to the cell that they open, and ask it nothing. */
const HANDS_SQL_ON = new Set(['src/vault/open-cell.ts']);
const STATEMENT = /\bsql\s*\.\s*(all|get|run|script|transaction)\s*[<(]/gi;
const ANY_SQL = /\b[sS]ql\b/g;
const CHANGES = /'[^']*\b(?:INSERT|UPDATE|DELETE|REPLACE)\b|`[^`]*\b(?:INSERT|UPDATE|DELETE|REPLACE)\b/;

function checkSql(file: SourceFile, code: string, part: string): [number, string][] {
  if (!SPEAKS_SQL.has(part)) {
    const pattern = HANDS_SQL_ON.has(file.path) ? STATEMENT : ANY_SQL;
    return matches(file, code, pattern, 'door: SQL is reachable from src/cell only');
  }
  if (part !== 'cell') return [];
  // A method of a store that changes rows takes what may change rows.
  return [...file.text.matchAll(/\n {2}#?(\w+)\((access|books): (Lookup|ReadAccess)\b[\s\S]*?\n {2}\}\n/g)].flatMap(
    (method): [number, string][] =>
      CHANGES.test(method[0])
        ? [[lineAt(file.text, method.index + 1), `door: ${method[1]} changes rows for a ${method[3]}`]]
        : [],
  );
}

function checkHead(file: SourceFile): [number, string][] {
  const lines = file.text.replace(/^#!.*\n/, '').split('\n');
  const length = lines.findIndex((line) => !line.startsWith('//'));
  if (length === 0) return [[1, 'head: the module starts with a comment: what for, what it must never do']];
  return length > HEAD_LINES_MAX ? [[1, `head: ${length} lines; at most ${HEAD_LINES_MAX}`]] : [];
}

function checkImports(file: SourceFile, code: string, part: string): [number, string][] {
  return importsOf(file.text, code).flatMap((edge): [number, string][] => {
    const { specifier, line } = edge;
    if (specifier === '<computed>') {
      return mayTouchMachine(file.path) ? [] : [[line, 'import: what a computed import loads cannot be checked']];
    }
    if (!specifier.startsWith('.')) return checkPackage(file.path, specifier, part, line);
    const target = posix.normalize(posix.join(posix.dirname(file.path), specifier));
    return checkEdge(part, target, edge).map((text) => [line, text]);
  });
}

function checkPackage(path: string, specifier: string, part: string, line: number): [number, string][] {
  const name = specifier.startsWith('@') ? specifier.split('/').slice(0, 2).join('/') : specifier.split('/', 1)[0]!;
  const isRuntime = /^(node|cloudflare):/.test(specifier) || RUNTIME_PACKAGES.has(name);
  if (!isRuntime || mayTouchMachine(path) || (part === 'crypto' && specifier === 'node:crypto')) return [];
  return [[line, `runtime: ${specifier} belongs to src/node, src/worker and cli`]];
}

function checkEdge(part: string, target: string, { dynamic, typeOnly }: ImportEdge): string[] {
  const targetPart = partOf(target);
  const found: string[] = [];
  if (targetPart === undefined) return [`import: ${target} is not part of the house`];
  if (targetPart === 'test' || targetPart === 'bench') return [`import: the product never imports ${targetPart}/`];
  const mayImport = targetPart === part || targetPart === 'data' || MAY_IMPORT[part]!.includes(targetPart);
  if (!mayImport) found.push(`import: ${part} may not import ${targetPart} (${target})`);
  if (targetPart === 'node' && part === 'cli' && !dynamic) found.push(`import: cli loads ${target} lazily, when it serves`);
  if (part === 'sdk' && targetPart === 'wire' && !typeOnly) found.push(`import: sdk takes types only from ${target}`);
  if (part === 'connector' && targetPart === 'connector') found.push(`import: a connector stands alone (${target})`);
  return found;
}

function checkTests(file: SourceFile, code: string): [number, string][] {
  const found: [number, string][] = [];
  const lines = file.text.split('\n');
  for (const match of code.matchAll(
    /(?<![.\w$#])(?:test|it|describe|suite)(?:\s*\.\s*\w+)*?\s*\.\s*(skip|only|todo|skipIf|runIf|fails)\b/g,
  )) {
    const line = lineAt(file.text, match.index);
    const isLoud = match[1]!.endsWith('If') && /\bconsole\s*\.\s*warn\b/.test(code);
    const isExplained = isLoud || [lines[line - 1]!, lines[line - 2] ?? ''].some((text) => /\/\/\s*\S/.test(text));
    if (match[1] === 'only') found.push([line, 'tests: .only hides all others']);
    else if (!isExplained) found.push([line, `tests: .${match[1]} needs its reason in a comment beside it (or a console.warn)`]);
  }
  return found;
}
