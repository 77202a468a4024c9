// Schedules: the rules of a tenant, a credential's own, pauses with a reason, and previews. A changed rule is applied to the credentials it covers
// by due work, in batches. It must never store a schedule that has no date.
import type { Caller } from '../access/principals.ts';
import { fail } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Lookup, ReadAccess, WriteAccess } from '../cell/access.ts';
import type { ScheduleRuleRow } from '../cell/schedules.ts';
import { changeCredential, type Draft } from './credential.ts';
import { kindFacts } from './credential-kinds.ts';
import {
  type AppliedSchedule,
  datedFrom,
  dropOwnSpec,
  ownScheduleOf,
  type PlanPorts,
  planAgain,
  scheduleOf,
  valueMadeAt,
} from './plan-rotation.ts';
import { keyConfigOf } from './rotation-state.ts';
import type { Pause, ScheduleSpec } from './schedule.ts';
import { nextDates } from './schedule-dates.ts';
import { credentialTarget, type Located, requireActive, tenantTarget } from './targets.ts';
import type { TenantJob } from './tenant-job.ts';

/** Which credentials a rule covers: those that meet all conditions. */
export interface RuleInput {
  readonly name: string;
  readonly environment: string | undefined;
  readonly connector: string | undefined;
  readonly label: { readonly name: string; readonly value: string } | undefined;
  readonly priority: number;
  readonly spec: ScheduleSpec;
}

function rulesTarget(job: TenantJob) {
  return { ...tenantTarget(job), target: { type: 'schedules' } };
}

function ruleTarget(job: TenantJob, lookup: Lookup, name: string) {
  const row = job.schedules.findRule(lookup, name);
  return {
    resource: { type: 'Tenant' as const, tenant: job.tenant.id },
    target: { type: 'schedule', name },
    subject: row?.removed_at === null ? row : undefined,
  };
}

/** By name. */
export function listRules(job: TenantJob, caller: Caller): ScheduleRuleRow[] {
  return job.door.enter(
    caller,
    'schedule.list',
    () => rulesTarget(job),
    (access, _subject, details) => {
      const rows = job.schedules.rules(access);
      details.count = rows.length;
      return rows;
    },
  );
}

/** @throws not_found */
export function getRule(job: TenantJob, caller: Caller, name: string): ScheduleRuleRow {
  return job.door.enter(
    caller,
    'schedule.list',
    (lookup) => ruleTarget(job, lookup, name),
    (_access, row) => row,
  );
}

export interface SetRule {
  readonly created: boolean;
  readonly row: ScheduleRuleRow;
}

/** Creates or replaces a rule; a pause stays. @throws invalid_request | conflict when the tenant has the maximum number of rules */
export function setRule(job: TenantJob, caller: Caller, input: RuleInput): SetRule {
  return job.door.enter(
    caller,
    'schedule.set',
    () => ({ ...rulesTarget(job), target: { type: 'schedule', name: input.name } }),
    (access, _subject, details) => {
      refuseDateless(job, input.spec);
      if (input.environment !== undefined && job.credentials.findEnvironment(access, input.environment) === undefined)
        fail('invalid_request', 'no environment has this name', { pointer: '/environment' });
      const stored = job.schedules.findRule(access, input.name);
      const before = stored?.removed_at === null ? stored : undefined;
      if (before === undefined && job.schedules.rules(access).length >= LIMITS.scheduleRulesMaxCount)
        fail('conflict', `a tenant may have at most ${LIMITS.scheduleRulesMaxCount} rules: remove one first`);
      const row = ruleOf(job, access, input, before);
      if (stored === undefined) job.schedules.insertRule(access, row);
      else job.schedules.saveRule(access, row);
      details.step = before === undefined ? 'added' : 'changed';
      job.dueChanged();
      return { created: before === undefined, row };
    },
  );
}

function ruleOf(job: TenantJob, access: WriteAccess, input: RuleInput, before: ScheduleRuleRow | undefined): ScheduleRuleRow {
  const now = job.platform.clock.now();
  const spec = JSON.stringify(input.spec);
  return {
    name: input.name,
    environment: input.environment ?? null,
    connector: input.connector ?? null,
    label_name: input.label?.name ?? null,
    label_value: input.label?.value ?? null,
    priority: input.priority,
    spec,
    pause: before?.pause ?? null,
    set_at: before?.spec === spec ? before.set_at : now,
    created_at: before?.created_at ?? now,
    created_by: before?.created_by ?? access.principalId,
    removed_at: null,
    walk_after: '',
  };
}

/** The credentials that it covered are planned by another rule, or no more. @throws not_found */
export function removeRule(job: TenantJob, caller: Caller, name: string): ScheduleRuleRow {
  return job.door.enter(
    caller,
    'schedule.remove',
    (lookup) => ruleTarget(job, lookup, name),
    (access, row) => changeRule(job, access, row, { removed_at: job.platform.clock.now() }),
  );
}

/** @param reason undefined: ends the pause. Its credentials are planned again. @throws not_found */
export function pauseRule(job: TenantJob, caller: Caller, name: string, reason: string | undefined): ScheduleRuleRow {
  return job.door.enter(
    caller,
    'schedule.set',
    (lookup) => ruleTarget(job, lookup, name),
    (access, row, details) => {
      details.step = reason === undefined ? 'resumed' : 'paused';
      const pause = reason === undefined ? null : JSON.stringify(pauseOf(job, access, reason));
      return changeRule(job, access, row, { pause });
    },
  );
}

function changeRule(job: TenantJob, access: WriteAccess, row: ScheduleRuleRow, change: Partial<ScheduleRuleRow>) {
  const next = { ...row, ...change, walk_after: '' };
  job.schedules.saveRule(access, next);
  job.dueChanged();
  return next;
}

function pauseOf(job: TenantJob, access: WriteAccess, reason: string): Pause {
  return { reason, at: job.platform.clock.now(), by: access.principalId };
}

function refuseDateless(job: TenantJob, spec: ScheduleSpec): void {
  const now = job.platform.clock.now();
  if (nextDates(spec, { valueAt: now, setAt: now, spread: 0 }, now, 1).length === 0)
    fail('invalid_request', 'the schedule has no date: its windows never open outside of its blackouts, or its cron never runs');
}

/** How the rotations of one credential are scheduled. */
export interface DescribedSchedule {
  readonly located: Located;
  /** Undefined: nothing is scheduled. */
  readonly applied: AppliedSchedule | undefined;
  /** The next dates, if each rotation succeeds; without those that a pause prevents. */
  readonly next: readonly number[];
}

interface Where {
  readonly environment: string;
  readonly name: string;
}

/** @param spec instead of the schedule that applies. @throws not_found */
export function describeSchedule(job: TenantJob, caller: Caller, where: Where, spec?: ScheduleSpec): DescribedSchedule {
  return job.door.enter(
    caller,
    'credential.describe',
    (lookup) => credentialTarget(job, lookup, where.environment, where.name),
    (access, located) => described(job, access, located, spec),
  );
}

function described(job: TenantJob, access: ReadAccess, located: Located, spec?: ScheduleSpec): DescribedSchedule {
  const { row, environment } = located;
  const now = job.platform.clock.now();
  const ports: PlanPorts = { view: job, lookup: access, environment };
  const applied = spec === undefined ? scheduleOf(ports, row) : { rule: undefined, spec, setAt: now, pause: undefined };
  if (applied === undefined || applied.pause !== undefined) return { located, applied, next: [] };
  const from = datedFrom(applied, row, valueMadeAt(ports, row));
  if (spec !== undefined) return { located, applied, next: nextDates(spec, from, now, LIMITS.previewDates) };
  // The stored date may be later than computed: after a failure, or a time in which nothing could begin.
  const first = row.rotation_due_at;
  if (first === null)
    return { located, applied, next: nextDates(applied.spec, { ...from, valueAt: now }, now, LIMITS.previewDates) };
  const later = nextDates(applied.spec, { ...from, valueAt: first }, Math.max(first, now), LIMITS.previewDates - 1);
  return { located, applied, next: [Math.max(first, now), ...later] };
}

/** The next dates of a schedule that is not stored, for a value made now. */
export function previewSchedule(job: TenantJob, caller: Caller, spec: ScheduleSpec): number[] {
  return job.door.enter(
    caller,
    'schedule.list',
    () => rulesTarget(job),
    () => {
      const now = job.platform.clock.now();
      return nextDates(spec, { valueAt: now, setAt: now, spread: 0 }, now, LIMITS.previewDates);
    },
  );
}

/** @param spec undefined: removes the credential's own schedule, so that a rule may apply. @throws not_found | gone | not_rotatable */
export function setOwnSchedule(job: TenantJob, caller: Caller, where: Where, spec: ScheduleSpec | undefined): DescribedSchedule {
  return changeOwn(job, caller, where, spec === undefined ? 'removed' : 'set', (draft) => {
    if (spec !== undefined) {
      refuseDateless(job, spec);
      draft.schedule = JSON.stringify({ ...ownScheduleOf(draft), spec, set_at: job.platform.clock.now() });
    } else dropOwnSpec(draft);
    const { rotate_every_seconds: _, ...rest } = keyConfigOf(draft);
    draft.config = JSON.stringify(rest);
  });
}

/** @param reason undefined: ends the pause. @throws as `setOwnSchedule` */
export function pauseOwnSchedule(job: TenantJob, caller: Caller, where: Where, reason: string | undefined): DescribedSchedule {
  return changeOwn(job, caller, where, reason === undefined ? 'resumed' : 'paused', (draft, access) => {
    const pause = reason === undefined ? undefined : pauseOf(job, access, reason);
    draft.schedule = JSON.stringify({ ...ownScheduleOf(draft), pause });
  });
}

function changeOwn(
  job: TenantJob,
  caller: Caller,
  where: Where,
  step: string,
  change: (draft: Draft, access: WriteAccess) => void,
): DescribedSchedule {
  return job.door.enter(
    caller,
    'credential.schedule',
    (lookup) => credentialTarget(job, lookup, where.environment, where.name),
    (access, located, details) => {
      const row = requireActive(located.row);
      if (kindFacts(row.kind).isRenewed)
        fail('not_rotatable', 'an OAuth grant has no schedule: it is refreshed before its access token ends');
      if (row.connector === null)
        fail('not_rotatable', 'the credential has no connector: put it again with one that can rotate it (`keyturn connectors`)');
      details.step = step;
      const hasOpenRun = job.runs.findOpen(access, row.id) !== undefined;
      const changed = changeCredential(job, access, located, (draft) => {
        change(draft, access);
        planAgain({ view: job, lookup: access, environment: located.environment }, draft, hasOpenRun);
      });
      return described(job, access, changed);
    },
  );
}
