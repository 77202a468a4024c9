// The contract suite of connectors for keys: every file in rotation/connectors/ of kind `key` passes it, without being listed by hand.
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Connector, EgressAnswer, Interrupted, KeyCall, KeyCalls, KeyConnector } from '../../rotation/connector.ts';
import { EgressFailure } from '../../rotation/connector.ts';
import { customise } from '../../rotation/keys/custom.ts';
import { declaredRotator } from '../../rotation/keys/declared.ts';
import { keyConfig } from '../../src/vault/rotation-state.ts';
import { docExample } from '../kit/doc-examples.ts';
import { answer, CALL_NAMES, type CallName, callsOf, isOnlyNamed, KeyProvider, NAME, NOW, type Sent } from './key-provider.ts';
import { faultsOf, isDescribed, PROVIDERS } from './provider-descriptions.ts';

const DIRECTORY = new URL('../../rotation/connectors/', import.meta.url);
const found: KeyConnector[] = [];
for (const file of readdirSync(DIRECTORY)
  .filter((name) => name.endsWith('.ts'))
  .sort()) {
  const { connector } = (await import(new URL(file, DIRECTORY).href)) as { connector: Connector };
  if (connector.kind === 'key') found.push(connector);
}
// The example of docs/custom-rotators.md stands for every description of an operator.
const described = customise(
  undefined,
  found.find(({ id }) => id === 'generic-http') as KeyConnector,
  'api_key',
  keyConfig.parse(JSON.parse(docExample('custom-rotators.md', 'http'))),
)?.connector as KeyConnector;
const declared = [...found.filter(({ key }) => key.calls !== undefined), described];

if (PROVIDERS === undefined)
  console.warn('SKIPPED: no folder with the descriptions of providers, so no request was checked with one (KEYTURN_PROVIDERS)');

it('the providers whose keys can be replaced are there', () => {
  expect(found.map(({ id }) => id)).toEqual(
    expect.arrayContaining([
      ...['sendgrid-api-key', 'cloudflare-account-token', 'cloudflare-user-token', 'twilio-api-key', 'openai-admin-key'],
      ...['openai-project-service-account', 'microsoft-app-secret', 'google-service-account-key', 'aws-iam-access-key'],
      ...['mongodb-atlas-service-account', 'mongodb-atlas-api-key', 'datadog-api-key', 'okta-client-secret', 'sentry-dsn-key'],
      ...['newrelic-user-key', 'gitlab-project-token', 'gitlab-group-token', 'gitlab-personal-token'],
      ...['propelauth-end-user-key', 'anthropic-api-key', 'hubspot-private-app', 'asana-personal-token'],
      ...['clickup-personal-token', 'intercom-access-token', 'monday-personal-token', 'stripe-secret-key'],
    ]),
  );
});

describe.each(found.map((connector) => [connector.id, connector] as const))('connector %s', (id, connector) => {
  const { key, parameters = [], manualSteps = [], facts = {} } = connector;

  it('is named after its file and imports the contract only', () => {
    expect(id).toMatch(/^[a-z0-9]+(-[a-z0-9]+)*$/);
    const source = readFileSync(new URL(`${id}.ts`, DIRECTORY), 'utf8');
    const imported = [...source.matchAll(/from '([^']+)'/g)].map((match) => match[1]);
    expect(imported).toEqual(['../connector.ts']);
  });

  it('has exactly one way to make a new value, or steps for a person', () => {
    const ways = [key.calls, key.driver, key.custom].filter((way) => way !== undefined);
    expect(ways).toHaveLength(key.strategy === 'manual' ? 0 : 1);
    expect(manualSteps.length).toBeGreaterThan(0);
    for (const step of manualSteps) expect(step).toMatch(/^[A-Z].*[.]$/s);
  });

  it('says where its facts come from, and has a fact for every part and every figure', () => {
    for (const fact of Object.values(facts)) expect(fact.source.length).toBeGreaterThan(10);
    const told = Object.keys(facts);
    expect(wantFacts(connector).filter((part) => !told.includes(part))).toEqual([]);
    expect(told.filter((part) => !part.startsWith('key.'))).toEqual([]);
  });

  it('has error rows that match something and causes that are safe to show', () => {
    for (const row of key.errorTable ?? []) {
      expect(row.status ?? row.text).toBeDefined();
      expect(row.cause).toMatch(/^[a-z0-9_]{1,64}$/);
    }
  });

  it('uses every parameter that it asks for', () => {
    const text = JSON.stringify(key);
    for (const { name } of parameters) expect(text).toMatch(new RegExp(`\\{(?:parameters\\.)?${name}\\}`));
  });
});

/** Parts whose absence somebody would ask about, and figures. */
function wantFacts({ key }: KeyConnector): string[] {
  const { calls, strategy } = key;
  if (strategy === 'manual') return ['key.strategy'];
  if (key.custom !== undefined) return ['key.custom'];
  if (key.driver !== undefined)
    return ['key.driver', strategy === 'overlap' ? 'key.keysMaxCount' : 'key.strategy', 'key.rateBudget'];
  return [
    ...['mint', 'test', 'inspect', 'list', 'revoke'].map((name) => `key.calls.${name}`),
    ...(['disable', 'lifetime', 'used', 'read'] as const)
      .filter((name) => calls?.[name] !== undefined)
      .map((name) => `key.calls.${name}`),
    ...(['settlesWithinSeconds', 'graceSeconds', 'errorTable'] as const)
      .filter((name) => key[name] !== undefined)
      .map((name) => `key.${name}`),
    ...(strategy === 'overlap' ? [] : ['key.strategy']),
    'key.keysMaxCount',
    'key.rateBudget',
  ];
}

const ENDS = ['date_time', 'date', 'hours', 'days', 'seconds'];
const MEMBERS: Readonly<Record<string, readonly string[] | undefined>> = {
  api_key: ['key', 'key_id'],
  basic: ['username', 'password'],
  oauth2: ['access_token'],
  json: undefined,
};

describe.each(declared.map((connector) => [connector.id, connector] as const))('the calls of %s', (_id, connector) => {
  const { key } = connector;
  const calls = key.calls as KeyCalls;

  it('use a closed list of variables, each where it has a value', () => {
    for (const [name, call] of callsOf(calls)) {
      const { authentication = calls.authentication, ...rest } = call;
      for (const variable of variablesIn([authentication, rest]))
        expect(knows(connector, name, variable), `${name}: ${variable}`).toBe(true);
    }
  });

  it('let nothing but a parameter decide the host', () => {
    for (const [, { url }] of callsOf(calls)) {
      const [, authority = ''] = /^https:\/\/([^/?#]+)\//.exec(url) ?? [];
      expect(authority).not.toBe('');
      for (const variable of variablesIn(authority)) expect(variable).toMatch(/^parameters\./);
    }
  });

  it('go to declared hosts by https, and a signature of AWS covers a path that needs no encoding', async () => {
    const provider = new KeyProvider(connector);
    await wholeRotation(connector, provider);
    expect(new Set(provider.sent.map(({ call }) => call))).toEqual(new Set(namesOf(calls)));
    for (const { call, url } of provider.sent) {
      expect(new URL(url).protocol).toBe('https:');
      expect(provider.hosts()).toContain(new URL(url).host);
      const by = calls[call]?.authentication ?? calls.authentication;
      if (by.by === 'sigv4') expect(new URL(url).pathname).toMatch(/^[A-Za-z0-9/_.~-]*$/);
    }
  });

  it('can be undone: what was made can be ended, and found by its name where keys have one', () => {
    if (key.strategy === 'in_place') expect(calls.revoke).toBeUndefined();
    else expect(calls.revoke).toBeDefined();
    if (calls.list?.name !== undefined) expect(JSON.stringify(calls.mint)).toContain('{name}');
    // A list is asked for a name or to be counted.
    if (calls.list !== undefined) expect(calls.list.name ?? calls.list.createdAt ?? key.keysMaxCount).toBeDefined();
  });

  // Skipped where the folder of descriptions is absent, which is told above with console.warn.
  it.skipIf(PROVIDERS === undefined)('are valid by the provider’s own description, and a wrong field is not', async () => {
    const provider = new KeyProvider(connector);
    await wholeRotation(connector, provider);
    const undescribed = new Set<CallName>();
    for (const sent of provider.sent) {
      const faults = faultsOf(sent);
      if (faults === undefined) {
        // The descriptions here contain the management calls of each provider, so a wrong path is found, too.
        if (sent.call !== 'test') expect(isDescribed(sent.url), `${sent.call} ${sent.method} ${sent.url}`).toBe(false);
        undescribed.add(sent.call);
        continue;
      }
      expect(faults, `${sent.call} ${sent.method} ${sent.url}`).toEqual([]);
      expect(faultsOf(planted(sent)), `${sent.call} with a planted field`).not.toEqual([]);
    }
    if (undescribed.size > 0) console.warn(`${connector.id}: no description of ${[...undescribed].join(', ')}`);
  });

  it('rotate: a new value works, the old one stays until it is revoked, and then it is dead', async () => {
    const provider = new KeyProvider(connector);
    const { value } = await wholeRotation(connector, provider);
    const rotator = declaredRotator(connector);
    expect(value[provider.idMember]).not.toBe(provider.old[provider.idMember]);
    expect(await rotator.test(provider.target(), value)).toBe('works');
    expect(await rotator.test(provider.target(), provider.old)).toBe('rejected');
    expect([...provider.keys.keys()]).toEqual([value[provider.idMember]]);
  });

  it('have one effect, whatever is repeated', async () => {
    const provider = new KeyProvider(connector);
    const rotator = declaredRotator(connector);
    const target = provider.target();
    expect(await rotator.check?.(target)).toEqual({ kind: 'done' });
    expect(await rotator.check?.(target)).toEqual({ kind: 'done' });
    provider.mischief = {
      call: 'mint',
      when: 'after',
      does: () => {
        throw new EgressFailure('connection_lost');
      },
    };
    expect(await rotator.create(target, false)).toEqual({ kind: 'lost', cause: 'connection_lost' });
    provider.mischief = undefined;
    if (key.strategy === 'in_place') return;
    if (isOnlyNamed(calls)) {
      const keys = provider.madeIds();
      for (const outcome of [
        await rotator.create({ ...target, interrupted: INTERRUPTED }, true),
        await rotator.removeMade?.({ ...target, interrupted: INTERRUPTED }),
      ])
        expect(outcome).toEqual({ kind: 'refused', means: 'configuration', cause: 'unknown_keys_found', keys });
      expect(provider.madeIds()).toEqual(keys);
      provider.removeMade();
    }
    const again = await rotator.create({ ...target, interrupted: INTERRUPTED }, true);
    if (again.kind !== 'done') throw new Error(`create ended with ${again.kind} ${again.cause}`);
    // Where a list shows neither names nor instants, the key of the lost answer stays: the fact about `list` says so.
    expect(provider.madeIds()).toHaveLength((calls.list?.name ?? calls.list?.createdAt) === undefined ? 2 : 1);
    expect(provider.keys.has(String(provider.old[provider.idMember]))).toBe(true);
    const before = provider.keys.size;
    for (let times = 0; times < 2; times++) expect(await rotator.revoke?.(target, again.value)).toEqual({ kind: 'done' });
    expect(provider.keys.size).toBe(before - 1);
    expect(await rotator.test(target, again.value)).toBe('rejected');
    expect(await rotator.test(target, provider.old)).toBe('works');
  });

  it('end a value that authenticates its own end, twice', async () => {
    if (calls.revoke === undefined || key.admin === 'credential') return;
    const provider = new KeyProvider(connector);
    const rotator = declaredRotator(connector);
    for (let times = 0; times < 2; times++)
      expect(await rotator.revoke?.(provider.target(), provider.old)).toEqual({ kind: 'done' });
    expect(provider.keys.size).toBe(0);
  });

  it('never say `rejected` without the provider’s own refusal, and never throw', async () => {
    for (const does of Object.values(MISCHIEF)) {
      const provider = new KeyProvider(connector);
      provider.mischief = { call: 'test', when: 'before', does };
      expect(await declaredRotator(connector).test(provider.target(), provider.old)).toBe('unknown');
    }
  });

  it('fail as what they are, and tell no secret, even if the provider echoes the request', async () => {
    for (const [what, does] of Object.entries(MISCHIEF)) {
      for (const call of CALL_NAMES.filter((name) => name !== 'test' && calls[name] !== undefined)) {
        for (const when of ['before', 'after'] as const) {
          const provider = new KeyProvider(connector);
          provider.mischief = { call, when, does };
          const outcomes = await everyOutcome(connector, provider);
          const text = JSON.stringify(outcomes);
          for (const secret of provider.secrets()) for (const piece of piecesOf(secret)) expect(text).not.toContain(piece);
          const failed = outcomes.find((outcome) => outcome.kind !== 'done');
          if (failed !== undefined && 'cause' in failed) expect(failed.cause, `${call} ${what}`).toMatch(/^[a-z0-9_]{1,64}$/);
        }
      }
    }
  });

  it('plan without secrets, and name what cannot be undone', () => {
    const provider = new KeyProvider(connector);
    const plan = declaredRotator(connector).plan({ parameters: provider.parameters });
    expect(plan.map(({ step }) => step)).toEqual(expect.arrayContaining(['create', 'test', 'prove_dead']));
    expect(plan.some(({ undoable }) => !undoable)).toBe(true);
    for (const secret of provider.secrets()) expect(JSON.stringify(plan)).not.toContain(secret);
    for (const { what } of plan) expect(what).toMatch(/^(GET|POST|PUT|PATCH|DELETE) https:\/\/[a-z0-9.-]+\//);
  });

  it('count keys before one is made', async () => {
    const { keysMaxCount } = key;
    if (keysMaxCount === undefined || calls.list === undefined) return;
    const provider = new KeyProvider(connector);
    const held = provider.keys.get(String(provider.old[provider.idMember]));
    if (held === undefined) throw new Error('the old key is missing');
    for (let count = 1; count < keysMaxCount; count++) provider.keys.set(`other-${count}`, held);
    const refusal = { kind: 'refused', means: 'configuration', cause: 'key_cap_reached' };
    expect(await declaredRotator(connector).check?.(provider.target())).toEqual(refusal);
    expect(provider.sent.map(({ call }) => call)).not.toContain('mint');
  });

  it('say at once that the id of the old key is missing', async () => {
    if ((calls.inspect ?? calls.revoke) === undefined) return;
    const provider = new KeyProvider(connector);
    const { [provider.idMember]: _, ...old } = provider.old;
    expect(await declaredRotator(connector).check?.({ ...provider.target(), old })).toEqual({
      kind: 'refused',
      means: 'configuration',
      cause: `value_lacks_${provider.idMember}`,
    });
    expect(provider.sent).toEqual([]);
  });
});

/** One attempt, now. */
const INTERRUPTED: Interrupted = { fromMs: NOW - 60_000, untilMs: NOW + 60_000, attempts: 1, known: [], isShared: false };

/** Answers that no provider gives on purpose, and such that mean nothing about a value. */
const MISCHIEF: Readonly<Record<string, (sent: Sent) => EgressAnswer>> = {
  'not sent': () => {
    throw new EgressFailure('connect_failed');
  },
  lost: () => {
    throw new EgressFailure('timeout');
  },
  throttled: () => answer(429, '{"error":"slow down"}', { 'retry-after': '7' }),
  broken: ({ headers, body, url }) => answer(500, `${JSON.stringify(headers)} ${body} ${url}`),
  'a page': () => answer(200, '<html><body>Welcome to the hotel</body></html>'),
  'half an answer': () => answer(200, '{"result": {"val'),
  'another shape': () => answer(200, '["made", "up"]'),
  redirect: () => answer(302, '', { location: 'https://evil.example/' }),
  forbidden: ({ headers, body, url }) => answer(418, `you sent ${JSON.stringify(headers)} ${body} ${url}`),
};

async function wholeRotation(connector: KeyConnector, provider: KeyProvider) {
  const rotator = declaredRotator(connector);
  const target = provider.target();
  const checked = await rotator.check?.(target);
  if (checked?.kind !== 'done') throw new Error(`check ended with ${JSON.stringify(checked)}`);
  // After an interruption, so that a list is asked even without a cap.
  const { calls } = connector.key;
  if ((calls?.list?.name ?? calls?.list?.createdAt) !== undefined) await rotator.create(target, false);
  if (isOnlyNamed(calls)) provider.removeMade();
  const made = await rotator.create({ ...target, interrupted: INTERRUPTED }, true);
  if (made.kind !== 'done') throw new Error(`create ended with ${JSON.stringify(made)}`);
  expect(await rotator.test(target, made.value)).toBe('works');
  if (connector.key.strategy !== 'in_place') expect(await rotator.test(target, provider.old)).toBe('works');
  const ended = await rotator.revoke?.(target, provider.old);
  if (ended !== undefined) expect(ended).toEqual({ kind: 'done' });
  return made;
}

async function everyOutcome(connector: KeyConnector, provider: KeyProvider) {
  const rotator = declaredRotator(connector);
  const target = provider.target();
  const made = await rotator.create(target, true);
  const shown = made.kind === 'done' ? { kind: made.kind } : made;
  return [await rotator.check?.(target), shown, await rotator.revoke?.(target, provider.old)].filter(
    (outcome) => outcome !== undefined,
  );
}

/** A test with the admin credential may be the same request as `inspect`. */
function namesOf(calls: KeyCalls): readonly CallName[] {
  const asked = calls.test.url.replaceAll('{value.', '{old.');
  return callsOf(calls).flatMap(([name, { url }]) => (name === 'inspect' && url === asked ? [] : [name]));
}

/** Runs of a secret that would show it. */
function piecesOf(secret: string): readonly string[] {
  return [secret.slice(0, 12), secret.slice(-12)];
}

function variablesIn(value: unknown): readonly string[] {
  if (typeof value === 'string') return [...value.matchAll(/\{([^{}\s"]*)\}/g)].map(([, name = '']) => name);
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(variablesIn) : [];
}

function knows({ key, parameters = [] }: KeyConnector, call: CallName, variable: string): boolean {
  if (variable === 'name') return call === 'mint';
  const [group, member = ''] = variable.split('.');
  const isAbout = call === 'test' || call === 'used' || call === 'read' || call === 'disable' || call === 'revoke';
  const hasMember = (kinds: readonly string[]) => kinds.some((kind) => MEMBERS[kind]?.includes(member) ?? true);
  switch (group) {
    case 'parameters':
      return parameters.some(({ name }) => name === member);
    case 'old':
      return !isAbout && hasMember([key.credential]);
    case 'value':
      return isAbout && hasMember([key.credential]);
    case 'admin':
      return hasMember(key.adminKinds ?? [key.credential]);
    case 'copied':
      return call === 'mint' && Object.keys(key.calls?.inspect?.takes ?? {}).some((name) => name.replace('?', '') === member);
    case 'ends':
      return call === 'mint' && key.calls?.lifetime !== undefined && ENDS.includes(member);
    default:
      return false;
  }
}

/** The same request with a field that no provider knows. */
function planted(sent: Sent): Sent {
  if (sent.body === '') return { ...sent, url: `${sent.url}${sent.url.includes('?') ? '&' : '?'}planted_wrong_field=1` };
  const isForm = (sent.headers['content-type'] ?? '').includes('urlencoded');
  const body = isForm
    ? `${sent.body}&planted_wrong_field=1`
    : JSON.stringify({ ...JSON.parse(sent.body), planted_wrong_field: 1 });
  return { ...sent, body };
}

it('a variable that nobody knows is a defect', () => {
  const call: KeyCall = { method: 'GET', url: 'https://x.example/{old.secret}/{nme}' };
  const connector = { ...declared[0], key: { ...declared[0]?.key, credential: 'api_key' } } as KeyConnector;
  expect(variablesIn(call).map((variable) => knows(connector, 'mint', variable))).toEqual([false, false]);
  expect(knows(connector, 'test', 'name')).toBe(false);
  expect(NAME).toMatch(/^keyturn-run_/);
});
