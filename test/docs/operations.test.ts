// docs/operations.md lists exactly the parts of the health and the metrics of a running service, with their types.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { apiKey, at, must } from '../conformance/world.ts';
import { type Attacked, attacked } from '../kit/attacked.ts';

const page = readFileSync(join(import.meta.dirname, '../../docs/operations.md'), 'utf8');
const [aboutHealth = '', aboutMetrics = ''] = page.split('\n## Metrics\n');
const rowsOf = (section: string) =>
  [...section.matchAll(/^\| `([a-z_]+)` +\| ([^|]+?) +\|/gm)].map(([, name, second]) => [name, second]);
let world: Attacked;

beforeAll(async () => {
  world = await attacked();
  await must(world.call('PUT', at('acme', 'a'), { token: world.owner, body: apiKey() }), 201);
  await world.call('GET', '/v1/users', { token: 'kt_usr_wrong' });
});

afterAll(() => world.stop());

it('lists every part of the health', async () => {
  const { body } = await must(world.call('GET', '/health'), 200);
  expect(rowsOf(aboutHealth).map(([part]) => part)).toEqual(Object.keys(body.parts));
});

it('lists every metric with its type', async () => {
  const { text } = await world.call('GET', '/metrics', { token: world.auditor });
  const served = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = '', type]) => [name.replace(/_total$/, ''), type]);
  expect(served.length).toBeGreaterThan(15);
  expect(rowsOf(aboutMetrics).toSorted()).toEqual(served.toSorted());
});
