// Reads TypeScript as text: which parts are code, which are comments or strings, and what a file imports.
// It must never take a word in a comment or a string for code; offsets and line numbers stay those of the file.

export interface ImportEdge {
  readonly specifier: string;
  readonly line: number;
  readonly dynamic: boolean;
  /** `import type` or `export type`: nothing is loaded. */
  readonly typeOnly: boolean;
}

type Mode = { readonly kind: 'code' | 'template'; braces: number };

const BEFORE_REGEX = /(?:^|[(,=:[!&|?{};+\-*%<>~^]|\b(?:return|typeof|case|in|of|throw|await|yield|void|delete))\s*$/;

/** The same text with the contents of comments, strings and regular expressions blanked; `${...}` in templates stays code. */
export function codeOf(text: string): string {
  const out = text.split('');
  const blank = (from: number, to: number) => {
    for (let i = from; i < to; i++) if (out[i] !== '\n') out[i] = ' ';
  };
  const modes: Mode[] = [{ kind: 'code', braces: 0 }];
  let at = text.startsWith('#!') ? endOfLine(text, 0) : 0;
  blank(0, at);
  while (at < text.length) {
    const mode = modes.at(-1)!;
    const start = at;
    if (mode.kind === 'template') {
      at = endOfTemplatePart(text, at);
      blank(start, at);
      if (text.startsWith('${', at)) modes.push({ kind: 'code', braces: 0 });
      else modes.pop();
      at += text[at] === '`' ? 1 : 2;
      continue;
    }
    const char = text[at]!;
    at = endOfToken(text, at);
    if (text.startsWith('//', start) || text.startsWith('/*', start)) blank(start, at);
    else if (char === "'" || char === '"' || (char === '/' && at > start + 1)) blank(start + 1, at - 1);
    else if (char === '`') modes.push({ kind: 'template', braces: 0 });
    else if (char === '{') mode.braces++;
    else if (char === '}' && mode.braces-- === 0 && modes.length > 1) modes.pop();
  }
  return out.join('');
}

function endOfToken(text: string, at: number): number {
  const char = text[at]!;
  if (text.startsWith('//', at)) return endOfLine(text, at);
  if (text.startsWith('/*', at)) {
    const end = text.indexOf('*/', at + 2);
    return end < 0 ? text.length : end + 2;
  }
  if (char === "'" || char === '"') return endOfQuoted(text, at, char);
  if (char === '/' && BEFORE_REGEX.test(text.slice(Math.max(0, at - 40), at))) return endOfRegex(text, at);
  return at + 1;
}

function endOfLine(text: string, at: number): number {
  const end = text.indexOf('\n', at);
  return end < 0 ? text.length : end;
}

function endOfQuoted(text: string, at: number, quote: string): number {
  for (let i = at + 1; i < text.length; i++) {
    if (text[i] === '\\') i++;
    else if (text[i] === quote || text[i] === '\n') return i + 1;
  }
  return text.length;
}

function endOfRegex(text: string, at: number): number {
  let inClass = false;
  for (let i = at + 1; i < text.length && text[i] !== '\n'; i++) {
    if (text[i] === '\\') i++;
    else if (text[i] === '[') inClass = true;
    else if (text[i] === ']') inClass = false;
    else if (text[i] === '/' && !inClass) return i + 1;
  }
  return at + 1; // a division after all
}

function endOfTemplatePart(text: string, at: number): number {
  for (let i = at; i < text.length; i++) {
    if (text[i] === '\\') i++;
    else if (text[i] === '`' || text.startsWith('${', i)) return i;
  }
  return text.length;
}

export function lineAt(text: string, offset: number): number {
  return text.slice(0, offset).split('\n').length;
}

/** `import`, `import type`, `export ... from`, side-effect and dynamic imports; a computed dynamic import has the specifier `<computed>`. */
export function importsOf(text: string, code = codeOf(text)): ImportEdge[] {
  const edges: ImportEdge[] = [];
  const add = (match: RegExpMatchArray, dynamic: boolean) => {
    const opening = match.index! + match[0].length - 1;
    const quote = text[opening]!;
    const isQuoted = quote === "'" || quote === '"' || quote === '`';
    const specifier = isQuoted ? text.slice(opening + 1, text.indexOf(quote, opening + 1)) : '<computed>';
    const typeOnly = !dynamic && /(?<![.\w$])(?:import|export)\s+type\s+[\w{*][^;'"]*$/.test(statementBefore(code, match.index!));
    edges.push({
      specifier: specifier.includes('${') ? '<computed>' : specifier,
      line: lineAt(text, match.index!),
      dynamic,
      typeOnly,
    });
  };
  for (const match of code.matchAll(/(?<![.\w$])from\s*['"]/g)) add(match, false);
  for (const match of code.matchAll(/(?<![.\w$])import\s*['"]/g)) add(match, false);
  for (const match of code.matchAll(/(?<![.\w$])(?:import|require)\s*\(\s*[^\s]/g)) add(match, true);
  return edges;
}

/** From the last `import` or `export` to `offset`. */
function statementBefore(code: string, offset: number): string {
  const before = code.slice(0, offset);
  return before.slice(Math.max(before.lastIndexOf('import'), before.lastIndexOf('export'), 0));
}
