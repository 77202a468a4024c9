// The lease of a refresh (D6): who may spend a generation, under which fence, and what one attempt works with.
// It must never let two attempts spend one generation, nor open a grant before the intent to spend it is journalled.
import { fail } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import type { Access } from '../../src/cell/access.ts';
import type { RunRow } from '../../src/cell/runs.ts';
import { fromJsonBytes, type OAuth2Config, type RetainedGrant, type ServedGrant } from '../../src/vault/credential-kinds.ts';
import { prepareVersion } from '../../src/vault/read-credential.ts';
import type { Located, TenantVault } from '../../src/vault/tenant-vault.ts';
import type { RefreshGrant } from '../oauth2-refresh.ts';
import { openRun, type Trigger } from './run-record.ts';

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
  readonly allowLoopback: (connector: string | null, config: OAuth2Config) => boolean;
}

function locate(vault: TenantVault, lookup: Access, credentialId: string): Located {
  const row = vault.credentials.byId(lookup, credentialId);
  return { row, environment: vault.credentials.environmentById(lookup, row.environment_id) };
}

/** Enters as the scheduler for one credential, found by id: its name may be another's by now (RO-15). The event names step and run. */
export function enterRun<T>(
  vault: TenantVault,
  credentialId: string,
  effect: (access: Access, located: Located) => T,
  step: string,
  run?: string,
): T {
  return vault.door.enterAsSystem(
    'refresh',
    'credential.rotate',
    (lookup) => {
      const located = locate(vault, lookup, credentialId);
      const { row } = located;
      const environment = located.environment.name;
      const connector = row.connector === null ? {} : { connector: row.connector };
      return {
        resource: { type: 'Credential', tenant: vault.tenant.id, environment, kind: row.kind, ...connector },
        target: { type: 'credential', environment, name: row.name, id: row.id },
        subject: located,
      };
    },
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
  return enterRun(
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
      vault.around.faults.at('refresh.after-lease');
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
  if (run !== undefined || wanted.force) {
    // INVARIANT: however many readers find the token stale, they do not cut a wait short (test/rotation/engine-failures.test.ts).
    const waiting = !wanted.force && run?.lease_owner === '' && (run.next_attempt_at ?? 0) > now;
    const ended = row.health === 'needs_consent' || row.health === 'disconnected';
    return waiting || ended ? { kind: 'idle' } : undefined;
  }
  const due = row.refresh_due_at !== null && row.refresh_due_at <= now;
  const expired = row.value_expires_at !== null && row.value_expires_at <= now;
  return due || (expired && row.refresh_due_at !== null) ? undefined : { kind: 'idle' };
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
      clientId: config.client_id,
      clientSecret: retained.client_secret === undefined ? undefined : SecretValue.fromText(retained.client_secret),
      privateKeyJwk:
        retained.client_private_jwk === undefined ? undefined : SecretValue.fromText(JSON.stringify(retained.client_private_jwk)),
      refreshToken: SecretValue.fromText(retained.refresh_token ?? ''),
      scope: config.scope,
      allowLoopback: wanted.allowLoopback(row.connector, config),
    },
  };
}

/** Prolongs the lease while the provider thinks. False when it was lost. Inside a job; no event: nothing changed but time. */
export function heartbeat(vault: TenantVault, attempt: Attempt): boolean {
  return vault.door.lookup('refresh', (access) => {
    const run = vault.runs.find(access, attempt.run.id);
    // Once its failure was booked, a run waits as long as it was told to.
    if (run === undefined || run.fence !== attempt.run.fence || run.state !== 'open' || run.lease_owner === '') return false;
    const until = vault.around.clock.now() + LIMITS.leaseMs;
    vault.runs.save(access, { ...run, lease_until: until, next_attempt_at: until });
    return true;
  });
}
