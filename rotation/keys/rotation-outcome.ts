// What the outcome of a phase changes: the new value is stored, promoted or given up, or the run waits (D5).
// INVARIANT: at no point is a version `current` that the target refuses while another one is known to work (test/rotation/keys/rotation.test.ts).
import { recordFailure } from '../../src/access/guard.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { changeCredential } from '../../src/vault/credential.ts';
import { jsonBytes } from '../../src/vault/credential-kinds.ts';
import { planAfterFailure, planNewValue } from '../../src/vault/plan-rotation.ts';
import { noteRehearsal } from '../../src/vault/rehearsals.ts';
import { reviewDueAt } from '../../src/vault/review-schedule.ts';
import { doubtOf, setDoubt, setRotated } from '../../src/vault/rotation-state.ts';
import type { Located } from '../../src/vault/targets.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { storeVersion } from '../../src/vault/versions.ts';
import type { NewValue, StepFailure, Verdict } from '../connector.ts';
import { finishRun, isOwn, waitRun } from '../engine/run.ts';
import { graceMsOf } from './await-readers.ts';
import { bookProbe, probeOf } from './roll-back.ts';
import {
  type Booking,
  enterRun,
  evidenceOf,
  factsOf,
  openEnd,
  refuse,
  retryLater,
  statusEvidence,
  tell,
} from './rotation-booking.ts';
import { type Attempt, type Called, changedNothing, replacesAtOnce } from './rotation-phase.ts';

/** `on`: the next phase can begin at once. */
export type Booked = 'on' | 'waiting' | 'ended' | 'superseded';

/** Stores what a phase found. */
export function bookPhase(job: TenantJob, attempt: Attempt, called: Called): Booked {
  const run = job.door.lookup('scheduler', (lookup) => job.runs.find(lookup, attempt.run.id));
  if (!isOwn(run, attempt.run)) {
    keepOrphan(job, attempt, called);
    return 'superseded';
  }
  return enterRun(job, run, 'credential.rotate', (booking): Booked => {
    booking.details.step = called.phase;
    if (called.phase === 'create') return bookCreate(booking, attempt, called);
    if (called.phase === 'set') return bookSet(booking, attempt, called);
    return bookVerdict(booking, attempt, called);
  });
}

function bookCreate(booking: Booking, attempt: Attempt, called: Called & { phase: 'create' }): Booked {
  const { outcome } = called;
  if (outcome.kind !== 'done') {
    if (currentWorks(attempt, called)) clearDoubt(booking);
    return bookFailure(booking, attempt, outcome);
  }
  const { job, access, run, details } = booking;
  const located = storePending(booking, attempt, outcome);
  details.version = located.row.latest_version;
  const now = job.platform.clock.now();
  waitRun(job, access, { ...run, step: 'created' }, { step: 'created', status: 'done', nextAttemptAt: now });
  return 'on';
}

/** SECURITY: sealed with the settings that the value was made with, not with those of a put in the meantime (D14). */
function storePending(booking: Booking, { sealed }: Attempt, { value, endsAtMs }: NewValue): Located {
  const { job, access, run, located } = booking;
  const changed = changeCredential(job, access, located, (draft) => {
    draft.latest_version += 1;
    draft.pending_version = draft.latest_version;
  });
  const split = {
    value: jsonBytes(value),
    retained: jsonBytes(sealed),
    expiresAtMs: endsAtMs,
  };
  storeVersion(job, access, changed.row, split, { origin: 'rotation', runId: run.id });
  return changed;
}

/**
 * The credential was put, deleted or destroyed while a key was made at the provider: nobody waits for that key any more, so its end is
 * recorded as work to do.
 */
function keepOrphan(job: TenantJob, attempt: Attempt, called: Called): void {
  if (called.phase !== 'create' || called.outcome.kind !== 'done' || attempt.resolved.rotator.revoke === undefined) return;
  if (!attempt.resolved.rotator.mintsAtTarget) return;
  const minted = called.outcome;
  enterRun(job, attempt.run, 'credential.rotate', (booking) => {
    booking.details.step = 'orphan';
    if (booking.located.row.state === 'destroyed') return;
    const { row } = storePending(booking, attempt, minted);
    const located = changeCredential(job, booking.access, { ...booking.located, row }, (draft) => {
      draft.pending_version = null;
    });
    openRetirement(booking, located.row.latest_version, 0);
  });
}

/** Nothing was changed now, and no earlier attempt may have changed anything, or the old value was tested. */
function currentWorks({ again }: Attempt, { outcome, old }: Called & { phase: 'create' | 'set' }): boolean {
  return changedNothing(outcome) && (!again || old === 'works');
}

function bookSet(booking: Booking, attempt: Attempt, called: Called & { phase: 'set' }): Booked {
  const { outcome, verdict } = called;
  if (outcome.kind !== 'done') {
    if (currentWorks(attempt, called)) clearDoubt(booking);
    return bookFailure(booking, attempt, outcome);
  }
  const { run } = booking;
  const onward = { ...run, facts: JSON.stringify({ ...factsOf(run), isSet: true }) };
  const next = { ...booking, run: onward };
  if (verdict !== undefined) return bookVerdict(next, attempt, { ...called, verdict });
  const { job, access } = booking;
  const at = job.platform.clock.now();
  waitRun(job, access, { ...onward, step: 'set_done' }, { step: 'set', status: 'done', nextAttemptAt: at });
  return 'on';
}

function bookVerdict(booking: Booking, attempt: Attempt, { verdict, old }: { verdict: Verdict; old?: Verdict }): Booked {
  const { job, access, run, details } = booking;
  // Only after `works` is the last answer that of this test for certain.
  const evidence = verdict === 'works' ? statusEvidence(attempt.answered) : null;
  job.runs.journal(access, run.id, { step: 'test', status: verdict, at: job.platform.clock.now(), evidence });
  details.sign = verdict;
  const probe = probeOf(run);
  if (probe !== undefined) return bookProbe(booking, attempt, verdict, probe);
  if (verdict === 'works') return promote(booking, attempt);
  if (verdict === 'unknown') return retryLater(booking, 'test_unknown', undefined, attempt.phase !== 'test');
  return bookRefusedTest(booking, attempt, old);
}

/** The new value becomes current, in one transaction; the old one is ended after the grace period. */
function promote(booking: Booking, { resolved }: Attempt): 'ended' {
  const { job, access, run, located, details } = booking;
  const { row } = located;
  const fresh = row.pending_version ?? row.latest_version;
  const stored = job.credentials.findVersionMetadata(access, row.id, fresh);
  const now = job.platform.clock.now();
  const endsAtOnce = replacesAtOnce({ resolved });
  const graceMs = endsAtOnce ? 0 : graceMsOf(resolved);
  details.step = 'finish';
  details.from_version = row.current_version;
  details.version = fresh;
  const planPorts = { view: job, lookup: access, environment: located.environment };
  changeCredential(job, access, located, (draft) => {
    draft.previous_version = draft.current_version;
    draft.current_version = fresh;
    draft.pending_version = null;
    draft.value_expires_at = stored?.value_expires_at ?? null;
    draft.review_due_at = reviewDueAt(draft, now);
    setRotated(draft, now, endsAtOnce ? undefined : now + graceMs);
    planNewValue(planPorts, draft, stored?.created_at ?? now);
  });
  openRetirement(booking, row.current_version, graceMs, !endsAtOnce);
  // Putting an old value back tries neither the making of a new one nor the end of the old one.
  if (factsOf(run).rollBack === undefined) noteRehearsal(job, access, located, run.id);
  const { id, key } = resolved.connector;
  const facts = JSON.stringify({ ...factsOf(run), connector: id, strategy: key.strategy });
  const ended = { ...run, facts };
  finishRun(job, access, ended, { state: 'succeeded', step: 'finish', outcome: 'rotated', cause: null, new_version: fresh });
  return 'ended';
}

function openRetirement({ job, access, run, located }: Booking, version: number, graceMs: number, wasServed = false): void {
  openEnd(job, access, { credentialId: located.row.id, version, graceMs, rotation: run.id, wasServed });
}

function bookRefusedTest(booking: Booking, attempt: Attempt, old: Verdict | undefined): Booked {
  const { job, run } = booking;
  const now = job.platform.clock.now();
  const { refusedTests = 0, testedFrom = now, ...facts } = factsOf(run);
  const tests = refusedTests + 1;
  const onward = { ...run, facts: JSON.stringify({ ...facts, refusedTests: tests, testedFrom }) };
  const next = { ...booking, run: onward };
  if (old === 'works') {
    // The target did not take the new value: set it again.
    clearDoubt(next);
    const unset = { ...onward, facts: JSON.stringify({ ...factsOf(onward), isSet: false }) };
    if (tests < LIMITS.rotationTestsMax) return retryLater({ ...next, run: unset }, 'not_taken', undefined, false);
    return abandon({ ...next, run: unset }, attempt);
  }
  if (old !== undefined) {
    // SECURITY: the target refuses both values, so nothing is abandoned and a person is told at once.
    return refuse(next, old === 'rejected' ? 'both_values_refused' : 'test_rejected', true);
  }
  const settlesUntil = testedFrom + (attempt.resolved.connector.key.settlesWithinSeconds ?? 0) * 1_000;
  if (tests < LIMITS.rotationTestsMax || now < settlesUntil) return retryLater(next, 'test_rejected', undefined, false);
  return abandon(next, attempt);
}

/** The new value failed its test: it is never promoted, and its key is ended at the target. */
function abandon(booking: Booking, { resolved }: Attempt): 'ended' {
  const { job, access, run, located, details } = booking;
  const pending = located.row.pending_version;
  details.cause = 'test_rejected';
  recordFailure(details, 'provider_misconfigured');
  changeCredential(job, access, located, (draft) => {
    draft.pending_version = null;
    planAfterFailure({ view: job, lookup: access, environment: located.environment }, draft);
    setDoubt(draft, undefined);
  });
  if (pending !== null && resolved.rotator.revoke !== undefined && resolved.rotator.mintsAtTarget)
    openRetirement(booking, pending, 0);
  tell(booking, 'test_rejected');
  finishRun(job, access, run, { state: 'failed', step: 'failed', outcome: 'test_failed', cause: 'test_rejected' });
  return 'ended';
}

function clearDoubt({ job, access, located }: Booking): void {
  const row = job.credentials.byId(access, located.row.id);
  if (doubtOf(row) !== undefined) changeCredential(job, access, { ...located, row }, (draft) => setDoubt(draft, undefined));
}

function bookFailure(booking: Booking, attempt: Attempt, failure: StepFailure): Booked {
  const settled = attempt.phase === 'create' && changedNothing(failure) ? withoutLastCreate(booking) : booking;
  const { run, details } = settled;
  const evidence = evidenceOf(failure);
  const uncertain = failure.kind === 'lost' || failure.kind === 'odd';
  details.cause = failure.cause;
  if (failure.kind === 'refused' && failure.means === 'configuration')
    return refuse(settled, failure.cause, false, evidence, failure.keys);
  recordFailure(details, 'provider_unavailable');
  const after = failure.kind === 'refused' ? failure.retryAfterSeconds : undefined;
  const lost = { ...run, lost_answers: run.lost_answers + (uncertain ? 1 : 0) };
  return retryLater({ ...settled, run: lost }, failure.cause, after, uncertain && attempt.phase !== 'test', evidence);
}

/** The attempt made nothing; what earlier ones may have made is still looked for. */
function withoutLastCreate(booking: Booking): Booking {
  const { createsAt = [], ...facts } = factsOf(booking.run);
  const before = createsAt.slice(0, -1);
  const kept = before.length === 0 ? facts : { ...facts, createsAt: before };
  return { ...booking, run: { ...booking.run, facts: JSON.stringify(kept) } };
}
