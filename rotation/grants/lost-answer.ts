// Handles lost answers of a refresh (D6, decision 0003): whether the same generation may be sent again, or the grant ends.
// It must never send a possibly used token without a limit, nor end a grant whose connector declares `safe`.
import type { WriteAccess } from '../../src/cell/access.ts';
import type { RunRow } from '../../src/cell/runs.ts';
import { changeCredential } from '../../src/vault/credential.ts';
import { ANSWER_LOST, changeHealth } from '../../src/vault/grant-health.ts';
import type { Located } from '../../src/vault/targets.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import type { OAuth2Spec } from '../connector.ts';
import { finishRun } from '../engine/run.ts';
import { spendsNothing } from '../oauth2/mint-token.ts';

/** The used fraction of a reuse window; the rest allows for the transit to the provider. */
const WINDOW_USED = 0.9;

export interface LostAnswers {
  /** Lost answers of this generation in this run. */
  readonly count: number;
  /** Undefined if none was lost. */
  readonly firstSentAtMs: number | undefined;
  /** The grant has ended before, and a request asked for another attempt. */
  readonly givenUp: boolean;
}

/** Until when the provider accepts the same token again; undefined if there is no window or it has passed. */
export function windowEndsAt(spec: OAuth2Spec, { firstSentAtMs }: LostAnswers, nowMs: number): number | undefined {
  if (spec.lostAnswer.kind !== 'window' || firstSentAtMs === undefined) return undefined;
  const endsAtMs = firstSentAtMs + spec.lostAnswer.seconds * 1_000 * WINDOW_USED;
  // A first use in the future was recorded by a wrong clock, so its age is unknown.
  return firstSentAtMs <= nowMs && nowMs < endsAtMs ? endsAtMs : undefined;
}

/** Whether this generation may be sent again. */
export function maySendAgain(spec: OAuth2Spec, lost: LostAnswers, nowMs: number): boolean {
  if (lost.count === 0 || spec.lostAnswer.kind === 'safe' || spendsNothing(spec)) return true;
  if (windowEndsAt(spec, lost, nowMs) !== undefined) return true;
  return lost.count < 2 && !lost.givenUp;
}

/** Facts about the run's lost answers. @param count the number that will be stored */
export function lostAnswersOf(job: TenantJob, access: WriteAccess, run: RunRow, located: Located, count: number): LostAnswers {
  return {
    count,
    firstSentAtMs: count === 0 ? undefined : job.runs.firstIntentAt(access, run.id),
    givenUp: located.row.health === 'needs_consent',
  };
}

/** Ends the grant without a refusal of the provider. @param evidence the provider's answer as JSON */
export function endAsLost(
  job: TenantJob,
  access: WriteAccess,
  run: RunRow,
  { row, environment }: Located,
  evidence: string | null = null,
): void {
  if (row.health !== 'disconnected') {
    changeCredential(job, access, { row, environment }, (draft) => {
      changeHealth({ job, access, draft, environment }, 'needs_consent', ANSWER_LOST);
    });
  }
  finishRun(job, access, run, { state: 'failed', step: 'failed', outcome: 'dead', cause: ANSWER_LOST }, evidence);
}
