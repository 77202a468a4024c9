// What one attempt led to (D6), booked in one synchronous transaction: the new pair stored before anyone uses it, or what went wrong.
// It must never let a late or foreign writer overwrite a newer grant, nor mark a grant dead that has moved on.
import { LIMITS } from '../../src/base/limits.ts';
import type { SecretValue } from '../../src/base/secret-value.ts';
import type { Access } from '../../src/cell/access.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import type { RunRow } from '../../src/cell/runs.ts';
import { jsonBytes, type RetainedGrant, type ServedGrant } from '../../src/vault/credential-kinds.ts';
import { applyTiming, storeVersion } from '../../src/vault/put-credential.ts';
import type { TenantVault } from '../../src/vault/tenant-vault.ts';
import type { Refreshed, RefreshOutcome } from '../oauth2-refresh.ts';
import { type Attempt, enterRun } from './refresh-lease.ts';
import { moveRevocation } from './revoke-work.ts';
import { finishRun } from './run-record.ts';

/** Stores the new pair as the next version, current at once (rule 6: before anyone uses it). Inside a job. */
export function storeRefreshed(vault: TenantVault, attempt: Attempt, outcome: Refreshed): 'stored' | 'superseded' {
  return enterRun(
    vault,
    attempt.run.credential_id,
    (access, { row, environment }) => {
      const now = vault.around.clock.now();
      const run = vault.runs.get(access, attempt.run.id);
      // INVARIANT: compare-and-set on the generation that was spent. A fence that moved on while nobody stored a newer grant still
      // stores: this pair is then the only one the provider honours (test/rotation/engine-races.test.ts). A credential deleted
      // meanwhile stays deleted, but its grant moves on, or a restore would bring back a spent one.
      if (row.state === 'destroyed' || row.current_version !== attempt.run.generation) {
        if (run.state === 'open')
          finishRun(vault, access, run, { state: 'cancelled', step: 'superseded', outcome: 'superseded', cause: null });
        return 'superseded';
      }
      const text = (secret: SecretValue) => secret.reveal((bytes) => new TextDecoder().decode(bytes));
      const served: ServedGrant = {
        access_token: text(outcome.accessToken),
        token_type: outcome.tokenType,
        scope: outcome.scope ?? attempt.served.scope,
      };
      const retained: RetainedGrant = {
        ...attempt.retained,
        refresh_token: outcome.refreshToken === undefined ? attempt.retained.refresh_token : text(outcome.refreshToken),
      };
      const split = { value: jsonBytes(served), retained: jsonBytes(retained), expiresAtMs: outcome.expiresAtMs };
      const { mac: _mac, mac_key_id: _key, ...facts } = row;
      const next = {
        ...facts,
        previous_version: row.current_version,
        current_version: row.latest_version + 1,
        latest_version: row.latest_version + 1,
        revision: row.revision + 1,
        updated_at: now,
        ...(row.health === 'disconnected'
          ? {}
          : { health: 'ready', health_since: row.health === 'ready' ? row.health_since : now, health_cause: null }),
      };
      applyTiming(vault, next, split, now);
      if (outcome.expiresAtMs === undefined || row.state !== 'active') next.refresh_due_at = null;
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

/** What a failed attempt leads to. */
export type Booked = 'retry' | 'dead' | 'superseded';

/** Books anything but success; a stale fence or generation books nothing against the grant. Inside a job. */
export function bookFailure(vault: TenantVault, attempt: Attempt, outcome: Exclude<RefreshOutcome, Refreshed>): Booked {
  return enterRun(
    vault,
    attempt.run.credential_id,
    (access, { row, environment }) => {
      const run = vault.runs.get(access, attempt.run.id);
      if (run.fence !== attempt.run.fence || run.state !== 'open' || row.current_version !== attempt.run.generation) {
        if (run.fence === attempt.run.fence && run.state === 'open') {
          finishRun(vault, access, run, { state: 'cancelled', step: 'superseded', outcome: 'superseded', cause: null });
        }
        return 'superseded';
      }
      const lost = outcome.kind === 'unknown' || (outcome.kind === 'transient' && !outcome.nothingSpent);
      // Only the provider's own word ends a grant: while it does not answer, asking again risks nothing that is not lost already.
      if (outcome.kind === 'dead') {
        const cause = attempt.answerLost ? `answer_lost_then_${outcome.cause}` : outcome.cause;
        setHealth(vault, access, row, environment.name, 'needs_consent', cause);
        finishRun(vault, access, run, { state: 'failed', step: 'failed', outcome: 'dead', cause });
        return 'dead';
      }
      retryLater(vault, access, run, attempt, outcome, lost);
      const alive = row.value_expires_at === null || row.value_expires_at > vault.around.clock.now();
      if (outcome.kind === 'configuration' || !alive || run.attempts > 2) {
        setHealth(vault, access, row, environment.name, 'degraded', outcome.cause);
      }
      return 'retry';
    },
    'failed',
    attempt.run.id,
  );
}

function retryLater(
  vault: TenantVault,
  access: Access,
  run: RunRow,
  attempt: Attempt,
  outcome: Exclude<RefreshOutcome, Refreshed>,
  lost: boolean,
): void {
  const now = vault.around.clock.now();
  const asked = outcome.kind === 'unknown' ? undefined : outcome.retryAfterSeconds;
  const exponential = Math.min(
    LIMITS.refreshBackoffBaseMs * 2 ** Math.min(attempt.run.attempts - 1, 20),
    LIMITS.refreshBackoffMaxMs,
  );
  const jittered = exponential * (0.5 + vault.around.entropy.fraction() / 2);
  // An answer lost on the way is asked for again at once: a reuse window, where there is one, is short (rule 7).
  const atOnce = outcome.kind === 'unknown' && !attempt.answerLost;
  const waitMs = atOnce ? 0 : outcome.kind === 'configuration' ? LIMITS.refreshBackoffMaxMs : jittered;
  const step = lost || attempt.answerLost ? 'answer_lost' : 'waiting';
  vault.runs.save(access, {
    ...run,
    step,
    lease_until: now,
    lease_owner: '',
    next_attempt_at: Math.round(now + Math.max(waitMs, (asked ?? 0) * 1_000)),
    outcome: outcome.kind,
    cause: outcome.cause,
  });
  vault.runs.journal(access, run.id, step, outcome.cause, now);
  vault.dueChanged();
}

function setHealth(
  vault: TenantVault,
  access: Access,
  row: CredentialRow,
  environment: string,
  health: string,
  cause: string,
): void {
  if (row.health === health && row.health_cause === cause) return;
  const { mac: _mac, mac_key_id: _key, ...facts } = row;
  const now = vault.around.clock.now();
  vault.credentials.save(access, {
    ...facts,
    health,
    health_since: row.health === health ? row.health_since : now,
    health_cause: cause,
    refresh_due_at: health === 'needs_consent' ? null : row.refresh_due_at,
    revision: row.revision + 1,
    updated_at: now,
  });
  vault.cache.forget(environment, row.name);
  vault.dueChanged();
}
