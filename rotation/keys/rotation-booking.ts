// The transaction of one run of a rotation: how it waits, asks for a person, and opens the run that ends a replaced value.
import { recordFailure } from '../../src/access/guard.ts';
import { raiseAlert } from '../../src/alerts/raise-alert.ts';
import type { EventDetails } from '../../src/audit/event.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { WriteAccess } from '../../src/cell/access.ts';
import type { RunRow } from '../../src/cell/runs.ts';
import { scheduleOf } from '../../src/vault/plan-rotation.ts';
import { firstAllowed } from '../../src/vault/schedule-dates.ts';
import { foundCredential, type Located, locateById } from '../../src/vault/targets.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import type { StepFailure } from '../connector.ts';
import { backOffMs } from '../engine/back-off.ts';
import { finishRun, openRun, waitRun } from '../engine/run.ts';

/** In the facts of a run that rolls back (roll-back.ts). */
export interface RollBackFacts {
  readonly to: number;
  /** `probe`: the version is tested and becomes current. `set`: its value is set at the target again, as a new version. */
  readonly by: 'probe' | 'set';
  /** Whether the replaced version is ended afterwards. */
  readonly revokesReplaced: boolean;
}

/** JSON in `run.facts` of a rotation. */
export interface RotationFacts {
  /** The target accepted `set`. */
  readonly isSet?: boolean;
  /** Refused tests of the new value. */
  readonly refusedTests?: number;
  /** When the new value was first tested. */
  readonly testedFrom?: number;
  /** Of a run that rolls back. */
  readonly rollBack?: RollBackFacts;
  /** Of the promotion, for the receipt. */
  readonly connector?: string;
  readonly strategy?: string;
  /** When the attempts to create a value began whose outcome is not known. */
  readonly createsAt?: readonly number[];
}

export const factsOf = ({ facts }: Pick<RunRow, 'facts'>): RotationFacts => JSON.parse(facts) as RotationFacts;

/** The name at the provider of a key that this run makes. */
export const keyNameOf = (runId: string): string => `keyturn-${runId}`;

/** A transaction of one run of a key or password. */
export interface Booking {
  readonly job: TenantJob;
  readonly access: WriteAccess;
  readonly details: EventDetails;
  readonly run: RunRow;
  readonly located: Located;
}

export function enterRun<T>(
  job: TenantJob,
  run: RunRow,
  operation: 'credential.rotate' | 'credential.revoke',
  effect: (booking: Booking) => T,
): T {
  const located = job.door.lookup('scheduler', (lookup) => locateById(job, lookup, run.credential_id));
  return job.door.enterAsSystem(
    'rotation',
    operation,
    () => foundCredential(job, located.environment, located.row),
    (access, _subject, details) => {
      details.run = run.id;
      return effect({ job, access, details, run, located });
    },
  );
}

export interface End {
  readonly credentialId: string;
  readonly version: number;
  readonly graceMs: number;
  /** The run whose new value replaced this one. */
  readonly rotation: string | undefined;
  /** The value was served and works until it is ended, so its end waits for readers. */
  readonly wasServed?: boolean;
}

/** JSON in `run.facts` of a revocation. */
export interface EndFacts {
  readonly rotation?: string;
  /** Runs that may have made a key at the target without learning of it: the keys with their names are ended, not the version. */
  readonly made?: readonly string[];
}

export const endFactsOf = ({ facts }: Pick<RunRow, 'facts'>): EndFacts => JSON.parse(facts) as EndFacts;

/** Closes an open revocation of the version, whose keys the new one ends: there is one at a time. */
function takeOver(job: TenantJob, access: WriteAccess, credentialId: string, version: number): EndFacts['made'] {
  const open = job.runs.lastRevocation(access, credentialId, version);
  if (open?.state !== 'open') return undefined;
  finishRun(job, access, open, { state: 'cancelled', step: 'superseded', outcome: 'superseded', cause: 'replaced' });
  return endFactsOf(open).made;
}

/** Opens the run that ends the value of `version` at the target and proves that it is dead. */
export function openEnd(job: TenantJob, access: WriteAccess, end: End): void {
  const { credentialId, version, graceMs, rotation, wasServed } = end;
  const made = takeOver(job, access, credentialId, version);
  const facts = JSON.stringify({ rotation, ...(wasServed === true ? { graceMs } : {}), made });
  const run = openRun(job, access, { credentialId, kind: 'revocation', trigger: 'schedule', generation: version, facts });
  if (graceMs === 0) return;
  const nextAttemptAt = job.platform.clock.now() + graceMs;
  waitRun(job, access, { ...run, step: 'grace' }, { step: 'grace', status: 'waiting', nextAttemptAt });
}

/** Whether a call of the run may have made a key that the vault does not have. */
export function mayHaveMade(run: RunRow): boolean {
  return run.step === 'intent' || run.step === 'uncertain' || (factsOf(run).createsAt ?? []).length > 0;
}

/** Opens the run that ends what `rotation` may have made; it is one run with an open one for the same version. */
export function openEndOfMade(job: TenantJob, access: WriteAccess, rotation: RunRow, waitMs: number): void {
  const { credential_id: credentialId, generation: version } = rotation;
  const last = job.runs.lastRevocation(access, credentialId, version);
  const open = last?.state === 'open' ? last : undefined;
  const before = open === undefined ? {} : endFactsOf(open);
  const facts = JSON.stringify({ ...before, made: [...(before.made ?? []), rotation.id] });
  const end = open ?? openRun(job, access, { credentialId, kind: 'revocation', trigger: 'schedule', generation: version, facts });
  // An attempt under way does not know of it: its result is dropped, and the attempt is repeated.
  const waiting = { ...end, facts, fence: end.fence + 1 };
  const nextAttemptAt = job.platform.clock.now() + waitMs;
  waitRun(job, access, waiting, { step: open?.step ?? 'waiting', status: 'may_have_made', nextAttemptAt });
}

/** The status of an answer to a test as evidence for the journal; null without one. */
export function statusEvidence({ status }: { readonly status?: number | undefined }): string | null {
  return status === undefined ? null : JSON.stringify({ status });
}

/** The target's answer as evidence for the journal; undefined without one. */
export function evidenceOf({ said }: StepFailure): string | undefined {
  return said === undefined ? undefined : JSON.stringify({ status: said.status, excerpt: said.words });
}

/** When a window of its schedule opens for a scheduled rotation that has changed nothing yet: `atMs` if it is inside one. */
function inWindow({ job, access, run, located: { row, environment } }: Booking, atMs: number, uncertain: boolean): number {
  // One that has begun to change its target goes on: two values or an unknown state are worse than a rotation outside of the window.
  if (run.trigger !== 'schedule' || uncertain || row.pending_version !== null) return atMs;
  const applied = scheduleOf({ view: job, lookup: access, environment }, row);
  return applied === undefined ? atMs : (firstAllowed(applied.spec, atMs) ?? atMs);
}

/** Lets the run wait if it may not begin or repeat its first call now. */
export function awaitWindow(booking: Booking, uncertain: boolean): boolean {
  const { job, access, run } = booking;
  const now = job.platform.clock.now();
  const nextAttemptAt = inWindow(booking, now, uncertain);
  if (nextAttemptAt > now)
    waitRun(job, access, { ...run, step: 'waiting' }, { step: 'waiting', status: 'window', nextAttemptAt });
  return nextAttemptAt > now;
}

export function retryLater(
  booking: Booking,
  cause: string,
  afterSeconds: number | undefined,
  uncertain: boolean,
  evidence?: string,
): 'waiting' {
  const { job, access, run, details } = booking;
  const { clock, entropy } = job.platform;
  details.cause = cause;
  const grown = backOffMs(
    { baseMs: LIMITS.rotationBackoffBaseMs, maxMs: LIMITS.rotationBackoffMaxMs },
    run.attempts,
    entropy.fraction(),
  );
  const waitMs = Math.max(grown, Math.min((afterSeconds ?? 0) * 1_000, LIMITS.refreshWaitMaxMs));
  const nextAttemptAt = inWindow(booking, clock.now() + waitMs, uncertain);
  waitRun(
    job,
    access,
    { ...run, step: uncertain ? 'uncertain' : 'waiting', cause, outcome: 'transient' },
    { step: uncertain ? 'uncertain' : 'waiting', status: cause, nextAttemptAt, evidence: evidence ?? null },
  );
  return 'waiting';
}

/** Only a person can remove the cause: told once; tried again after an hour, or when asked. */
export function refuse(
  booking: Booking,
  cause: string,
  uncertain = false,
  evidence?: string,
  keys?: readonly string[],
): 'waiting' {
  const { job, access, run, details } = booking;
  details.cause = cause;
  recordFailure(details, 'provider_misconfigured');
  if (run.outcome !== 'configuration' || run.cause !== cause) tell(booking, cause, keys);
  const step = uncertain ? 'uncertain' : 'needs_manual';
  const nextAttemptAt = inWindow(booking, job.platform.clock.now() + LIMITS.rotationRefusedAgainMs, uncertain);
  waitRun(
    job,
    access,
    { ...run, step, outcome: 'configuration', cause },
    { step, status: cause, nextAttemptAt, evidence: evidence ?? null },
  );
  return 'waiting';
}

/** @param keys ids at the provider, which the alert names */
export function tell(
  { job, access, located: { row, environment }, run }: Booking,
  cause: string,
  keys: readonly string[] = [],
): void {
  const named = keys.filter((id) => /^[\w./:-]{1,256}$/.test(id)).slice(0, LIMITS.alertKeysMaxCount);
  const details = { cause, run: run.id, ...(named.length === 0 ? {} : { keys: named.join(' ') }) };
  raiseAlert(job, access, { credential: row, environment, kind: 'credential.rotation_failed', details });
}
