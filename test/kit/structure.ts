// Figures and rules of the whole source: how long and branched a function is, what imports in a circle, what nobody uses, which
// numbers stand where nobody looks for them. It must never look at one file as if it stood alone.
import { posix } from 'node:path';
import type { SourceFile } from './architecture.ts';
import { importsOf, lineAt } from './source-text.ts';
import { childrenOf, isFunction, isNode, isTypeOnly, type Node, nameOf, parse, walk } from './syntax.ts';

export const FUNCTION_LIMITS = { lines: 50, complexity: 12, parameters: 5 } as const;
export type FunctionRule = keyof typeof FUNCTION_LIMITS;

export interface FunctionFigures extends Readonly<Record<FunctionRule, number>> {
  readonly file: string;
  readonly line: number;
  readonly name: string;
}

const BRANCHES = new Set([
  ...['IfStatement', 'ConditionalExpression', 'LogicalExpression', 'CatchClause'],
  ...['ForStatement', 'ForInStatement', 'ForOfStatement', 'WhileStatement', 'DoWhileStatement'],
]);

/** Lines with the signature; McCabe's complexity, in which `&&`, `||`, `??`, `?:`, `catch` and each `case` count one; a nested function for itself. */
export function functionsOf({ path, text }: SourceFile): FunctionFigures[] {
  const found: FunctionFigures[] = [];
  walk(parse(text), (node, ancestors) => {
    if (isTypeOnly(node)) return false;
    if (!isFunction(node)) return true;
    const name = nameOf(node, ancestors.at(-1)) ?? '(callback)';
    const lines = text.slice(node.start, node.end).split('\n').length;
    const parameters = (node['params'] as Node[]).length;
    found.push({ file: path, line: lineAt(text, node.start), name, lines, complexity: complexityOf(node), parameters });
    return true;
  });
  return found;
}

function complexityOf(root: Node): number {
  let count = 1;
  for (const child of childrenOf(root)) {
    walk(child, (node) => {
      if (isFunction(node)) return false;
      if (BRANCHES.has(node.type) || (node.type === 'SwitchCase' && isNode(node['test']))) count++;
      return true;
    });
  }
  return count;
}

/** Files by what they import among `files`; with `types` also what is only for the compiler. */
export function importGraph(files: readonly SourceFile[], types: 'with types' | 'what is loaded'): Map<string, string[]> {
  const paths = new Set(files.map(({ path }) => path));
  return new Map(
    files.map(({ path, text }) => {
      const targets = importsOf(text)
        .filter(({ specifier, typeOnly }) => specifier.startsWith('.') && (types === 'with types' || !typeOnly))
        .map(({ specifier }) => posix.join(posix.dirname(path), specifier))
        .filter((target) => paths.has(target));
      return [path, [...new Set(targets)]];
    }),
  );
}

/** Groups of files each of which reaches every other one by imports (Tarjan 1972); a file alone is none. */
export function circlesOf(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const circles: string[][] = [];
  const order = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const visit = (at: string): void => {
    order.set(at, order.size);
    low.set(at, order.get(at)!);
    stack.push(at);
    for (const next of graph.get(at) ?? []) {
      if (!order.has(next)) visit(next);
      if (stack.includes(next)) low.set(at, Math.min(low.get(at)!, low.get(next)!));
    }
    if (low.get(at) !== order.get(at)) return;
    const circle = stack.splice(stack.indexOf(at));
    if (circle.length > 1) circles.push(circle.sort());
  };
  for (const at of graph.keys()) if (!order.has(at)) visit(at);
  return circles;
}

export interface Export {
  readonly file: string;
  readonly line: number;
  readonly name: string;
  readonly isType: boolean;
}

/** Every name a file exports, types too. */
export function exportsOf({ path, text }: SourceFile): Export[] {
  const found: Export[] = [];
  for (const node of childrenOf(parse(text))) {
    if (node.type !== 'ExportNamedDeclaration' || isNode(node['source'])) continue;
    const declared = isNode(node['declaration']) ? namesOf(node['declaration']) : [];
    const listed = (node['specifiers'] as Node[]).map((specifier) => String((specifier['exported'] as Node)['name']));
    const isType = isNode(node['declaration']) ? isTypeOnly(node['declaration']) : isTypeOnly(node);
    for (const name of [...declared, ...listed]) found.push({ file: path, line: lineAt(text, node.start), name, isType });
  }
  return found;
}

function namesOf(declaration: Node): string[] {
  if (isNode(declaration['id'])) return [String(declaration['id']['name'])];
  return ((declaration['declarations'] as Node[] | undefined) ?? []).map(({ id }) => String((id as Node)['name']));
}

/** Names each file takes from others, as `file#name`; `file#*` where it takes all of it. */
function usesOf({ path, text }: SourceFile): string[] {
  const uses: string[] = [];
  walk(parse(text), (node) => {
    const source = isNode(node['source']) ? node['source'] : isNode(node['argument']) ? node['argument'] : undefined;
    if (!/^(Import|Export|TSImport)/.test(node.type) || source === undefined || typeof source['value'] !== 'string') return true;
    const target = posix.join(posix.dirname(path), source['value']);
    const specifiers = (node['specifiers'] as Node[] | undefined) ?? [];
    const names = specifiers.map((specifier) => (isNode(specifier['imported']) ? specifier['imported'] : specifier['local']));
    const isWhole = specifiers.length === 0 || specifiers.some(({ type }) => type === 'ImportNamespaceSpecifier');
    uses.push(...(isWhole ? [`${target}#*`] : names.map((name) => `${target}#${String((name as Node | undefined)?.['name'])}`)));
    return true;
  });
  return uses;
}

export interface DeadExport extends Export {
  readonly why: 'used nowhere' | 'exported for nobody';
}

/**
 * What is exported and used nowhere in `product` and `others` (bench), its own file included, so that only tests if anything need it;
 * and values that only their own file uses, whose `export` not even a test needs. A type belongs to the signatures of its file.
 */
export function deadExports(
  product: readonly SourceFile[],
  others: readonly SourceFile[],
  tests: readonly SourceFile[],
): DeadExport[] {
  const used = new Set([...product, ...others].flatMap(usesOf));
  const tested = new Set(tests.flatMap(usesOf));
  const isIn = (uses: ReadonlySet<string>, { file, name }: Export) => uses.has(`${file}#${name}`) || uses.has(`${file}#*`);
  return product.flatMap((source) => {
    const mentions = mentionsOf(source);
    return exportsOf(source).flatMap((one): DeadExport[] => {
      if (isIn(used, one)) return [];
      if ((mentions.get(one.name) ?? 0) < 2) return [{ ...one, why: 'used nowhere' }];
      return one.isType || isIn(tested, one) ? [] : [{ ...one, why: 'exported for nobody' }];
    });
  });
}

/** How often each name stands in a file, its declaration included. */
function mentionsOf({ text }: SourceFile): Map<string, number> {
  const mentions = new Map<string, number>();
  walk(parse(text), (node) => {
    if (node.type === 'Identifier') mentions.set(String(node['name']), (mentions.get(String(node['name'])) ?? 0) + 1);
    return true;
  });
  return mentions;
}

export interface StrayNumber {
  readonly file: string;
  readonly line: number;
  readonly name: string;
}

/** The words of a name that bounds something or gives it a time; a format's own sizes (`NONCE_BYTES`) are no choice of ours. */
const BOUND = /(^|_)(MAX|MIN|MS|SECONDS|COUNT|KEPT|TRIES|BURST|DEFAULT|SLACK|MARGIN)(_|$)/;

/** `MAX_BYTES = 4_096` and the like: a named constant of a file that bounds something and is computed from numbers alone. */
export function numbersOf({ path, text }: SourceFile): StrayNumber[] {
  const found: StrayNumber[] = [];
  walk(parse(text), (node) => {
    if (isTypeOnly(node)) return false;
    if (node.type !== 'VariableDeclarator' || !isNode(node['init']) || !isNode(node['id'])) return true;
    const name = String(node['id']['name']);
    if (BOUND.test(name) && isNumeric(node['init'])) found.push({ file: path, line: lineAt(text, node.start), name });
    return true;
  });
  return found;
}

function isNumeric(node: Node): boolean {
  if (node.type === 'Literal') return typeof node['value'] === 'number';
  if (node.type === 'BinaryExpression') return [node['left'], node['right']].every((side) => isNode(side) && isNumeric(side));
  if (node.type === 'UnaryExpression' || /^TSAs|^Parenthesized/.test(node.type)) {
    return isNode(node['argument'] ?? node['expression']) && isNumeric((node['argument'] ?? node['expression']) as Node);
  }
  return false;
}
