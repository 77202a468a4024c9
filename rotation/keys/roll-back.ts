// Rolls a key or password back to an older version (R5). The target is asked first: only a version that it still accepts becomes current again,
// in one transaction. Where a target allows a value to be set, the old value is set again as a rotation of its own.
import { recordFailure } from '../../src/access/guard.ts';
import { fail } from '../../src/base/errors.ts';
import type { WriteAccess } from '../../src/cell/access.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import type { RunRow } from '../../src/cell/runs.ts';
import { changeCredential, saveUnseen } from '../../src/vault/credential.ts';
import { planMissed, planNewValue } from '../../src/vault/plan-rotation.ts';
import { reviewDueAt } from '../../src/vault/review-schedule.ts';
import { keyConfigOf, setRotated } from '../../src/vault/rotation-state.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import type { Verdict } from '../connector.ts';
import { finishRun, openRun } from '../engine/run.ts';
import { REPLACES_AT_ONCE } from '../key-spec.ts';
import { graceMsOf } from './await-readers.ts';
import { type KeyPorts, resolveKey } from './key-settings.ts';
import { type Booking, factsOf, openEnd, type RollBackFacts } from './rotation-booking.ts';
import type { OpenedTarget } from './rotation-target.ts';

/**
 * Opens the run of a roll back; undefined if nothing can ask the target, so that the version becomes current at once.
 * @throws conflict if the target does not accept the version any more
 */
export function openRollBack(
  ports: KeyPorts,
  job: TenantJob,
  access: WriteAccess,
  row: CredentialRow,
  wanted: { readonly to: number; readonly revokesReplaced: boolean },
): RunRow | undefined {
  const resolved = row.connector === null ? undefined : resolveKey(ports, row.kind, row.connector, keyConfigOf(row));
  if (resolved?.rotator === undefined) {
    if (wanted.revokesReplaced) refuseToEnd();
    return undefined;
  }
  const { rotator, connector } = resolved;
  const endsAtOnce = REPLACES_AT_ONCE.has(connector.key.strategy);
  if (endsAtOnce && (rotator.set === undefined || rotator.mintsAtTarget))
    fail('conflict', 'the provider replaced this version when it made the next one, and refuses it: rotate again instead', {
      pointer: '/version',
    });
  if (!endsAtOnce) refuseEnded(job, access, row, wanted.to);
  if (wanted.revokesReplaced && !endsAtOnce && rotator.revoke === undefined) refuseToEnd();
  const rollBack: RollBackFacts = { ...wanted, by: endsAtOnce ? 'set' : 'probe' };
  const facts = JSON.stringify({ rollBack });
  return openRun(job, access, {
    credentialId: row.id,
    kind: 'rotation',
    trigger: 'request',
    generation: row.current_version,
    facts,
  });
}

function refuseToEnd(): never {
  fail('invalid_request', 'the replaced version cannot be ended: no connector of the credential can do that', {
    pointer: '/revoke_replaced',
  });
}

/** @throws conflict */
function refuseEnded(job: TenantJob, access: WriteAccess, row: CredentialRow, version: number): void {
  const end = job.runs.lastRevocation(access, row.id, version);
  if (end?.outcome === 'revoked')
    fail(
      'conflict',
      end.cause === 'proved_dead'
        ? 'this version was revoked, and its target refused it afterwards: rotate again instead'
        : 'this version was revoked at its target: rotate again instead',
      { pointer: '/version' },
    );
  if (isBeingEnded(end))
    fail('conflict', 'this version is being revoked at its target: rotate again instead', { pointer: '/version' });
}

/** A call that ends the version may have been sent. */
function isBeingEnded(end: RunRow | undefined): boolean {
  return end?.state === 'open' && end.attempts > 0;
}

/** The roll back of a run whose version is only tested. */
export function probeOf(run: Pick<RunRow, 'facts'>): RollBackFacts | undefined {
  const { rollBack } = factsOf(run);
  return rollBack?.by === 'probe' ? rollBack : undefined;
}

/** What a run that sets an old value again sets. */
export function resetOf(run: Pick<RunRow, 'facts'>): RollBackFacts | undefined {
  const { rollBack } = factsOf(run);
  return rollBack?.by === 'set' ? rollBack : undefined;
}

/** Books the test of an older version. Only one that works becomes current; every other result ends the run. */
export function bookProbe(booking: Booking, { resolved }: OpenedTarget, verdict: Verdict, rollBack: RollBackFacts): 'ended' {
  const { job, access, run, located } = booking;
  const { to } = rollBack;
  if (verdict !== 'works') return endProbe(booking, verdict === 'rejected' ? 'refused_at_target' : 'test_unknown');
  const stored = job.credentials.findVersionMetadata(access, located.row.id, to);
  const end = job.runs.lastRevocation(access, located.row.id, to);
  if (stored === undefined || end?.outcome === 'revoked' || isBeingEnded(end)) return endProbe(booking, 'being_revoked');
  // INVARIANT: no transaction leaves a version both current and about to be revoked (test/rotation/keys/roll-back.test.ts).
  if (end?.state === 'open')
    finishRun(job, access, end, { state: 'cancelled', step: 'superseded', outcome: 'superseded', cause: 'rolled_back' });
  const { row } = located;
  const now = job.platform.clock.now();
  const graceMs = graceMsOf(resolved);
  booking.details.step = 'finish';
  booking.details.from_version = row.current_version;
  booking.details.version = to;
  changeCredential(job, access, located, (draft) => {
    draft.previous_version = row.current_version;
    draft.current_version = to;
    draft.value_expires_at = stored.value_expires_at;
    draft.review_due_at = reviewDueAt(draft, now);
    setRotated(draft, now, rollBack.revokesReplaced ? now + graceMs : undefined);
    // Counted as new, so that the next rotation does not follow at once.
    planNewValue({ view: job, lookup: access, environment: located.environment }, draft, now);
  });
  if (rollBack.revokesReplaced)
    openEnd(job, access, { credentialId: row.id, version: row.current_version, graceMs, rotation: run.id, wasServed: true });
  finishRun(job, access, run, { state: 'succeeded', step: 'finish', outcome: 'rolled_back', cause: null, new_version: to });
  return 'ended';
}

/** The current version stays, and so does its schedule. */
export function endProbe({ job, access, run, located, details }: Booking, cause: string): 'ended' {
  details.cause = cause;
  recordFailure(details, 'conflict');
  const { environment } = located;
  const draft = { ...located.row };
  if (planMissed({ view: job, lookup: access, environment }, draft)) saveUnseen(job, access, environment, draft);
  finishRun(job, access, run, { state: 'failed', step: 'failed', outcome: 'test_failed', cause });
  return 'ended';
}
