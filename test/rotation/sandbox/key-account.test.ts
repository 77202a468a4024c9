// The keys of the sandbox, over HTTP and through the whole vault: what the tour and `keyturn sandbox` offer without an account anywhere.
import { afterAll, beforeAll, expect, it } from 'vitest';
import { connector } from '../../../rotation/connectors/local-sandbox-key.ts';
import type { Personas } from '../../../rotation/sandbox/personas.ts';
import { startPersonas } from '../../../rotation/sandbox/personas.ts';
import { welcome } from '../../../rotation/sandbox/run-sandbox.ts';
import { createNodeEgress } from '../../../src/node/egress.ts';
import { rotationBench } from '../../kit/rotation-bench.ts';
import { realClock } from '../kit.ts';

let personas: Personas;
const log: string[] = [];
beforeAll(async () => {
  personas = await startPersonas({ connectors: [], log: (line) => log.push(line) });
});
afterAll(() => personas.stop());

const call = (method: string, path: string, key = personas.firstKey.key, body?: object) =>
  fetch(`${personas.origin}/keys.sandbox.example/${path}`, {
    method,
    headers: { authorization: `Bearer ${key}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });

it('the key that the start message prints is rotated, and the old one is proved dead', async () => {
  const told = welcome(personas, 1);
  expect(told).toContain(JSON.stringify(personas.firstKey));
  const bench = await rotationBench('overlap', {
    connector,
    egress: createNodeEgress({ clock: realClock }),
    value: personas.firstKey,
    parameters: {},
    config: { sandbox: personas.origin, grace_seconds: 0, deadline_seconds: 0 },
  });
  await bench.rotate();
  await bench.finish();
  expect(bench.rows('rotation')[0]).toMatchObject({ state: 'succeeded', outcome: 'rotated' });
  expect(bench.rows('revocation')[0]).toMatchObject({ outcome: 'revoked', cause: 'proved_dead' });
  const fresh = await bench.read();
  expect((await call('GET', 'me', String(fresh['key']))).status).toBe(200);
  expect((await call('GET', 'me')).status).toBe(401);
  expect(log.filter((line) => line.startsWith('local-sandbox-key')).join('\n')).toContain(
    'DELETE keys.sandbox.example/keys/first 204',
  );
  expect(log.join('\n')).not.toContain(personas.firstKey.key);
  for (let count = 1; count < 10; count++)
    expect((await call('POST', 'keys', String(fresh['key']), { name: 'x' })).status).toBe(201);
  expect((await call('POST', 'keys', String(fresh['key']), { name: 'x' })).status).toBe(409);
  expect((await call('DELETE', 'keys/absent', String(fresh['key']))).status).toBe(404);
  expect((await call('GET', 'elsewhere', String(fresh['key']))).status).toBe(404);
  bench.close();
});
