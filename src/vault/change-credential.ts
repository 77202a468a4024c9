// Changes of a credential without a new value: labels and description, roll back to a version, delete, restore, destroy.
import type { Caller } from '../access/principals.ts';
import { fail } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { WriteAccess } from '../cell/access.ts';
import { isStorageFailure } from '../cell/cell.ts';
import type { CredentialRow } from '../cell/credentials.ts';
import type { RunRow } from '../cell/runs.ts';
import { cancelOpenRun } from './cancel-run.ts';
import { changeCredential } from './credential.ts';
import { rulesOfKind } from './kinds.ts';
import { planAgain } from './plan-rotation.ts';
import { checkPrecondition, type WritePrecondition } from './precondition.ts';
import { reviewDueAt } from './review-schedule.ts';
import { setRotated } from './rotation-state.ts';
import { credentialTarget, type Located, requireActive } from './targets.ts';
import type { TenantJob } from './tenant-job.ts';

interface Named {
  readonly environment: string;
  readonly name: string;
  readonly precondition: WritePrecondition;
}

function save(job: TenantJob, access: WriteAccess, located: Located, change: Partial<CredentialRow>): Located {
  return changeCredential(job, access, located, (draft) => Object.assign(draft, change));
}

export interface LabelInput extends Named {
  readonly labels: Readonly<Record<string, string>> | undefined;
  readonly description: string | undefined;
}

/** Replaces labels and/or description. @throws not_found | precondition_failed | gone */
export function labelCredential(job: TenantJob, caller: Caller, input: LabelInput): Located {
  return job.door.enter(
    caller,
    'credential.label',
    (lookup) => credentialTarget(job, lookup, input.environment, input.name),
    (access, located) => {
      checkPrecondition(requireActive(located.row), input.precondition);
      return changeCredential(job, access, located, (draft) => {
        draft.labels = input.labels === undefined ? draft.labels : JSON.stringify(input.labels);
        draft.description = input.description ?? draft.description;
        // Another rule may cover it now.
        const ports = { view: job, lookup: access, environment: located.environment };
        if (input.labels !== undefined) planAgain(ports, draft, job.runs.findOpen(access, draft.id) !== undefined);
      });
    },
  );
}

export interface RollBackInput extends Named {
  /** The version that becomes current; default: the previous one. */
  readonly toVersion: number | undefined;
  /** Also ends the replaced version at its target. */
  readonly revokesReplaced?: boolean;
}

/** With the run that asks the target first; without one, the version is current already. */
export interface RolledBack extends Located {
  readonly run?: RunRow;
}

/**
 * Moves `current` to an older version (R5); `previous` then names the version that was current. Where a connector can ask the target, a run
 * does that first. @throws conflict for OAuth grants, and for a version that its target refuses
 */
export function rollBack(job: TenantJob, caller: Caller, input: RollBackInput): RolledBack {
  return job.door.enter(
    caller,
    'credential.rollback',
    (lookup) => credentialTarget(job, lookup, input.environment, input.name),
    (access, located, details) => {
      const row = requireActive(located.row);
      checkPrecondition(row, input.precondition);
      rulesOfKind(row.kind).refuseRollBack?.();
      const target = input.toVersion ?? row.previous_version ?? fail('conflict', 'the credential has no previous version');
      if (target === row.current_version) fail('conflict', 'this version is already current', { pointer: '/version' });
      const version =
        job.credentials.findVersion(access, row.id, target) ?? fail('not_found', 'no such version', { pointer: '/version' });
      if (row.connector !== null && job.runs.findOpen(access, row.id) !== undefined)
        fail('conflict', 'a rotation of this credential is open: wait for its end, or put a new value');
      const run = openRollBack(job, access, row, { to: target, revokesReplaced: input.revokesReplaced === true });
      if (run !== undefined) {
        details.run = run.id;
        details.version = target;
        return { ...located, run };
      }
      details.from_version = row.current_version;
      details.version = target;
      const dated = { ...row, value_expires_at: version.value_expires_at };
      const now = job.platform.clock.now();
      return changeCredential(job, access, located, (draft) => {
        draft.current_version = target;
        draft.previous_version = row.current_version;
        draft.value_expires_at = version.value_expires_at;
        draft.review_due_at = reviewDueAt(dated, now);
        setRotated(draft, now);
      });
    },
  );
}

function openRollBack(
  job: TenantJob,
  access: WriteAccess,
  row: CredentialRow,
  wanted: { readonly to: number; readonly revokesReplaced: boolean },
): RunRow | undefined {
  if (job.rotator !== undefined) return job.rotator.openRollBack(job, access, row, wanted);
  if (wanted.revokesReplaced)
    fail('invalid_request', 'the replaced version cannot be ended here', { pointer: '/revoke_replaced' });
  return undefined;
}

export interface DeleteInput extends Named {
  readonly recoveryWindowMs: number | undefined;
}

/** Makes a credential unreadable at once; it can be restored until its recovery window ends and is then destroyed (ER-06). Idempotent. */
export function deleteCredential(job: TenantJob, caller: Caller, input: DeleteInput): Located {
  return job.door.enter(
    caller,
    'credential.delete',
    (lookup) => credentialTarget(job, lookup, input.environment, input.name),
    (access, located) => {
      if (located.row.state === 'deleted') return located;
      checkPrecondition(located.row, input.precondition);
      cancelOpenRun(job, access, located.row, 'credential_removed');
      const now = job.platform.clock.now();
      return save(job, access, located, {
        state: 'deleted',
        deleted_at: now,
        destroy_after_at: now + (input.recoveryWindowMs ?? LIMITS.recoveryWindowDefaultMs),
        refresh_due_at: null,
        pending_version: null,
        rotation: '{}',
      });
    },
  );
}

/** Restores a deleted credential within its recovery window. @throws conflict when it is not deleted | gone when the window has ended */
export function restoreCredential(job: TenantJob, caller: Caller, input: Named): Located {
  return job.door.enter(
    caller,
    'credential.restore',
    (lookup) => credentialTarget(job, lookup, input.environment, input.name),
    (access, located) => {
      if (located.row.state !== 'deleted') fail('conflict', 'the credential is not deleted');
      if (Number(located.row.destroy_after_at) <= job.platform.clock.now())
        fail('gone', 'the recovery window of the credential has ended');
      checkPrecondition(located.row, input.precondition);
      return changeCredential(job, access, located, (draft) => {
        draft.state = 'active';
        draft.deleted_at = null;
        // Nothing was due while it was deleted, so everything is planned again.
        rulesOfKind(draft.kind).planRestored(job, access, draft, located.environment);
      });
    },
  );
}

/** Destroys every version now, without a recovery window. Needs the approval of a second person (guard.ts). */
export function destroyCredential(job: TenantJob, caller: Caller, input: Named): void {
  job.door.enter(
    caller,
    'credential.destroy',
    (lookup) => credentialTarget(job, lookup, input.environment, input.name),
    (access, located, details) => {
      checkPrecondition(located.row, input.precondition);
      cancelOpenRun(job, access, located.row, 'credential_removed');
      details.count = destroyNow(job, access, located);
    },
  );
}

/** For the scheduler: destroys credentials past their recovery window; none while the clock is not steady. Returns how many were due. */
export function destroyExpired(job: TenantJob, maxRows: number): number {
  // SECURITY: a clock that jumped must not destroy credentials that could still be restored (D17).
  if (!job.platform.clock.isSteady()) return 0;
  const now = job.platform.clock.now();
  const due = job.door.lookup('scheduler', (lookup) =>
    job.credentials.dueForDestruction(lookup, now, maxRows).map((row) => ({
      row,
      environment: job.credentials.environmentById(lookup, row.environment_id),
    })),
  );
  const failures: unknown[] = [];
  for (const located of due) {
    try {
      destroyOne(job, located);
    } catch (error) {
      // A damaged row is reported and must not block the others. A storage failure rolls back the whole batch.
      if (isStorageFailure(error)) throw error;
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
  return due.length;
}

function destroyOne(job: TenantJob, { environment, row }: Located): void {
  job.door.enterAsSystem(
    'recovery-window',
    'credential.destroy',
    (lookup) => credentialTarget(job, lookup, environment.name, row.name),
    (access, subject, details) => {
      details.count = destroyNow(job, access, subject);
    },
  );
}

function destroyNow(job: TenantJob, access: WriteAccess, located: Located): number {
  const versions = job.credentials.dropVersions(access, located.row.id);
  // INVARIANT: before the answer, the bytes are removed from every file, including the write-ahead log (test/faults/residue.test.ts).
  job.core.cell.eraseResidue();
  job.readers.drop(access, located.row.id);
  save(job, access, located, { state: 'destroyed', destroy_after_at: null, refresh_due_at: null });
  return versions;
}
