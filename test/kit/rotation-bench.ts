// A tenant in memory whose keys and passwords are rotated at a target that the test controls: it can refuse, lose answers and die.
import type {
  Connector,
  Egress,
  KeyConnector,
  KeyDriver,
  Program,
  RotationStrategy,
  Rotator,
  StepOutcome,
  StoredValue,
  Target,
} from '../../rotation/connector.ts';
import { CredentialRuns } from '../../rotation/credential-runs.ts';
import type { FaultPoint, Faults } from '../../src/base/faults.ts';
import type { RunRow } from '../../src/cell/runs.ts';
import type { Kind } from '../../src/vault/credential-kinds.ts';
import { putCredential } from '../../src/vault/put-credential.ts';
import { readFreshCredential } from '../../src/vault/read-credential.ts';
import type { KeyConfig } from '../../src/vault/rotation-state.ts';
import type { TenantVault } from '../../src/vault/tenant-vault.ts';
import { type TestTenant, testTenant } from './vaults.ts';

export const STRATEGIES = [
  'overlap',
  'single_user',
  'alternating_users',
  'in_place',
] as const satisfies readonly RotationStrategy[];
type Strategy = (typeof STRATEGIES)[number];

/** The target: which user accepts which passwords. */
export class FakeTarget {
  readonly strategy: Strategy;
  readonly accepted = new Map<string, Set<string>>([['app', new Set(['first'])]]);
  /** Names under which keys were made, by password. */
  readonly names = new Map<string, string>();
  /** The outcome of the next calls, by step; each is used once. */
  readonly failures: { step: string; outcome: StepOutcome; applied?: boolean }[] = [];
  /** What the target answers to a test of any value, if set. */
  verdict: 'works' | 'rejected' | 'unknown' | undefined;
  calls: string[] = [];
  /** Done while a value is made. */
  meanwhile: (() => Promise<unknown>) | undefined;
  /** Done once while a call of this step is under way. */
  readonly during = new Map<'create' | 'set' | 'test', () => Promise<unknown>>();
  /** Whether each value was ended with settings that name a sandbox, by password. */
  readonly endedInSandbox = new Map<string, boolean>();
  #made = 0;

  constructor(strategy: Strategy) {
    this.strategy = strategy;
  }

  works(value: StoredValue): boolean {
    return this.accepted.get(String(value['username']))?.has(String(value['password'])) === true;
  }

  async #pause(step: 'create' | 'set' | 'test'): Promise<void> {
    const act = this.during.get(step);
    this.during.delete(step);
    await act?.();
  }

  #answer(step: string, apply: () => void): StepOutcome {
    this.calls.push(step);
    const at = this.failures.findIndex((one) => one.step === step);
    const failure = at < 0 ? undefined : this.failures.splice(at, 1)[0];
    if (failure === undefined || failure.applied === true) apply();
    return failure?.outcome ?? { kind: 'done' };
  }

  rotator(): Rotator {
    const { strategy } = this;
    const mints = strategy === 'overlap' || strategy === 'in_place';
    const fresh = ({ old }: Target): StoredValue => ({
      ...old,
      username: strategy === 'alternating_users' ? (old['username'] === 'app' ? 'app2' : 'app') : old['username'],
      password: `made-up-${++this.#made}`,
    });
    const accept = (value: StoredValue, alone: boolean) => {
      const user = String(value['username']);
      const others = alone ? [] : (this.accepted.get(user) ?? []);
      this.accepted.set(user, new Set([...others, String(value['password'])]));
    };
    return {
      mintsAtTarget: mints,
      plan: () => [],
      create: async (target, again) => {
        await this.meanwhile?.();
        await this.#pause('create');
        if (again && strategy === 'overlap') {
          for (const [password, name] of this.names)
            if (name === target.name) for (const passwords of this.accepted.values()) passwords.delete(password);
        }
        const value = fresh(target);
        const outcome = this.#answer('create', () => {
          if (!mints) return;
          this.names.set(String(value['password']), target.name);
          accept(value, strategy === 'in_place');
        });
        return outcome.kind === 'done' ? { ...outcome, value } : outcome;
      },
      ...(mints
        ? {}
        : {
            set: async (_target: Target, value: StoredValue) => {
              await this.#pause('set');
              return this.#answer('set', () => accept(value, true));
            },
          }),
      test: async (_target, value) => {
        await this.#pause('test');
        this.calls.push('test');
        return this.verdict ?? (this.works(value) ? 'works' : 'rejected');
      },
      ...(strategy === 'overlap' || strategy === 'alternating_users'
        ? {
            ...(mints
              ? {
                  removeMade: async (target: Target) =>
                    this.#answer('remove', () => {
                      for (const [password, name] of this.names)
                        if (name === target.name) for (const passwords of this.accepted.values()) passwords.delete(password);
                    }),
                }
              : {}),
            revoke: async (target: Target, value: StoredValue) => {
              this.endedInSandbox.set(String(value['password']), target.allowLoopback);
              return this.#answer('revoke', () =>
                this.accepted.get(String(value['username']))?.delete(String(value['password'])),
              );
            },
          }
        : {}),
    };
  }
}

class Killed extends Error {}

export interface RotationBench {
  readonly tenant: TestTenant;
  readonly target: FakeTarget;
  vault: TenantVault;
  runs: CredentialRuns;
  /** Kills the process at the n-th fault point from now on; returns the points passed so far. */
  killAt(nth: number | undefined): void;
  readonly passed: FaultPoint[];
  /** Opens the database again, as another process does after a crash. */
  restart(): void;
  rotate(): Promise<void>;
  /** Requests a rotation and executes it until it ends, waits or the process dies. */
  read(): Promise<StoredValue>;
  rows(kind: RunRow['kind']): RunRow[];
  /** Lets time pass and does due work until nothing is open, at most `rounds` times. */
  finish(rounds?: number): Promise<void>;
  close(): void;
}

const connectorOf = (strategy: Strategy): Connector => ({
  id: 'made-up-target',
  title: 'Made-up target',
  kind: 'key',
  key: { credential: 'database', strategy, admin: 'either', hosts: [], driver: 'postgresql', graceSeconds: 3_600 },
});

/** A connector with its provider, in place of the fake target. */
interface RealConnector {
  readonly connector: KeyConnector;
  readonly egress: Egress;
  readonly value: StoredValue;
  readonly parameters: Readonly<Record<string, string>>;
  /** Of a connector without HTTP. */
  readonly driver?: KeyDriver;
  /** The value of the credential `root`, which manages this one. */
  readonly admin?: StoredValue;
  /** Settings beside the parameters. */
  readonly config?: KeyConfig;
  /** Of `root`, if they are others. */
  readonly adminConfig?: KeyConfig;
  /** Of the value. Default: that of the connector. */
  readonly kind?: Kind;
  readonly programs?: (name: string) => Program | undefined;
}

export async function rotationBench(strategy: Strategy, real?: RealConnector): Promise<RotationBench> {
  const connector = real?.connector ?? connectorOf(strategy);
  const target = new FakeTarget(strategy);
  const passed: FaultPoint[] = [];
  let kill: number | undefined;
  const faults: Faults = {
    at: (point) => {
      if (!point.startsWith('rotate.') && !point.startsWith('retire.')) return;
      passed.push(point);
      if (kill !== undefined && passed.length === kill) throw new Killed(point);
    },
  };
  const tenant = await testTenant({ demo: true, faults });
  const driver: KeyDriver = real?.driver ?? { rotator: () => target.rotator() };
  let owner = 0;
  const attach = (vault: TenantVault): CredentialRuns => {
    const name = `owner-${++owner}`;
    const runs = new CredentialRuns({
      vault,
      egress: real?.egress ?? { send: () => Promise.reject(new Error('no network')) },
      connectors: new Map([[connector.id, connector]]),
      drivers: new Map([[connector.kind === 'key' ? (connector.key.driver ?? 'postgresql') : 'postgresql', driver]]),
      ...(real?.programs === undefined ? {} : { programs: real.programs }),
      owner: name,
      isDead: (other) => other !== name,
      sandboxAllowed: true,
      every: () => () => {},
    });
    runs.attachTo(vault);
    return runs;
  };
  const admin = () => tenant.user(['admin'], 'everywhere', { secondFactorAtMs: tenant.clock.now() });
  const bench: RotationBench = {
    tenant,
    target,
    vault: tenant.vault,
    runs: attach(tenant.vault),
    passed,
    killAt: (nth) => {
      passed.length = 0;
      kill = nth;
    },
    restart: () => {
      kill = undefined;
      bench.vault = tenant.reopen();
      bench.runs = attach(bench.vault);
    },
    rotate: async () => {
      const run = await bench.vault.submit((job) => bench.runs.open(job, admin(), 'staging', 'db'));
      await bench.runs.advance(run.credential_id).catch((error: unknown) => {
        if (!(error instanceof Killed)) throw error;
      });
    },
    read: async () => {
      const input = { environment: 'staging', name: 'db', version: undefined, stage: undefined };
      const { body } = await readFreshCredential(bench.vault, admin(), input);
      return (JSON.parse(new TextDecoder().decode(body)) as { value: StoredValue }).value;
    },
    rows: (kind) => tenant.sql.all<RunRow>('SELECT * FROM run WHERE kind = ? ORDER BY rowid', kind),
    finish: async (rounds = 12) => {
      for (let round = 0; round < rounds; round++) {
        await bench.runs.runDueWork().catch((error: unknown) => {
          if (!(error instanceof Killed)) throw error;
        });
        if (
          bench.rows('rotation').every(({ state }) => state !== 'open') &&
          bench.rows('revocation').every(({ state }) => state !== 'open')
        )
          return;
        tenant.clock.pass(3_600_001);
      }
    },
    close: () => bench.vault.close(),
  };
  const kind = real?.kind ?? (connector.kind === 'key' ? connector.key.credential : 'database');
  const put = (name: string, value: StoredValue, id: string | undefined, config: object, its: Kind = kind) =>
    bench.vault.submit((job) =>
      putCredential(job, admin(), {
        environment: 'staging',
        name,
        kind: its,
        value,
        connector: id,
        config,
        labels: undefined,
        description: undefined,
        expiresAtMs: undefined,
        precondition: {},
      }),
    );
  const first = { engine: 'postgresql', host: 'db.example', username: 'app', password: 'first' };
  const { parameters = {} } = real ?? {};
  const settings = { ...(Object.keys(parameters).length === 0 ? {} : { parameters }), ...real?.config };
  if (real?.admin !== undefined)
    await put(
      'root',
      real.admin,
      connector.id,
      { ...(real.adminConfig ?? settings), manages: true },
      real.connector.key.adminKinds?.[0],
    );
  await put('db', real?.value ?? first, connector.id, {
    ...settings,
    ...(real?.admin === undefined ? {} : { admin: 'root' }),
  });
  return bench;
}
