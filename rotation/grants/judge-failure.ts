// Decides what a failed refresh means for its grant: its end, an immediate repetition, or a delay (D6, decisions 0003 and 0011). Pure functions.
// It must never end a grant except for the provider's refusal, a token that may be used up, or an unknown refusal that outlasts the token.
import { LIMITS } from '../../src/base/limits.ts';
import { REFUSED_TOO_LONG } from '../../src/vault/grant-health.ts';
import { type BackOff, backOffMs } from '../engine/back-off.ts';
import type { RefreshFailure } from '../oauth2/answer.ts';

/** Facts about the attempt other than its outcome. */
export interface FailedAttempt {
  /** Attempts of this run, including this one. */
  readonly attempts: number;
  /** Lost answers of this generation before this attempt. */
  readonly lostBefore: number;
  /** Whether an earlier send may have used up the token. */
  readonly doubted: boolean;
  /** Remaining lifetime of the access token; 0 if expired or absent; infinite if it does not expire. */
  readonly leftMs: number;
  /** Total lifetime of the access token. */
  readonly lifeMs: number;
  /** Time since the start of the run. */
  readonly failingForMs: number;
  /** Time since the run's first refusal with unknown words; undefined if this is the first. */
  readonly refusedForMs: number | undefined;
  /** Whether the same token may be sent again after this number of lost answers. */
  readonly maySendAgain: (lostAnswers: number) => boolean;
  /** Remaining time in which the provider accepts the same token again; undefined if there is no such window. */
  readonly windowLeftMs: number | undefined;
  readonly fraction: number;
}

export type Judgement =
  | { readonly kind: 'withdrawn' }
  /** A person must consent again. `lost`: because of lost answers, without a refusal. */
  | { readonly kind: 'ended'; readonly cause: string; readonly lost: boolean }
  | {
      readonly kind: 'again';
      /** 0: at once. */
      readonly afterMs: number;
      readonly lostAnswers: number;
      readonly mayBeSpent: boolean;
      readonly degraded: boolean;
      readonly classed: FailureClass;
    };

/** The reason in a waiting run. `told_when`: the provider specified the time of the next attempt. */
export type FailureClass =
  | 'configuration'
  | 'unrecognised'
  | 'transient'
  | 'told_when'
  | 'answered_oddly'
  | 'sent_and_lost'
  | 'not_sent';

export function judgeFailure(outcome: RefreshFailure, attempt: FailedAttempt): Judgement {
  if (outcome.kind === 'not_sent' && outcome.means === 'withdrawn') return { kind: 'withdrawn' };
  if (meansOf(outcome) === 'dead') return { kind: 'ended', cause: endCause(outcome.cause, attempt), lost: false };
  const lostAnswers = attempt.lostBefore + (countsAsLost(outcome, attempt) ? 1 : 0);
  const isLost = lostAnswers > attempt.lostBefore;
  if (isLost && !attempt.maySendAgain(lostAnswers)) return { kind: 'ended', cause: outcome.cause, lost: true };
  if (outlastsTheToken(outcome, attempt)) return { kind: 'ended', cause: REFUSED_TOO_LONG, lost: false };
  // After a lost answer the call is repeated at once, because a reuse window is short (rule 7).
  const atOnce = isLost && lostAnswers === 1;
  return {
    kind: 'again',
    afterMs: atOnce ? 0 : waitAfter(outcome, attempt),
    lostAnswers,
    mayBeSpent: mayBeSpent(outcome) || attempt.doubted,
    degraded: !atOnce && isDegraded(outcome, attempt),
    classed: classOf(outcome),
  };
}

/** The cause from the tables; undefined if there is none. */
function meansOf(outcome: RefreshFailure): 'dead' | 'configuration' | 'transient' | 'withdrawn' | undefined {
  return outcome.kind === 'refused' || outcome.kind === 'not_sent' ? outcome.means : undefined;
}

function endCause(said: string, { doubted }: FailedAttempt): string {
  return doubted ? `answer_lost_then_${said}` : said;
}

/**
 * An answer is lost if the request was sent and no complete answer arrived. A refusal with unknown words after a lost answer counts as well,
 * because it does not show that the token is still valid. If the platform cannot tell whether the request was sent, it counts when no valid token is left.
 */
function countsAsLost(outcome: RefreshFailure, { lostBefore, leftMs }: FailedAttempt): boolean {
  if (outcome.kind === 'sent_and_lost') return outcome.certain || leftMs <= 0;
  return isUnrecognised(outcome) && lostBefore > 0;
}

/** The refusal is unknown, no valid token is left, and it has lasted longer than a token's lifetime: a person must act. */
function outlastsTheToken(outcome: RefreshFailure, attempt: FailedAttempt): boolean {
  return isUnrecognised(outcome) && attempt.leftMs <= 0 && attempt.refusedForMs !== undefined && bearableForMs(attempt) <= 0;
}

/** The remaining time before an unknown refusal ends the grant. */
function bearableForMs({ lifeMs, refusedForMs = 0 }: Pick<FailedAttempt, 'lifeMs' | 'refusedForMs'>): number {
  return Math.min(lifeMs, LIMITS.refusedTooLongMaxMs) - refusedForMs;
}

function isUnrecognised(outcome: RefreshFailure): boolean {
  return outcome.kind === 'refused' && !outcome.recognised;
}

function mayBeSpent(outcome: RefreshFailure): boolean {
  if (outcome.kind === 'sent_and_lost') return true;
  return (outcome.kind === 'transient' || outcome.kind === 'answered_oddly') && outcome.mayBeSpent;
}

function isDegraded(outcome: RefreshFailure, { leftMs, attempts }: FailedAttempt): boolean {
  return meansOf(outcome) === 'configuration' || leftMs <= 0 || attempts > 2;
}

function classOf(outcome: RefreshFailure): FailureClass {
  if ('retryAfterSeconds' in outcome && (outcome.retryAfterSeconds ?? 0) > 0) return 'told_when';
  if (isUnrecognised(outcome)) return 'unrecognised';
  if (meansOf(outcome) === 'configuration') return 'configuration';
  return outcome.kind === 'throttled' || outcome.kind === 'refused' ? 'transient' : outcome.kind;
}

const PASSING: BackOff = { baseMs: LIMITS.refreshBackoffBaseMs, maxMs: LIMITS.refreshBackoffMaxMs };
const REFUSED: BackOff = { baseMs: LIMITS.refreshRefusedBackoffBaseMs, maxMs: LIMITS.refreshBackoffMaxMs };

/**
 * The delay grows, but is at most the duration of the failure and half of the token's remaining lifetime, so that the last attempt is shortly
 * before its expiry. An unknown refusal is retried when its time limit is reached. `Retry-After` is respected, except for one attempt at the
 * token's expiry.
 */
export function waitAfter(outcome: RefreshFailure, attempt: Omit<FailedAttempt, 'maySendAgain'>): number {
  const { attempts, leftMs, failingForMs, windowLeftMs, fraction } = attempt;
  const policy = classOf(outcome) === 'configuration' ? REFUSED : PASSING;
  const askedMs = 'retryAfterSeconds' in outcome ? (outcome.retryAfterSeconds ?? 0) * 1_000 : 0;
  const grown = Math.min(backOffMs(policy, attempts, fraction), Math.max(policy.baseMs, failingForMs));
  const lastUsefulMs = leftMs > 0 ? leftMs / 2 : isUnrecognised(outcome) ? bearableForMs(attempt) : grown;
  const useful = Math.min(grown, Math.max(lastUsefulMs, LIMITS.refreshWaitMinMs));
  const wait = Math.max(useful, leftMs > 0 ? Math.min(askedMs, leftMs) : askedMs);
  // The last attempt is made just before the reuse window closes.
  if (outcome.kind !== 'sent_and_lost' || windowLeftMs === undefined || windowLeftMs <= LIMITS.refreshBackoffBaseMs) return wait;
  return Math.min(wait, windowLeftMs - LIMITS.refreshWaitMinMs);
}
