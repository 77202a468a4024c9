// What a failed refresh means for its grant: the end, one more send at once, or a wait, and how long (D6, decisions 0003 and 0011).
// Pure. It must never end a grant on anything but the provider's word, a token that may be spent, or a refusal that outlasts the token.
import { LIMITS } from '../../src/base/limits.ts';
import { REFUSED_TOO_LONG } from '../../src/vault/grant-health.ts';
import { type BackOff, backOffMs } from '../engine/back-off.ts';
import type { RefreshFailure } from '../oauth2/answer.ts';

/** What is known of the attempt beside its outcome. */
export interface FailedAttempt {
  /** Of this run, this one included. */
  readonly attempts: number;
  /** Answers of this generation that were lost before this attempt. */
  readonly lostBefore: number;
  /** An earlier send may have spent the token. */
  readonly doubted: boolean;
  /** What is left of the access token's life; 0: it has ended, or there is none; infinite: it has no end. */
  readonly leftMs: number;
  /** How long the access token lived in all. */
  readonly lifeMs: number;
  /** Since the run began. */
  readonly failingForMs: number;
  /** Since the first refusal in unknown words of this run; undefined where this one is the first. */
  readonly refusedForMs: number | undefined;
  /** May the same token be sent once more, after so many lost answers? */
  readonly maySendAgain: (lostAnswers: number) => boolean;
  /** What is left of the window in which the provider takes the same token again; undefined where it has none. */
  readonly windowLeftMs: number | undefined;
  readonly fraction: number;
}

export type Judgement =
  | { readonly kind: 'withdrawn' }
  /** A person must consent again. `lost`: nobody said so, the answers did not come. */
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

/** As a waiting run keeps it. `told_when`: the provider named the time of the next attempt. */
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
  // An answer lost on the way is asked for again at once: a reuse window, where there is one, is short (rule 7).
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

/** The provider's or our own word on it; undefined where there is none. */
function meansOf(outcome: RefreshFailure): 'dead' | 'configuration' | 'transient' | 'withdrawn' | undefined {
  return outcome.kind === 'refused' || outcome.kind === 'not_sent' ? outcome.means : undefined;
}

function endCause(said: string, { doubted }: FailedAttempt): string {
  return doubted ? `answer_lost_then_${said}` : said;
}

/**
 * Only a send without a whole answer is a lost one. A refusal in unknown words to a send that followed a lost answer does not say that the
 * token is still good. Where the platform cannot tell whether anything left, it counts once there is no live token to go on with.
 */
function countsAsLost(outcome: RefreshFailure, { lostBefore, leftMs }: FailedAttempt): boolean {
  if (outcome.kind === 'sent_and_lost') return outcome.certain || leftMs <= 0;
  return isUnrecognised(outcome) && lostBefore > 0;
}

/** Nobody can say what is wrong, no token is left, and it has lasted longer than one lives: only a person can bring the grant back. */
function outlastsTheToken(outcome: RefreshFailure, attempt: FailedAttempt): boolean {
  return isUnrecognised(outcome) && attempt.leftMs <= 0 && attempt.refusedForMs !== undefined && bearableForMs(attempt) <= 0;
}

/** How long a refusal in unknown words may still last. */
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
 * Longer and longer, but never longer than it has failed already, nor than half of what is left of the token's life: the last look comes
 * right before its end. A refusal in unknown words is looked at again when it has lasted too long. What a provider asks for is kept, but
 * for a first look at the token's end.
 */
export function waitAfter(outcome: RefreshFailure, attempt: Omit<FailedAttempt, 'maySendAgain'>): number {
  const { attempts, leftMs, failingForMs, windowLeftMs, fraction } = attempt;
  const policy = classOf(outcome) === 'configuration' ? REFUSED : PASSING;
  const askedMs = 'retryAfterSeconds' in outcome ? (outcome.retryAfterSeconds ?? 0) * 1_000 : 0;
  const grown = Math.min(backOffMs(policy, attempts, fraction), Math.max(policy.baseMs, failingForMs));
  const lastUsefulMs = leftMs > 0 ? leftMs / 2 : isUnrecognised(outcome) ? bearableForMs(attempt) : grown;
  const useful = Math.min(grown, Math.max(lastUsefulMs, LIMITS.refreshWaitMinMs));
  const wait = Math.max(useful, leftMs > 0 ? Math.min(askedMs, leftMs) : askedMs);
  // One more try just before a reuse window closes is worth more than one that comes too late.
  if (outcome.kind !== 'sent_and_lost' || windowLeftMs === undefined || windowLeftMs <= LIMITS.refreshBackoffBaseMs) return wait;
  return Math.min(wait, windowLeftMs - LIMITS.refreshWaitMinMs);
}
