// The seeded simulator of refreshes (D11): real vault, real engine, real SQLite; virtual time, simulated providers, faults by chance.
// One seed is one story: the same seed tells it again. It must never excuse a lost grant by anything but a lost answer.
import type { Caller } from '../../src/access/principals.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { provisionTenant } from '../../src/vault/provision-tenant.ts';
import { putCredential } from '../../src/vault/put-credential.ts';
import { PROVIDER_KINDS } from '../kit/simulated-provider.ts';
import { type Held, judge, judgeAlerts, judgeLeases, judgeLog, readAndUse, rowOf } from './simulated-checks.ts';
import { connectorId, NETWORK_FAULTS } from './simulated-network.ts';
import { LONGEST_TTL_MS, type Scene, World } from './simulated-world.ts';

export type { Scene } from './simulated-world.ts';

export interface Report {
  readonly steps: number;
  readonly crashes: number;
  readonly stalls: number;
  readonly calls: number;
  readonly resends: number;
  /** Requests taken back at the door, because their lease was another's by then. */
  readonly withdrawn: number;
  /** Grants that died at the provider, each after a lost answer. */
  readonly lost: number;
  /** Of people, for those and for tokens that were spent and whose successors nobody heard. */
  readonly 're-consents': number;
  /** Grants that were given up unspent, and came back when somebody asked. */
  readonly 'brought back': number;
  readonly events: number;
}

const CREDENTIALS_PER_KIND = 2;
const DAY_MS = 86_400_000;
const JUMPS_WITHIN_MS = 600;
const OVERTAKEN_ARRIVES_MS = 120_000;

/** What asks for a refresh in one step. */
type Asks = 'schedule' | 'read' | 'request' | 'all';

/** Plays one story until so many crashes and stalls were injected. @throws at the first invariant that does not hold, with seed and step */
export function simulate(scene: Scene, seed: number, faults: number): Promise<Report> {
  return new Story(new World(scene, seed)).play(faults);
}

class Story {
  readonly #world: World;
  #steps = 0;
  #lost = 0;
  #reconsents = 0;
  #broughtBack = 0;
  #driftMs = 0;

  constructor(world: World) {
    this.#world = world;
  }

  async play(faults: number): Promise<Report> {
    const world = this.#world;
    await world.runFor(provisionTenant(world.life.vault, ['staging']));
    for (const kind of PROVIDER_KINDS) {
      for (let i = 0; i < CREDENTIALS_PER_KIND; i++) {
        const held: Held = { name: `${kind}-${i}`, family: world.provider.issue(kind).family, inDoubt: false };
        world.held.push(held);
        await world.runFor(this.#connect(held));
      }
    }
    while (world.crashes + world.stalls < faults) await this.#step();
    const events = await world.runFor(judgeLog(world.life.vault, world.sql, this.#caller('auditor'), world.broken));
    judgeAlerts(world.sql, world.broken);
    world.refuseViolations();
    const { crashes, stalls } = world;
    return {
      steps: this.#steps,
      crashes,
      stalls,
      ...world.ledger.counts,
      lost: this.#lost,
      're-consents': this.#reconsents,
      'brought back': this.#broughtBack,
      events,
    };
  }

  async #step(): Promise<void> {
    const world = this.#world;
    this.#steps += 1;
    world.begin(this.#steps);
    const focus = world.chance.pick(world.held);
    const asks = world.chance.pick<Asks>(['schedule', 'read', 'request', 'all']);
    await world.agenda.pass(this.#waitFor(focus, asks));
    world.tell(`${asks}, ${focus.name}`);
    this.#plan();
    await world.runOrDie(this.#operations(focus, asks));
    await world.agenda.pass(JUMPS_WITHIN_MS);
    await this.#calmDown();
    await this.#check();
  }

  /** Long enough that there is something to refresh, seldom long enough that everything is stale. */
  #waitFor(focus: Held, asks: Asks): number {
    const { chance, sql, life } = this.#world;
    if (asks === 'request') return chance.between(0, 5 * 60_000);
    const ends = 'SELECT value_expires_at AS at FROM credential WHERE name = ?';
    const due =
      'SELECT refresh_due_at AS at FROM credential WHERE refresh_due_at IS NOT NULL OR name = ? ORDER BY refresh_due_at LIMIT 1';
    const at = sql.get<{ at: number | null }>(asks === 'read' ? ends : due, focus.name)?.at ?? 0;
    return Math.min(Math.max(at - life.vault.platform.clock.now(), 0), LONGEST_TTL_MS) + chance.between(0, 30_000);
  }

  /** Chooses what goes wrong. */
  #plan(): void {
    const world = this.#world;
    const { chance, network } = world;
    const dice = chance.below(100);
    if (dice < 50) world.armCrash();
    else if (dice < 60) world.turnsToLive = chance.between(1, 40);
    else if (dice < 80) network.faults.push(chance.pick(['stopped_before', 'stopped_after']));
    else if (dice < 92) for (let i = chance.between(1, 2); i > 0; i--) network.faults.push(chance.pick(NETWORK_FAULTS));
    else if (dice < 95) world.fillDiskForMs = chance.between(1_000, 30_000);
    else if (dice < 98) this.#jumpSoon(chance.pick([DAY_MS, -DAY_MS]));
    else this.#jumpSoon(chance.between(60_000, 1_800_000)); // the whole machine slept
    // Seldom two at once.
    if (dice < 60 ? chance.once(8) : dice < 80 && chance.once(4)) network.faults.push(chance.pick(NETWORK_FAULTS));
    if (network.faults.length > 0) world.tell(`the next calls: ${network.faults.join(', ')}`);
  }

  /** The sum of all jumps stays within a few days, as the instants in the database do. */
  #jumpSoon(ms: number): void {
    const world = this.#world;
    const byMs = Math.abs(this.#driftMs + ms) > 3 * DAY_MS ? -ms : ms;
    this.#driftMs += byMs;
    world.agenda.add(world.chance.between(0, JUMPS_WITHIN_MS), () => {
      world.tell(`the clock jumps by ${byMs / 1_000} s`);
      world.agenda.jump(byMs);
    });
  }

  #operations(focus: Held, asks: Asks): Promise<unknown>[] {
    const { life, chance, held, agenda } = this.#world;
    const reads = () => Array.from({ length: 3 }, () => this.#read(focus));
    if (asks === 'schedule') return [life.first.runDueWork()];
    if (asks === 'read') return reads();
    if (asks === 'request') return [this.#request(focus), this.#read(focus)];
    const all = [life.first.runDueWork(), ...reads(), this.#request(focus), this.#read(chance.pick(held))];
    if (chance.once(4)) all.push(life.second.runDueWork());
    if (chance.once(6)) agenda.add(chance.between(0, 400), () => void this.#connect(focus).catch(() => {}));
    return all;
  }

  #read(held: Held, isQuiet = false): Promise<void> {
    const { life, provider, broken } = this.#world;
    return readAndUse(life.vault, this.#caller('admin'), held, provider, isQuiet, broken);
  }

  async #request(held: Held): Promise<void> {
    const { vault, first } = this.#world.life;
    const run = await vault.submit((job) => first.open(job, this.#caller('admin'), 'staging', held.name));
    first.start(run.credential_id);
    await first.refreshNow(run.credential_id);
  }

  /** Runs until nothing is left to do; every grant then is well, or said to be dead. */
  async #calmDown(): Promise<void> {
    const world = this.#world;
    if (world.chance.once(6)) world.armCrash();
    for (let pass = 0; pass < 80; pass++) {
      const wasDiskFull = world.isDiskFull;
      if (await world.runOrDie([world.life.first.runDueWork()])) continue;
      if (!wasDiskFull) judgeLeases(world.sql, `first-${world.lives}`, world.broken);
      if (pass > 2) world.disarm();
      const open = world.sql.get<{ at: number | null; runs: number }>(
        "SELECT min(next_attempt_at) AS at, count(*) AS runs FROM run WHERE state = 'open'",
      );
      if (open === undefined || open.runs === 0) {
        world.disarm();
        return;
      }
      await world.agenda.pass(Math.min(Math.max((open.at ?? 0) - world.life.vault.platform.clock.now(), 1_000), 600_000));
    }
    world.broken('a run stays open for ever');
  }

  async #check(): Promise<void> {
    const world = this.#world;
    world.refuseViolations();
    // Whether a new grant was put or not, if the process died over it, the database knows.
    for (const held of world.held) held.family = world.provider.familyNumbered(Number(rowOf(world.sql, held.name).description));
    if (world.held.some(({ family }) => world.ledger.hasCrossed(family))) await world.agenda.pass(OVERTAKEN_ARRIVES_MS);
    for (const held of world.held) {
      held.inDoubt = world.ledger.hasCrossed(held.family);
      if (held.inDoubt && !held.family.alive) await world.run([this.#request(held)]);
    }
    await world.run(world.held.map((held) => this.#read(held, true)));
    for (const held of world.held) {
      const verdict = judge(world.sql, held, world.ledger, world.broken);
      if (verdict === 'given_up') await this.#askAgain(held);
      if (verdict !== 'lost') continue;
      if (!held.family.alive) this.#lost += 1;
      this.#reconsents += 1;
      await world.runFor(this.#connect(held));
    }
    if (this.#steps % 25 === 0) judgeAlerts(world.sql, world.broken);
    world.refuseViolations();
  }

  /** A grant that was given up and lives at its provider comes back when somebody asks for it. */
  async #askAgain(held: Held): Promise<void> {
    const world = this.#world;
    await world.agenda.pass(LIMITS.refreshCoolDownMs);
    await world.run([this.#request(held)]);
    this.#broughtBack += 1;
    if (judge(world.sql, held, world.ledger, world.broken) !== 'well')
      world.broken(`${held.name}: alive, asked for, and not brought back`);
  }

  /** A person connects the account (again). */
  async #connect(held: Held): Promise<void> {
    const { life, provider, sql, holders, broken } = this.#world;
    const grant = provider.issue(held.family.kind);
    holders.set(grant.family.id, held.name);
    const put = life.vault.submit((job) => {
      return putCredential(job, this.#caller('admin'), {
        environment: 'staging',
        name: held.name,
        kind: 'oauth2',
        value: {
          access_token: grant.accessToken,
          refresh_token: grant.refreshToken,
          expires_in: grant.expiresInSeconds,
          client_secret: 'client-not-a-real-secret',
        },
        connector: connectorId(grant.family.kind),
        config: { client_id: 'simulation' },
        labels: undefined,
        description: String(grant.family.id),
        expiresAtMs: undefined,
        precondition: {},
      });
    });
    await put;
    held.family = grant.family;
    if (rowOf(sql, held.name).health !== 'ready') broken(`${held.name}: connected, and not ready`);
  }

  #caller(role: 'admin' | 'auditor'): Caller {
    const user = {
      id: `usr_${role}`,
      name: 'someone',
      revision: 1,
      bootstrap: false,
      grants: [{ role, tenantId: '*' }],
      tokenId: 'token',
      secondFactorAtMs: this.#world.agenda.now(),
    };
    return { token: undefined, source: { address: '192.0.2.1', userAgent: 'simulation' }, request: 'req_simulation', user };
  }
}
