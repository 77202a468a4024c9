// Reports a jump of the clock: an event, and in a tenant also an alert (D17). It must never change the time.
import type { Door } from '../access/guard.ts';
import { raiseClockAlert } from '../alerts/raise-alert.ts';
import type { ClockAnomaly } from '../base/steady-clock.ts';
import type { OpenCell } from './open-cell.ts';
import type { TenantJob } from './tenant-job.ts';

interface TimedJob {
  readonly core: OpenCell;
  readonly door: Door;
}

const seconds = ({ byMs }: ClockAnomaly): number => Math.round(byMs / 1_000);

function eventOf(job: TimedJob, anomaly: ClockAnomaly) {
  return {
    action: 'clock.jumped',
    actor: { type: 'system', id: 'clock' },
    reason: anomaly.kind,
    request: `clock:${job.core.audit.size}`,
    target: { type: 'cell' },
    details: { seconds: seconds(anomaly) },
  } as const;
}

export function noteClock(job: TimedJob, anomaly: ClockAnomaly): void {
  job.door.note({ ...eventOf(job, anomaly), outcome: 'success' });
}

export function tellClock(job: TenantJob, anomaly: ClockAnomaly): void {
  job.door.record(eventOf(job, anomaly), (access) =>
    raiseClockAlert(job, access, { direction: anomaly.kind, seconds: seconds(anomaly) }),
  );
}
