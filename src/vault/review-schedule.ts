// When the forecast of a credential is looked at again: at once where it began anew, else soon enough after it moved on.
import { LIMITS } from '../base/limits.ts';
import type { CredentialRow } from '../cell/credentials.ts';
import { kindFacts } from './credential-kinds.ts';
import { endDateOf } from './end-date.ts';

/** For a credential that changed just now. However often it is refreshed, it is reviewed once an hour at most, and without a known end once a day. */
export function reviewDueAt(
  facts: Pick<CredentialRow, 'kind' | 'review_due_at' | 'grant_ends_at' | 'value_expires_at'>,
  nowMs: number,
): number | null {
  // Also once more when its end date went away, so that the forecast forgets it.
  if (!kindFacts(facts.kind).isRenewed) return endDateOf(facts) === undefined && facts.grant_ends_at === null ? null : nowMs;
  const { review_due_at: planned } = facts;
  if (planned === null) return nowMs;
  return facts.grant_ends_at === null ? planned : Math.min(planned, nowMs + LIMITS.reviewAtMostEveryMs);
}
