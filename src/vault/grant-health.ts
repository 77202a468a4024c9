// The health of a grant: the only module that makes a grant ready, degraded, needs_consent or disconnected.
// A change of state raises one alert; the same state with another cause raises none.

import { raiseAlert } from '../alerts/raise-alert.ts';
import { toTimestamp } from '../base/clock.ts';
import type { CredentialChange } from './credential.ts';

export type Health = 'ready' | 'degraded' | 'needs_consent' | 'disconnected';

/** The cause when an answer was lost: the grant may be alive, so its tokens are kept and a request may try them again (decision 0003). */
export const ANSWER_LOST = 'answer_lost';
/** As `ANSWER_LOST`, when the provider refused with an unknown error for longer than its token lived (decision 0011). */
export const REFUSED_TOO_LONG = 'refused_too_long';

/** Whether a request may try the tokens of a grant that needs consent again. */
export function mayBeTriedAgain(cause: string | null): boolean {
  return cause === ANSWER_LOST || cause === REFUSED_TOO_LONG;
}

/** Sets health and cause; raises an alert and returns true if the health changed. The caller saves the draft. */
export function changeHealth(
  { job, access, draft, environment }: Omit<CredentialChange, 'details'>,
  health: Health,
  cause: string | null,
): boolean {
  const before = draft.health;
  const now = job.platform.clock.now();
  draft.health_cause = cause;
  if (before === health) return false;
  draft.health = health;
  draft.health_since = now;
  draft.review_due_at = now; // the forecast and its notices depend on the health
  const details = { before, cause, since: toTimestamp(now) };
  raiseAlert(job, access, { credential: draft, environment, kind: `credential.${health}`, details });
  return true;
}
