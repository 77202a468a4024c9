// The rotators that an operator provides, through the whole vault: requests as data, the endpoint of the docs over HTTP, and a real program.
// Each is killed at every fault point; a program is also killed by itself.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import type { AddressInfo, Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { connectors } from '../../../rotation/catalog.ts';
import type { KeyConnector, Program, Rotator, StoredValue, Target } from '../../../rotation/connector.ts';
import { customise } from '../../../rotation/keys/custom.ts';
import { SecretValue } from '../../../src/base/secret-value.ts';
import { createNodeEgress } from '../../../src/node/egress.ts';
import { RotationPrograms } from '../../../src/node/rotation-programs.ts';
import { createEnvironment } from '../../../src/vault/create-environment.ts';
import { putCredential } from '../../../src/vault/put-credential.ts';
import { lacksRehearsal } from '../../../src/vault/rehearsals.ts';
import { type KeyConfig, keyConfig } from '../../../src/vault/rotation-state.ts';
import { credentialTarget } from '../../../src/vault/targets.ts';
import { docExample } from '../../kit/doc-examples.ts';
import { type RotationBench, rotationBench } from '../../kit/rotation-bench.ts';
import { answer, KeyProvider, NAME } from '../key-provider.ts';

const folder = mkdtempSync(join(tmpdir(), 'keyturn-rotators-'));
const servers: Server[] = [];
afterEach(() => vi.restoreAllMocks());
afterAll(() => {
  for (const server of servers) server.close();
  rmSync(folder, { recursive: true });
});

const connectorOf = (id: string) => connectors.get(id) as KeyConnector;
const settingsOf = (name: string): KeyConfig => keyConfig.parse(JSON.parse(docExample('custom-rotators.md', name)));
const noEgress = { send: () => Promise.reject(new Error('a program must not use HTTP')) };

/** A rotator with its target, ready for one rotation. */
interface Played {
  readonly bench: RotationBench;
  works(value: StoredValue): boolean;
  /** Values that the target accepts. */
  accepted(): number;
}

async function playHttp(): Promise<Played> {
  const config = settingsOf('http');
  const whole = customise(undefined, connectorOf('generic-http'), 'api_key', config)?.connector as KeyConnector;
  const provider = new KeyProvider(whole);
  const bench = await rotationBench('overlap', {
    ...{ connector: connectorOf('generic-http'), egress: provider, value: provider.old, parameters: {}, config },
  });
  const works = ({ key }: StoredValue) => [...provider.keys.values()].some(({ value }) => value['key'] === key);
  return { bench, works, accepted: () => provider.keys.size };
}

const SIGNING_KEY = `whsec_${Buffer.alloc(32, 5).toString('base64')}`;
let receivers = 0;

/** The endpoint of the docs, in this process. */
async function startReceiver(): Promise<{ keys: Map<string, string>; origin: string }> {
  const file = join(folder, `receiver-${++receivers}.mjs`);
  writeFileSync(file, docExample('custom-rotators.md', 'receiver'));
  vi.stubEnv('SIGNING_KEY', SIGNING_KEY);
  vi.stubEnv('PORT', '0');
  const { keys, server } = (await import(pathToFileURL(file).href)) as { keys: Map<string, string>; server: Server };
  servers.push(server);
  if (!server.listening) await new Promise((resolve) => server.once('listening', resolve));
  return { keys, origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

async function playWebhook(signingKey = SIGNING_KEY): Promise<Played> {
  const { keys, origin } = await startReceiver();
  const { admin: _, ...config } = settingsOf('webhook');
  keys.set('first', 'made-up-first-key');
  let now = 0;
  const bench = await rotationBench('overlap', {
    connector: connectorOf('generic-webhook'),
    egress: createNodeEgress({ clock: { now: () => now } }),
    value: { key: 'made-up-first-key', key_id: 'first' },
    parameters: {},
    admin: { key: signingKey },
    config: { ...config, sandbox: origin },
    adminConfig: { webhook: { url: 'https://ops.example/rotate' }, sandbox: origin },
  });
  // The receiver judges the age of a message by the clock of the machine, which is that of the bench here.
  vi.spyOn(Date, 'now').mockImplementation(() => bench.tenant.clock.now());
  now = bench.tenant.clock.now();
  return { bench, works: ({ key }) => [...keys.values()].includes(String(key)), accepted: () => keys.size };
}

const PROGRAM = `
import { readFileSync, writeFileSync } from 'node:fs';
const file = new URL('./state.json', import.meta.url);
const state = JSON.parse(readFileSync(file, 'utf8'));
const { step, value = {} } = JSON.parse(readFileSync(0, 'utf8'));
if (state.mischief) process.stderr.write('trouble with ' + JSON.stringify(value) + '\\n');
if (step === 'set') writeFileSync(file, JSON.stringify({ ...state, password: value.password, mischief: undefined, sets: (state.sets ?? 0) + 1 }));
if (step === 'set' && state.mischief) process.kill(process.pid, 'SIGKILL');
const verdict = value.password === state.password ? 'works' : 'rejected';
process.stdout.write(JSON.stringify(step === 'test' ? { verdict } : { outcome: 'done' }));
`;
let programs = 0;

function installProgram(source = PROGRAM, more: object = {}) {
  const home = join(folder, `program-${++programs}`);
  const state = { password: 'made-up-first', ...more };
  mkdirSync(home, { mode: 0o700 });
  writeFileSync(join(home, 'state.json'), JSON.stringify(state));
  writeFileSync(join(home, 'rotate.mjs'), source);
  const program = join(home, 'rotate');
  writeFileSync(program, `#!/bin/sh\nexec '${process.execPath}' '${join(home, 'rotate.mjs')}'\n`, { mode: 0o700 });
  const list = join(home, 'programs.json');
  writeFileSync(list, JSON.stringify({ programs: { 'rotate-erp': { path: program, tenants: ['*'], timeout_seconds: 5 } } }), {
    mode: 0o600,
  });
  const readState = () => JSON.parse(readFileSync(join(home, 'state.json'), 'utf8')) as { password: string; sets?: number };
  return { list, program, readState };
}

async function playProgram(more: object = {}): Promise<Played> {
  const { list, readState } = installProgram(PROGRAM, more);
  const listed = RotationPrograms.read(list);
  const config: KeyConfig = {
    program: {
      name: 'rotate-erp',
      strategy: 'single_user',
      steps: { set: { sends: ['old.password', 'value.password'] }, test: { sends: ['value.password'] } },
    },
  };
  const bench = await rotationBench('single_user', {
    connector: connectorOf('generic-program'),
    egress: noEgress,
    value: { username: 'erp', password: 'made-up-first' },
    parameters: {},
    config,
    kind: 'basic',
    programs: (name) => listed.find(name, 'acme'),
  });
  return { bench, works: ({ password }) => readState().password === password, accepted: () => 1 };
}

describe.each([
  ['generic-http', playHttp],
  ['generic-webhook', playWebhook],
  ['generic-program', playProgram],
] as const)('%s', (_id, play) => {
  it('rotates twice: readers get a value that works, and each old one is proved dead', async () => {
    const { bench, works, accepted } = await play();
    for (const round of [1, 2]) {
      const before = await bench.read();
      expect(works(before)).toBe(true);
      await bench.rotate();
      const fresh = await bench.read();
      expect(bench.rows('rotation').at(-1)).toMatchObject({ state: 'succeeded', outcome: 'rotated', cause: null });
      expect(fresh).not.toEqual(before);
      expect(Object.keys(fresh).sort()).toEqual(Object.keys(before).sort());
      await bench.finish(400);
      expect(bench.rows('revocation').map(({ outcome, cause }) => [outcome, cause])).toEqual(
        Array(round).fill(['revoked', 'proved_dead']),
      );
      expect([works(await bench.read()), works(before), accepted()]).toEqual([true, false, 1]);
    }
    bench.close();
  });

  it('ends with one value that works after a crash at any point', async () => {
    let kills = 0;
    for (let nth = 1, isOver = false; !isOver; nth++) {
      const { bench, works, accepted } = await play();
      const first = await bench.read();
      bench.killAt(nth);
      await bench.rotate();
      await bench.finish(40);
      isOver = bench.passed.length < nth;
      if (!isOver) kills++;
      const where = `killed at ${bench.passed[nth - 1]} (${nth})`;
      bench.restart();
      expect(works(await bench.read()), where).toBe(true);
      await bench.finish(400);
      expect([works(await bench.read()), works(first), accepted()], where).toEqual([true, false, 1]);
      expect(bench.rows('rotation').map(({ state, outcome }) => [state, outcome])).toEqual([['succeeded', 'rotated']]);
      bench.close();
    }
    expect(kills).toBeGreaterThan(5);
  });
});

describe('a webhook', () => {
  it('gets only what a step declares, and each message once more with the same id', async () => {
    const { bench } = await playWebhook();
    const seen: Record<string, unknown>[] = [];
    const [server] = servers.slice(-1);
    server?.prependListener('request', (request: IncomingMessage) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const message = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>;
        expect(request.headers['webhook-id']).toBe(message['id']);
        expect(request.headers['idempotency-key']).toBe(message['id']);
        seen.push(message);
      });
    });
    await bench.rotate();
    await bench.finish(400);
    const fresh = await bench.read();
    const run = bench.rows('rotation')[0]?.id;
    const end = bench.rows('revocation')[0]?.id;
    const about = { name: `keyturn-${run}`, parameters: {} };
    const ended = { name: `keyturn-${end}`, parameters: {} };
    expect(seen).toEqual([
      { step: 'create', id: `keyturn-${run}.create`, again: false, ...about },
      {
        step: 'test',
        id: expect.stringMatching(`^keyturn-${run}\\.test\\.[0-9a-f]{16}$`),
        ...about,
        value: { key: fresh['key'] },
      },
      { step: 'revoke', id: `keyturn-${end}.revoke`, ...ended, value: { key_id: 'first' } },
      {
        step: 'test',
        id: expect.stringMatching(`^keyturn-${end}\\.test\\.[0-9a-f]{16}$`),
        ...ended,
        value: { key: 'made-up-first-key' },
      },
    ]);
    bench.close();
  });

  it.each([
    ['another key', `whsec_${Buffer.alloc(32, 6).toString('base64')}`, 'http_401'],
    ['a short key', `whsec_${Buffer.alloc(8, 6).toString('base64')}`, 'signing_key_unusable'],
    ['no key of this form', 'made-up', 'signing_key_unusable'],
  ])('with %s the run waits for a person, and nothing changes', async (_what, key, cause) => {
    const { bench, accepted } = await playWebhook(key);
    const before = await bench.read();
    await bench.rotate();
    expect(bench.rows('rotation')[0]).toMatchObject({ state: 'open', step: 'needs_manual', cause });
    expect([await bench.read(), accepted()]).toEqual([before, 1]);
    bench.close();
  });
});

describe('a program', () => {
  it('that is killed after it changed the target counts as a lost answer, and the target is asked', async () => {
    const { bench, works } = await playProgram({ mischief: true });
    await bench.rotate();
    await bench.finish();
    expect(works(await bench.read())).toBe(true);
    expect(bench.rows('rotation')[0]).toMatchObject({ state: 'succeeded', outcome: 'rotated' });
    bench.close();
  });

  it('says on standard error what is kept without secrets', async () => {
    const errors = () => SecretValue.fromText('trouble with NotARealSecret7Qx at the target');
    const program: Program = { ask: async () => ({ kind: 'lost', cause: 'program_failed', errors: errors() }) };
    const config: KeyConfig = {
      program: { name: 'one', steps: { set: { sends: ['value.key'] }, test: { sends: [] }, revoke: { sends: [] } } },
    };
    const rotator = customise(() => program, connectorOf('generic-program'), 'api_key', config)?.rotator as Rotator;
    const outcome = await rotator.set?.(targetOf(''), { key: 'NotARealSecret7Qx' });
    expect(outcome).toMatchObject({ kind: 'lost', cause: 'program_failed', said: { words: 'trouble with … at the target' } });
  });
});

const VALUE = { key: 'NotARealSecret7Qx', key_id: 'one' };

const targetOf = (text: string, status = 200): Target => ({
  ...{ parameters: {}, old: VALUE, admin: { key: SIGNING_KEY }, name: NAME, allowedHosts: ['ops.example'], allowLoopback: false },
  egress: { send: async () => answer(status, text) },
  clock: { now: () => 1_700_000_000_000 },
  entropy: { bytes: (count) => new Uint8Array(count), fraction: () => 0.5 },
});

/** The closed shape of answers, over a transport that answers as the test says. */
describe('an answer', () => {
  const settings = () => customise(undefined, connectorOf('generic-webhook'), 'api_key', { ...settingsOf('webhook') });
  const rotator = () => settings()?.rotator as Rotator;

  it.each([
    ['nothing', '', 'odd', 'answer_of_another_shape'],
    ['a page', '<html>Welcome</html>', 'odd', 'answer_of_another_shape'],
    ['a list', '[]', 'odd', 'answer_of_another_shape'],
    ['a member too many', '{"outcome":"done","extra":1,"value":{"key":"a","key_id":"b"}}', 'odd', 'answer_of_another_shape'],
    ['no value', '{"outcome":"done"}', 'odd', 'answer_lacks_key'],
    ['half a value', '{"outcome":"done","value":{"key":"a"}}', 'odd', 'answer_lacks_key_id'],
    [
      'a member that is not declared',
      '{"outcome":"done","value":{"key":"a","key_id":"b","url":"c"}}',
      'odd',
      'answer_with_undeclared_member',
    ],
    ['a refusal', '{"outcome":"refused","means":"configuration","cause":"no_such_app"}', 'refused', 'no_such_app'],
    [
      'a cause that is no word',
      '{"outcome":"refused","means":"configuration","cause":"NotARealSecret7Qx"}',
      'odd',
      'answer_of_another_shape',
    ],
  ] as const)('with %s to create is what it is', async (_what, text, kind, cause) => {
    expect(await rotator().create(targetOf(text), false)).toMatchObject({ kind, cause });
  });

  it.each([
    [500, 'lost', 'http_500'],
    [503, 'lost', 'http_503'],
    [404, 'refused', 'http_404'],
    [302, 'odd', 'redirect_refused'],
    [201, 'odd', 'http_201'],
  ])('with the status %i is not a success', async (status, kind, cause) => {
    const echo = `{"you sent": ${JSON.stringify(VALUE)}}`;
    for (const outcome of [
      await rotator().create(targetOf(echo, status), false),
      await rotator().revoke?.(targetOf(echo, status), VALUE),
    ]) {
      expect(outcome).toMatchObject({ kind, cause });
      expect(JSON.stringify(outcome)).not.toContain('NotARealSecret');
    }
    expect(await rotator().test(targetOf(echo, status), VALUE)).toBe('unknown');
  });

  it('to a test is a verdict or unknown', async () => {
    for (const verdict of ['works', 'rejected', 'unknown'])
      expect(await rotator().test(targetOf(JSON.stringify({ verdict })), VALUE)).toBe(verdict);
    for (const text of ['', '{}', '{"verdict":"WORKS"}', '{"verdict":"works","extra":1}', '{"outcome":"done"}'])
      expect(await rotator().test(targetOf(text), VALUE), text).toBe('unknown');
  });

  it('is planned without secrets, and what cannot be undone is named', () => {
    const plan = rotator().plan({ parameters: {} });
    expect(plan.map(({ step, what, undoable }) => `${step}: ${what} ${undoable}`)).toEqual([
      'create: POST https://ops.example/rotate (create) true',
      'test: POST https://ops.example/rotate (test) true',
      'revoke: POST https://ops.example/rotate (revoke) false',
      'prove_dead: POST https://ops.example/rotate (test) true',
    ]);
  });
});

it('a replaced key whose id is in use again is not ended, whatever else the value contains', async () => {
  const { bench } = await playHttp();
  const first = await bench.read();
  await bench.rotate();
  await bench.vault.submit((job) =>
    putCredential(job, bench.tenant.user(['admin'], 'everywhere'), {
      ...{ environment: 'staging', name: 'db', kind: 'api_key', connector: 'generic-http', config: settingsOf('http') },
      value: { key: 'written-in-another-way', key_id: String(first['key_id']) },
      ...{ labels: undefined, description: undefined, expiresAtMs: undefined, precondition: {} },
    }),
  );
  await bench.finish(60);
  expect(bench.rows('revocation')).toMatchObject([{ generation: 1, outcome: 'superseded', cause: 'in_use', attempts: 0 }]);
});

describe('a rotation in production with described steps', () => {
  const production = async ({ bench }: Played, connector: string, config: object) => {
    const admin = () => bench.tenant.user(['admin'], 'everywhere');
    await bench.vault.submit((job) => createEnvironment(job, admin(), 'live', true));
    const facts = { environment: 'live', kind: 'api_key', connector, config } as const;
    const rest = { labels: undefined, description: undefined, expiresAtMs: undefined, precondition: {} };
    const value = { key: 'made-up-live-key', key_id: 'live' };
    await bench.vault.submit((job) => putCredential(job, admin(), { ...facts, ...rest, name: 'live', value }));
    return bench.vault.submit((job) => {
      const located = job.door.lookup('scheduler', (lookup) => credentialTarget(job, lookup, 'live', 'live').subject);
      if (located === undefined) throw new Error('no credential');
      return job.door.lookup('scheduler', (lookup) => lacksRehearsal(job, lookup, located));
    });
  };

  it('needs a rehearsal of these steps, whatever the hosts are', async () => {
    const same = settingsOf('http');
    const text = JSON.stringify(same);
    const host = same.http?.hosts[0] ?? '';
    expect(text.split(`https://${host}`).length).toBeGreaterThan(2);
    const cases: readonly (readonly [string, boolean])[] = [
      [text, false],
      [text.replaceAll(host, 'elsewhere.example'), false],
      [text.replace('"method":"DELETE"', '"method":"PUT"'), true],
    ];
    for (const [config, lacks] of cases) {
      const played = await playHttp();
      await played.bench.rotate();
      expect(await production(played, 'generic-http', JSON.parse(config)), config).toBe(lacks);
    }
  });
});
