// What a refresh does about answers that never came (D6, decision 0003): whether the same generation may be sent again, and the end if not.
// It must never let a token that may be spent be sent for ever, nor end a grant whose provider said that it is safe.
import type { WriteAccess } from '../../src/cell/access.ts';
import type { RunRow } from '../../src/cell/runs.ts';
import { changeCredential } from '../../src/vault/credential.ts';
import { ANSWER_LOST, changeHealth } from '../../src/vault/grant-health.ts';
import type { Located } from '../../src/vault/targets.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import type { OAuth2Spec } from '../connector.ts';
import { finishRun } from '../engine/run.ts';
import { spendsNothing } from '../oauth2/mint-token.ts';

/** Of a reuse window; the rest is the way to the provider. */
const WINDOW_USED = 0.9;

export interface LostAnswers {
  /** Of this generation, in this run. */
  readonly count: number;
  /** Undefined where none was lost. */
  readonly firstSentAtMs: number | undefined;
  /** The grant was given up before; somebody asked to try again. */
  readonly givenUp: boolean;
}

/** The instant until which the provider takes the same token again; undefined where it has passed or never was. */
export function windowEndsAt(spec: OAuth2Spec, { firstSentAtMs }: LostAnswers, nowMs: number): number | undefined {
  if (spec.lostAnswer.kind !== 'window' || firstSentAtMs === undefined) return undefined;
  const endsAtMs = firstSentAtMs + spec.lostAnswer.seconds * 1_000 * WINDOW_USED;
  // A first use that lies ahead was noted by a clock that went astray: how long ago it was nobody can tell.
  return firstSentAtMs <= nowMs && nowMs < endsAtMs ? endsAtMs : undefined;
}

/** Whether this generation may be sent once more. */
export function maySendAgain(spec: OAuth2Spec, lost: LostAnswers, nowMs: number): boolean {
  if (lost.count === 0 || spec.lostAnswer.kind === 'safe' || spendsNothing(spec)) return true;
  if (windowEndsAt(spec, lost, nowMs) !== undefined) return true;
  return lost.count < 2 && !lost.givenUp;
}

/** What is known of the run's lost answers. @param count as it will be booked */
export function lostAnswersOf(job: TenantJob, access: WriteAccess, run: RunRow, located: Located, count: number): LostAnswers {
  return {
    count,
    firstSentAtMs: count === 0 ? undefined : job.runs.firstIntentAt(access, run.id),
    givenUp: located.row.health === 'needs_consent',
  };
}

/** Gives the grant up without the provider's word. @param evidence JSON of what the provider said */
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
