// The parts of due work other than refreshes and keys, one line each, in the order of urgency.

import { deliverDue } from '../../src/alerts/deliver-webhooks.ts';
import type { LeasePorts } from '../engine/due-work.ts';
import { expireConnectionsDue } from './consent/choose-account.ts';
import { reviewDue } from './review.ts';
import { revokeDue } from './revoke.ts';

/** Does due work of one kind, at most `LIMITS.dueWorkBatchRows` rows; returns how many. A damaged row does not stop the others. */
export type DuePart = (ports: LeasePorts) => Promise<number>;

export const DUE_PARTS: readonly DuePart[] = [expireConnectionsDue, revokeDue, reviewDue, deliverDue];
