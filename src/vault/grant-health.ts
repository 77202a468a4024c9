// The state a reader can trust: the only place where a grant becomes ready, degraded, needs_consent or disconnected.
// A change of state is one alert; the same state again is none, whatever the cause.

import { raiseAlert } from '../alerts/raise-alert.ts';
import { toTimestamp } from '../base/clock.ts';
import type { CredentialChange } from './credential.ts';

export type Health = 'ready' | 'degraded' | 'needs_consent' | 'disconnected';

/** The cause of a grant that nobody called dead: its tokens are kept, and a request may try them once more (decision 0003). */
export const ANSWER_LOST = 'answer_lost';
/** As `ANSWER_LOST`: refused in words that no table knows, for longer than its token lived (decision 0011). */
export const REFUSED_TOO_LONG = 'refused_too_long';

/** Whether the tokens of a grant that needs consent may be tried once more when somebody asks. */
export function mayBeTriedAgain(cause: string | null): boolean {
  return cause === ANSWER_LOST || cause === REFUSED_TOO_LONG;
}

/** Raises the alert where the state is another one than before, and tells whether it is; the caller saves the draft. */
export function changeHealth(
  { job, access, draft, environment }: Omit<CredentialChange, 'details'>,
  health: Health,
  cause: string | null,
): boolean {
  const before = draft.health;
  const now = job.platform.clock.now();
  draft.health_cause = cause;
  if (health === 'needs_consent' || health === 'disconnected') draft.refresh_due_at = null;
  if (before === health) return false;
  draft.health = health;
  draft.health_since = now;
  draft.review_due_at = now; // what ends it, and whether that must be told, may be another thing now
  const details = { before, cause, since: toTimestamp(now) };
  raiseAlert(job, access, { credential: draft, environment, kind: `credential.${health}`, details });
  job.dueChanged();
  return true;
}
