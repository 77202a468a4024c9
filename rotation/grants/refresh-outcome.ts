// What one attempt led to (D6), booked in one synchronous transaction: the new pair stored before anyone uses it, or what went wrong.
// It must never let a late or foreign writer overwrite a newer grant, nor mark a grant dead that has moved on.
import type { EventDetails } from '../../src/audit/event.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { SecretValue } from '../../src/base/secret-value.ts';
import type { WriteAccess } from '../../src/cell/access.ts';
import type { CredentialFacts, CredentialRow } from '../../src/cell/credentials.ts';
import type { RunRow } from '../../src/cell/runs.ts';
import { jsonBytes, type RetainedGrant, type ServedGrant } from '../../src/vault/credential-kinds.ts';
import { changeGrantFacts, grantFacts } from '../../src/vault/grant-facts.ts';
import { grantFingerprint } from '../../src/vault/grant-fingerprint.ts';
import { changeHealth, type Health } from '../../src/vault/grant-health.ts';
import { noteGrantedScope } from '../../src/vault/grant-scopes.ts';
import { noteSign, signOnRefused, signOnReplaced } from '../../src/vault/import-guard.ts';
import { noteAccount } from '../../src/vault/note-account.ts';
import { applyTiming, storeVersion } from '../../src/vault/put-credential.ts';
import { endsAtOnce } from '../../src/vault/refresh-schedule.ts';
import type { TenantVault } from '../../src/vault/tenant-vault.ts';
import { finishRun } from '../engine/run-record.ts';
import { isUnrecognised } from '../oauth2/errors.ts';
import type { Refreshed, RefreshOutcome } from '../oauth2/refresh.ts';
import { rulesOf } from './connector-settings.ts';
import { isGuessed } from './learn-expiry.ts';
import { endAsLost, type LostAnswers, lostAnswersOf, maySendAgain, windowEndsAt } from './lost-answer.ts';
import { type Attempt, enterRun } from './refresh-lease.ts';
import { moveRevocation } from './revoke.ts';

/** Stores the new pair as the next version, current at once (rule 6: before anyone uses it). Inside a job. */
export function storeRefreshed(vault: TenantVault, attempt: Attempt, outcome: Refreshed): 'stored' | 'superseded' {
  return enterRun(
    vault,
    attempt.run.credential_id,
    (access, { row, environment }, details) => {
      const now = vault.around.clock.now();
      const run = vault.runs.get(access, attempt.run.id);
      // INVARIANT: compare-and-set on the generation that was spent. A fence that moved on while nobody stored a newer grant still
      // stores: this pair is then the only one the provider honours (test/rotation/grants/refresh-races.test.ts). A credential deleted
      // meanwhile stays deleted, but its grant moves on, or a restore would bring back a spent one.
      if (row.state === 'destroyed' || row.current_version !== attempt.run.generation) {
        if (run.state === 'open') supersede(vault, access, run);
        details.step = 'superseded';
        return 'superseded';
      }
      const { mac: _mac, mac_key_id: _key, ...facts } = row;
      const next: CredentialFacts = {
        ...facts,
        previous_version: row.current_version,
        current_version: row.latest_version + 1,
        latest_version: row.latest_version + 1,
        revision: row.revision + 1,
        updated_at: now,
      };
      learn(vault, access, next, environment.name, attempt, outcome, details);
      if (row.health !== 'disconnected') changeHealth(vault, access, next, environment.name, 'ready', null);
      const split = splitOf(attempt, outcome, next);
      const { settled } = attempt;
      applyTiming(vault, next, split, now, settled === undefined ? undefined : rulesOf(settled, JSON.parse(next.config)));
      if (outcome.expiresAtMs === undefined || row.state !== 'active') next.refresh_due_at = null;
      // Called dead while this answer was on its way, perhaps with the whole family: the next refresh tells, and better soon than at a read.
      else if (row.health === 'needs_consent') next.refresh_due_at = now;
      // Disconnected while the provider thought: stays so, and it is the new pair that must be revoked.
      if (row.health === 'disconnected') moveRevocation(vault, next);
      storeVersion(vault, access, next, split, { origin: run.kind === 'rotation' ? 'rotation' : 'refresh', runId: run.id });
      vault.credentials.save(access, next);
      vault.cache.forget(environment.name, row.name);
      const done = { state: 'succeeded', step: 'stored', outcome: 'refreshed', cause: null, new_version: next.current_version };
      if (run.state === 'open') finishRun(vault, access, run, done);
      else vault.runs.journal(access, run.id, 'stored', 'after_the_run', now);
      return 'stored';
    },
    'stored',
    attempt.run.id,
  );
}

/** What the answer says of the grant beside its tokens; changes `next` in place. */
function learn(
  vault: TenantVault,
  access: WriteAccess,
  next: CredentialFacts,
  environment: string,
  { grant, retained, settled }: Attempt,
  outcome: Refreshed,
  details: EventDetails,
): void {
  const known = grantFacts(next);
  const answered = outcome.refreshToken === undefined ? undefined : textOf(outcome.refreshToken);
  const token = answered ?? retained.refresh_token;
  const replaced = answered !== undefined && grant.refreshToken !== undefined && answered !== retained.refresh_token;
  const account = { ...known.account, ...outcome.account };
  const now = vault.around.clock.now();
  changeGrantFacts(next, {
    refreshedAt: now,
    endedAtOnce: endedAtOnce(known.endedAtOnce, outcome, now),
    // Another token lives by its own end; where the answer tells none, nobody knows it.
    refreshTokenExpiresAt: outcome.refreshTokenExpiresAtMs ?? (replaced ? undefined : known.refreshTokenExpiresAt),
    account: Object.keys(account).length === 0 ? undefined : account,
    fingerprint: token === undefined ? undefined : grantFingerprint(vault, token),
  });
  noteAccount(vault, access, next, environment, settled?.oauth2.accountId, outcome.account, details);
  const sign = settled === undefined ? undefined : signOnReplaced(settled.oauth2, known, replaced);
  if (sign !== undefined) noteSign(vault, access, next, environment, sign, details);
  noteGrantedScope(vault, access, next, environment, { scope: outcome.scope, source: 'answer' }, details);
}

/** A guess tells nothing: whether that one has ended is yet to be asked. */
function endedAtOnce(before: number | undefined, outcome: Refreshed, now: number): number | undefined {
  if (isGuessed(outcome)) return before;
  return outcome.expiresAtMs !== undefined && endsAtOnce(now, outcome.expiresAtMs) ? (before ?? 0) + 1 : undefined;
}

function splitOf(attempt: Attempt, outcome: Refreshed, next: CredentialFacts) {
  const served: ServedGrant = {
    access_token: textOf(outcome.accessToken),
    token_type: outcome.tokenType,
    scope: outcome.scope ?? attempt.served.scope,
    account: grantFacts(next).account,
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

/** What a failed attempt leads to; `at_once`: it may be made again without a wait. */
export type Booked = 'at_once' | 'later' | 'dead' | 'superseded';

/** Books anything but success; a stale fence or generation books nothing against the grant. Inside a job. */
export function bookFailure(vault: TenantVault, attempt: Attempt, outcome: Exclude<RefreshOutcome, Refreshed>): Booked {
  return enterRun(
    vault,
    attempt.run.credential_id,
    (access, located, details) => {
      const { row, environment } = located;
      const run = vault.runs.get(access, attempt.run.id);
      details.cause = outcome.cause;
      if (run.fence !== attempt.run.fence || run.state !== 'open' || row.current_version !== attempt.run.generation) {
        if (run.fence === attempt.run.fence && run.state === 'open') supersede(vault, access, run);
        details.step = 'superseded';
        return 'superseded';
      }
      if (outcome.cause === 'withdrawn' && outcome.kind === 'transient' && outcome.nothingSpent) {
        withdraw(vault, access, run, attempt);
        return 'at_once';
      }
      if (outcome.kind === 'dead') {
        bookDead(vault, access, run, attempt, row, environment.name, outcome.cause, details);
        return 'dead';
      }
      // Only a send without a whole answer is a lost answer: one that says 5xx is the provider's word that it failed (decision 0003).
      const isLost = outcome.kind === 'unknown' || (attempt.doubted && isUnexplained(outcome));
      const count = run.lost_answers + (isLost ? 1 : 0);
      const counted = { ...run, lost_answers: count };
      const lost = lostAnswersOf(vault, access, counted, located, count);
      const { settled } = attempt;
      if (isLost && settled !== undefined && !maySendAgain(settled.oauth2, lost, vault.around.clock.now())) {
        vault.runs.journal(access, run.id, 'answer_lost', outcome.cause, vault.around.clock.now());
        endAsLost(vault, access, counted, located);
        return 'dead';
      }
      const atOnce = isLost && count === 1;
      retryLater(vault, access, counted, attempt, outcome, lost);
      if (!atOnce) degrade(vault, access, row, environment.name, run, outcome);
      return atOnce ? 'at_once' : 'later';
    },
    'failed',
    attempt.run.id,
  );
}

/** A refusal in no known words: of a token that may be spent it does not say that it is not. */
function isUnexplained(outcome: Exclude<RefreshOutcome, Refreshed>): boolean {
  return outcome.kind === 'configuration' && outcome.status !== undefined && isUnrecognised(outcome.cause);
}

function supersede(vault: TenantVault, access: WriteAccess, run: RunRow): void {
  finishRun(vault, access, run, { state: 'cancelled', step: 'superseded', outcome: 'superseded', cause: null });
}

/** The lease had lapsed before anything left: as if the attempt had never been. */
function withdraw(vault: TenantVault, access: WriteAccess, run: RunRow, attempt: Attempt): void {
  const now = vault.around.clock.now();
  const step = attempt.doubted ? 'answer_lost' : 'waiting';
  const attempts = run.attempts - 1;
  vault.runs.save(access, { ...run, step, attempts, lease_until: now, lease_owner: '', next_attempt_at: now });
  vault.runs.journal(access, run.id, 'withdrawn', 'lease_lapsed', now);
  vault.dueChanged();
}

function bookDead(
  vault: TenantVault,
  access: WriteAccess,
  run: RunRow,
  attempt: Attempt,
  row: CredentialRow,
  environment: string,
  said: string,
  details: EventDetails,
): void {
  const cause = attempt.doubted ? `answer_lost_then_${said}` : said;
  const known = grantFacts(row);
  // A token that one of our own sends may have spent is no sign of anybody else.
  const sign = attempt.doubted ? undefined : signOnRefused(known, vault.around.clock.now());
  change(vault, access, row, environment, 'needs_consent', cause, (next) => {
    if (sign !== undefined) noteSign(vault, access, next, environment, sign, details);
  });
  finishRun(vault, access, run, { state: 'failed', step: 'failed', outcome: 'dead', cause });
}

function retryLater(
  vault: TenantVault,
  access: WriteAccess,
  run: RunRow,
  attempt: Attempt,
  outcome: Exclude<RefreshOutcome, Refreshed>,
  lost: LostAnswers,
): void {
  const now = vault.around.clock.now();
  const mayBeSpent = outcome.kind === 'unknown' || (outcome.kind === 'transient' && !outcome.nothingSpent);
  const step = mayBeSpent || attempt.doubted ? 'answer_lost' : 'waiting';
  vault.runs.save(access, {
    ...run,
    step,
    lease_until: now,
    lease_owner: '',
    next_attempt_at: Math.round(now + waitMs(vault, attempt, outcome, lost, now)),
    outcome: outcome.kind,
    cause: outcome.cause,
  });
  vault.runs.journal(access, run.id, step, outcome.cause, now);
  vault.dueChanged();
}

function waitMs(
  vault: TenantVault,
  attempt: Attempt,
  outcome: Exclude<RefreshOutcome, Refreshed>,
  lost: LostAnswers,
  now: number,
): number {
  if (outcome.kind === 'configuration') return Math.max(LIMITS.refreshBackoffMaxMs, (outcome.retryAfterSeconds ?? 0) * 1_000);
  const doubled = LIMITS.refreshBackoffBaseMs * 2 ** Math.min(attempt.run.attempts - 1, 20);
  const jittered = Math.min(doubled, LIMITS.refreshBackoffMaxMs) * (0.5 + vault.around.entropy.fraction() / 2);
  if (outcome.kind !== 'unknown') return Math.max(jittered, (outcome.retryAfterSeconds ?? 0) * 1_000);
  // An answer lost on the way is asked for again at once: a reuse window, where there is one, is short (rule 7).
  if (lost.count === 1) return 0;
  const endsAt = attempt.settled === undefined ? undefined : windowEndsAt(attempt.settled.oauth2, lost, now);
  const leftMs = (endsAt ?? now) - now;
  // One more try just before the window closes is worth more than one that comes too late.
  return leftMs > LIMITS.refreshBackoffBaseMs ? Math.min(jittered, leftMs - 1_000) : jittered;
}

function degrade(
  vault: TenantVault,
  access: WriteAccess,
  row: CredentialRow,
  environment: string,
  run: RunRow,
  outcome: Exclude<RefreshOutcome, Refreshed>,
): void {
  if (row.health === 'needs_consent' || row.health === 'disconnected') return;
  const alive = row.value_expires_at === null || row.value_expires_at > vault.around.clock.now();
  if (outcome.kind !== 'configuration' && alive && run.attempts <= 2) return;
  change(vault, access, row, environment, 'degraded', outcome.cause);
}

function change(
  vault: TenantVault,
  access: WriteAccess,
  row: CredentialRow,
  environment: string,
  health: Health,
  cause: string,
  also: (next: CredentialFacts) => void = () => {},
): void {
  if (row.health === health && row.health_cause === cause) return;
  if (row.health === 'disconnected') return;
  const { mac: _mac, mac_key_id: _key, ...next } = row;
  also(next);
  changeHealth(vault, access, next, environment, health, cause);
  next.revision += 1;
  next.updated_at = vault.around.clock.now();
  vault.credentials.save(access, next);
  vault.cache.forget(environment, row.name);
  vault.dueChanged();
}
