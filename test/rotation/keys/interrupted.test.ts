// A key whose answer was lost, at providers whose keys have no name: it is removed only if nobody else can have made it.
import { afterEach, describe, expect, it } from 'vitest';
import { connectors } from '../../../rotation/catalog.ts';
import { type Egress, EgressFailure, type KeyConnector } from '../../../rotation/connector.ts';
import { declaredRotator } from '../../../rotation/keys/declared.ts';
import { LIMITS } from '../../../src/base/limits.ts';
import { cancelRun } from '../../../src/vault/change-run.ts';
import { putCredential } from '../../../src/vault/put-credential.ts';
import { type RotationBench, rotationBench } from '../../kit/rotation-bench.ts';
import { answer, KeyProvider } from '../key-provider.ts';

let bench: RotationBench | undefined;
afterEach(() => bench?.close());

/** An access key of AWS; the answer of its first creation is lost. */
async function interrupted(meanwhile: (provider: KeyProvider, b: RotationBench) => Promise<void> | void = () => {}) {
  const connector = connectors.get('aws-iam-access-key') as KeyConnector;
  const provider = new KeyProvider(connector);
  const { old: value, parameters } = provider;
  const b = await rotationBench('overlap', { connector, egress: provider, value, parameters });
  bench = b;
  provider.now = () => b.tenant.clock.now();
  provider.mischief = {
    call: 'mint',
    when: 'after',
    does: () => {
      throw new EgressFailure('connection_lost');
    },
  };
  await b.rotate();
  provider.mischief = undefined;
  expect(b.rows('rotation')[0]).toMatchObject({ state: 'open', step: 'uncertain', cause: 'connection_lost' });
  await meanwhile(provider, b);
  return { b, provider };
}

const alertsOf = (b: RotationBench) =>
  b.tenant.sql
    .all("SELECT facts FROM alert WHERE kind = 'credential.rotation_failed'")
    .map(({ facts }) => JSON.parse(String(facts)) as Record<string, unknown>);

/** A person makes a key of the same user. */
function byHand(provider: KeyProvider, id: string, more: { isUsed?: boolean; madeAt?: number } = {}): void {
  const [held] = provider.keys.values();
  if (held === undefined) throw new Error('there is no key');
  provider.keys.set(id, { ...held, name: undefined, madeAt: provider.now(), ...more });
}

describe('a key that was made without a complete answer', () => {
  it('is removed, and the rotation does not stop at the cap', async () => {
    const { b, provider } = await interrupted();
    const old = provider.old['key_id'];
    const orphan = [...provider.keys.keys()].filter((id) => id !== old);
    expect(orphan.length).toBe(1);
    await b.rotate();
    expect(b.rows('rotation')[0]).toMatchObject({ state: 'succeeded', outcome: 'rotated' });
    expect([...provider.keys.keys()]).toEqual([old, (await b.read())['key_id']]);
    expect(alertsOf(b)).toEqual([]);
  });

  it('is left alone and named in an alert if it was used', async () => {
    const { b, provider } = await interrupted((its) => {
      for (const held of its.keys.values()) held.isUsed = true;
    });
    const orphan = [...provider.keys.keys()].find((id) => id !== provider.old['key_id']);
    await b.rotate();
    expect(b.rows('rotation')[0]).toMatchObject({ state: 'open', step: 'needs_manual', cause: 'unknown_keys_found' });
    expect(alertsOf(b)).toMatchObject([{ cause: 'unknown_keys_found', keys: orphan }]);
    expect(provider.keys.size).toBe(2);
    // A person deletes it: the run continues, and nothing was forgotten meanwhile.
    provider.keys.delete(orphan ?? '');
    await b.rotate();
    expect(b.rows('rotation')[0]).toMatchObject({ state: 'succeeded', outcome: 'rotated' });
  });

  it('is left alone if more keys were made than attempts, and each is named', async () => {
    const { b, provider } = await interrupted((its) => byHand(its, 'id8-by-hand'));
    const unknown = [...provider.keys.keys()].filter((id) => id !== provider.old['key_id']);
    await b.rotate();
    expect(alertsOf(b)).toMatchObject([{ cause: 'unknown_keys_found', keys: unknown.join(' ') }]);
    expect(provider.keys.size).toBe(3);
  });

  it('is told from keys that were made before or long after', async () => {
    const { b, provider } = await interrupted((its, at) => {
      byHand(its, 'id7-earlier', { madeAt: at.tenant.clock.now() - 3_600_000 });
      byHand(its, 'id8-later', { madeAt: at.tenant.clock.now() + 3_600_000 });
    });
    await b.rotate();
    expect([...provider.keys.keys()]).toEqual(expect.arrayContaining(['id7-earlier', 'id8-later']));
    expect(b.rows('rotation')[0]).toMatchObject({ state: 'succeeded' });
    expect(provider.keys.size).toBe(4);
  });

  it('is left alone while another credential of the same account may have got it', async () => {
    const { b, provider } = await interrupted((its, at) =>
      at.vault
        .submit((job) =>
          putCredential(job, at.tenant.user(['admin'], 'everywhere'), {
            ...{ environment: 'production', name: 'twin', kind: 'api_key', connector: 'aws-iam-access-key' },
            value: { key: 'made-up', key_id: 'another' },
            config: { parameters: { ...its.parameters } },
            ...{ labels: undefined, description: undefined, expiresAtMs: undefined, precondition: {} },
          }),
        )
        .then(() => {}),
    );
    await b.rotate();
    expect(b.rows('rotation')[0]).toMatchObject({ state: 'open', cause: 'unknown_keys_found' });
    expect(provider.keys.size).toBe(2);
  });

  it('is still looked for after the list was refused for a while', async () => {
    const { b, provider } = await interrupted();
    provider.mischief = {
      call: 'list',
      when: 'before',
      does: () => {
        throw new EgressFailure('connect_failed');
      },
    };
    await b.rotate();
    expect(b.rows('rotation')[0]).toMatchObject({ state: 'open', step: 'waiting', cause: 'connect_failed' });
    provider.mischief = undefined;
    await b.rotate();
    expect(b.rows('rotation')[0]).toMatchObject({ state: 'succeeded' });
    expect(provider.keys.size).toBe(2);
  });
});

describe('the end of what a cancelled run may have made, at a provider whose keys have no name', () => {
  /** The run was cancelled; `during` is done when the list is asked for the first time after that. */
  async function cancelled(acts: 'before' | 'after', during: (b: RotationBench) => Promise<unknown> = () => Promise.resolve()) {
    const connector = connectors.get('aws-iam-access-key') as KeyConnector;
    const provider = new KeyProvider(connector);
    const { old: value, parameters } = provider;
    const watch = { isOn: false };
    const egress: Egress = {
      send: async (request) => {
        const answered = provider.send(request);
        if (!watch.isOn || provider.sent.at(-1)?.call !== 'list') return answered;
        watch.isOn = false;
        await answered;
        await during(b);
        return provider.send(request);
      },
    };
    const b = await rotationBench('overlap', { connector, egress, value, parameters });
    bench = b;
    // The clock of the provider is behind: what it makes after the instants in question seems to be made within them.
    provider.now = () => b.tenant.clock.now() - LIMITS.clockSkewMs;
    loseMint(provider, acts);
    await b.rotate();
    provider.mischief = undefined;
    const runId = b.rows('rotation')[0]?.id ?? '';
    const by = b.tenant.user(['admin'], 'everywhere');
    await b.vault.submit((job) => cancelRun(job, by, { environment: 'staging', name: 'db', runId }));
    watch.isOn = true;
    return { b, provider };
  }

  const loseMint = (provider: KeyProvider, when: 'before' | 'after') => {
    provider.mischief = {
      call: 'mint',
      when,
      does: () => {
        throw new EgressFailure('connection_lost');
      },
    };
  };
  const idsOf = ({ keys }: KeyProvider) => [...keys.keys()];
  const PASSED = LIMITS.leaseMs + LIMITS.clockSkewMs;

  it('looks for keys only after the last instant at which one can have been made', async () => {
    const { b, provider } = await cancelled('after');
    expect(idsOf(provider).length).toBe(2);
    await b.runs.runDueWork();
    b.tenant.clock.pass(PASSED - 1);
    await b.runs.runDueWork();
    expect(b.rows('revocation')).toMatchObject([{ state: 'open', attempts: 0 }]);
    expect(idsOf(provider).length).toBe(2);
    b.tenant.clock.pass(1);
    await b.runs.runDueWork();
    expect(b.rows('revocation')).toMatchObject([{ state: 'succeeded', outcome: 'removed' }]);
    expect(idsOf(provider)).toEqual([provider.old['key_id']]);
  });

  it('is not disturbed by the next run, which makes no key meanwhile', async () => {
    const { b, provider } = await cancelled('before', (its) => its.rotate());
    await b.runs.runDueWork();
    b.tenant.clock.pass(PASSED);
    await b.runs.runDueWork();
    expect(b.rows('revocation')).toMatchObject([{ state: 'succeeded', outcome: 'removed' }]);
    expect(b.rows('rotation')[1]).toMatchObject({ state: 'open', attempts: 0 });
    await b.rotate();
    expect(b.rows('rotation')[1]).toMatchObject({ state: 'succeeded', outcome: 'rotated' });
    expect(idsOf(provider)).toContain((await b.read())['key_id']);
  });

  it('waits while the next run has an attempt whose key the vault does not know', async () => {
    const { b, provider } = await cancelled('before');
    b.tenant.clock.pass(PASSED - 1);
    loseMint(provider, 'after');
    await b.rotate();
    provider.mischief = undefined;
    b.tenant.clock.pass(1);
    await b.runs.runDueWork();
    expect(b.rows('rotation')[1]).toMatchObject({ state: 'open', step: 'uncertain', attempts: 1 });
    expect(b.rows('revocation')).toMatchObject([{ state: 'open', attempts: 0 }]);
    expect(idsOf(provider).length).toBe(2);
    await b.finish(40); // the grace period is a day
    expect(b.rows('rotation')[1]).toMatchObject({ state: 'succeeded', outcome: 'rotated' });
    expect(idsOf(provider)).toEqual([(await b.read())['key_id']]);
  });
});

describe('a key whose making takes a while', () => {
  const connector = connectors.get('google-api-key') as KeyConnector;
  const rotator = declaredRotator(connector);

  it.each([
    ['is not in the list yet', () => answer(200, '{"keys":[]}'), 'key_not_listed_yet'],
    ['cannot be looked for', () => answer(503, ''), 'http_503'],
  ])('that %s is read by the next attempt, and no second one is made', async (_what, does, cause) => {
    const provider = new KeyProvider(connector);
    provider.mischief = { call: 'list', when: 'after', does };
    expect(await rotator.create(provider.target(), false)).toMatchObject({ kind: 'lost', cause });
    provider.mischief = undefined;
    const made = await rotator.create(provider.target(), true);
    const [id] = provider.madeIds();
    expect(made).toMatchObject({ kind: 'done', value: { key_id: id, key: provider.keys.get(String(id))?.value['key'] } });
    expect(provider.sent.filter(({ call }) => call === 'mint').length).toBe(1);
  });

  it('is ended when the provider keeps it as deleted', async () => {
    const provider = new KeyProvider(connector);
    expect(await rotator.test(provider.target(), provider.old)).toBe('works');
    provider.mischief = {
      call: 'test',
      when: 'after',
      does: () => answer(200, '{"uid":"u","deleteTime":"2026-11-28T12:00:00Z"}'),
    };
    expect(await rotator.test(provider.target(), provider.old)).toBe('rejected');
  });
});
