// Every call that left for the provider, seen from outside the engine, and the rules that each must keep (D6).
// It reads the database itself and never asks the engine what it did.
import { LIMITS } from '../../src/base/limits.ts';
import type { RunRow } from '../../src/cell/runs.ts';
import type { Sql } from '../../src/cell/sql.ts';
import type { Family } from '../kit/simulated-provider.ts';
import type { Actor } from './simulated-time.ts';

/** `failed`: a whole answer without a token and without a word on the grant, such as a 5xx or a page. `lost`: it was sent and no whole answer came. `cut`: the process ended while it was under way. */
export type CallEnd = 'under_way' | 'answered' | 'refused' | 'failed' | 'lost' | 'cut';

export interface Call {
  readonly name: string;
  readonly generation: number;
  readonly refreshToken: string;
  readonly actor: Actor;
  /** The provider gave out tokens for it. */
  spent: boolean;
  /** It reaches the provider after its sender has given it up. */
  overtaken: boolean;
  /** Its sender was stopped so long that another asked again; its own answer came all the same. */
  supplanted: boolean;
  end: CallEnd;
}

/** A request as its sender saw the journal when it was handed over. */
export interface Intent {
  readonly run: RunRow;
  readonly sequence: number;
}

export interface Leaving {
  readonly name: string;
  readonly family: Family;
  readonly refreshToken: string;
  /** The intent that the sender acts on. */
  readonly seen: Intent | undefined;
  readonly actor: Actor;
  /** By the clock that may jump. */
  readonly atMs: number;
}

export interface Counts {
  calls: number;
  resends: number;
  /** Requests withdrawn at the door because their lease was another's by then. */
  withdrawn: number;
}

export class Ledger {
  readonly counts: Counts = { calls: 0, resends: 0, withdrawn: 0 };
  readonly violations: string[] = [];
  /** By family: the latest calls made with its tokens. */
  readonly #calls = new Map<number, Call[]>();
  /** The intents that calls were made on, with the owner of each. */
  readonly #intents = new Map<string, string>();
  /** Intents whose process died with them. */
  readonly #ofDead = new Set<string>();
  /** By credential name: the generation that somebody meant to spend, perhaps once more, when he died or was stopped. */
  readonly #doubted = new Map<string, number>();

  of(family: Family): readonly Call[] {
    return this.#calls.get(family.id) ?? [];
  }

  /** The intent that must lie in the journal before anything leaves. */
  intentOf(sql: Sql, name: string): Intent | undefined {
    const run = sql.get<RunRow>(
      "SELECT run.* FROM run JOIN credential ON credential.id = credential_id WHERE name = ? AND run.state = 'open'",
      name,
    );
    if (run === undefined) return undefined;
    const last = sql.get<{ sequence: number; step: string }>(
      'SELECT sequence, step FROM run_step WHERE run_id = ? ORDER BY sequence DESC LIMIT 1',
      run.id,
    );
    return last?.step === 'intent' && run.step === 'intent' ? { run, sequence: last.sequence } : undefined;
  }

  /** The request leaves now. */
  leaves(sql: Sql, leaving: Leaving): Call {
    const { name, family, refreshToken, seen, actor, atMs } = leaving;
    const { kind } = family;
    const now = this.intentOf(sql, name);
    const generation = generationOf(sql, name);
    const broken = (what: string) => this.violations.push(`${name} (${kind}, generation ${generation}): ${what}`);
    const intent = `${seen?.run.id}/${seen?.sequence}`;
    if (seen === undefined) broken('a call without an intent in the journal');
    if (now === undefined || now.sequence !== seen?.sequence)
      broken('a call left although its intent was followed by something else');
    else if (now.run.generation !== generation) broken('the intent speaks of another generation');
    if (now !== undefined && now.run.lease_until <= atMs) broken('a call left under a lapsed lease');
    if (this.#intents.has(intent)) broken('two calls for one intent');
    this.#intents.set(intent, now?.run.lease_owner ?? '');
    if (now !== undefined && this.#wasTakenEarly(sql, now)) broken('a lease was taken while another owner still held it');

    const earlier = this.of(family).filter((other) => other.refreshToken === refreshToken);
    for (const other of earlier) {
      const stopped = other.actor.stoppedUntilMs > 0 && other.actor !== actor;
      if (other.end === 'under_way' && stopped) other.supplanted = true;
      else if (other.end === 'under_way') broken('a second call while the first was under way');
      if (kind !== 'fixed' && other.generation !== generation) broken('a token was sent again after its answer was stored');
      if (other.generation === generation && other.end === 'answered') broken('a call was repeated although its answer had come');
    }
    const lost = earlier.filter((other) => other.generation === generation && isLost(other)).length;
    if (lost > 0) this.counts.resends += 1;
    if (kind === 'unsafe' && lost > 1 && now?.run.trigger !== 'request')
      broken(`sent again although ${lost} answers were lost already`);
    this.counts.calls += 1;
    const call: Call = {
      name,
      generation,
      refreshToken,
      actor,
      spent: false,
      overtaken: false,
      supplanted: false,
      end: 'under_way',
    };
    this.#calls.set(family.id, [...this.of(family).slice(-20), call]);
    return call;
  }

  /** The intent before this one had no outcome, was somebody else's, and its lease had not lapsed by the clock both of them read. */
  #wasTakenEarly(sql: Sql, { run, sequence }: Intent): boolean {
    const [last, before] = sql.all<{ sequence: number; step: string; at: number }>(
      'SELECT sequence, step, at FROM run_step WHERE run_id = ? AND sequence <= ? ORDER BY sequence DESC LIMIT 2',
      run.id,
      sequence,
    );
    if (last === undefined || before?.step !== 'intent') return false;
    const apartMs = last.at - before.at;
    const intent = `${run.id}/${before.sequence}`;
    // For a process that is dead nobody need wait.
    const isFree = this.#intents.get(intent) === run.lease_owner || this.#ofDead.has(intent);
    return !isFree && apartMs >= 0 && apartMs < LIMITS.leaseMs;
  }

  /**
   * What the dead process had under way, or had heard and not stored, is gone. An intent of its own says no more than that it may have sent;
   * and an answer it had missed it can no longer ask for again at once.
   */
  cutAll(sql: Sql): void {
    this.#doubtOpen(sql);
    const left = sql.all<{ intent: string }>(
      "SELECT id || '/' || (SELECT max(sequence) FROM run_step WHERE run_id = run.id) AS intent FROM run WHERE state = 'open'",
    );
    for (const { intent } of left) this.#ofDead.add(intent);
    for (const call of [...this.#calls.values()].flat()) {
      const unstored = call.end === 'answered' && call.generation === generationOf(sql, call.name);
      if (call.end === 'under_way' || unstored) call.end = 'cut';
    }
  }

  /** Whoever meant to spend this generation is stopped, with everything else he had in hand: nobody else can tell whether he did. */
  doubt(sql: Sql, name: string): void {
    this.#doubted.set(name, generationOf(sql, name));
    this.#doubtOpen(sql);
  }

  #doubtOpen(sql: Sql): void {
    const intents = sql.all<{ name: string; generation: number }>(
      "SELECT name, generation FROM run JOIN credential ON credential.id = credential_id WHERE run.state = 'open' AND run.step IN ('intent', 'answer_lost')",
    );
    for (const { name, generation } of intents) this.#doubted.set(name, generation);
  }

  /** Two calls crossed each other: the provider may have ended what was stored since. */
  hasCrossed(family: Family): boolean {
    return this.of(family).some((call) => call.overtaken || call.supplanted);
  }

  /** Some answer of this grant was lost, or its token was turned by a call that failed: nothing else excuses a grant that died. */
  hasLost(family: Family): boolean {
    return this.of(family).some((call) => isLost(call) || (call.end === 'failed' && call.spent));
  }

  /** The provider turned the token that the vault still holds. */
  isSpent(sql: Sql, name: string, family: Family): boolean {
    const generation = generationOf(sql, name);
    return this.of(family).some((call) => call.generation === generation && call.spent);
  }

  /** As far as the vault could know: an intent whose process died may have been sent. */
  mayHaveLost(sql: Sql, name: string, family: Family): boolean {
    return this.hasLost(family) || this.#doubted.get(name) === generationOf(sql, name);
  }

  /** More went wrong than one lost answer that could be asked for again at once. */
  isBeyondMending(sql: Sql, name: string, family: Family): boolean {
    const wrong = this.of(family).filter((call) => isLost(call) || call.end === 'failed');
    const twice = wrong.some((call, i) => wrong.findIndex((other) => other.generation === call.generation) !== i);
    // After a failure that was said, the next try waits for its turn.
    const once = wrong.some((call) => call.end === 'cut' || call.end === 'failed' || call.supplanted || call.overtaken);
    return twice || once || this.#doubted.get(name) === generationOf(sql, name);
  }

  /** The newest runs of a credential as their journals tell them, for the message of a failed check. */
  journal(sql: Sql, name: string): string[] {
    const rows = sql.all<{ id: string; step: string; status: string; at: number }>(
      'SELECT run.id AS id, run_step.step AS step, status, at FROM run_step JOIN run ON run.id = run_id JOIN credential ON credential.id = credential_id ' +
        'WHERE name = ? ORDER BY run.rowid DESC, sequence DESC LIMIT 12',
      name,
    );
    const told = sql.all<{ what: string }>(
      "SELECT 'open: ' || name || ' ' || step || ' next ' || datetime(next_attempt_at / 1000, 'unixepoch') || ' lease ' || lease_owner || ' ' || datetime(lease_until / 1000, 'unixepoch') AS what " +
        "FROM run JOIN credential ON credential.id = credential_id WHERE run.state = 'open' UNION ALL " +
        "SELECT 'held: ' || name || ' expires ' || datetime(value_expires_at / 1000, 'unixepoch') || ' due ' || coalesce(datetime(refresh_due_at / 1000, 'unixepoch'), '-') || ' ' || health FROM credential WHERE name = ?",
      name,
    );
    return told
      .map(({ what }) => what)
      .concat(
        rows.reverse().map(({ id, step, status, at }) => `${new Date(at).toISOString()} ${id.slice(-6)} ${step} ${status}`),
      );
  }
}

/** Owners are named `<engine>-<number of the process>`. */
export function isOfEarlierLife(owner: string, of: string): boolean {
  return lifeOf(owner) < lifeOf(of);
}

function lifeOf(owner: string): number {
  return Number(owner.split('-')[1] ?? Number.NaN);
}

function generationOf(sql: Sql, name: string): number {
  return sql.get<{ version: number }>('SELECT current_version AS version FROM credential WHERE name = ?', name)?.version ?? 0;
}

function isLost(call: Call): boolean {
  return (
    call.end === 'lost' || call.end === 'cut' || call.supplanted || (call.end === 'under_way' && call.actor.stoppedUntilMs > 0)
  );
}
