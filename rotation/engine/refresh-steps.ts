// The journalled steps of one refresh (D6), each one synchronous transaction: take the lease and write the intent, store what came back,
// or book what went wrong. It must never let a late or foreign writer overwrite a newer grant, nor mark a grant dead that has moved on.
import { fail } from '../../src/base/errors.ts';
import { newId } from '../../src/base/ids.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import type { Access } from '../../src/cell/access.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import type { RunRow } from '../../src/cell/runs.ts';
import {
  fromJsonBytes,
  jsonBytes,
  type OAuth2Config,
  type RetainedGrant,
  type ServedGrant,
} from '../../src/vault/credential-kinds.ts';
import { applyTiming, storeVersion } from '../../src/vault/put-credential.ts';
import { prepareVersion } from '../../src/vault/read-credential.ts';
import { credentialTarget, type Located, type TenantVault } from '../../src/vault/tenant-vault.ts';
import type { Refreshed, RefreshGrant, RefreshOutcome } from '../oauth2-refresh.ts';

export type Trigger = 'schedule' | 'request' | 'read';

/** What one attempt works with, between its two transactions. */
export interface Attempt {
  readonly run: RunRow;
  readonly located: Located;
  readonly config: OAuth2Config;
  readonly grant: RefreshGrant;
  readonly retained: RetainedGrant;
  readonly served: ServedGrant;
  /** An earlier attempt of this run was sent and its answer never came. */
  readonly answerLost: boolean;
}

export type Lease =
  | { readonly kind: 'attempt'; readonly attempt: Attempt }
  /** Nothing to do: fresh, gone, dead, or not an OAuth grant. */
  | { readonly kind: 'idle' }
  /** Another owner holds the lease until then. */
  | { readonly kind: 'busy'; readonly untilMs: number };

export interface LeaseRequest {
  readonly owner: string;
  readonly trigger: Trigger;
  /** Refresh even if the token is fresh. */
  readonly force: boolean;
  readonly allowLoopback: (connector: string | null) => boolean;
}

function locate(vault: TenantVault, lookup: Access, credentialId: string): Located {
  const row = vault.credentials.byId(lookup, credentialId);
  return { row, environment: vault.credentials.environmentById(lookup, row.environment_id) };
}

function enter<T>(
  vault: TenantVault,
  credentialId: string,
  effect: (access: Access, located: Located) => T,
  step: string,
  run?: string,
): T {
  const { environment, row } = vault.door.lookup('scheduler', (lookup) => locate(vault, lookup, credentialId));
  return vault.door.enterAsSystem(
    'refresh',
    'credential.rotate',
    (lookup) => credentialTarget(vault, lookup, environment.name, row.name),
    (access, located, details) => {
      details.step = step;
      if (run !== undefined) details.run = run;
      return effect(access, located);
    },
  );
}

/** Opens or joins the run, takes its lease under a new fence and journals the intent to spend this generation. Inside a job. */
export function takeLease(vault: TenantVault, credentialId: string, wanted: LeaseRequest): Lease {
  const peek = vault.door.lookup('scheduler', (lookup) => worthwhile(vault, lookup, credentialId, wanted));
  if (peek !== undefined) return peek;
  return enter(
    vault,
    credentialId,
    (access, located) => {
      const now = vault.around.clock.now();
      const run = vault.runs.findOpen(access, located.row.id) ?? openRun(vault, access, located.row, wanted.trigger, 'refresh');
      const answerLost = run.step === 'intent' || run.step === 'answer_lost';
      const leased: RunRow = {
        ...run,
        step: 'intent',
        generation: located.row.current_version,
        attempts: run.attempts + 1,
        fence: run.fence + 1,
        lease_owner: wanted.owner,
        lease_until: now + LIMITS.leaseMs,
        next_attempt_at: now + LIMITS.leaseMs,
      };
      vault.runs.save(access, leased);
      vault.runs.journal(access, run.id, 'intent', answerLost ? 'again' : 'first', now);
      vault.dueChanged();
      return {
        kind: 'attempt' as const,
        attempt: openGrant(vault, access, leased, located, wanted, answerLost && run.generation === leased.generation),
      };
    },
    'intent',
  );
}

function worthwhile(vault: TenantVault, lookup: Access, credentialId: string, wanted: LeaseRequest): Lease | undefined {
  const { row } = locate(vault, lookup, credentialId);
  const now = vault.around.clock.now();
  if (row.state !== 'active' || row.kind !== 'oauth2') return { kind: 'idle' };
  const run = vault.runs.findOpen(lookup, credentialId);
  if (run !== undefined && run.lease_until > now && run.lease_owner !== wanted.owner)
    return { kind: 'busy', untilMs: run.lease_until };
  if (run !== undefined || wanted.force) return row.health === 'needs_consent' ? { kind: 'idle' } : undefined;
  const due = row.refresh_due_at !== null && row.refresh_due_at <= now;
  const expired = row.value_expires_at !== null && row.value_expires_at <= now;
  return due || (expired && row.refresh_due_at !== null) ? undefined : { kind: 'idle' };
}

/** A new run, not yet leased. */
export function openRun(
  vault: TenantVault,
  access: Access,
  row: CredentialRow,
  trigger: Trigger,
  kind: 'refresh' | 'rotation',
): RunRow {
  const now = vault.around.clock.now();
  const run: RunRow = {
    id: newId('run', vault.around.entropy),
    credential_id: row.id,
    kind,
    trigger,
    requested_by: access.principalId,
    state: 'open',
    step: 'queued',
    generation: row.current_version,
    attempts: 0,
    fence: 0,
    lease_until: 0,
    lease_owner: '',
    next_attempt_at: now,
    outcome: null,
    cause: null,
    new_version: null,
    started_at: now,
    finished_at: null,
  };
  vault.runs.insert(access, run);
  vault.runs.journal(access, run.id, 'queued', trigger, now);
  vault.dueChanged();
  return run;
}

function openGrant(
  vault: TenantVault,
  access: Access,
  run: RunRow,
  located: Located,
  wanted: LeaseRequest,
  answerLost: boolean,
): Attempt {
  const { row } = located;
  const version =
    vault.credentials.findVersion(access, row.id, row.current_version) ?? fail('internal', 'a current version is missing');
  const retained = fromJsonBytes<RetainedGrant>(prepareVersion(vault, row, version, 'retained').open());
  const served = fromJsonBytes<ServedGrant>(prepareVersion(vault, row, version, 'value').open());
  const config = JSON.parse(row.config) as OAuth2Config;
  return {
    run,
    located,
    config,
    retained,
    served,
    answerLost,
    grant: {
      tokenEndpoint: config.token_endpoint,
      clientId: config.client_id,
      clientSecret: retained.client_secret === undefined ? undefined : SecretValue.fromText(retained.client_secret),
      refreshToken: SecretValue.fromText(retained.refresh_token ?? ''),
      scope: config.scope,
      allowLoopback: wanted.allowLoopback(row.connector),
    },
  };
}

/** Prolongs the lease while the provider thinks. False when it was lost. Inside a job; no event: nothing changed but time. */
export function heartbeat(vault: TenantVault, attempt: Attempt): boolean {
  return vault.door.lookup('refresh', (access) => {
    const run = vault.runs.find(access, attempt.run.id);
    if (run === undefined || run.fence !== attempt.run.fence || run.state !== 'open') return false;
    const until = vault.around.clock.now() + LIMITS.leaseMs;
    vault.runs.save(access, { ...run, lease_until: until, next_attempt_at: until });
    return true;
  });
}

/** Stores the new pair as the next version, current at once (rule 6: before anyone uses it). Inside a job. */
export function storeRefreshed(vault: TenantVault, attempt: Attempt, outcome: Refreshed): 'stored' | 'superseded' {
  return enter(
    vault,
    attempt.run.credential_id,
    (access, { row, environment }) => {
      const now = vault.around.clock.now();
      const run = vault.runs.get(access, attempt.run.id);
      // INVARIANT: compare-and-set on the generation that was spent. A fence that moved on while nobody stored a newer grant still
      // stores: this pair is then the only one the provider honours (test/rotation/refresh-engine.test.ts).
      if (row.state !== 'active' || row.current_version !== attempt.run.generation) {
        finish(vault, access, run, { state: 'cancelled', step: 'superseded', outcome: 'superseded', cause: null });
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
        health: 'ready',
        health_since: row.health === 'ready' ? row.health_since : now,
        health_cause: null,
      };
      applyTiming(vault, next, split, now);
      if (outcome.expiresAtMs === undefined) next.refresh_due_at = null;
      storeVersion(vault, access, next, split, { origin: run.kind === 'rotation' ? 'rotation' : 'refresh', runId: run.id });
      vault.credentials.save(access, next);
      vault.cache.forget(environment.name, row.name);
      finish(vault, access, run, {
        state: 'succeeded',
        step: 'stored',
        outcome: 'refreshed',
        cause: null,
        new_version: next.current_version,
      });
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
  return enter(
    vault,
    attempt.run.credential_id,
    (access, { row, environment }) => {
      const run = vault.runs.get(access, attempt.run.id);
      if (run.fence !== attempt.run.fence || run.state !== 'open' || row.current_version !== attempt.run.generation) {
        if (run.fence === attempt.run.fence && run.state === 'open') {
          finish(vault, access, run, { state: 'cancelled', step: 'superseded', outcome: 'superseded', cause: null });
        }
        return 'superseded';
      }
      const lost = outcome.kind === 'unknown' || (outcome.kind === 'transient' && !outcome.nothingSpent);
      const unsafe = attempt.config.lost_answer === 'unsafe';
      const dead = outcome.kind === 'dead' || (lost && attempt.answerLost && unsafe);
      if (dead) {
        const cause =
          outcome.kind === 'dead' && !attempt.answerLost
            ? outcome.cause
            : outcome.kind === 'dead'
              ? `answer_lost_then_${outcome.cause}`
              : 'answer_lost';
        setHealth(vault, access, row, environment.name, 'needs_consent', cause);
        finish(vault, access, run, { state: 'failed', step: 'failed', outcome: 'dead', cause });
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
  // A lost answer inside a reuse window is only worth something at once.
  const waitMs = lost && !attempt.answerLost ? 0 : outcome.kind === 'configuration' ? LIMITS.refreshBackoffMaxMs : jittered;
  const step = lost ? 'answer_lost' : 'waiting';
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

function finish(vault: TenantVault, access: Access, run: RunRow, end: Partial<RunRow>): void {
  const now = vault.around.clock.now();
  vault.runs.save(access, { ...run, ...end, lease_until: 0, lease_owner: '', next_attempt_at: null, finished_at: now });
  vault.runs.journal(access, run.id, end.step ?? 'finished', end.outcome ?? '', now);
  vault.dueChanged();
}
