// Revokes the tokens of one version at the provider: a run that is retried until it succeeds or a week has passed, and then verified.
// It must never send a token that a valid credential uses, nor report a grant as revoked without the provider's confirmation.

import { recordFailure } from '../../src/access/guard.ts';
import { raiseAlert } from '../../src/alerts/raise-alert.ts';
import type { EventDetails } from '../../src/audit/event.ts';
import { toTimestamp } from '../../src/base/clock.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { Lookup, WriteAccess } from '../../src/cell/access.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import type { RunOutcome, RunRow } from '../../src/cell/runs.ts';
import { changeCredential } from '../../src/vault/credential.ts';
import { foundCredential, type Located, locateById } from '../../src/vault/targets.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import type { TenantVault } from '../../src/vault/tenant-vault.ts';
import type { RevocationSpec, Verdict } from '../connector.ts';
import { type BackOff, backOffMs, retryAt } from '../engine/back-off.ts';
import type { JobPorts, LeasePorts } from '../engine/due-work.ts';
import { callPorts, makeCall } from '../engine/outside-call.ts';
import { inPool } from '../engine/pool.ts';
import { finishRun, isOwn, leaseRun, openRun, waitRun } from '../engine/run.ts';
import { askProbe } from '../oauth2/probe.ts';
import { type RevocationOutcome, revokeGrant } from '../oauth2/revocation.ts';
import { type BoundGrant, isShared, openGrant, requesterOf, wipeTokens } from './grant-tokens.ts';

interface Attempt extends BoundGrant {
  /** The run with its lease. */
  readonly run: RunRow;
  readonly spec: RevocationSpec;
}

/** Attempts due revocations; returns how many. The error of a damaged row is thrown after all were processed. */
export async function revokeDue(ports: LeasePorts): Promise<number> {
  const { vault } = ports;
  const now = vault.platform.clock.now();
  const due = vault.lookup('revoke', (lookup, view) => view.runs.dueForRevocation(lookup, now, LIMITS.dueWorkBatchRows));
  await inPool(due, LIMITS.providerCallsAtOnce, (runId) => revokeOne(ports, runId));
  return due.length;
}

interface Called {
  readonly outcome: RevocationOutcome;
  readonly proof: Verdict | undefined;
}

function revokeOne(ports: LeasePorts, runId: string): Promise<'done'> {
  const { vault, owner } = ports;
  return makeCall<Attempt, Called, 'done'>(callPorts(vault), {
    points: { before: 'revoke.before-call', after: 'revoke.after-call' },
    begin: (job) => {
      const attempt = begin({ ...ports, job }, runId, owner);
      return attempt === undefined ? { kind: 'stop', as: 'done' } : { kind: 'go', attempt };
    },
    call: async (attempt) => {
      const { spec, resolved, tokens } = attempt;
      const outcome = await revokeGrant(spec, resolved.hosts, tokens, requesterOf(attempt, vault.platform.clock));
      return { outcome, proof: outcome.kind === 'revoked' ? await prove(vault, attempt) : undefined };
    },
    book: (job, attempt, called) => {
      book(job, attempt.run, called);
      return 'done';
    },
    release: ({ tokens }) => wipeTokens(tokens),
  });
}

/** Uses the access token once more: only its rejection proves that it is dead (D5). Undefined if it cannot or need not be tested. */
async function prove(vault: TenantVault, { resolved, tokens, egress }: Attempt): Promise<Verdict | undefined> {
  const { accessToken, accessTokenExpiresAtMs: endsAt } = tokens;
  if (resolved.probe === undefined || accessToken === undefined) return undefined;
  if (endsAt !== null && endsAt <= vault.platform.clock.now()) return undefined;
  return (await askProbe(resolved.probe, resolved.hosts, accessToken, egress, tokens.client.allowLoopback)).verdict;
}

/** The transaction that stores the outcome of a revocation. */
interface Booking {
  readonly job: TenantJob;
  readonly access: WriteAccess;
  readonly details: EventDetails;
  readonly run: RunRow;
  readonly located: Located;
}

function enterRevoke<T>(job: TenantJob, run: RunRow, effect: (booking: Booking) => T): T {
  const located = job.door.lookup('revoke', (lookup) => locateById(job, lookup, run.credential_id));
  return job.door.enterAsSystem(
    'revoke',
    'credential.revoke',
    () => foundCredential(job, located.environment, located.row),
    (access, _subject, details) => effect({ job, access, details, run, located }),
  );
}

function findDue(job: TenantJob, lookup: Lookup, runId: string): RunRow | undefined {
  const run = job.runs.find(lookup, runId);
  // A run that has ended has no next attempt.
  return typeof run?.next_attempt_at === 'number' && run.next_attempt_at <= job.platform.clock.now() ? run : undefined;
}

/** Checks again whether the revocation may be sent, acquires the lease and opens the tokens. */
function begin(ports: JobPorts, runId: string, owner: string): Attempt | undefined {
  const { job } = ports;
  const due = job.door.lookup('revoke', (lookup) => findDue(job, lookup, runId));
  if (due === undefined) return undefined;
  return enterRevoke(job, due, (booking) => {
    const { access, details, run } = booking;
    const found = look(ports, booking);
    if (found.kind === 'end') end(booking, found.outcome, found.cause);
    if (found.kind === 'wait') retryLater({ ...booking, run: { ...run, attempts: run.attempts + 1 } }, found);
    if (found.kind !== 'go') return undefined;
    Object.assign(details, found.grant.moved);
    // After a crash it is repeated when the lease has expired.
    const leased = leaseRun(job, access, run, owner, run.step === 'intent' ? 'again' : 'first');
    note(booking, 'intent', leased.attempts);
    return { run: leased, spec: found.spec, ...found.grant };
  });
}

type Found =
  | { readonly kind: 'go'; readonly grant: BoundGrant; readonly spec: RevocationSpec }
  | { readonly kind: 'end'; readonly outcome: RunOutcome; readonly cause: string }
  | { readonly kind: 'wait'; readonly cause: string; readonly retryAfterSeconds: undefined };

/** Opens the version's tokens if they may be sent. */
function look(ports: JobPorts, { job, access, run, located: { row } }: Booking): Found {
  if (row.state === 'destroyed') return { kind: 'end', outcome: 'given_up', cause: 'value_destroyed' };
  const opened = openGrant(ports, access, row, run.generation);
  if (opened.kind === 'unusable') {
    if (opened.cause === 'connector_unusable') return { kind: 'wait', cause: opened.cause, retryAfterSeconds: undefined };
    return { kind: 'end', outcome: 'given_up', cause: opened.cause };
  }
  const { resolved, tokens } = opened.grant;
  const refuse = (outcome: RunOutcome, cause: string): Found => {
    wipeTokens(tokens);
    return { kind: 'end', outcome, cause };
  };
  const spec = resolved.revocation;
  if (spec === undefined) return refuse('not_possible', 'no_way_to_revoke');
  const { clientId } = tokens.client;
  if (isShared(job, access, row, run.generation, { ends: spec.ends, clientId })) return refuse('shared', 'used_by_another');
  return { kind: 'go', grant: opened.grant, spec };
}

/** A change in the meantime (another attempt, another pair to revoke) makes the answer obsolete. */
function book(job: TenantJob, leased: RunRow, { outcome, proof }: Called): void {
  const run = job.door.lookup('revoke', (lookup) => job.runs.find(lookup, leased.id));
  if (!isOwn(run, leased)) return;
  enterRevoke(job, run, (booking) => {
    if (outcome.kind === 'failed') retryLater(booking, outcome);
    else end(booking, 'revoked', outcome.alreadyGone ? 'already_gone' : proof === undefined ? null : PROOFS[proof]);
  });
}

const PROOFS: Readonly<Record<Verdict, string | null>> = {
  rejected: 'proved_dead',
  works: 'revoked_access_token_lives_until_expiry',
  unknown: null,
};

const BACK_OFF: BackOff = { baseMs: LIMITS.revokeBackoffBaseMs, maxMs: LIMITS.revokeBackoffMaxMs };

interface Failure {
  readonly cause: string;
  readonly retryAfterSeconds: number | undefined;
}

function retryLater(booking: Booking, { cause, retryAfterSeconds = 0 }: Failure): void {
  const { job, access, run } = booking;
  const now = job.platform.clock.now();
  const giveUpAt = run.started_at + LIMITS.revokeGiveUpMs;
  if (job.platform.clock.provenAt() >= giveUpAt) {
    end(booking, 'given_up', cause);
    return;
  }
  if (run.cause === null) alertExposed(booking, cause);
  note(booking, 'failed', run.attempts, cause);
  const grown = backOffMs(BACK_OFF, run.attempts, job.platform.entropy.fraction());
  const nextAttemptAt = retryAt(now, Math.max(grown, Math.min(retryAfterSeconds * 1_000, LIMITS.refreshWaitMaxMs)), giveUpAt);
  waitRun(job, access, { ...run, step: 'waiting', cause }, { step: 'failed', status: cause, nextAttemptAt });
  touch(booking);
}

function end(booking: Booking, outcome: RunOutcome, cause: string | null): void {
  const { job, access, run } = booking;
  if (outcome === 'given_up' && run.cause === null) alertExposed(booking, cause ?? outcome);
  note(booking, outcome, run.attempts, cause ?? undefined);
  const state = outcome === 'revoked' ? 'succeeded' : outcome === 'given_up' ? 'failed' : 'cancelled';
  finishRun(job, access, run, { state, step: outcome, outcome, cause });
  touch(booking);
}

/** Raised once for a grant that should be dead but is not: a holder of its token can still use it. */
function alertExposed({ job, access, run, located: { environment, row } }: Booking, cause: string): void {
  const details = { cause, since: toTimestamp(run.started_at) };
  raiseAlert(job, access, { credential: row, environment, kind: 'credential.exposed', details });
}

/** Increases the revision, so that a caller with an ETag sees the progress of the revocation. */
function touch({ job, access, located }: Booking): void {
  changeCredential(job, access, located, () => {});
}

function note({ details, run }: Booking, step: string, attempts: number, cause?: string): void {
  details.step = step;
  details.run = run.id;
  details.attempts = attempts;
  details.version = run.generation;
  if (step === 'failed' || step === 'given_up') recordFailure(details, 'provider_unavailable');
  if (cause !== undefined) details.cause = cause;
}

/** The result for a disconnected version without a call; undefined if its tokens are to be revoked. */
export interface Spared {
  readonly outcome: Extract<RunOutcome, 'not_asked' | 'not_possible' | 'shared'>;
  readonly cause: string | null;
}

/** Opens the run that revokes the current version; without a call it ends at once, with the reason. */
export function openRevocation(
  job: TenantJob,
  access: WriteAccess,
  { id, current_version: generation }: CredentialRow,
  spared: Spared | undefined,
): RunRow {
  const run = openRun(job, access, { credentialId: id, kind: 'revocation', trigger: 'request', generation });
  if (spared !== undefined) finishRun(job, access, run, { state: 'cancelled', step: spared.outcome, ...spared });
  return run;
}

/** A refresh obtained another pair after the disconnection, which must be revoked instead. The caller saves `next`. */
export function moveRevocation(job: TenantJob, access: WriteAccess, next: CredentialRow): void {
  next.refresh_due_at = null;
  const last = job.runs.lastRevocation(access, next.id, next.previous_version ?? 0);
  if (last === undefined || (last.state !== 'open' && last.outcome !== 'revoked')) return;
  if (last.state === 'open')
    finishRun(job, access, last, { state: 'cancelled', step: 'superseded', outcome: 'superseded', cause: null });
  openRevocation(job, access, next, undefined);
}
