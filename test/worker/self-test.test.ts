// workerd lets no test break a primitive under a running Worker, so this reads the source: no cell is opened before the self-test ran.
// What the self-test notices is shown by test/crypto/self-test.shared.test.ts, in workerd too.
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { functionsOf } from '../kit/structure.ts';

it.each([
  ['HomeCell', 'open', 'new WorkerHome('],
  ['TenantCell', 'make', 'new WorkerTenant('],
])('%s tests its primitives before it opens its cell', (_, method, opening) => {
  const path = 'src/worker/main.ts';
  const text = readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
  const lines = text.split('\n');
  const bodies = functionsOf({ path, text })
    .filter(({ name }) => name === method)
    .map(({ line, lines: count }) => lines.slice(line - 1, line - 1 + count).join('\n'))
    .filter((body) => body.includes(opening));
  expect(bodies).toHaveLength(1);
  const [before] = bodies[0]!.split(opening);
  expect(before).toMatch(/^\s*selfTestOnce\(\);$/m);
  expect(text.split(opening)).toHaveLength(2);
});
