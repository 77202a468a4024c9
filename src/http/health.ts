// Whether requests can be served, part by part. It must never say ok of what is not, nor name a tenant to whoever did not prove who they are.
import type { ErrorCode } from '../base/errors.ts';
import type { ClockState } from '../base/steady-clock.ts';
import { STATUS_OF } from './problems.ts';
import type { WireHealth } from './v1/wire.ts';

/** What the place it runs in knows of itself. */
export interface HealthReport {
  /** Nothing can be opened at all. */
  readonly closed?: 'sealed' | 'not_initialised';
  /** Why the home cell cannot store anything now. */
  readonly storage?: ErrorCode | undefined;
  /** Heads that could not be shown outside the cell; undefined where the place cannot know. */
  readonly witnessFails?: boolean;
  /** Nothing that is due is done; undefined where the platform keeps the time. */
  readonly schedulerStopped?: boolean;
  /** Undefined where the platform keeps the time. */
  readonly clock?: ClockState;
  /** Tenants that cannot be served, or cannot store anything, with why; undefined where the place cannot know. */
  readonly tenants?: readonly { readonly id: string; readonly code: ErrorCode }[];
}

export interface Health {
  readonly status: WireHealth['status'];
  /** 200 only where requests are served: then `degraded` says that some are not, or that something behind them does not work. */
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

/** A part of which the place knows nothing is left out. */
function partsOf({ storage, witnessFails, schedulerStopped, clock, tenants }: HealthReport): Health['parts'] {
  const unwell = {
    storage: [storage !== undefined, 'failing'],
    witness: [witnessFails, 'failing'],
    scheduler: [schedulerStopped, 'failing'],
    clock: [clock && isInDoubt(clock), 'degraded'],
    tenants: [tenants && tenants.length > 0, 'degraded'],
  } as const;
  const known = Object.entries(unwell).filter(([, [is]]) => is !== undefined);
  return Object.fromEntries(known.map(([part, [is, how]]) => [part, is ? how : 'ok']));
}

/** A start waits, too, and nothing is wrong. */
function isInDoubt({ state }: ClockState): boolean {
  return state === 'jump_waiting' || state === 'behind';
}
