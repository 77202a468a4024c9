// What is due, in one list: rotations by schedule, and the ends of the forecast; overdue first. It must never compute an end of its own.
import type { Caller } from '../../src/access/principals.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { ReadAccess } from '../../src/cell/access.ts';
import type { PromiseKey } from '../../src/cell/schedules.ts';
import type { Page } from '../../src/vault/describe-credential.ts';
import { type AppliedSchedule, scheduleOf } from '../../src/vault/plan-rotation.ts';
import { type Located, locateById, tenantTarget } from '../../src/vault/targets.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import type { DueWorkPorts } from '../engine/due-work.ts';
import { type Candidate, cursorOf, type ForecastEntry, ForecastReading, type ReadForecastInput } from './read-forecast.ts';

/** A rotation that a schedule wants. */
export interface DueRotation extends Located {
  readonly promisedAt: number;
  readonly applied: AppliedSchedule | undefined;
  /** The step of the open run; undefined: none is open. */
  readonly step: string | undefined;
}

export type DueEntry =
  | { readonly what: 'rotation'; readonly rotation: DueRotation }
  | { readonly what: 'end'; readonly end: ForecastEntry };

/** @throws not_found for an unknown environment */
export function readDue(
  job: TenantJob,
  connectors: DueWorkPorts['connectors'],
  caller: Caller,
  input: ReadForecastInput,
): Page<DueEntry> {
  return job.door.enter(
    caller,
    'due.read',
    () => ({ ...tenantTarget(job), target: { type: 'due' } }),
    (access, _subject, details) => {
      const page = dueIn(job, connectors, access, input);
      details.count = page.rows.length;
      return page;
    },
  );
}

/** The entries of a calendar feed, inside its use case. */
export function dueForCalendar(job: TenantJob, connectors: DueWorkPorts['connectors'], access: ReadAccess): DueEntry[] {
  const input = { environment: undefined, withinDays: LIMITS.calendarDays, after: '', maxRows: LIMITS.calendarMaxEntries };
  return dueIn(job, connectors, access, input).rows;
}

const CURSORS = '\n|\n';

function dueIn(
  job: TenantJob,
  connectors: DueWorkPorts['connectors'],
  access: ReadAccess,
  input: ReadForecastInput,
): Page<DueEntry> {
  const [endsAfter = '', rotationsAfter = ''] = input.after.split(CURSORS);
  const ends = new ForecastReading(job, connectors, access, { ...input, after: endsAfter }).candidates();
  const rotations = rotationsIn(job, access, input, rotationsAfter);
  const rows: DueEntry[] = [];
  let end = 0;
  let rotation = 0;
  while (rows.length < input.maxRows && (end < ends.length || rotation < rotations.length)) {
    const nextEnd = ends[end];
    const next = rotations[rotation];
    if (nextEnd !== undefined && (next === undefined || nextEnd.forecast.endsAt <= next.promisedAt)) {
      rows.push({ what: 'end', end: nextEnd });
      end += 1;
    } else if (next !== undefined) {
      rows.push({ what: 'rotation', rotation: next });
      rotation += 1;
    }
  }
  const isLast = end === ends.length && rotation === rotations.length;
  const cursors = [endCursor(ends[end - 1], endsAfter), rotationCursor(rotations[rotation - 1], rotationsAfter)];
  return { rows, next: isLast ? undefined : cursors.join(CURSORS) };
}

const endCursor = (last: Candidate | undefined, before: string): string => (last === undefined ? before : cursorOf(last));

function rotationCursor(last: DueRotation | undefined, before: string): string {
  return last === undefined ? before : `${last.promisedAt}\n${last.row.id}`;
}

/** One more than the page, if there is one. */
function rotationsIn(job: TenantJob, access: ReadAccess, { environment, withinDays, maxRows }: ReadForecastInput, after: string) {
  const [at = '', id = ''] = after.split('\n');
  const from: PromiseKey = after === '' ? { promisedAt: -1, id: '' } : { promisedAt: Number(at), id };
  const throughMs =
    withinDays === undefined ? Number.MAX_SAFE_INTEGER : job.platform.clock.now() + withinDays * 24 * 60 * 60 * 1_000;
  const environmentId = environment === undefined ? undefined : job.credentials.findEnvironment(access, environment)?.id;
  const rules = job.schedules.rules(access);
  return job.schedules.planned(access, environmentId, from, throughMs, maxRows + 1).map((key): DueRotation => {
    const located = locateById(job, access, key.id);
    const applied = scheduleOf({ view: job, lookup: access, environment: located.environment, rules }, located.row);
    return { ...located, promisedAt: key.promisedAt, applied, step: job.runs.findOpen(access, key.id)?.step };
  });
}
