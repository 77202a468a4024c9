// Health, part by part. It must never report `ok` for a part that is not, nor name a tenant to an unauthenticated caller.
import type { ErrorCode } from '../base/errors.ts';
import type { ClockState } from '../base/steady-clock.ts';
import { STATUS_OF } from './problems.ts';
import type { WireHealth } from './v1/wire.ts';

/** What the platform reports. */
export interface HealthReport {
  /** Set when no cell can be opened. */
  readonly closed?: 'sealed' | 'not_initialised';
  /** Why the home cell cannot store data now. */
  readonly storage?: ErrorCode | undefined;
  /** True if a signed head could not be written to its witness; undefined if the platform cannot determine it. */
  readonly witnessFails?: boolean;
  /** True if due work is not being done; undefined on platforms with their own scheduler. */
  readonly schedulerStopped?: boolean;
  /** Undefined on platforms that guarantee the clock. */
  readonly clock?: ClockState;
  /** Whether stored data failed its check since the start; undefined if the platform cannot determine it. */
  readonly isDamaged?: boolean;
  /** Tenants that cannot be served or cannot store data, and why; undefined if the platform cannot determine it. */
  readonly tenants?: readonly { readonly id: string; readonly code: ErrorCode }[];
}

export interface Health {
  readonly status: WireHealth['status'];
  /** 200 if requests are served; `degraded` then means that some tenants are not served or that another part does not work. */
  readonly httpStatus: number;
  readonly parts: WireHealth['parts'];
}

export function healthOf(report: HealthReport): Health {
  const { closed, storage } = report;
  if (closed !== undefined) return { status: closed, httpStatus: closed === 'sealed' ? 503 : 501, parts: {} };
  const parts = partsOf(report);
  if (storage !== undefined) return { status: 'failing', httpStatus: STATUS_OF[storage], parts };
  const isWhole = Object.values(parts).every((state) => state === 'ok');
  return { status: isWhole ? 'ok' : 'degraded', httpStatus: 200, parts };
}

/** Omits the parts that the platform cannot determine. */
function partsOf({ storage, witnessFails, schedulerStopped, clock, isDamaged, tenants }: HealthReport): Health['parts'] {
  const failures = {
    storage: [storage !== undefined, 'failing'],
    witness: [witnessFails, 'failing'],
    scheduler: [schedulerStopped, 'failing'],
    clock: [clock && isInDoubt(clock), 'degraded'],
    state: [isDamaged, 'degraded'],
    tenants: [tenants && tenants.length > 0, 'degraded'],
  } as const;
  const known = Object.entries(failures).filter(([, [fails]]) => fails !== undefined);
  return Object.fromEntries(known.map(([part, [fails, state]]) => [part, fails ? state : 'ok']));
}

/** `starting` also delays destruction, but it is the normal state after a start. */
function isInDoubt({ state }: ClockState): boolean {
  return state === 'jump_waiting' || state === 'behind';
}
