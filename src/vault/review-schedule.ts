// Computes when the forecast of a credential is reviewed next: at once after it starts anew, else soon after a refresh.
import { LIMITS } from '../base/limits.ts';
import type { CredentialRow } from '../cell/credentials.ts';
import { kindFacts } from './credential-kinds.ts';
import { endDateOf } from './end-date.ts';

/** For a credential that changed now. It is reviewed at most once an hour, and without a known end once a day, for any rate of refreshes. */
export function reviewDueAt(
  facts: Pick<CredentialRow, 'kind' | 'review_due_at' | 'grant_ends_at' | 'value_expires_at'>,
  nowMs: number,
): number | null {
  // Also once after its end date was removed, so that the forecast drops it.
  if (!kindFacts(facts.kind).isRenewed) return endDateOf(facts) === undefined && facts.grant_ends_at === null ? null : nowMs;
  const { review_due_at: planned } = facts;
  if (planned === null) return nowMs;
  return facts.grant_ends_at === null ? planned : Math.min(planned, nowMs + LIMITS.reviewAtMostEveryMs);
}
