// Where a source can be changed so that it still runs and says something else, and what would stand there instead.
// It must never change a type, a comment or a message: no test could or should notice those.
import { lineAt } from '../kit/source-text.ts';
import { isFunction, isNode, isTypeOnly, type Node, nameOf, parse, walk } from '../kit/syntax.ts';

export interface Mutant {
  readonly file: string;
  readonly line: number;
  readonly operator: string;
  readonly start: number;
  readonly end: number;
  readonly replacement: string;
  /** `file#Class.method`; what the reach map knows. Ends in `#` for code outside functions. */
  readonly place: string;
}

type Change = readonly [operator: string, node: Pick<Node, 'start' | 'end'>, replacement: string];

const BOUNDS: Readonly<Record<string, string>> = { '<': '<=', '<=': '<', '>': '>=', '>=': '>' };
const EQUALITY: Readonly<Record<string, string>> = { '===': '!==', '!==': '===' };
const ARITHMETIC: Readonly<Record<string, string>> = { '+': '-', '-': '+', '*': '/', '/': '*', '%': '*' };
const CALLS: Readonly<Record<string, string>> = { some: 'every', every: 'some', min: 'max', max: 'min' };

/** Below this a number counts things and is raised by one; above it is a bound and doubled. */
const COUNTS_MAX = 16;

export function mutantsOf(file: string, text: string): Mutant[] {
  const mutants: Mutant[] = [];
  walk(parse(text), (node, ancestors) => {
    if (isTypeOnly(node) || node.type === 'ImportDeclaration' || isWipe(text.slice(node.start, node.end))) return false;
    const place = placeOf(file, [...ancestors, node]);
    for (const [operator, { start, end }, replacement] of changesOf(node, ancestors, text)) {
      mutants.push({ file, line: lineAt(text, start), operator, start, end, replacement, place });
    }
    return true;
  });
  return mutants;
}

/** The nearest named function around, with its class. */
export function placeOf(file: string, path: readonly Node[]): string {
  let className = '';
  let functionName = '';
  path.forEach((node, index) => {
    const name = nameOf(node, path[index - 1]);
    if (/^Class[DE]/.test(node.type)) className = `${name ?? ''}.`;
    else if (isFunction(node) && name !== undefined && functionName === '') functionName = name;
  });
  return functionName === '' ? `${file}#` : `${file}#${className}${functionName}`;
}

function changesOf(node: Node, ancestors: readonly Node[], text: string): Change[] {
  const source = (of: unknown) => (isNode(of) ? text.slice(of.start, of.end) : '');
  switch (node.type) {
    case 'IfStatement':
    case 'ConditionalExpression':
      return ['true', 'false'].map((value) => ['condition', node['test'] as Node, value] as const);
    case 'WhileStatement':
    case 'ForStatement':
      return isNode(node['test']) ? [['condition', node['test'], 'false']] : [];
    case 'LogicalExpression':
      return ofLogical(node, source);
    case 'BinaryExpression':
      return ofBinary(node, ancestors, text);
    case 'UnaryExpression':
      return node['operator'] === '!' && !isAsked(node, ancestors) ? [['negation', node, source(node['argument'])]] : [];
    case 'ExpressionStatement':
      return isUnseen(node, ancestors, source(node)) ? [] : [['statement', node, ';']];
    case 'ThrowStatement':
      return [['throw', node, ';']];
    case 'AwaitExpression':
      return [['await', node, `(${source(node['argument'])})`]];
    case 'Literal':
      return ofLiteral(node, text);
    case 'TemplateElement':
      return isSql(source(ancestors.at(-1))) ? ofSql(node, text) : [];
    case 'CallExpression':
      return ofCall(node, source);
    default:
      return [];
  }
}

/** A buffer overwritten after use, which nothing outside can see: SECURITY.md promises no more than that it is tried. */
const isWipe = (source: string): boolean => /^[\w.#]+\.fill\(0\);$/.test(source);

/** `this.#x = x` of a constructor, without which nothing runs: it says nothing about the tests. */
function isUnseen(node: Node, ancestors: readonly Node[], source: string): boolean {
  if (typeof node['directive'] === 'string' || isWipe(source)) return true;
  const platform = ancestors.findLast((ancestor) => ancestor.type === 'MethodDefinition');
  return platform?.['kind'] === 'constructor' && (node['expression'] as Node).type === 'AssignmentExpression';
}

/** Part of a condition, which is tried as `true` and `false` already: turning it round is the weaker question. */
function isAsked(node: Node, ancestors: readonly Node[]): boolean {
  const parent = ancestors.at(-1);
  return parent?.type === 'LogicalExpression' || parent?.['test'] === node;
}

function ofLogical(node: Node, source: (of: unknown) => string): Change[] {
  const left = node['left'] as Node;
  const right = node['right'] as Node;
  if (node['operator'] === '??') return [['default', node, `(${source(left)})`]];
  const other = node['operator'] === '&&' ? '||' : '&&';
  // An operand that no longer counts: the strongest question about a guard of many parts.
  const neutral = node['operator'] === '&&' ? 'true' : 'false';
  return [left, right]
    .filter((operand) => operand.type !== 'LogicalExpression' || operand['operator'] === other)
    .map((operand) => ['operand', operand, neutral]);
}

function ofBinary(node: Node, ancestors: readonly Node[], text: string): Change[] {
  const operator = node['operator'] as string;
  const left = node['left'] as Node;
  const right = node['right'] as Node;
  const change = (name: string, other: string | undefined): Change[] => {
    const at = text.indexOf(operator, skipComments(text, left.end, right.start));
    return other === undefined ? [] : [[name, { start: at, end: at + operator.length }, other]];
  };
  if (operator in EQUALITY) return isAsked(node, ancestors) ? [] : change('equality', EQUALITY[operator]);
  if (operator in BOUNDS) return change('bound', BOUNDS[operator]);
  const isText = [left, right].some((side) => side.type === 'TemplateLiteral' || typeof side['value'] === 'string');
  return isText ? [] : change('arithmetic', ARITHMETIC[operator]);
}

/** Where the code between two operands begins; a closing parenthesis of the left one does not matter. */
function skipComments(text: string, from: number, to: number): number {
  const comment = /\/\*[\s\S]*?\*\/|\/\/.*/.exec(text.slice(from, to));
  return comment === null ? from : from + comment.index + comment[0].length;
}

function ofLiteral(node: Node, text: string): Change[] {
  const { value } = node as { value?: unknown };
  if (typeof value === 'boolean') return [['boolean', node, String(!value)]];
  if (typeof value === 'number') return [['number', node, String(value < COUNTS_MAX ? value + 1 : value * 2)]];
  return typeof value === 'string' && isSql(text.slice(node.start, node.end)) ? ofSql(node, text) : [];
}

const isSql = (literal: string): boolean => /^['"`]\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b|\b(WHERE|ORDER BY)\b/.test(literal);

/** One change for each comparison, connective, direction and literal state inside a statement. */
function ofSql(node: Node, text: string): Change[] {
  const swaps: readonly (readonly [RegExp, (found: string) => string])[] = [
    [/(?<=\w\s)(<=|>=|<>|<|>)(?=\s)/g, (found) => ({ '<': '<=', '<=': '<', '>': '>=', '>=': '>', '<>': '=' })[found]!],
    [/(?<=\bWHERE [^?]*?\w\s)=(?=\s)/g, () => '<>'],
    [/\bAND\b/g, () => 'OR'],
    [/\bIS NOT NULL\b/g, () => 'IS NULL'],
    [/\bIS NULL\b/g, () => 'IS NOT NULL'],
    [/\bDESC\b/g, () => 'ASC'],
    [/\bOR IGNORE\b/g, () => ''],
  ];
  const body = text.slice(node.start, node.end);
  return swaps.flatMap(([pattern, other]) =>
    [...body.matchAll(pattern)].map((match): Change => {
      const start = node.start + match.index;
      return ['sql', { start, end: start + match[0].length }, other(match[0])];
    }),
  );
}

function ofCall(node: Node, source: (of: unknown) => string): Change[] {
  const callee = node['callee'] as Node;
  const property = callee['property'];
  if (callee.type !== 'MemberExpression' || !isNode(property)) return [];
  const name = source(property);
  const other = Object.hasOwn(CALLS, name) ? CALLS[name] : undefined;
  return other === undefined || (['min', 'max'].includes(other) && source(callee['object']) !== 'Math')
    ? []
    : [['call', property, other]];
}
