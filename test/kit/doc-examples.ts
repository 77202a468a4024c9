// The examples in a page of docs/, by the comment above each: `<!-- example: name -->`.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** @throws if the page has no such example */
export function docExample(page: string, name: string): string {
  const text = readFileSync(join(import.meta.dirname, '../../docs', page), 'utf8');
  const [, example] = new RegExp(`<!-- example: ${name} -->\\s+\`\`\`[a-z]+\\n([\\s\\S]*?)\`\`\``).exec(text) ?? [];
  if (example === undefined) throw new Error(`docs/${page} has no example ${name}`);
  return example;
}
