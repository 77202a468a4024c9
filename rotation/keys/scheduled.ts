// Due work of schedules: credentials are planned again after a rule changed, a rotation that is due begins or moves to a time at which it may,
// and a rotation that is overdue raises an alert. It must never begin a rotation outside of a window, nor by a clock that jumped (D17).
import { raiseAlert } from '../../src/alerts/raise-alert.ts';
import { isBelievable, toTimestamp } from '../../src/base/clock.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { WriteAccess } from '../../src/cell/access.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import { eachIntact } from '../../src/cell/rows.ts';
import { changeCredential, saveUnseen } from '../../src/vault/credential.ts';
import { laterFor, overdueAfterMs, planAgain, scheduleOf } from '../../src/vault/plan-rotation.ts';
import { changeRotationState, rotationStateOf } from '../../src/vault/rotation-state.ts';
import { isAllowed } from '../../src/vault/schedule-dates.ts';
import { foundCredential, type Located, locateById } from '../../src/vault/targets.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import type { TenantVault } from '../../src/vault/tenant-vault.ts';
import { openRun } from '../engine/run.ts';

/** Plans the next credentials that a changed rule may cover or covered; returns how many were looked at. */
export async function planAfterRuleChange(vault: TenantVault): Promise<number> {
  if (vault.lookup('scheduler', (lookup, { schedules }) => schedules.changedRule(lookup)) === undefined) return 0;
  return vault.submit((job) => planBatch(job));
}

function planBatch(job: TenantJob): number {
  return job.door.keepBooks('review', (access) => {
    const rule = job.schedules.changedRule(access);
    if (rule === undefined) return 0;
    const rules = job.schedules.rules(access);
    const ids = job.schedules.rotatable(access, rule.walk_after ?? '', LIMITS.planBatchRows);
    eachIntact(ids, (id) => {
      const { row, environment } = locateById(job, access, id);
      const draft = { ...row };
      const hasOpenRun = row.rotation_due_at === null && job.runs.findOpen(access, id) !== undefined;
      if (planAgain({ view: job, lookup: access, environment, rules }, draft, hasOpenRun))
        saveUnseen(job, access, environment, draft);
    });
    const last = ids.at(-1);
    if (ids.length === LIMITS.planBatchRows && last !== undefined) job.schedules.saveRule(access, { ...rule, walk_after: last });
    else if (rule.removed_at !== null) job.schedules.dropRule(access, rule);
    else job.schedules.saveRule(access, { ...rule, walk_after: null });
    job.dueChanged();
    return ids.length;
  });
}

/** Opens a run if the rotation is due and may begin now; else plans it again. @param missedBeforeMs what was due before then, was missed */
export function openScheduled(job: TenantJob, credentialId: string, missedBeforeMs: number): void {
  const located = job.door.lookup('scheduler', (lookup) => locateById(job, lookup, credentialId));
  const { platform } = job;
  const now = platform.clock.now();
  const dueAt = located.row.rotation_due_at;
  if (dueAt === null || dueAt > now || !isBelievable(platform.clock)) return;
  const later = job.door.lookup('scheduler', (lookup) => {
    const applied = scheduleOf({ view: job, lookup, environment: located.environment }, located.row);
    if (applied === undefined || applied.pause !== undefined) return null;
    // A missed rotation is moved once: a service that is often down for minutes must not move it for ever.
    const isMissed = dueAt < missedBeforeMs && dueAt === located.row.rotation_promised_at;
    if (!isMissed && isAllowed(applied.spec, now)) return now;
    return laterFor(applied.spec, located.row, now) ?? null;
  });
  if (later === null || later > now) {
    job.door.keepBooks('review', (access) =>
      saveUnseen(job, access, located.environment, { ...located.row, rotation_due_at: later }),
    );
    return;
  }
  begin(job, located);
}

function begin(job: TenantJob, located: Located): void {
  job.door.enterAsSystem(
    'rotation',
    'credential.rotate',
    () => foundCredential(job, located.environment, located.row),
    (access, _subject, details) => {
      details.step = 'queued';
      details.trigger = 'schedule';
      const { row } = located;
      // The end of the run plans the next one.
      changeCredential(job, access, located, (draft) => {
        draft.rotation_due_at = null;
      });
      if (job.runs.findOpen(access, row.id) !== undefined) return;
      const run = openRun(job, access, {
        credentialId: row.id,
        kind: 'rotation',
        trigger: 'schedule',
        generation: row.current_version,
      });
      details.run = run.id;
    },
  );
}

/** Raises and ends the alerts about overdue rotations. Does not depend on the work that rotates. Returns how many were looked at. */
export async function watchOverdue(vault: TenantVault): Promise<number> {
  const { clock } = vault.platform;
  if (!isBelievable(clock)) return 0;
  const now = clock.now();
  const due = vault.lookup('scheduler', (lookup, view) => view.schedules.dueForWatch(lookup, now, LIMITS.dueWorkBatchRows));
  const ends = await Promise.allSettled(due.map((id) => vault.submit((job) => watchOne(job, id, now))));
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
  return due.length;
}

function watchOne(job: TenantJob, id: string, now: number): void {
  const located = job.door.lookup('scheduler', (lookup) => locateById(job, lookup, id));
  const { row, environment } = located;
  if (row.overdue_check_at === null || row.overdue_check_at > now) return;
  const { overdue } = rotationStateOf(row);
  const applied = job.door.lookup('scheduler', (lookup) => scheduleOf({ view: job, lookup, environment }, row));
  const promisedAt = applied === undefined ? null : row.rotation_promised_at;
  const isOverdue = promisedAt !== null && promisedAt + overdueAfterMs(applied?.spec) <= now;
  const next: CredentialRow = { ...row };
  const told = isOverdue ? { times: (overdue?.promisedAt === promisedAt ? overdue.times : 0) + 1, promisedAt } : undefined;
  changeRotationState(next, { overdue: told });
  if (told !== undefined) {
    next.overdue_check_at = now + Math.min(LIMITS.overdueAgainMs * 2 ** (told.times - 1), LIMITS.overdueAgainMaxMs);
  } else {
    next.overdue_check_at = promisedAt === null ? null : promisedAt + overdueAfterMs(applied?.spec);
    if (overdue === undefined) {
      job.door.keepBooks('review', (access) => saveUnseen(job, access, environment, next));
      return;
    }
  }
  job.door.enterAsSystem(
    'review',
    'credential.review',
    () => foundCredential(job, environment, row),
    (access, _subject, details) => {
      details.cause = told !== undefined ? 'rotation_overdue' : 'rotation_in_time';
      details.alert =
        told !== undefined ? tellOverdue(job, access, located, told, applied?.pause?.reason) : tellEnd(job, access, located);
      saveUnseen(job, access, environment, next);
    },
  );
}

/** How often the alert was raised, and for which date. */
interface Overdue {
  readonly times: number;
  readonly promisedAt: number;
}

function tellOverdue(
  job: TenantJob,
  access: WriteAccess,
  { row, environment }: Located,
  overdue: Overdue,
  pausedFor: string | undefined,
): string {
  const run = job.runs.findOpen(access, row.id);
  const { promisedAt, times } = overdue;
  return raiseAlert(job, access, {
    credential: row,
    environment,
    kind: 'credential.rotation_overdue',
    details: {
      due_at: toTimestamp(promisedAt),
      overdue_hours: Math.floor((job.platform.clock.now() - promisedAt) / 3_600_000),
      times,
      cause: pausedFor !== undefined ? 'paused' : (run?.cause ?? (run === undefined ? 'not_begun' : run.step)),
      run: run?.id ?? null,
    },
  });
}

function tellEnd(job: TenantJob, access: WriteAccess, { row, environment }: Located): string {
  return raiseAlert(job, access, {
    credential: row,
    environment,
    kind: 'credential.ready',
    details: { before: 'rotation_overdue', cause: null, since: toTimestamp(job.platform.clock.now()) },
  });
}
