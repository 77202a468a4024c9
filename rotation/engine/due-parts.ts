// What is done when something is due, besides refreshing grants and keeping keys. One line a part; its order is its urgency.
import { expireConnectionsDue } from './consent-choice.ts';
import type { DueWorkPorts } from './due-work.ts';
import { reviewDue } from './forecast-review.ts';
import { revokeDue } from './revoke-work.ts';
import { deliverDue } from './webhook-delivery.ts';

/** Does what is due of one kind, at most `LIMITS.dueWorkBatchRows` of it; answers how much it did. Never throws for one bad row. */
export type DuePart = (ports: DueWorkPorts) => Promise<number>;

export const DUE_PARTS: readonly DuePart[] = [expireConnectionsDue, revokeDue, reviewDue, deliverDue];
