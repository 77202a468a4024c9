// The mutations of the source, and those that were reviewed as equivalent.
// It must never skip a mutation whose line has changed since its review.
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Mutant, mutantsOf } from './sites.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const EQUIVALENTS = join(import.meta.dirname, 'equivalents.json');

export interface Equivalent {
  readonly file: string;
  /** The whole line, trimmed, before and after. */
  readonly before: string;
  readonly after: string;
  readonly reason: string;
}

export class Mutations {
  readonly texts = new Map<string, string>();
  readonly equivalents = JSON.parse(readFileSync(EQUIVALENTS, 'utf8')) as Equivalent[];

  all(paths: readonly string[]): Mutant[] {
    const files = paths.flatMap((path) => globSync(path.endsWith('.ts') ? path : `${path}/**/*.ts`, { cwd: ROOT }));
    return [...new Set(files)].sort().flatMap((file) => {
      const text = readFileSync(join(ROOT, file), 'utf8');
      this.texts.set(file, text);
      return mutantsOf(file, text);
    });
  }

  changed({ file, start, end, replacement }: Mutant): string {
    const text = this.texts.get(file)!;
    return text.slice(0, start) + replacement + text.slice(end);
  }

  /** The lines that the mutation changes, before and after, each joined to one line. */
  diff(mutant: Mutant): { before: string; after: string } {
    const text = this.texts.get(mutant.file)!;
    const from = text.lastIndexOf('\n', mutant.start) + 1;
    const to = text.indexOf('\n', mutant.end);
    const flat = (lines: string) => lines.replace(/\s+/g, ' ').trim();
    const after = text.slice(from, mutant.start) + mutant.replacement + text.slice(mutant.end, to);
    return { before: flat(text.slice(from, to)), after: flat(after) };
  }

  isEquivalent(mutant: Mutant): boolean {
    const { before, after } = this.diff(mutant);
    return this.equivalents.some((known) => known.file === mutant.file && known.before === before && known.after === after);
  }
}

/** A shuffle by xorshift32: the same seed chooses the same mutations of the same sources. */
export function chosen(mutants: readonly Mutant[], count: number, seed: number): Mutant[] {
  let state = seed | 1;
  const next = (below: number) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
  const rest = [...mutants];
  for (let i = rest.length - 1; i > 0; i--) {
    const j = next(i + 1);
    [rest[i], rest[j]] = [rest[j]!, rest[i]!];
  }
  return rest.slice(0, count);
}
