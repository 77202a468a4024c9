// One grant of the real sandbox provider, held by one tenant in memory, with the engine that refreshes it and a clock the test moves.

import { connectors } from '../../rotation/catalog.ts';
import type { Egress } from '../../rotation/connector.ts';
import { RefreshEngine } from '../../rotation/grants/refresh-runs.ts';
import { reviewDue } from '../../rotation/grants/review.ts';
import {
  type Sandbox,
  type SandboxGrant,
  type SandboxOptions,
  startSandbox,
} from '../../rotation/sandbox/authorization-server.ts';
import { KeyturnError } from '../../src/base/errors.ts';
import type { RunRow } from '../../src/cell/runs.ts';
import { createNodeEgress } from '../../src/node/egress.ts';
import { deleteCredential, destroyCredential, restoreCredential } from '../../src/vault/change-credential.ts';
import { type OAuth2Config, oauth2Config } from '../../src/vault/credential-kinds.ts';
import { putCredential } from '../../src/vault/put-credential.ts';
import { readFreshCredential } from '../../src/vault/read-credential.ts';
import { type TestTenant, testTenant } from './vaults.ts';

export interface Served {
  readonly version: number;
  readonly expires_at: string | null;
  readonly health: string;
  readonly value: { readonly access_token: string };
}

export interface RefreshBench {
  readonly tenant: TestTenant;
  readonly sandbox: Sandbox;
  readonly engine: RefreshEngine;
  /** Everything that left the vault as an answer, to search for what must not be in it. */
  readonly answers: string[];
  /** Puts a new grant of the sandbox; each name once unless healed. */
  connect(name: string, config?: Partial<OAuth2Config> & { client_secret?: string }): Promise<SandboxGrant>;
  read(name: string): Promise<Served>;
  /** The problem a read is refused with. */
  refused(name: string): Promise<KeyturnError>;
  rotate(name: string): Promise<RunRow>;
  remove(name: string): Promise<void>;
  restore(name: string): Promise<void>;
  destroy(name: string): Promise<void>;
  row(name: string): {
    id: string;
    state: string;
    health: string;
    health_cause: string | null;
    current_version: number;
    refresh_due_at: number;
  };
  runs(name: string): RunRow[];
  /** `step:status` of the newest run, in order. */
  journal(name: string): string[];
  anotherEngine(owner: string): RefreshEngine;
  /** Lets the provider's answers wait until released. */
  hold(): { release(): void; readonly waiting: () => number };
  stop(): Promise<void>;
}

const place = (name: string) => ({ environment: 'staging', name });

export async function refreshBench(options: SandboxOptions = {}): Promise<RefreshBench> {
  const sandbox = await startSandbox({ accessTokenTtlSeconds: 600, ...options });
  const tenant = await testTenant({ demo: true });
  const { vault, clock, sql } = tenant;
  const network = createNodeEgress({ clock });
  let gate: Promise<void> = Promise.resolve();
  let waiting = 0;
  const egress: Egress = {
    send: async (request) => {
      const answer = await network.send(request);
      waiting += 1;
      await gate;
      waiting -= 1;
      return answer;
    },
  };
  const anotherEngine = (owner: string) =>
    new RefreshEngine({
      vault,
      egress,
      connectors,
      owner,
      sandboxAllowed: true,
      every: (everyMs, beat) => {
        const timer = setInterval(beat, everyMs / 100);
        return () => clearInterval(timer);
      },
    });
  const engine = anotherEngine('first');
  vault.refresher = engine;
  const admin = () => tenant.user(['admin'], 'everywhere');
  // A person with a fresh second factor: a workload's token would not outlive the jumps of the clock.
  const reader = () => tenant.user(['admin'], 'everywhere', { secondFactorAtMs: clock.now() });
  const answers: string[] = [];
  // The first look at a grant is due at once; done here, so that what is due next in a test is its refresh.
  const reviewed = () => reviewDue(engine.ports);
  const row = (name: string) => sql.get('SELECT * FROM credential WHERE name = ? ORDER BY created_at DESC', name) as never;
  const runs = (name: string) =>
    sql.all<RunRow>(
      'SELECT run.* FROM run JOIN credential ON credential.id = credential_id WHERE name = ? ORDER BY run.rowid DESC',
      name,
    );
  const read = async (name: string): Promise<Served> => {
    const { body } = await readFreshCredential(vault, reader(), { ...place(name), version: undefined, stage: undefined });
    const text = new TextDecoder().decode(body);
    answers.push(text);
    return JSON.parse(text) as Served;
  };
  return {
    tenant,
    sandbox,
    engine,
    answers,
    read,
    row,
    runs,
    anotherEngine,
    connect: async (name, { client_secret = sandbox.clientSecret, ...config } = {}) => {
      const grant = await sandbox.issueGrant();
      await vault.submit((job) =>
        putCredential(job, admin(), {
          ...place(name),
          kind: 'oauth2',
          value: {
            access_token: grant.accessToken,
            refresh_token: grant.refreshToken,
            expires_in: grant.expiresIn,
            client_secret,
          },
          connector: 'local-sandbox',
          config: oauth2Config.parse({ token_endpoint: sandbox.tokenEndpoint, client_id: sandbox.clientId, ...config }),
          labels: undefined,
          description: undefined,
          expiresAtMs: undefined,
          precondition: {},
        }),
      );
      await reviewed();
      return grant;
    },
    refused: (name) =>
      read(name).then(
        () => {
          throw new Error('the read was not refused');
        },
        async (error: unknown) => {
          if (!(error instanceof KeyturnError)) throw error;
          await reviewed();
          answers.push(JSON.stringify([error.message, error.extra]));
          return error;
        },
      ),
    rotate: async (name) => {
      const run = await vault.submit((job) => engine.open(job, admin(), 'staging', name));
      engine.start(run.credential_id);
      return run;
    },
    remove: async (name) =>
      void (await vault.submit((job) =>
        deleteCredential(job, admin(), { ...place(name), precondition: {}, recoveryWindowMs: undefined }),
      )),
    // The bootstrap owner of a demo tenant needs no second person.
    destroy: async (name) => {
      const owner = tenant.user(['owner'], 'everywhere', { bootstrap: true });
      await vault.submit((job) => destroyCredential(job, owner, { ...place(name), precondition: {} }));
    },
    restore: async (name) => {
      await vault.submit((job) => restoreCredential(job, admin(), { ...place(name), precondition: {} }));
      await reviewed();
    },
    journal: (name) =>
      sql
        .all<{ line: string }>(
          "SELECT step || ':' || status AS line FROM run_step WHERE run_id = ? ORDER BY sequence",
          runs(name)[0]?.id ?? '',
        )
        .map(({ line }) => line),
    hold: () => {
      let release = () => {};
      gate = new Promise((done) => {
        release = done;
      });
      return { release: () => release(), waiting: () => waiting };
    },
    stop: () => sandbox.stop(),
  };
}
