// When a replaced value may be ended: after the grace period, once its readers have received another version, or at the deadline (decision 0015).
// It must never let a reader prevent the end beyond the deadline.
import { raiseAlert } from '../../src/alerts/raise-alert.ts';
import { toTimestamp } from '../../src/base/clock.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { RunRow } from '../../src/cell/runs.ts';
import { describeReaders, type LateReaders, lateReaders } from '../../src/vault/readers.ts';
import { type KeyConfig, keyConfigOf } from '../../src/vault/rotation-state.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { postponeRun, waitRun } from '../engine/run.ts';
import type { ResolvedKey } from './key-settings.ts';
import type { Booking } from './rotation-booking.ts';

/** JSON in `run.facts` of a revocation. */
export interface RetirementFacts {
  /** The run whose new value replaced this one. */
  readonly rotation?: string;
  /** The value was served with this grace period, so its end waits for readers. Absent: it never became current, or its target refuses it. */
  readonly graceMs?: number;
  /** Set once readers were late: names, at most `LIMITS.readersKeptMax`, and how many there were. */
  readonly late?: readonly string[];
  readonly lateCount?: number;
  readonly deadlineAt?: number;
  /** Who had which version when the value was ended: for the receipt. */
  readonly readers?: readonly ReaderFact[];
  readonly readersCount?: number;
  /** The index in the log of the event of the run's end. */
  readonly event?: number;
}

/** A reader in a receipt. */
export interface ReaderFact {
  readonly id: string;
  readonly name: string | null;
  readonly version: number;
  /** When it first received that version. */
  readonly at: number;
}

const retirementOf = ({ facts }: Pick<RunRow, 'facts'>): RetirementFacts => JSON.parse(facts) as RetirementFacts;

/** How long the old value works after a rotation at least. */
export function graceMsOf({ connector, config }: Pick<ResolvedKey, 'connector' | 'config'>): number {
  const graceMs = (config.grace_seconds ?? connector.key.graceSeconds ?? LIMITS.graceDefaultSeconds) * 1_000;
  return Math.min(graceMs, deadlineMs(config, graceMs));
}

/** How long after a rotation the old value is ended at the latest. */
export function deadlineMs(config: KeyConfig, graceMs: number): number {
  const set = config.deadline_seconds;
  return set === undefined ? Math.max(graceMs, LIMITS.deadlineDefaultSeconds * 1_000) : set * 1_000;
}

/** Whether the end of the value must wait; then the run waits, and one alert tells who is late. */
export function awaitsReaders(booking: Booking): boolean {
  const { job, access, run, located } = booking;
  const facts = retirementOf(run);
  // An end that has begun at the target is not interrupted.
  if (facts.graceMs === undefined || run.attempts > 0) return false;
  const now = job.platform.clock.now();
  const deadlineAt = run.started_at + deadlineMs(keyConfigOf(located.row), facts.graceMs);
  const late = lateReaders(job, access, located.row, run.generation);
  // A client may use its copy without asking again, so a reader that has moved may still use the old value elsewhere.
  const copiesUntil = Math.min(deadlineAt, run.started_at + LIMITS.copyMaxSeconds * 1_000);
  const hasCopies = now < copiesUntil && describeReaders(job, access, located.row).some(({ type }) => type === 'workload');
  if (now < deadlineAt && late.readers.length > 0) waitForReaders(booking, late, deadlineAt);
  else if (hasCopies) waitForCopies(booking, copiesUntil);
  else {
    if (late.readers.length > 0) tellLate(booking, late, 'deadline', deadlineAt);
    return false;
  }
  return true;
}

function waitForCopies({ job, access, run, details }: Booking, until: number): void {
  details.step = 'grace';
  details.cause = 'copies';
  waitRun(job, access, { ...run, step: 'grace', cause: 'copies' }, { step: 'grace', status: 'copies', nextAttemptAt: until });
}

function waitForReaders(booking: Booking, late: LateReaders, deadlineAt: number): void {
  const { job, access, run, details } = booking;
  const { readers, checkAt } = late;
  const facts = retirementOf(run);
  details.step = 'grace';
  details.cause = 'readers';
  details.count = readers.length;
  if (facts.late === undefined) tellLate(booking, late, 'waiting', deadlineAt);
  const names = readers.map(({ name }) => name);
  const known = { ...facts, late: names.slice(0, LIMITS.readersKeptMax), lateCount: names.length, deadlineAt };
  const waiting = { ...run, step: 'grace', cause: 'readers', facts: JSON.stringify(known) };
  const nextAttemptAt = Math.min(deadlineAt, checkAt);
  const isSame = facts.lateCount === names.length && known.late.every((name) => facts.late?.includes(name));
  const isJournalled = run.step === 'grace' && run.cause === 'readers' && isSame;
  if (isJournalled) postponeRun(job, access, waiting, nextAttemptAt);
  else waitRun(job, access, waiting, { step: 'grace', status: 'readers', nextAttemptAt });
}

function tellLate(booking: Booking, { readers }: LateReaders, cause: 'waiting' | 'deadline', deadlineAt: number): void {
  const { job, access, run, located } = booking;
  const names = readers.map(({ name }) => name);
  const more = names.length - LIMITS.readersKeptMax;
  raiseAlert(job, access, {
    credential: located.row,
    environment: located.environment,
    kind: 'credential.readers_late',
    details: {
      cause,
      run: run.id,
      version: run.generation,
      readers: names.slice(0, LIMITS.readersKeptMax).join(', ') + (more > 0 ? ` and ${more} more` : ''),
      deadline_at: toTimestamp(deadlineAt),
    },
  });
}

/** The run with the position of the event that the running transaction leaves: the door records it next. */
export function withEvent(job: TenantJob, run: RunRow): RunRow {
  return { ...run, facts: JSON.stringify({ ...retirementOf(run), event: job.core.audit.size }) };
}

/** The run with what its receipt says of readers, before the value is ended for the first time. */
export function withReaders({ job, access, run, located }: Booking): RunRow {
  const facts = retirementOf(run);
  if (facts.graceMs === undefined || facts.readers !== undefined) return run;
  const all = describeReaders(job, access, located.row);
  const late = lateReaders(job, access, located.row, run.generation).readers.map(({ name }) => name);
  const kept = all.slice(0, LIMITS.readersKeptMax).map(({ id, name, version, sinceAt }) => ({ id, name, version, at: sinceAt }));
  const { late: _, lateCount: _count, ...rest } = facts;
  const lateFacts = late.length === 0 ? {} : { late: late.slice(0, LIMITS.readersKeptMax), lateCount: late.length };
  return { ...run, facts: JSON.stringify({ ...rest, ...lateFacts, readers: kept, readersCount: all.length }) };
}
