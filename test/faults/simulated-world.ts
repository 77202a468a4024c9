// The world of one story: one cell's database, the life that holds it now, the providers, and what may strike. It runs what is asked of
// it, one task at a time, until that is done or the process is dead, and starts the next process over what lies on disk.
import type { Authorizer } from '../../src/access/authorizer.ts';
import { FAULT_POINTS, type FaultPoint } from '../../src/base/faults.ts';
import { newId } from '../../src/base/ids.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { Sql } from '../../src/cell/sql.ts';
import { newErasureKey, RootKey } from '../../src/crypto/root-key.ts';
import { RootKeys } from '../../src/crypto/root-keys.ts';
import { SimulatedProvider } from '../kit/simulated-provider.ts';
import type { Held } from './simulated-checks.ts';
import { Ledger } from './simulated-ledger.ts';
import { type Ground, Life } from './simulated-life.ts';
import { Network, SIMULATED_CONNECTORS } from './simulated-network.ts';
import { Agenda, Chance, settled } from './simulated-time.ts';

export interface Scene {
  readonly authorizer: Authorizer;
  readonly sql: Sql;
  /** The database as it would be found after the power went; closes the old handle. Absent: the runtime owns it. */
  readonly cut?: (sql: Sql) => Sql;
}

export const LONGEST_TTL_MS = 5_400_000;
const CRASH_POINTS = FAULT_POINTS.filter((point) => /^(refresh|cell)\./.test(point));
const START_MS = Date.UTC(2026, 0, 2, 3, 4, 5);
/** A power cut closes and copies the database: dear, so not every crash is one. */
const POWER_CUT_ONCE_IN = 40;
const NEVER_ENDS_MS = 3_600_000;

export class World {
  readonly chance: Chance;
  readonly agenda: Agenda;
  readonly provider: SimulatedProvider;
  readonly ledger = new Ledger();
  readonly network: Network;
  readonly held: Held[] = [];
  /** The credential of each family there ever was, by the family's id. */
  readonly holders = new Map<number, string>();
  /** Turns until the process dies wherever it happens to be. */
  turnsToLive = Number.POSITIVE_INFINITY;
  /** How long the disk is full, from the next whole answer on. */
  fillDiskForMs = 0;
  crashes = 0;
  stalls = 0;
  life: Life;
  sql: Sql;
  readonly #scene: Scene;
  readonly #seed: number;
  readonly #ground: Ground;
  #lives = 1;
  #strike: { readonly point: FaultPoint; visits: number } | undefined;
  #takeOvers: Promise<unknown>[] = [];
  #story: string[] = [];
  #chapter = 0;

  constructor(scene: Scene, seed: number) {
    this.#scene = scene;
    this.#seed = seed;
    this.sql = scene.sql;
    const chance = new Chance(seed);
    const agenda = new Agenda(chance, START_MS);
    this.chance = chance;
    this.agenda = agenda;
    this.provider = new SimulatedProvider(
      () => agenda.ranMs,
      () => chance.between(1_800, LONGEST_TTL_MS / 1_000),
    );
    this.network = new Network({
      agenda,
      chance,
      provider: this.provider,
      ledger: this.ledger,
      sql: () => this.sql,
      holderOf: (id) => this.holders.get(id) ?? '',
      onStopped: (life) => this.#takeOver(life),
      onAnswer: () => this.#fillDisk(),
    });
    this.#ground = {
      agenda,
      chance,
      authorizer: scene.authorizer,
      root: RootKeys.of(RootKey.of(chance.bytes(32))),
      erasureKey: newErasureKey(),
      installationId: newId('installation', chance),
      tenantId: newId('tenant', chance),
      connectors: SIMULATED_CONNECTORS,
      witnessed: undefined,
      diskFullUntilMs: 0,
      strikes: (point) => this.#strikes(point),
      egressFor: (life, actor) => this.network.egressFor(life, actor),
    };
    this.life = new Life(this.#ground, this.sql, this.#lives);
  }

  /** How many processes there were. */
  get lives(): number {
    return this.#lives;
  }

  /** Nothing can be written now. */
  get isDiskFull(): boolean {
    return this.agenda.ranMs < this.#ground.diskFullUntilMs;
  }

  /** The process will die at one of the points of a refresh or a commit. */
  armCrash(): void {
    const point = this.chance.pick(CRASH_POINTS);
    this.#strike = { point, visits: this.chance.between(1, point.startsWith('cell.') ? 5 : 2) };
    this.tell(`to die at ${point}, visit ${this.#strike.visits}`);
  }

  disarm(): void {
    this.#strike = undefined;
    this.turnsToLive = Number.POSITIVE_INFINITY;
    this.network.faults.length = 0;
    this.fillDiskForMs = 0;
  }

  /** Lets things happen until all of this is done or the process is dead. What it comes to is its own business. */
  async run(work: readonly Promise<unknown>[]): Promise<void> {
    const { life } = this;
    let left = 0;
    const done = () => {
      left -= 1;
    };
    const watch = (one: Promise<unknown>) => {
      left += 1;
      one.then(done, done);
    };
    for (const one of work) watch(one);
    const untilMs = this.agenda.ranMs + NEVER_ENDS_MS;
    for (;;) {
      await settled();
      for (const one of this.#takeOvers.splice(0)) watch(one);
      if (life.dead || left === 0) return;
      this.turnsToLive -= 1;
      if (this.turnsToLive <= 0) {
        this.#dies('between two turns');
        life.die();
        return;
      }
      if (!(await this.agenda.turn(untilMs))) {
        this.broken(`${left} of ${work.length} pieces of work never end`);
        return;
      }
    }
  }

  /** As `run`, for work that must succeed. */
  async runFor<T>(work: Promise<T>): Promise<T> {
    await this.run([work]);
    this.refuseViolations();
    return work;
  }

  /** As `run`; a process that dies is followed by the next one. True when it died. */
  async runOrDie(work: readonly Promise<unknown>[]): Promise<boolean> {
    await this.run(work);
    if (!this.life.dead) return false;
    this.ledger.cutAll(this.sql);
    this.#strike = undefined;
    this.turnsToLive = Number.POSITIVE_INFINITY;
    if (this.chance.once(POWER_CUT_ONCE_IN) && this.#scene.cut !== undefined) this.sql = this.#scene.cut(this.sql);
    this.#lives += 1;
    this.#takeOvers = [];
    this.life = new Life(this.#ground, this.sql, this.#lives);
    await this.agenda.pass(this.chance.between(100, 20_000));
    return true;
  }

  /** A new chapter: what was told before it no longer explains anything. */
  begin(chapter: number): void {
    this.#chapter = chapter;
    this.#story = [];
  }

  tell(what: string): void {
    this.#story.push(`${(this.agenda.ranMs / 1_000).toFixed(3)} s: ${what}`);
  }

  broken = (what: string): void => {
    this.ledger.violations.push(what);
  };

  /** @throws when an invariant did not hold, with all that is needed to see it again */
  refuseViolations(): void {
    const [first, ...more] = this.ledger.violations;
    if (first === undefined) return;
    const others = more.length > 0 ? `\n  and ${more.length} more, e.g. ${more[0]}` : '';
    const named = this.held.find(({ name }) => first.startsWith(name))?.name ?? '';
    const lines = [
      ...this.#story,
      `now it is ${new Date(this.agenda.now()).toISOString()}`,
      ...this.ledger.journal(this.sql, named),
    ];
    throw new Error(
      `SEED=${this.#seed}, step ${this.#chapter}: ${first}${others}\n  ${lines.join('\n  ')}\n` +
        `  to see it again: SEED=${this.#seed} npm run test:faults -- simulated-refresh`,
    );
  }

  #takeOver(life: Life): void {
    this.stalls += 1;
    this.tell('an engine is stopped');
    // One comes while the lease still holds and must leave it alone, one when it has lapsed.
    for (const afterMs of [
      this.chance.between(1_000, LIMITS.leaseMs - 1_000),
      LIMITS.leaseMs + this.chance.between(500, 4_000),
    ]) {
      this.agenda.add(afterMs, () => {
        if (!life.dead) this.#takeOvers.push(life.second.runDueWork());
      });
    }
  }

  #strikes(point: FaultPoint): boolean {
    if (this.#strike?.point !== point) return false;
    this.#strike.visits -= 1;
    if (this.#strike.visits > 0) return false;
    this.#strike = undefined;
    this.#dies(`at ${point}`);
    return true;
  }

  #dies(where: string): void {
    this.crashes += 1;
    this.tell(`the process dies ${where}`);
  }

  #fillDisk(): void {
    if (this.fillDiskForMs === 0) return;
    this.#ground.diskFullUntilMs = this.agenda.ranMs + this.fillDiskForMs;
    this.fillDiskForMs = 0;
    this.tell('the disk is full');
  }
}
