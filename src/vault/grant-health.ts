// The state a reader can trust: the only place where a grant becomes ready, degraded, needs_consent or disconnected.
// A change of state is one alert; the same state again is none, whatever the cause.

import { raiseAlert } from '../alerts/raise-alert.ts';
import { toTimestamp } from '../base/clock.ts';
import type { WriteAccess } from '../cell/access.ts';
import type { CredentialRow } from '../cell/credentials.ts';
import type { TenantJob } from './tenant-job.ts';

export type Health = 'ready' | 'degraded' | 'needs_consent' | 'disconnected';

/** The cause of a grant that nobody called dead: its tokens are kept, and a request may try them once more (decision 0003). */
export const ANSWER_LOST = 'answer_lost';
/** As `ANSWER_LOST`: refused in words that no table knows, for longer than its token lived (decision 0011). */
export const REFUSED_TOO_LONG = 'refused_too_long';

/** Whether the tokens of a grant that needs consent may be tried once more when somebody asks. */
export function mayBeTriedAgain(cause: string | null): boolean {
  return cause === ANSWER_LOST || cause === REFUSED_TOO_LONG;
}

/** Changes `facts` in place and raises the alert; the caller saves the row and forgets it from the cache. True when the state changed. */
export function changeHealth(
  job: TenantJob,
  access: WriteAccess,
  facts: CredentialRow,
  environment: string,
  health: Health,
  cause: string | null,
): boolean {
  const before = facts.health;
  const now = job.platform.clock.now();
  facts.health_cause = cause;
  if (health === 'needs_consent' || health === 'disconnected') facts.refresh_due_at = null;
  if (before === health) return false;
  facts.health = health;
  facts.health_since = now;
  facts.review_due_at = now; // what ends it, and whether that must be told, may be another thing now
  raiseAlert(job, access, facts, environment, `credential.${health}`, { before, cause, since: toTimestamp(now) });
  job.dueChanged();
  return true;
}
