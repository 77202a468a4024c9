// Plans the next rotation of a key or password: by the credential's own schedule, or by the most specific rule that covers it.
// It must never plan outside of a schedule's windows, nor forget the date that was promised before there is a new value.
import { LIMITS } from '../base/limits.ts';
import type { Lookup } from '../cell/access.ts';
import type { CredentialRow } from '../cell/credentials.ts';
import type { ScheduleRuleRow } from '../cell/schedules.ts';
import { labelsOf } from './credential.ts';
import { kindFacts } from './credential-kinds.ts';
import { changeRotationState, keyConfigOf, rotationStateOf } from './rotation-state.ts';
import type { Pause, ScheduleSpec } from './schedule.ts';
import { caughtUp, type DatedFrom, firstAllowed, nextDate, spreadOf } from './schedule-dates.ts';
import type { TenantView } from './tenant-job.ts';

/** JSON in `credential.schedule`. */
export interface OwnSchedule {
  readonly spec?: ScheduleSpec;
  readonly set_at?: number;
  /** Also of a schedule that a rule gives. */
  readonly pause?: Pause;
}

export const ownScheduleOf = ({ schedule }: Pick<CredentialRow, 'schedule'>): OwnSchedule => JSON.parse(schedule) as OwnSchedule;

/** Removes the credential's own schedule; a pause stays. */
export function dropOwnSpec(draft: Pick<CredentialRow, 'schedule'>): void {
  const { pause } = ownScheduleOf(draft);
  draft.schedule = JSON.stringify({ pause });
}

/** The schedule that applies to a credential. */
export interface AppliedSchedule {
  /** The name of the rule; undefined: the credential's own schedule. */
  readonly rule: string | undefined;
  readonly spec: ScheduleSpec;
  readonly setAt: number;
  readonly pause: Pause | undefined;
}

type Covered = Pick<CredentialRow, 'id' | 'kind' | 'state' | 'connector' | 'config' | 'labels' | 'schedule'>;

/** @param rules of the tenant, by name. Undefined: nothing is scheduled. */
function appliedSchedule(row: Covered, environment: string, rules: readonly ScheduleRuleRow[]): AppliedSchedule | undefined {
  if (row.connector === null || kindFacts(row.kind).isRenewed || row.state !== 'active') return undefined;
  const own = ownScheduleOf(row);
  const { rotate_every_seconds: every } = keyConfigOf(row);
  if (own.spec !== undefined) return { rule: undefined, spec: own.spec, setAt: own.set_at ?? 0, pause: own.pause };
  if (every !== undefined) return { rule: undefined, spec: { every_seconds: every }, setAt: 0, pause: own.pause };
  const [rule] = rules.filter((one) => covers(one, row, environment)).toSorted(mostSpecificFirst);
  if (rule === undefined) return undefined;
  const pause = own.pause ?? (rule.pause === null ? undefined : (JSON.parse(rule.pause) as Pause));
  return { rule: rule.name, spec: JSON.parse(rule.spec) as ScheduleSpec, setAt: rule.set_at, pause };
}

function covers(rule: ScheduleRuleRow, row: Covered, environment: string): boolean {
  if (rule.environment !== null && rule.environment !== environment) return false;
  if (rule.connector !== null && rule.connector !== row.connector) return false;
  if (rule.label_name === null) return true;
  return labelsOf(row)[rule.label_name] === rule.label_value;
}

/** More conditions first; then a label before a connector before an environment; then the higher priority; then the name. */
function mostSpecificFirst(a: ScheduleRuleRow, b: ScheduleRuleRow): number {
  return specificityOf(b) - specificityOf(a) || b.priority - a.priority || (a.name < b.name ? -1 : 1);
}

function specificityOf({ environment, connector, label_name: label }: ScheduleRuleRow): number {
  const conditions = [environment, connector, label].filter((one) => one !== null).length;
  return conditions * 8 + Number(label !== null) * 4 + Number(connector !== null) * 2 + Number(environment !== null);
}

/** Identifies the schedule that a plan was made by. */
function planKeyOf(applied: AppliedSchedule | undefined): string | undefined {
  if (applied === undefined) return undefined;
  return `${applied.rule ?? ''}@${applied.setAt}${applied.pause === undefined ? '' : ' paused'}`;
}

export interface PlanPorts {
  readonly view: Pick<TenantView, 'schedules' | 'credentials' | 'platform'>;
  readonly lookup: Lookup;
  readonly environment: { readonly name: string };
  /** Absent: they are read. For many plans in one job. */
  readonly rules?: readonly ScheduleRuleRow[];
}

export function scheduleOf({ view, lookup, environment, rules }: PlanPorts, row: Covered): AppliedSchedule | undefined {
  return appliedSchedule(row, environment.name, rules ?? view.schedules.rules(lookup));
}

export function datedFrom(applied: AppliedSchedule, row: Pick<CredentialRow, 'id'>, valueAt: number): DatedFrom {
  return { valueAt, setAt: applied.setAt, spread: spreadOf(row.id) };
}

/** When the current value of a stored credential was made. */
export function valueMadeAt({ view, lookup }: PlanPorts, row: CredentialRow): number {
  return view.credentials.findVersionMetadata(lookup, row.id, row.current_version)?.created_at ?? row.created_at;
}

/** Plans for a value that becomes current now. */
export function planNewValue(ports: PlanPorts, draft: CredentialRow, valueAt: number): void {
  changeRotationState(draft, { failures: undefined });
  plan(ports, draft, scheduleOf(ports, draft), valueAt);
}

/** Plans again if another schedule applies than before, or a pause began or ended. False: the plan is unchanged. */
export function planAgain(ports: PlanPorts, draft: CredentialRow, hasOpenRun: boolean): boolean {
  const applied = scheduleOf(ports, draft);
  if (planKeyOf(applied) === rotationStateOf(draft).plan) return false;
  plan(ports, draft, applied, valueMadeAt(ports, draft));
  // The end of an open run plans the next one.
  if (hasOpenRun) draft.rotation_due_at = null;
  return true;
}

function plan({ view }: PlanPorts, draft: CredentialRow, applied: AppliedSchedule | undefined, valueAt: number): void {
  const now = view.platform.clock.now();
  const date = applied === undefined ? undefined : nextDate(applied.spec, datedFrom(applied, draft, valueAt), now);
  draft.rotation_promised_at = date ?? null;
  draft.rotation_due_at = null;
  if (applied !== undefined && applied.pause === undefined && date !== undefined)
    draft.rotation_due_at = date > now ? date : (laterFor(applied.spec, draft, now) ?? null);
  changeRotationState(draft, { plan: planKeyOf(applied) });
  const { overdue } = rotationStateOf(draft);
  const watchAt = date === undefined ? null : date + overdueAfterMs(applied?.spec);
  // The watch ends an alert that it raised.
  draft.overdue_check_at = overdue === undefined ? watchAt : now;
}

/** For a rotation that is due but could not begin: spread over the catch-up time, in a window. */
export function laterFor(spec: ScheduleSpec, { id }: Pick<CredentialRow, 'id'>, nowMs: number): number | undefined {
  const { catch_up_seconds: seconds } = spec;
  return caughtUp(spec, spreadOf(id), nowMs, seconds === undefined ? LIMITS.scheduleCatchUpDefaultMs : seconds * 1_000);
}

/** Plans the next attempt after a rotation that changed nothing: later with each failure, in a window; with cron at its next date at the latest. */
export function planAfterFailure(ports: PlanPorts, draft: CredentialRow): void {
  const applied = scheduleOf(ports, draft);
  draft.rotation_due_at = null;
  if (applied === undefined || applied.pause !== undefined) return;
  const failures = (rotationStateOf(draft).failures ?? 0) + 1;
  changeRotationState(draft, { failures });
  const now = ports.view.platform.clock.now();
  const waitMs = Math.min(LIMITS.rotationBackoffMaxMs * 2 ** (failures - 1), LIMITS.rotationFailedAgainMaxMs);
  const again = firstAllowed(applied.spec, now + waitMs);
  const dated = applied.spec.cron === undefined ? undefined : nextDate(applied.spec, datedFrom(applied, draft, now), now);
  draft.rotation_due_at = again === undefined || (dated !== undefined && dated < again) ? (dated ?? null) : again;
}

/** Plans as if the value were new, so that a cancelled rotation does not begin again soon; the date that was promised stays. */
export function planAfterCancel(ports: PlanPorts, draft: CredentialRow): void {
  const applied = scheduleOf(ports, draft);
  if (draft.rotation_due_at !== null || applied === undefined || applied.pause !== undefined) return;
  const now = ports.view.platform.clock.now();
  draft.rotation_due_at = nextDate(applied.spec, datedFrom(applied, draft, now), now) ?? null;
}

/** Plans a rotation that was due while another run of the credential was open, if there is one. Returns whether the draft changed. */
export function planMissed(ports: PlanPorts, draft: CredentialRow): boolean {
  const applied = scheduleOf(ports, draft);
  if (draft.rotation_due_at !== null || applied === undefined || applied.pause !== undefined) return false;
  draft.rotation_due_at = laterFor(applied.spec, draft, ports.view.platform.clock.now()) ?? null;
  return draft.rotation_due_at !== null;
}

export function overdueAfterMs(spec: ScheduleSpec | undefined): number {
  const seconds = spec?.overdue_after_seconds;
  return seconds === undefined ? LIMITS.scheduleOverdueDefaultMs : seconds * 1_000;
}
