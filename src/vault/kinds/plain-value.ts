// Kinds whose value is served unchanged: API keys, user names with passwords, databases, documents.

import { jsonBytes } from '../credential-kinds.ts';
import type { CredentialKind } from '../kind.ts';
import { reviewDueAt } from '../review-schedule.ts';

export const plainValue: CredentialKind = {
  split: (_job, { given: { value, expiresAtMs } }) => ({ value: jsonBytes(value), retained: undefined, expiresAtMs }),
  plan: (_job, draft, { expiresAtMs }, now) => {
    draft.value_expires_at = expiresAtMs ?? null;
    draft.refresh_due_at = null;
    draft.review_due_at = reviewDueAt(draft, now);
  },
  planRestored: (job, _access, draft) => {
    draft.review_due_at = reviewDueAt(draft, job.platform.clock.now());
  },
};
