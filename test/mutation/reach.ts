// Which test files enter which function: a mutant is tried with the tests that can notice it, and with no others.
// It must never be needed for a result to be right: without a map a mutant is tried with all tests of its folder.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isFunction, type Node, parse, walk } from '../kit/syntax.ts';
import { placeOf } from './sites.ts';

/** Test files by place, and the milliseconds each takes. */
export interface Reach {
  /** Places that were entered while a module was loaded, which happens once for many test files. */
  readonly atLoad: ReadonlySet<string>;
  readonly testsOf: ReadonlyMap<string, readonly string[]>;
  readonly millisecondsOf: ReadonlyMap<string, number>;
}

/** What reach-setup.ts writes for one test file. */
export interface Entries {
  readonly test: string;
  readonly milliseconds: number;
  readonly places: readonly string[];
  readonly atLoad: readonly string[];
}

declare global {
  /** Set by reach-setup.ts. */
  var __reach: { readonly entered: Set<string>; readonly atLoad: Set<string>; loading: number } | undefined;
}

/**
 * The source with a note at the start of every function, which tells what runs while modules are loaded from the rest. Offsets change,
 * lines do not.
 */
export function noteEntries(file: string, text: string): string {
  const inserts: [number, string][] = [];
  walk(parse(text), (node, ancestors) => {
    const body = node['body'] as Node | null;
    if (!isFunction(node) || body === null) return true;
    const note = `globalThis.__reach?.[globalThis.__reach.loading > 0 ? 'atLoad' : 'entered'].add(${JSON.stringify(placeOf(file, [...ancestors, node]))})`;
    if (body.type === 'BlockStatement') inserts.push([body.start + 1, `${note};`]);
    else inserts.push([body.start, `(${note},`], [body.end, ')']);
    return true;
  });
  // Of two at one offset the inner one was found later and stands nearer to its body.
  const noted = inserts
    .map(([at, what], index) => ({ at, what, index }))
    .sort((a, b) => b.at - a.at || (a.what === ')' ? a.index - b.index : b.index - a.index))
    .reduce((out, { at, what }) => out.slice(0, at) + what + out.slice(at), text);
  const count = (step: string) => `;globalThis.__reach && globalThis.__reach.loading${step};`;
  return `${noted.replace(/^(#!.*\n)?/, `$1${count('++')}`)}\n${count('--')}`;
}

/** The map in `folder`, as far as tests under one of `asked` go. */
export function readReach(folder: string, asked: readonly string[]): Reach {
  const testsOf = new Map<string, string[]>();
  const millisecondsOf = new Map<string, number>();
  const atLoad = new Set<string>();
  for (const name of readdirSync(folder)) {
    const { test, milliseconds, places, atLoad: loaded } = JSON.parse(readFileSync(join(folder, name), 'utf8')) as Entries;
    if (!asked.some((prefix) => test.startsWith(prefix))) continue;
    millisecondsOf.set(test, milliseconds);
    for (const place of loaded) atLoad.add(place);
    for (const place of places) {
      const file = place.slice(0, place.indexOf('#') + 1);
      for (const key of new Set([place, file])) testsOf.set(key, [...(testsOf.get(key) ?? []), test]);
    }
  }
  for (const [place, tests] of testsOf) testsOf.set(place, [...new Set(tests)]);
  return { testsOf, millisecondsOf, atLoad };
}

/**
 * The tests to try a mutant with, those first that most likely notice it: the mirror of its file, its folder, then the quick ones.
 */
export function testsFor(place: string, { testsOf, millisecondsOf, atLoad }: Reach): string[] {
  const file = place.slice(0, place.indexOf('#'));
  const mirror = file.replace(/^src\//, '').replace(/\.ts$/, '');
  const folder = mirror.slice(0, mirror.lastIndexOf('/'));
  const near = (test: string) => (test.startsWith(`test/${mirror}.`) ? 0 : test.startsWith(`test/${folder}/`) ? 1 : 2);
  // Code outside functions, and functions that such code calls: whoever uses the file, and its folder.
  const isLoaded = place.endsWith('#') || atLoad.has(place);
  const loading = isLoaded ? [...millisecondsOf.keys()].filter((test) => near(test) < 2) : [];
  const entering = new Set([...(testsOf.get(place) ?? []), ...(isLoaded ? (testsOf.get(`${file}#`) ?? []) : []), ...loading]);
  return [...entering].sort((a, b) => near(a) - near(b) || (millisecondsOf.get(a) ?? 0) - (millisecondsOf.get(b) ?? 0));
}
