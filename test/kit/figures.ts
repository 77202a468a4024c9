// node test/kit/figures.ts [folder]: what the shape of a source tree comes to in numbers: rooms, circles, and how far a read, a put and
// a refresh walk. It must never judge: test/structure.test.ts does.
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { SourceFile } from './architecture.ts';
import { circlesOf, FUNCTION_LIMITS, functionsOf, importGraph } from './structure.ts';

/** Where each walk begins; the first name there is wins, so that earlier trees can be measured too. */
const WALKS: Readonly<Record<string, readonly string[]>> = {
  'a read': ['src/vault/read-credential.ts'],
  'a put': ['src/vault/put-credential.ts'],
  'a refresh': ['rotation/grants/refresh-runs.ts', 'rotation/engine/engine.ts'],
};

/** Files a walk may enter, and the longest way of imports through them. The graph of what is loaded has no circle. */
function walkFrom(graph: ReadonlyMap<string, readonly string[]>, start: string): { files: number; longest: string[] } {
  const longest = new Map<string, string[]>();
  const from = (at: string): string[] => {
    const known = longest.get(at);
    if (known !== undefined) return known;
    longest.set(at, [at]);
    const ways = (graph.get(at) ?? []).map(from);
    const way = [at, ...(ways.toSorted((a, b) => b.length - a.length)[0] ?? [])];
    longest.set(at, way);
    return way;
  };
  return { longest: from(start), files: longest.size };
}

function roomOf(path: string): string {
  return path.split('/').slice(0, -1).join('/');
}

function print(root: string): void {
  const paths = globSync('{src,rotation}/**/*.ts', { cwd: root }).filter((path) => !path.endsWith('.d.ts'));
  const files: SourceFile[] = paths.sort().map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }));
  const loaded = importGraph(files, 'what is loaded');
  const typed = importGraph(files, 'with types');
  const rooms = new Set(paths.map(roomOf));
  const edges = new Set([...typed].flatMap(([from, to]) => to.map((target) => `${roomOf(from)} ${roomOf(target)}`)));
  const between = [...edges].filter((edge) => edge.split(' ')[0] !== edge.split(' ')[1]);
  const lines = files.reduce((sum, { text }) => sum + text.trimEnd().split('\n').length, 0);
  console.log(`rooms ${rooms.size}, files ${files.length}, lines ${lines}, imports between rooms ${between.length}`);
  const functions = files.flatMap(functionsOf);
  for (const rule of ['lines', 'complexity', 'parameters'] as const) {
    const over = functions.filter((figures) => figures[rule] > FUNCTION_LIMITS[rule]);
    console.log(`functions over ${FUNCTION_LIMITS[rule]} ${rule}: ${over.length} of ${functions.length}`);
  }
  for (const [name, graph] of [['loaded', loaded] as const, ['with types', typed] as const]) {
    const circles = circlesOf(graph);
    console.log(`circles ${name}: ${circles.length}${circles.map((circle) => `\n  ${circle.join(', ')}`).join('')}`);
  }
  for (const [name, starts] of Object.entries(WALKS)) {
    const start = starts.find((path) => loaded.has(path));
    if (start === undefined) continue;
    const { files: reached, longest } = walkFrom(loaded, start);
    console.log(`${name}: ${reached} files, longest walk ${longest.length}: ${longest.join(' > ')}`);
  }
}

print(process.argv[2] ?? join(import.meta.dirname, '..', '..'));
