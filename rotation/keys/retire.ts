// Ends a replaced value at its target after the grace period and then uses it once more: only a refusal proves that it is dead (D5).
// It must never end the current value, nor report a value as dead that still works.
import { recordFailure } from '../../src/access/guard.ts';
import { raiseAlert } from '../../src/alerts/raise-alert.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { RunOutcome, RunRow } from '../../src/cell/runs.ts';
import { canonicalJson } from '../../src/crypto/canonical-json.ts';
import { changeCredential } from '../../src/vault/credential.ts';
import { setEnded } from '../../src/vault/rotation-state.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import type { StepFailure, StepOutcome, Target, Verdict } from '../connector.ts';
import { backOffMs } from '../engine/back-off.ts';
import type { LeasePorts } from '../engine/due-work.ts';
import { callPorts, makeCall } from '../engine/outside-call.ts';
import { inQueues } from '../engine/pool.ts';
import { finishRun, isOwn, leaseRun, waitRun } from '../engine/run.ts';
import { awaitsReaders, withEvent, withReaders } from './await-readers.ts';
import { findsByTime, interruptedOf } from './interrupted.ts';
import {
  type Booking,
  endFactsOf,
  enterRun,
  evidenceOf,
  factsOf,
  keyNameOf,
  openEndOfMade,
  statusEvidence,
  tell,
} from './rotation-booking.ts';
import { findValue, type GrantTokenOf, type OpenedTarget, openTarget, type TargetPorts } from './rotation-target.ts';

interface RetirePorts extends LeasePorts {
  readonly grantTokenOf: GrantTokenOf;
}

/** Attempts the due ends of replaced values; returns how many were due. */
export async function retireDue(ports: RetirePorts): Promise<number> {
  const { vault } = ports;
  const now = vault.platform.clock.now();
  const due = vault.lookup('revoke', (lookup, view) => view.runs.dueForRetirement(lookup, now, LIMITS.dueWorkBatchRows));
  const perProvider = { width: LIMITS.providerCallsAtOnce, maxItems: LIMITS.dueWorkBatchRows };
  await inQueues(due, perProvider, ({ id }) => retireOne(ports, id));
  return due.length;
}

interface Attempt extends OpenedTarget {
  readonly run: RunRow;
  readonly made: readonly Pick<Target, 'name' | 'interrupted'>[];
}

interface Called {
  readonly outcome: StepOutcome;
  readonly proof: Verdict | undefined;
}

function retireOne(ports: RetirePorts, runId: string): Promise<'done'> {
  return makeCall<Attempt, Called, 'done'>(callPorts(ports.vault), {
    points: { before: 'retire.before-call', after: 'retire.after-call' },
    begin: (job) => {
      const attempt = begin({ ...ports, job, urgency: 'schedule' }, runId, ports.owner);
      return attempt === undefined ? { kind: 'stop', as: 'done' } : { kind: 'go', attempt };
    },
    call: async (attempt) => {
      const { resolved, target, answered } = attempt;
      const { rotator } = resolved;
      const left = await removeMade(attempt);
      if (left.kind !== 'done' || isOfMadeOnly(attempt.run)) return { outcome: left, proof: undefined };
      const outcome = (await rotator.revoke?.(target, target.old)) ?? { kind: 'done' as const };
      answered.status = undefined;
      return { outcome, proof: outcome.kind === 'done' ? await rotator.test(target, target.old) : undefined };
    },
    book: (job, attempt, called) => {
      book(job, attempt, called);
      return 'done';
    },
  });
}

/** The run ends keys that others may have made; its version is in use. */
function isOfMadeOnly(run: RunRow): boolean {
  const { made, rotation } = endFactsOf(run);
  return made !== undefined && rotation === undefined;
}

/** How the keys are found that runs may have made without learning of them. */
function madeIn({ job, access, run, located }: Booking): Attempt['made'] {
  const open = (version: number) => findValue(job, access, located.row, version);
  return (endFactsOf(run).made ?? []).map((id) => {
    const { createsAt = [] } = factsOf(job.runs.get(access, id));
    const interrupted = interruptedOf({ job, access, located, createsAt, open });
    return { name: keyNameOf(id), ...(interrupted === undefined ? {} : { interrupted }) };
  });
}

/**
 * Keys that are found by their time are looked for only when no create can make one that would be taken for them: after the instants in
 * question, and while no other run of the credential has an attempt whose key the vault does not know.
 */
function awaitsCreate(booking: Booking, opened: ReturnType<typeof openTarget>): boolean {
  if (opened.kind === 'unusable' || !findsByTime(opened.resolved.connector)) return false;
  const { job, access, run, located } = booking;
  const made = madeIn(booking);
  const now = job.platform.clock.now();
  const untilMs = Math.max(0, ...made.map(({ interrupted }) => interrupted?.untilMs ?? 0));
  const other = job.runs.findOpen(access, located.row.id);
  const isCreating = other !== undefined && factsOf(other).createsAt !== undefined;
  if (made.length === 0 || (untilMs <= now && !isCreating)) return false;
  const nextAttemptAt = Math.max(untilMs, now + LIMITS.revokeBackoffBaseMs);
  waitRun(job, access, run, { step: 'waiting', status: 'create_under_way', nextAttemptAt });
  return true;
}

/** Ends these keys. */
async function removeMade({ made, resolved: { rotator }, target }: Attempt): Promise<StepOutcome> {
  for (const one of made) {
    const outcome = (await rotator.removeMade?.({ ...target, ...one })) ?? { kind: 'done' as const };
    if (outcome.kind !== 'done') return outcome;
  }
  return { kind: 'done' };
}

function enter<T>(job: TenantJob, run: RunRow, effect: (booking: Booking) => T): T {
  return enterRun(job, run, 'credential.revoke', (booking) => {
    booking.details.version = run.generation;
    return effect(booking);
  });
}

function begin(ports: TargetPorts, runId: string, owner: string): Attempt | undefined {
  const { job } = ports;
  const now = job.platform.clock.now();
  const due = job.door.lookup('revoke', (lookup) => job.runs.find(lookup, runId));
  if (due?.state !== 'open' || due.next_attempt_at === null || due.next_attempt_at > now) return undefined;
  return enter(job, due, (booking) => {
    const { access, details, run, located } = booking;
    const { row } = located;
    if (row.state === 'destroyed') return end(booking, 'given_up', 'value_destroyed');
    // A rollback made it current again.
    if (!isOfMadeOnly(run) && [row.current_version, row.pending_version].includes(run.generation)) return keep(booking);
    if (!isOfMadeOnly(run) && awaitsReaders(booking)) return undefined;
    const opened = openTarget(ports, access, located, run.generation, keyNameOf(run.id));
    if (awaitsCreate(booking, opened)) return undefined;
    if (opened.kind === 'unusable') return bookUnusable(booking, opened.cause);
    if (isPutAgain(booking, opened)) return keep(booking);
    details.step = 'revoke';
    if (opened.adminId !== undefined) details.admin = opened.adminId;
    const leased = leaseRun(job, access, withReaders(booking), owner, run.step === 'intent' ? 'again' : 'first');
    details.attempts = leased.attempts;
    return { ...opened, run: leased, made: madeIn(booking) };
  });
}

/** Whether the current or pending version has the same secret: somebody put it again, so its end would end that version. */
function isPutAgain({ job, access, run, located: { row } }: Booking, { resolved, target }: OpenedTarget): boolean {
  if (isOfMadeOnly(run)) return false;
  const { old } = target;
  const idMember = resolved.connector.key.calls?.idMember ?? 'key_id';
  // A provider that ends a key by its id ends it whatever else the value contains.
  const id = resolved.rotator.revoke === undefined ? undefined : old[idMember];
  return [row.current_version, row.pending_version].some((version) => {
    const used = version === null ? undefined : findValue(job, access, row, version);
    if (used === undefined) return false;
    return canonicalJson(used) === canonicalJson(old) || (id !== undefined && used[idMember] === id);
  });
}

function bookUnusable(booking: Booking, cause: string): undefined {
  if (cause === 'value_destroyed') return end(booking, 'given_up', cause);
  const { run } = booking;
  return retryLater({ ...booking, run: { ...run, attempts: run.attempts + 1 } }, { kind: 'not_sent', cause });
}

function book(job: TenantJob, { run: leased, resolved: { rotator }, answered }: Attempt, { outcome, proof }: Called): void {
  const run = job.door.lookup('revoke', (lookup) => job.runs.find(lookup, leased.id));
  if (!isOwn(run, leased)) return;
  enter(job, run, (booking) => {
    const { access, details } = booking;
    if (outcome.kind !== 'done') return retryLater(booking, outcome);
    if (isOfMadeOnly(run)) return endMade(booking, rotator.removeMade !== undefined);
    const line = { step: 'prove_dead', status: proof ?? 'unknown', at: job.platform.clock.now() };
    job.runs.journal(access, run.id, { ...line, evidence: statusEvidence(answered) });
    details.step = 'prove_dead';
    details.sign = proof ?? 'unknown';
    if (proof === 'rejected') return end(booking, 'revoked', 'proved_dead');
    if (proof === 'works') return retryLater(booking, { kind: 'odd', cause: 'still_works' });
    if (run.attempts >= LIMITS.proofTriesMax) return end(booking, 'revoked', 'unproven');
    return wait(booking, 'unproven');
  });
}

function wait({ job, access, run }: Booking, cause: string, evidence: string | null = null, afterMs = 0): undefined {
  const { clock, entropy } = job.platform;
  const grown = backOffMs(
    { baseMs: LIMITS.revokeBackoffBaseMs, maxMs: LIMITS.revokeBackoffMaxMs },
    run.attempts,
    entropy.fraction(),
  );
  const nextAttemptAt = clock.now() + Math.max(grown, Math.min(afterMs, LIMITS.refreshWaitMaxMs));
  waitRun(job, access, { ...run, step: 'waiting', cause }, { step: 'waiting', status: cause, nextAttemptAt, evidence });
}

/** A value that should be dead but may not be is an exposure: it is reported once, and tried again until it is dead. */
function retryLater(booking: Booking, failure: StepFailure): undefined {
  const { job, access, run, details, located } = booking;
  details.cause = failure.cause;
  recordFailure(details, 'provider_unavailable');
  if (run.outcome !== 'exposed') {
    raiseAlert(job, access, {
      credential: located.row,
      environment: located.environment,
      kind: 'credential.exposed',
      details: { cause: failure.cause, run: run.id, version: run.generation },
    });
  }
  const after = failure.kind === 'refused' ? (failure.retryAfterSeconds ?? 0) * 1_000 : 0;
  const evidence = evidenceOf(failure) ?? null;
  return wait({ ...booking, run: { ...run, outcome: 'exposed' } }, failure.cause, evidence, after);
}

/** A key without a name cannot be found: a person must look, so it is told once. */
function endMade(booking: Booking, isFindable: boolean): undefined {
  if (isFindable) return end(booking, 'removed', 'nothing_left');
  tell(booking, 'key_may_remain');
  return end(booking, 'not_possible', 'key_may_remain');
}

/** The version is in use; the keys that runs may have made are still ended. */
function keep(booking: Booking): undefined {
  const { job, access, run } = booking;
  end(booking, 'superseded', 'in_use');
  for (const id of endFactsOf(run).made ?? []) openEndOfMade(job, access, job.runs.get(access, id), 0);
}

function end({ job, access, run, details, located }: Booking, outcome: RunOutcome, cause: string): undefined {
  details.step = outcome;
  details.cause = cause;
  const state = outcome === 'revoked' || outcome === 'removed' ? 'succeeded' : outcome === 'given_up' ? 'failed' : 'cancelled';
  finishRun(job, access, withEvent(job, run), { state, step: outcome, outcome, cause });
  // The revision grows, so that a caller with an ETag sees the end of the old value.
  const ended = outcome === 'revoked' ? run.generation : undefined;
  if (located.row.state === 'active')
    changeCredential(job, access, located, (draft) => {
      if (ended !== undefined) setEnded(draft, ended);
    });
}
