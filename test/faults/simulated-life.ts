// One life of the process that holds the cell: vault and engines over a database that outlives them. A dead one writes nothing more.
// The second engine stands for another owner of the same cell, as an object that moved or a process that was only stopped.
import type { Connector, Egress } from '../../rotation/connector.ts';
import { RefreshEngine } from '../../rotation/grants/refresh-runs.ts';
import type { Authorizer } from '../../src/access/authorizer.ts';
import { KeyturnError } from '../../src/base/errors.ts';
import type { FaultPoint } from '../../src/base/faults.ts';
import type { SecretValue } from '../../src/base/secret-value.ts';
import { SteadyClock } from '../../src/base/steady-clock.ts';
import type { Sql } from '../../src/cell/sql.ts';
import type { RootKeys } from '../../src/crypto/root-keys.ts';
import { TenantVault } from '../../src/vault/tenant-vault.ts';
import { isOfEarlierLife } from './simulated-ledger.ts';
import type { Actor, Agenda, Chance } from './simulated-time.ts';

/** The process is gone: whoever sees it was part of it. */
export class Crash extends Error {}

/** What all lives share. */
export interface Ground {
  readonly agenda: Agenda;
  readonly chance: Chance;
  readonly authorizer: Authorizer;
  readonly root: RootKeys;
  readonly erasureKey: SecretValue;
  readonly installationId: string;
  readonly tenantId: string;
  readonly connectors: ReadonlyMap<string, Connector>;
  /** The last signed head that was shown outside. */
  witnessed: string | undefined;
  /** Nothing can be written until then. */
  diskFullUntilMs: number;
  /** Asked at every fault point; true kills. */
  strikes(point: FaultPoint): boolean;
  egressFor(life: Life, actor: Actor): Egress;
}

export class Life {
  dead = false;
  readonly vault: TenantVault;
  readonly first: RefreshEngine;
  readonly second: RefreshEngine;
  readonly actors: { readonly first: Actor; readonly second: Actor } = {
    first: { stoppedUntilMs: 0 },
    second: { stoppedUntilMs: 0 },
  };
  readonly #ground: Ground;

  constructor(ground: Ground, sql: Sql, number: number) {
    this.#ground = ground;
    const { agenda, chance, authorizer, root, installationId } = ground;
    this.vault = new TenantVault({
      tenant: { id: ground.tenantId, name: 'acme', demo: true },
      sql: this.#mortal(sql),
      erasureKey: ground.erasureKey,
      platform: {
        clock: new SteadyClock({ now: () => agenda.now(), ran: () => agenda.ranMs }),
        entropy: chance,
        faults: { at: (point) => this.#at(point) },
        nextTick: (task) => void agenda.add(0, () => void this.#alive(task)),
        later: (delayMs, task) => void agenda.add(delayMs, () => void this.#alive(task)),
        witness: {
          publish: (_cell, note) => {
            ground.witnessed = note;
          },
        },
        root,
        installationId,
      },
      authorizer,
      admit: () => {},
      witnessed: ground.witnessed,
      onDueChanged: () => {},
    });
    this.first = this.#engine(`first-${number}`, this.actors.first);
    this.second = this.#engine(`second-${number}`, this.actors.second);
    this.vault.refresher = this.first;
  }

  die(): void {
    this.dead = true;
  }

  #engine(owner: string, actor: Actor): RefreshEngine {
    return new RefreshEngine({
      vault: this.vault,
      egress: this.#ground.egressFor(this, actor),
      connectors: this.#ground.connectors,
      owner,
      isDead: (other) => isOfEarlierLife(other, owner),
      sandboxAllowed: false,
      every: (everyMs, beat) => this.#ground.agenda.every(everyMs, () => this.#alive(beat), actor),
    });
  }

  /** What is thrown where nobody could catch it is the end of the process. */
  #alive(task: () => void): boolean {
    try {
      if (!this.dead) task();
    } catch (error) {
      if (!(error instanceof Crash)) throw error;
    }
    return !this.dead;
  }

  #at(point: FaultPoint): void {
    this.#refuseDead();
    if (!this.#ground.strikes(point)) return;
    this.die();
    throw new Crash(point);
  }

  #refuseDead(): void {
    if (this.dead) throw new Crash('the process is gone');
  }

  /** INVARIANT of the simulation: a transaction that the process did not live to commit never happened. */
  #mortal(sql: Sql): Sql {
    let wrote = false;
    let depth = 0;
    const living = () => {
      this.#refuseDead();
      return sql;
    };
    return {
      all: (statement, ...parameters) => living().all(statement, ...parameters),
      get: (statement, ...parameters) => living().get(statement, ...parameters),
      run: (statement, ...parameters) => {
        wrote = true;
        living().run(statement, ...parameters);
      },
      script: (statements) => living().script(statements),
      transaction: (body) => {
        this.#refuseDead();
        if (depth === 0) wrote = false;
        depth += 1;
        try {
          return sql.transaction(() => {
            const result = body();
            this.#refuseDead();
            if (depth === 1 && wrote && this.#ground.agenda.ranMs < this.#ground.diskFullUntilMs)
              throw new KeyturnError('storage_full', 'the disk of the simulation is full');
            return result;
          });
        } finally {
          depth -= 1;
        }
      },
      sizeBytes: () => sql.sizeBytes(),
      get hasResidue() {
        return sql.hasResidue;
      },
      eraseResidue: () => living().eraseResidue(),
      close: () => {},
    };
  }
}
