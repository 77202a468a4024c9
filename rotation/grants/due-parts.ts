// What is done when something is due, besides refreshing grants and keeping keys. One line a part; its order is its urgency.

import { deliverDue } from '../../src/alerts/deliver-webhooks.ts';
import type { LeasePorts } from '../engine/due-work.ts';
import { expireConnectionsDue } from './consent/choose-account.ts';
import { reviewDue } from './review.ts';
import { revokeDue } from './revoke.ts';

/** Does what is due of one kind, at most `LIMITS.dueWorkBatchRows` of it; answers how much it did. Never throws for one bad row. */
export type DuePart = (ports: LeasePorts) => Promise<number>;

export const DUE_PARTS: readonly DuePart[] = [expireConnectionsDue, revokeDue, reviewDue, deliverDue];
