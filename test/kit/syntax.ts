// The syntax tree of a TypeScript source, from the parser the test runner brings along; for checks and for mutation.
// It must never look at types: what it tells follows from the text of one file.
import { parseAst } from 'vitest/node';

export interface Node {
  readonly type: string;
  /** Offsets in the text, `end` exclusive. */
  readonly start: number;
  readonly end: number;
  readonly [field: string]: unknown;
}

/** @throws the parser's own error, with its place, where `text` is not TypeScript */
export function parse(text: string): Node {
  return parseAst(text.replace(/^#!/, '//'), { lang: 'ts' }) as unknown as Node;
}

export function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && typeof (value as Node).type === 'string';
}

export function childrenOf(node: Node): Node[] {
  return Object.values(node).flat().filter(isNode);
}

/** Every node, parents first. `visit` gets the ancestors, nearest last; `false` leaves the children out. */
export function walk(node: Node, visit: (node: Node, ancestors: readonly Node[]) => boolean): void {
  const ancestors: Node[] = [];
  const descend = (at: Node): void => {
    if (visit(at, ancestors) === false) return;
    ancestors.push(at);
    for (const child of childrenOf(at)) descend(child);
    ancestors.pop();
  };
  descend(node);
}

export const isFunction = (node: Node): boolean =>
  node.type === 'FunctionDeclaration' || node.type === 'FunctionExpression' || node.type === 'ArrowFunctionExpression';

/** What is only for the compiler: no code comes of it. */
export const isTypeOnly = (node: Node): boolean =>
  (/^TS/.test(node.type) && !/^TS(As|NonNull|Satisfies|TypeAssertion|Instantiation)/.test(node.type)) ||
  (node as { exportKind?: string }).exportKind === 'type' ||
  (node as { importKind?: string }).importKind === 'type';

/** The name a reader would say: `enterAs` of a method, `run` of `const run = () => ...`; undefined for a callback. */
export function nameOf(node: Node, parent: Node | undefined): string | undefined {
  const named = node['id'] ?? (isNode(parent) && parent['value'] === node ? parent['key'] : undefined);
  if (isNode(named)) return String(named['name'] ?? named['value']);
  if (parent?.type === 'VariableDeclarator' && isNode(parent['id'])) return String(parent['id']['name']);
  return undefined;
}
