// A clock that jumped, told: an event, and in a tenant one alert (D17). It must never change what time it is.
import type { Door } from '../access/guard.ts';
import { raiseClockAlert } from '../alerts/raise-alert.ts';
import type { ClockAnomaly } from '../base/steady-clock.ts';
import type { OpenCell } from './open-cell.ts';
import type { TenantVault } from './tenant-vault.ts';

interface TimedCell {
  readonly core: OpenCell;
  readonly door: Door;
}

const seconds = ({ byMs }: ClockAnomaly): number => Math.round(byMs / 1_000);

function eventOf(cell: TimedCell, anomaly: ClockAnomaly) {
  return {
    action: 'clock.jumped',
    actor: { type: 'system', id: 'clock' },
    reason: anomaly.kind,
    request: `clock:${cell.core.audit.size}`,
    target: { type: 'cell' },
    details: { seconds: seconds(anomaly) },
  } as const;
}

/** Inside a job. */
export function noteClock(cell: TimedCell, anomaly: ClockAnomaly): void {
  cell.door.note({ ...eventOf(cell, anomaly), outcome: 'success' });
}

/** Inside a job. */
export function tellClock(vault: TenantVault, anomaly: ClockAnomaly): void {
  vault.door.record(eventOf(vault, anomaly), (access) =>
    raiseClockAlert(vault, access, { direction: anomaly.kind, seconds: seconds(anomaly) }),
  );
}
