// The phases of a rotation: which one comes next, and its outside call (D5). A state machine over the run and the pending version.
// It must never change a target before the intent is journalled, nor change it again before it asked what an earlier call did.

import { LIMITS } from '../../src/base/limits.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import type { RunRow } from '../../src/cell/runs.ts';
import { changeCredential } from '../../src/vault/credential.ts';
import { lacksRehearsal } from '../../src/vault/rehearsals.ts';
import { doubtOf, setDoubt } from '../../src/vault/rotation-state.ts';
import { requestOf } from '../../src/vault/run-request.ts';
import type { NewValue, StepOutcome, StoredValue, Verdict } from '../connector.ts';
import { leaseRun, waitRun } from '../engine/run.ts';
import { REPLACES_AT_ONCE } from '../key-spec.ts';
import { findsByTime, interruptedOf } from './interrupted.ts';
import type { ResolvedKey } from './key-settings.ts';
import { endProbe, probeOf, resetOf } from './roll-back.ts';
import { awaitWindow, type Booking, endFactsOf, enterRun, factsOf, keyNameOf, refuse } from './rotation-booking.ts';
import { findValue, type OpenedTarget, openTarget, requireValue, type TargetPorts } from './rotation-target.ts';

/** `create` makes the new value, `set` makes the target accept it, `test` uses it. */
export type Phase = 'create' | 'set' | 'test';

export interface Attempt extends OpenedTarget {
  readonly run: RunRow;
  readonly phase: Phase;
  /** Whether an earlier call of this phase may have changed the target. */
  readonly again: boolean;
  /** The pending value; undefined while it is created, unless an older one is set again. */
  readonly fresh: StoredValue | undefined;
}

/** What the outside call of a phase found. */
export type Called =
  /** `verdict`: of the new value, if the strategy replaces the old one at once. `old`: of the old value, if it may be refused by now. */
  | { readonly phase: 'create'; readonly outcome: StepOutcome<NewValue>; readonly old?: Verdict }
  | { readonly phase: 'set'; readonly outcome: StepOutcome; readonly verdict?: Verdict; readonly old?: Verdict }
  | { readonly phase: 'test'; readonly verdict: Verdict; readonly old?: Verdict };

/** Makes the call of the attempt's phase. Never rejects for an outcome at the target. */
export async function callPhase(attempt: Attempt): Promise<Called> {
  const { phase, resolved, target, fresh } = attempt;
  if (phase === 'create' && fresh !== undefined) return { phase, outcome: { kind: 'done', value: fresh } };
  if (phase === 'create' || fresh === undefined) return callCreate(attempt);
  if (phase === 'set') return callSet(attempt, fresh);
  const verdict = await resolved.rotator.test(target, fresh);
  return { phase, verdict, ...(verdict === 'rejected' ? await oldValue(attempt) : {}) };
}

async function callCreate(attempt: Attempt): Promise<Called> {
  const { again, resolved, target } = attempt;
  const { rotator } = resolved;
  const checked = again ? undefined : await rotator.check?.(target);
  if (checked !== undefined && checked.kind !== 'done') return { phase: 'create', outcome: checked };
  const outcome = await rotator.create(target, again);
  return { phase: 'create', outcome, ...(again && changedNothing(outcome) ? await oldValue(attempt) : {}) };
}

async function callSet(attempt: Attempt, fresh: StoredValue): Promise<Called> {
  const { again, resolved, target } = attempt;
  const { rotator } = resolved;
  // After a lost answer the target is asked before it is changed again.
  if (again && (await rotator.test(target, fresh)) === 'works')
    return { phase: 'set', outcome: { kind: 'done' }, verdict: 'works' };
  const outcome = (await rotator.set?.(target, fresh)) ?? { kind: 'done' };
  if (changedNothing(outcome)) return { phase: 'set', outcome, ...(again ? await oldValue(attempt) : {}) };
  if (!replacesAtOnce(attempt)) return { phase: 'set', outcome };
  const verdict = await rotator.test(target, fresh);
  if (verdict === 'works') return { phase: 'set', outcome: { kind: 'done' }, verdict };
  return { phase: 'set', outcome, verdict, ...(verdict === 'rejected' ? await oldValue(attempt) : {}) };
}

/** A refusal, and a request that never left. */
export function changedNothing({ kind }: StepOutcome): boolean {
  return kind === 'refused' || kind === 'not_sent';
}

export function replacesAtOnce({ resolved }: { readonly resolved: Pick<ResolvedKey, 'connector'> }): boolean {
  return REPLACES_AT_ONCE.has(resolved.connector.key.strategy);
}

/** Tests the old value, if the target may refuse it by now. */
async function oldValue({ resolved, target }: Attempt): Promise<{ readonly old?: Verdict }> {
  return replacesAtOnce({ resolved }) ? { old: await resolved.rotator.test(target, target.old) } : {};
}

/** Determines the phase, takes the lease, journals the intent and opens the secrets. Undefined: nothing to do now. */
export function beginPhase(ports: TargetPorts, credentialId: string, owner: string, force: boolean): Attempt | undefined {
  const { job } = ports;
  // The open run of a grant is a refresh (rotation/grants).
  const found = job.door.lookup('scheduler', (lookup) =>
    job.credentials.byId(lookup, credentialId).kind === 'oauth2' ? undefined : job.runs.findOpen(lookup, credentialId),
  );
  if (found === undefined || !isFree(found, owner, job.platform.clock.now(), force)) return undefined;
  return enterRun(job, found, 'credential.rotate', (booking) => {
    if (!force && awaitWindow(booking, isAgain(found))) return undefined;
    if (!mustBeTriedFirst(booking)) return begin(ports, booking, owner);
    refuse(booking, 'not_tried_in_staging');
    return undefined;
  });
}

function isFree(run: RunRow, owner: string, now: number, force: boolean): boolean {
  if (run.lease_owner !== '' && run.lease_owner !== owner && run.lease_until > now) return false;
  return force || (run.next_attempt_at ?? 0) <= now || run.lease_owner === owner;
}

function begin(ports: TargetPorts, booking: Booking, owner: string): Attempt | undefined {
  const { job, access, details, run, located } = booking;
  const probe = probeOf(run);
  // SECURITY: a version is tested with the settings that it was stored with (D14).
  const opened = openTarget(ports, access, located, probe?.to ?? located.row.current_version, keyNameOf(run.id));
  if (opened.kind === 'unusable') return endUnusable(booking, opened.cause);
  const phase = probe === undefined ? phaseOf(located.row, run, opened) : 'test';
  if (phase === 'create' && findsByTime(opened.resolved.connector) && awaitsEndOfMade(booking)) return undefined;
  const lost = lostCreates(run, phase);
  const again = isAgain(run) || lost.length > 0;
  const fresh = freshValue(booking, phase, opened);
  const leased = leaseRun(job, access, withCreate(run, phase, lost, job.platform.clock.now()), owner, again ? 'again' : 'first');
  job.runs.journal(access, run.id, { step: phase, status: again ? 'again' : 'begun', at: job.platform.clock.now() });
  details.attempts = leased.attempts;
  noteBegun(booking, phase, opened);
  return { ...withInterrupted(opened, booking, lost), run: leased, phase, again, fresh };
}

/** No key is made while those of an earlier run are looked for by their time: it would be taken for one of them. */
function awaitsEndOfMade({ job, access, run, located: { row } }: Booking): boolean {
  const now = job.platform.clock.now();
  const end = job.runs
    .leased(access, now)
    .filter(({ credential_id, kind, lease_until }) => credential_id === row.id && kind === 'revocation' && lease_until > now)
    .find((one) => endFactsOf(one).made !== undefined);
  if (end === undefined) return false;
  const nextAttemptAt = Math.min(end.lease_until, now + LIMITS.rotationBackoffBaseMs);
  waitRun(job, access, run, { step: 'waiting', status: 'end_under_way', nextAttemptAt });
  return true;
}

/** In the event, and on the credential if the target may refuse its value from now on. */
function noteBegun({ job, access, details, run, located }: Booking, phase: Phase, opened: OpenedTarget): void {
  details.step = phase;
  if (opened.adminId !== undefined) details.admin = opened.adminId;
  if (mayReplaceNow(phase, opened) && doubtOf(located.row) === undefined)
    changeCredential(job, access, located, (draft) => setDoubt(draft, run.id));
}

/** When those calls began that may have made a value the vault does not have. */
function lostCreates(run: RunRow, phase: Phase): readonly number[] {
  return phase === 'create' ? (factsOf(run).createsAt ?? []) : [];
}

function withInterrupted(opened: OpenedTarget, { job, access, located }: Booking, createsAt: readonly number[]): OpenedTarget {
  const open = (version: number) => findValue(job, access, located.row, version);
  const interrupted = interruptedOf({ job, access, located, createsAt, open });
  return interrupted === undefined ? opened : { ...opened, target: { ...opened.target, interrupted } };
}

/** The run as it begins an attempt: when those began that may have made a value is kept until there is a value. */
function withCreate(run: RunRow, phase: Phase, lost: readonly number[], now: number): RunRow {
  const { createsAt: _, ...facts } = factsOf(run);
  return { ...run, facts: JSON.stringify(phase === 'create' ? { ...facts, createsAt: [...lost, now] } : facts) };
}

function endUnusable(booking: Booking, cause: string): undefined {
  if (probeOf(booking.run) === undefined) refuse(booking, cause);
  else endProbe(booking, cause);
}

/** A schedule is not refused when it is put: its run waits for a person, and goes on by itself after a rehearsal. */
function mustBeTriedFirst({ job, access, run, located }: Booking): boolean {
  const isFree = run.attempts > 0 || requestOf(run).skipsStaging === true || factsOf(run).rollBack !== undefined;
  return !isFree && lacksRehearsal(job, access, located);
}

/** The pending value; while it is created, the older one that is set again, if any. */
function freshValue(
  { job, access, run, located: { row } }: Booking,
  phase: Phase,
  { target }: OpenedTarget,
): StoredValue | undefined {
  if (probeOf(run) !== undefined) return target.old;
  const version = phase === 'create' ? resetOf(run)?.to : (row.pending_version ?? 0);
  return version === undefined ? undefined : requireValue(job, access, row, version);
}

/** An earlier call may have changed the target. */
function isAgain({ step }: RunRow): boolean {
  return step === 'intent' || step === 'uncertain';
}

/** The target may refuse the current value as soon as the call is sent. */
function mayReplaceNow(phase: Phase, { resolved }: OpenedTarget): boolean {
  const { strategy } = resolved.connector.key;
  return strategy === 'in_place' ? phase === 'create' : strategy === 'single_user' && phase === 'set';
}

function phaseOf(row: CredentialRow, run: RunRow, { resolved }: OpenedTarget): Phase {
  if (row.pending_version === null) return 'create';
  return resolved.rotator.set !== undefined && factsOf(run).isSet !== true ? 'set' : 'test';
}
