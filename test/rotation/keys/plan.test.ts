// The plan of a rotation: what is done, in order, with a stable hash; and no call outside while a local check fails.
import { afterEach, describe, expect, it } from 'vitest';
import { connectors } from '../../../rotation/catalog.ts';
import type { Connector, EgressRequest, KeyConnector, StoredValue } from '../../../rotation/connector.ts';
import { CredentialRuns } from '../../../rotation/credential-runs.ts';
import { planView } from '../../../src/http/v1/views.ts';
import { rotationPlan } from '../../../src/http/v1/wire.ts';
import { deleteCredential } from '../../../src/vault/change-credential.ts';
import type { Kind } from '../../../src/vault/credential-kinds.ts';
import { putCredential } from '../../../src/vault/put-credential.ts';
import type { KeyConfig } from '../../../src/vault/rotation-state.ts';
import { requestOf } from '../../../src/vault/run-request.ts';
import { changeRows } from '../../kit/anchored.ts';
import { eventsOf, type TestTenant, testTenant } from '../../kit/vaults.ts';
import { KeyProvider, madeUpParameters } from '../key-provider.ts';

const sendgrid = connectors.get('sendgrid-api-key') as KeyConnector;
const gitlab = connectors.get('gitlab-group-token') as KeyConnector;
let tenant: TestTenant | undefined;
afterEach(() => tenant?.vault.close());

async function bench(known: ReadonlyMap<string, Connector> = connectors) {
  tenant = await testTenant({ demo: true });
  const t = tenant;
  const calls: string[] = [];
  const provider = new KeyProvider(sendgrid);
  const send = (request: EgressRequest) => {
    calls.push(`${request.method} ${request.url}`);
    return provider.send(request);
  };
  const engineWith = (usable: ReadonlyMap<string, Connector>) => {
    const runs = new CredentialRuns({
      vault: t.vault,
      egress: { send },
      connectors: usable,
      owner: 'owner',
      sandboxAllowed: true,
      every: () => () => {},
    });
    runs.attachTo(t.vault);
    return runs;
  };
  let runs = engineWith(known);
  const admin = () => t.user(['admin'], 'everywhere', { secondFactorAtMs: t.clock.now() });
  const put = (
    name: string,
    value: StoredValue,
    connector: string | undefined,
    config: KeyConfig | undefined,
    kind: Kind = 'api_key',
  ) =>
    t.vault.submit((job) =>
      putCredential(job, admin(), {
        environment: 'staging',
        name,
        kind,
        value,
        connector,
        config,
        labels: undefined,
        description: undefined,
        expiresAtMs: undefined,
        precondition: {},
      }),
    );
  return {
    t,
    calls,
    provider,
    put,
    admin,
    /** Another build of Keyturn over the same database. */
    use: (usable: ReadonlyMap<string, Connector>) => {
      runs = engineWith(usable);
    },
    plan: (name: string, caller = admin()) => t.vault.submit((job) => runs.plan(job, caller, 'staging', name)),
    open: (name: string) => t.vault.submit((job) => runs.open(job, admin(), 'staging', name)),
    rotate: async (name: string, request = {}, caller = admin()) => {
      const run = await t.vault.submit((job) => runs.open(job, caller, 'staging', name, request));
      await runs.advance(run.credential_id);
      return run;
    },
  };
}

type Bench = Awaited<ReturnType<typeof bench>>;
const VALUE = { key: 'NotReal-key', key_id: 'made-up' };

describe('the plan of a rotation', () => {
  it('is what the rotation then does, call by call, and is an answer of the API', async () => {
    const b = await bench();
    await b.put('mail', b.provider.old, sendgrid.id, { grace_seconds: 60 });
    const plan = await b.plan('mail');
    expect(rotationPlan.parse(planView(plan))).toMatchObject({ ready: true });
    expect(b.calls).toEqual([]);
    await b.rotate('mail', { plan: plan.hash });
    const planned = plan.planned.calls.map(({ what }) => what.replace(/\{.*?\}/g, '*'));
    const matches = (call: string) =>
      planned.some((what) => new RegExp(`^${what.replace(/[.?+()]/g, '\\$&').replaceAll('*', '[^/]+')}(\\?.*)?$`).test(call));
    expect(b.calls.length).toBeGreaterThan(1);
    for (const call of b.calls) expect(matches(call), call).toBe(true);
    expect(plan.planned).toMatchObject({
      strategy: 'overlap',
      manager: null,
      grace_seconds: 60,
      destinations: ['https://api.sendgrid.com/'],
    });
    expect(plan.planned.calls.filter(({ undoable }) => !undoable).map(({ step }) => step)).toEqual(['revoke']);
  });

  it('contains no text of any value, for every connector', async () => {
    for (const connector of connectors.values()) {
      if (connector.kind !== 'key' || connector.key.calls === undefined || connector.key.admin === 'credential') continue;
      const provider = new KeyProvider(connector);
      const b = await bench();
      const parameters = madeUpParameters(connector);
      await b.put(
        'one',
        provider.old,
        connector.id,
        Object.keys(parameters).length === 0 ? {} : { parameters },
        connector.key.credential,
      );
      const text = JSON.stringify(await b.plan('one'));
      for (const secret of provider.secrets()) expect(text, connector.id).not.toContain(secret);
      b.t.vault.close();
    }
    tenant = undefined;
  });

  it('has the same hash until something in it changes, and a run with another hash is refused', async () => {
    const b = await bench();
    await b.put('mail', b.provider.old, sendgrid.id, {});
    const { hash } = await b.plan('mail');
    b.t.clock.pass(3_600_000);
    expect((await b.plan('mail')).hash).toBe(hash);
    await b.put('mail', b.provider.old, sendgrid.id, { grace_seconds: 3_600 });
    const changed = await b.plan('mail');
    expect(changed.hash).not.toBe(hash);
    await expect(b.rotate('mail', { plan: hash })).rejects.toMatchObject({ code: 'conflict', extra: { plan: changed.hash } });
    expect(b.calls).toEqual([]);
    expect(requestOf(await b.rotate('mail', { plan: changed.hash })).plan).toBe(changed.hash);
  });

  it('is read with an event, and changes nothing', async () => {
    const b = await bench();
    await b.put('mail', b.provider.old, sendgrid.id, {});
    await b.plan('mail', b.t.user(['auditor'], 'here'));
    expect(eventsOf(b.t.sql).at(-1)).toMatchObject({ action: 'run.read', outcome: 'success', details: { step: 'plan' } });
    expect(b.t.sql.all('SELECT * FROM run')).toEqual([]);
  });
});

/** Each makes one local check fail; the last member: the check, or the code of a refusal before the plan. */
const FAILING: readonly (readonly [what: string, make: (b: Bench) => Promise<unknown>, failed: string])[] = [
  ['no connector', (b) => b.put('mail', VALUE, undefined, undefined), 'configuration'],
  [
    'a connector that this build does not have',
    async (b) => {
      await b.put('mail', VALUE, sendgrid.id, {});
      b.use(new Map());
    },
    'configuration',
  ],
  ['a connector that only a person can do', (b) => b.put('mail', VALUE, 'stripe-secret-key', {}), 'platform'],
  [
    'a target that this platform does not reach',
    (b) =>
      b.put(
        'mail',
        { engine: 'postgresql', host: 'db.example', username: 'a', password: 'NotReal' },
        'postgresql',
        {},
        'database',
      ),
    'platform',
  ],
  ['a credential that manages others', (b) => b.put('mail', VALUE, sendgrid.id, { manages: true }), 'platform'],
  ['a value without the id of its key', (b) => b.put('mail', { key: 'NotReal-key' }, sendgrid.id, {}), 'value'],
  [
    'a value stored before it had a connector',
    async (b) => {
      await b.put('mail', VALUE, undefined, undefined);
      await b.t.vault.submit((job) =>
        changeRows(job.core.rows, 'credential', "name = 'mail'", () => ({ connector: sendgrid.id })),
      );
    },
    'value',
  ],
  [
    'a manager that was deleted',
    async (b) => {
      await managed(b);
      await b.t.vault.submit((job) =>
        deleteCredential(job, b.admin(), { environment: 'staging', name: 'root', recoveryWindowMs: undefined, precondition: {} }),
      );
    },
    'admin',
  ],
  [
    'a manager that was stored for other hosts',
    async (b) => {
      await managed(b);
      await b.put('root', VALUE, gitlab.id, { manages: true, parameters: { host: 'other.example', group_id: '1' } });
    },
    'admin',
  ],
  ['a manager without a connector', (b) => b.put('root', VALUE, undefined, undefined).then(() => putManaged(b)), 'admin'],
  [
    'an open run',
    async (b) => {
      await b.put('mail', VALUE, sendgrid.id, {});
      await b.open('mail');
    },
    'conflict',
  ],
];

const putManaged = (b: Bench) =>
  b.put('mail', VALUE, gitlab.id, { admin: 'root', parameters: { host: 'gitlab.example', group_id: '1' } });

async function managed(b: Bench): Promise<void> {
  await b.put('root', VALUE, gitlab.id, { manages: true, parameters: { host: 'gitlab.example', group_id: '1' } });
  await putManaged(b);
}

describe('nothing outside is called, and nothing is opened, with', () => {
  it.each(FAILING)('%s', async (_what, make, failed) => {
    const b = await bench();
    await make(b);
    const before = b.t.sql.all('SELECT id FROM run').length;
    const plan = await b.plan('mail');
    const faults = plan.checks.filter(({ fault }) => fault !== undefined);
    expect(faults.map(({ check }) => check)).toEqual([failed]);
    expect(planView(plan).ready).toBe(false);
    if (failed !== 'conflict') {
      await expect(b.rotate('mail')).rejects.toMatchObject({
        code: 'not_rotatable',
        message: faults[0]?.fault,
        extra: { check: failed },
      });
    }
    expect(b.calls).toEqual([]);
    expect(b.t.sql.all('SELECT id FROM run').length).toBe(before);
  });

  it.each([
    ['a name that does not exist', 'nothing', undefined, 'not_found'],
    ['a caller who may not rotate', 'mail', 'auditor', 'forbidden'],
  ] as const)('%s', async (_what, name, role, code) => {
    const b = await bench();
    await b.put('mail', b.provider.old, sendgrid.id, {});
    const caller = role === undefined ? b.admin() : b.t.user([role], 'here');
    await expect(b.rotate(name, {}, caller)).rejects.toMatchObject({ code });
    expect(b.calls).toEqual([]);
    expect(b.t.sql.all('SELECT id FROM run')).toEqual([]);
  });
});
