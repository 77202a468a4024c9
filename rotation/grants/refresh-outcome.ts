// Stores the outcome of one attempt (D6) in one synchronous transaction: the new pair, before its first use, or the failure.
// It must never let a late or foreign writer overwrite a newer grant, nor mark a newer grant as dead.

import { recordFailure } from '../../src/access/guard.ts';
import type { EventDetails } from '../../src/audit/event.ts';
import type { ErrorCode } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { SecretValue } from '../../src/base/secret-value.ts';
import type { WriteAccess } from '../../src/cell/access.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import type { RunRow } from '../../src/cell/runs.ts';
import { type CredentialChange, changeCredential, configOf, type Draft, draftOf, saveDraft } from '../../src/vault/credential.ts';
import { jsonBytes, type RetainedGrant, type ServedGrant } from '../../src/vault/credential-kinds.ts';
import { applyTiming } from '../../src/vault/due.ts';
import { foreignUseOnRefusal, foreignUseOnReplacement, noteForeignUse } from '../../src/vault/foreign-use.ts';
import { changeGrant, grantOf } from '../../src/vault/grant.ts';
import { grantFingerprint } from '../../src/vault/grant-fingerprint.ts';
import { ANSWER_LOST, changeHealth, type Health, REFUSED_TOO_LONG } from '../../src/vault/grant-health.ts';
import { noteGrantedScope } from '../../src/vault/grant-scopes.ts';
import { noteAccount } from '../../src/vault/note-account.ts';
import { endsAtOnce } from '../../src/vault/refresh-schedule.ts';
import type { Located } from '../../src/vault/targets.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { storeVersion } from '../../src/vault/versions.ts';
import { finishRun, isOwn, type RunEnd, waitRun } from '../engine/run.ts';
import type { Refreshed, RefreshFailure } from '../oauth2/answer.ts';
import { rulesOf } from './connector-settings.ts';
import { type FailedAttempt, type Judgement, judgeFailure } from './judge-failure.ts';
import { isGuessed } from './learn-expiry.ts';
import { endAsLost, lostAnswersOf, maySendAgain, windowEndsAt } from './lost-answer.ts';
import { type Attempt, enterRun, type RunEntry } from './refresh-lease.ts';
import { moveRevocation } from './revoke.ts';

/** The transaction that stores an outcome. */
interface Booking {
  readonly job: TenantJob;
  readonly access: WriteAccess;
  readonly run: RunRow;
  readonly located: Located;
  readonly details: EventDetails;
}

const entryOf = ({ run }: Attempt, step: string): RunEntry => ({ credentialId: run.credential_id, run: run.id, step });

/** Stores the new pair as the next version, current at once (rule 6: before its first use). */
export function storeRefreshed(job: TenantJob, attempt: Attempt, outcome: Refreshed): 'stored' | 'superseded' {
  return enterRun(job, entryOf(attempt, 'stored'), (access, located, details) => {
    const now = job.platform.clock.now();
    const run = job.runs.get(access, attempt.run.id);
    const { row, environment } = located;
    const booking: Booking = { job, access, run, located, details };
    // INVARIANT: compare-and-set on the generation that was spent. A fence that moved on while nobody stored a newer grant still
    // stores: this pair is then the only one the provider honours (test/rotation/grants/refresh-races.test.ts). A credential deleted
    // meanwhile stays deleted, but its grant moves on, or a restore would bring back a spent one.
    if (row.state === 'destroyed' || row.current_version !== attempt.run.generation) {
      return supersede(booking, run.state === 'open');
    }
    const next = nextVersion(row);
    learn({ job, access, draft: next, environment, details }, attempt, outcome);
    const { oddity } = outcome;
    const health = oddity === undefined ? 'ready' : 'degraded';
    if (row.health !== 'disconnected') changeHealth({ job, access, draft: next, environment }, health, oddity ?? null);
    const split = splitOf(attempt, outcome, next);
    const { resolved } = attempt;
    applyTiming(job, next, split, now, resolved === undefined ? undefined : rulesOf(resolved, configOf(next)));
    planAfter(row, next, outcome, now);
    // Disconnected while the provider thought: stays so, and it is the new pair that must be revoked.
    if (row.health === 'disconnected') moveRevocation(job, access, next);
    storeVersion(job, access, next, split, { origin: run.kind === 'rotation' ? 'rotation' : 'refresh', runId: run.id });
    saveDraft(job, access, environment, next);
    const version = next.current_version;
    const done: RunEnd = { state: 'succeeded', step: 'stored', outcome: 'refreshed', cause: null, new_version: version };
    if (run.state === 'open') finishRun(job, access, run, done);
    else job.runs.journal(access, run.id, { step: 'stored', status: 'after_the_run', at: now });
    return 'stored';
  });
}

/** Adjusts the due time of the new pair to changes of the row during the call. */
function planAfter(row: CredentialRow, next: Draft, { expiresAtMs }: Refreshed, now: number): void {
  if (expiresAtMs === undefined) next.refresh_due_at = null;
  // Marked dead meanwhile, perhaps with the whole family: refresh soon, to find out before a read.
  else if (row.health === 'needs_consent') next.refresh_due_at = now;
}

/** The fields of the next version, without its secrets. */
function nextVersion(row: CredentialRow): Draft {
  const version = row.latest_version + 1;
  return { ...draftOf(row), previous_version: row.current_version, current_version: version, latest_version: version };
}

/** Applies the answer's facts about the grant to `next`, in place. */
function learn(change: CredentialChange, { grant, retained, resolved }: Attempt, outcome: Refreshed): void {
  const { job, draft: next } = change;
  const known = grantOf(next);
  const answered = outcome.refreshToken === undefined ? undefined : textOf(outcome.refreshToken);
  const token = answered ?? retained.refresh_token;
  const replaced = answered !== undefined && grant.refreshToken !== undefined && answered !== retained.refresh_token;
  const account = { ...known.account, ...outcome.account };
  const now = job.platform.clock.now();
  changeGrant(next, {
    refreshedAt: now,
    endedAtOnce: endedAtOnce(known.endedAtOnce, outcome, now),
    // A new refresh token has its own expiry, which is unknown if the answer does not contain it.
    refreshTokenExpiresAt: outcome.refreshTokenExpiresAtMs ?? (replaced ? undefined : known.refreshTokenExpiresAt),
    account: Object.keys(account).length === 0 ? undefined : account,
    fingerprint: token === undefined ? undefined : grantFingerprint(job, token),
  });
  noteAccount(change, resolved?.oauth2.accountId, outcome.account);
  const sign = resolved === undefined ? undefined : foreignUseOnReplacement(resolved.oauth2, known, replaced);
  if (sign !== undefined) noteForeignUse(change, sign);
  noteGrantedScope(change, { scope: outcome.scope, source: 'answer' });
}

/** A default expiry does not count, because the real one is not known yet. */
function endedAtOnce(before: number | undefined, outcome: Refreshed, now: number): number | undefined {
  if (isGuessed(outcome)) return before;
  return outcome.expiresAtMs !== undefined && endsAtOnce(now, outcome.expiresAtMs) ? (before ?? 0) + 1 : undefined;
}

function splitOf(attempt: Attempt, outcome: Refreshed, next: CredentialRow) {
  const served: ServedGrant = {
    access_token: textOf(outcome.accessToken),
    token_type: outcome.tokenType,
    scope: outcome.scope ?? attempt.served.scope,
    account: grantOf(next).account,
  };
  const retained: RetainedGrant = {
    ...attempt.retained,
    refresh_token: outcome.refreshToken === undefined ? attempt.retained.refresh_token : textOf(outcome.refreshToken),
  };
  return { value: jsonBytes(served), retained: jsonBytes(retained), expiresAtMs: outcome.expiresAtMs };
}

function textOf(secret: SecretValue): string {
  return secret.reveal((bytes) => new TextDecoder().decode(bytes));
}

/** The consequence of a failed attempt; `at_once`: it may be repeated without a delay. */
export type Booked = 'at_once' | 'later' | 'dead' | 'superseded';

/** Stores a failure; with an outdated fence or generation the grant is unaffected. */
export function bookFailure(job: TenantJob, attempt: Attempt, outcome: RefreshFailure): Booked {
  return enterRun(job, entryOf(attempt, 'failed'), (access, located, details) => {
    details.cause = outcome.cause;
    recordFailure(details, codeOf(outcome));
    const found: Booking = { job, access, run: job.runs.get(access, attempt.run.id), located, details };
    const booking = keepRefreshToken(found, attempt, outcome);
    const { run } = booking;
    const isOurs = isOwn(run, attempt.run);
    if (!isOurs || booking.located.row.current_version !== run.generation) return supersede(booking, isOurs);
    return bookJudged(booking, attempt, outcome);
  });
}

/** Stores the decision about the failure. */
function bookJudged(booking: Booking, attempt: Attempt, outcome: RefreshFailure): Booked {
  const { job, access, run, located, details } = booking;
  const failed = failedAttempt(booking, attempt);
  const evidence = evidenceOf(outcome);
  const at = job.platform.clock.now();
  if (outcome.kind === 'refused' && !outcome.recognised)
    job.runs.journal(access, run.id, { step: UNKNOWN_WORDS, status: outcome.cause, at });
  const judged = judgeFailure(outcome, failed);
  switch (judged.kind) {
    case 'withdrawn':
      withdraw(booking, failed.doubted);
      return 'at_once';
    case 'again':
      retryLater(booking, judged, outcome.cause, evidence);
      return judged.afterMs === 0 ? 'at_once' : 'later';
    case 'ended':
      details.cause = judged.lost ? ANSWER_LOST : judged.cause;
      if (judged.lost) {
        job.runs.journal(access, run.id, { step: 'answer_lost', status: outcome.cause, at });
        endAsLost(job, access, { ...run, lost_answers: failed.lostBefore + 1 }, located, evidence);
      } else endAsDead(booking, judged.cause, failed.doubted, evidence);
      return 'dead';
  }
}

/** The journal step of a refusal with unknown words. */
const UNKNOWN_WORDS = 'unknown_words';

function failedAttempt(
  { job, access, run, located }: Booking,
  { resolved, served, doubted, ...attempt }: Attempt,
): FailedAttempt {
  const now = job.platform.clock.now();
  const { value_expires_at: endsAt } = located.row;
  const lost = (count: number) => lostAnswersOf(job, access, run, located, count);
  const refusedAt = job.runs.firstStepAt(access, run.id, UNKNOWN_WORDS);
  const windowEnds = resolved === undefined ? undefined : windowEndsAt(resolved.oauth2, lost(Math.max(run.lost_answers, 1)), now);
  return {
    attempts: run.attempts,
    lostBefore: run.lost_answers,
    doubted,
    leftMs: served.access_token === undefined ? 0 : Math.max(0, (endsAt ?? Number.POSITIVE_INFINITY) - now),
    // An expiry before the time of storage is from another clock, so the lifetime is unknown.
    lifeMs: endsAt === null || endsAtOnce(attempt.storedAtMs, endsAt) ? LIMITS.refreshDefaultTtlMs : endsAt - attempt.storedAtMs,
    failingForMs: now - run.started_at,
    // Uses the proven time, because a jump of the clock must not end a grant.
    refusedForMs: refusedAt === undefined ? undefined : Math.max(0, job.platform.clock.provenAt() - refusedAt),
    maySendAgain: (count) => resolved === undefined || maySendAgain(resolved.oauth2, lost(count), now),
    windowLeftMs: windowEnds === undefined ? undefined : windowEnds - now,
    fraction: job.platform.entropy.fraction(),
  };
}

/**
 * INVARIANT: an answer is stored before it is evaluated: a refresh token in an otherwise unusable answer replaces the one that was sent, with
 * the present access token (test/rotation/grants/odd-answers.test.ts). Returns the resulting state.
 */
function keepRefreshToken(booking: Booking, { run: leased, retained, served }: Attempt, outcome: RefreshFailure): Booking {
  const { job, access, run, located, details } = booking;
  const { row, environment } = located;
  if (outcome.kind !== 'answered_oddly' || outcome.refreshToken === undefined) return booking;
  if (row.current_version !== leased.generation || row.state === 'destroyed') return booking;
  const refreshToken = textOf(outcome.refreshToken);
  if (refreshToken === retained.refresh_token) return booking;
  const now = job.platform.clock.now();
  const next = nextVersion(row);
  changeGrant(next, {
    refreshedAt: now,
    fingerprint: grantFingerprint(job, refreshToken),
    refreshTokenExpiresAt: undefined,
  });
  if (row.health === 'disconnected') moveRevocation(job, access, next);
  const split = {
    value: jsonBytes(served),
    retained: jsonBytes({ ...retained, refresh_token: refreshToken }),
    expiresAtMs: row.value_expires_at ?? undefined,
  };
  storeVersion(job, access, next, split, { origin: run.kind === 'rotation' ? 'rotation' : 'refresh', runId: run.id });
  const moved = saveDraft(job, access, environment, next);
  details.version = next.current_version;
  const onward: RunRow = {
    ...run,
    lost_answers: 0,
    ...(run.generation === leased.generation ? { generation: next.current_version } : {}),
  };
  if (run.state === 'open') job.runs.save(access, onward);
  job.runs.journal(access, run.id, { step: 'kept', status: 'refresh_token', at: now });
  return { ...booking, run: onward, located: moved };
}

function evidenceOf({ said }: RefreshFailure): string | null {
  if (said === undefined) return null;
  const { status, contentType, words, excerpt, systemCode } = said;
  return JSON.stringify({ status, content_type: contentType, words, excerpt, system_code: systemCode });
}

/** The error code for the log. */
function codeOf(outcome: RefreshFailure): ErrorCode {
  const means = outcome.kind === 'refused' || outcome.kind === 'not_sent' ? outcome.means : 'transient';
  if (means === 'dead') return 'needs_consent';
  return means === 'configuration' ? 'provider_misconfigured' : 'provider_unavailable';
}

/** The attempt was superseded. @param ends whether its run ends, too */
function supersede({ job, access, run, details }: Booking, ends: boolean): 'superseded' {
  if (ends) finishRun(job, access, run, { state: 'cancelled', step: 'superseded', outcome: 'superseded', cause: null });
  details.step = 'superseded';
  return 'superseded';
}

/** The lease expired before anything was sent: the attempt has no effect. */
function withdraw({ job, access, run }: Booking, doubted: boolean): void {
  const now = job.platform.clock.now();
  const step = doubted ? 'answer_lost' : 'waiting';
  const attempts = run.attempts - 1;
  waitRun(job, access, { ...run, step, attempts }, { step: 'withdrawn', status: 'lease_lapsed', nextAttemptAt: now });
}

function endAsDead(booking: Booking, cause: string, doubted: boolean, evidence: string | null): void {
  const { job, access, run, located, details } = booking;
  // A token that Keyturn itself may have used up, or an unknown refusal, is not a sign of another system.
  const unclear = doubted || cause === REFUSED_TOO_LONG;
  const sign = unclear ? undefined : foreignUseOnRefusal(grantOf(located.row), job.platform.clock.now());
  change(booking, 'needs_consent', cause, (draft) => {
    if (sign !== undefined) noteForeignUse({ job, access, draft, environment: located.environment, details }, sign);
  });
  finishRun(job, access, run, { state: 'failed', step: 'failed', outcome: 'dead', cause }, evidence);
}

function retryLater(
  booking: Booking,
  { afterMs, lostAnswers, mayBeSpent, classed, degraded }: Extract<Judgement, { kind: 'again' }>,
  cause: string,
  evidence: string | null,
): void {
  const { job, access, run, located } = booking;
  const now = job.platform.clock.now();
  const step = mayBeSpent ? 'answer_lost' : 'waiting';
  const onward = { ...run, step, lost_answers: lostAnswers, outcome: classed, cause };
  waitRun(job, access, onward, { step, status: cause, nextAttemptAt: now + afterMs, evidence });
  if (degraded && located.row.health !== 'needs_consent') change(booking, 'degraded', cause);
}

function change(
  { job, access, located: { row, environment } }: Booking,
  health: Health,
  cause: string,
  also: (next: CredentialRow) => void = () => {},
): void {
  if (row.health === health && row.health_cause === cause) return;
  if (row.health === 'disconnected') return;
  changeCredential(job, access, { environment, row }, (draft) => {
    also(draft);
    changeHealth({ job, access, draft, environment }, health, cause);
  });
}
