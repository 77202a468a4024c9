// Wire forms of rows. It must never copy a whole row: each field is named.
import { toTimestamp } from '../../base/clock.ts';
import type { CredentialRow, EnvironmentRow } from '../../cell/credentials.ts';
import type { KeyProgress } from '../../cell/key-rotations.ts';
import type { RunRow, RunStepRow } from '../../cell/runs.ts';
import type { TenantRow } from '../../cell/tenants.ts';
import type { TokenRow } from '../../cell/tokens.ts';
import type { Workload } from '../../cell/workloads.ts';
import { configOf, labelsOf } from '../../vault/credential.ts';
import type { HistoryEntry } from '../../vault/describe-credential.ts';
import { healthNow } from '../../vault/end-date.ts';
import { rulesOfKind } from '../../vault/kinds.ts';
import type { UserWithGrants } from '../../vault/manage-users.ts';
import type { ReaderView } from '../../vault/readers.ts';
import { reconnectPath } from '../../vault/reconnect.ts';
import { isProduction } from '../../vault/rehearsals.ts';
import type { ListedKeys } from '../../vault/rotate-keys.ts';
import type { RotationPlan } from '../../vault/rotation-plan.ts';
import { requestOf } from '../../vault/run-request.ts';
import type { Located } from '../../vault/targets.ts';
import type { TenantVault } from '../../vault/tenant-vault.ts';
import type {
  WireCredential,
  WireEnvironment,
  WireEvidence,
  WireGrant,
  WireKeys,
  WireReader,
  WireRotationPlan,
  WireRun,
  WireTenant,
  WireUser,
  WireVersion,
  WireWorkload,
} from './wire.ts';

const time = (atMs: number | null): string | null => (atMs === null ? null : toTimestamp(atMs));

export function credentialView(vault: TenantVault, { environment, row }: Located): WireCredential {
  const health = healthNow(row, vault.platform.clock.now());
  const reconnect = reconnectPath(vault.tenant.id, environment.name, row);
  return {
    id: row.id,
    name: row.name,
    environment: environment.name,
    kind: row.kind,
    connector: row.connector,
    state: row.state as WireCredential['state'],
    health: {
      state: health.state as WireCredential['health']['state'],
      since: toTimestamp(health.sinceMs),
      cause: health.cause,
    },
    version: row.current_version,
    previous_version: row.previous_version,
    revision: row.revision,
    description: row.description,
    labels: labelsOf(row),
    config: configOf(row),
    expires_at: time(row.value_expires_at),
    refresh_due_at: time(row.refresh_due_at),
    pending_version: row.pending_version,
    rotation_due_at: time(row.rotation_due_at),
    created_at: toTimestamp(row.created_at),
    created_by: row.created_by,
    updated_at: toTimestamp(row.updated_at),
    deleted_at: time(row.deleted_at),
    destroy_after_at: time(row.destroy_after_at),
    ...describedBeside(vault, row),
    ...(reconnect === undefined ? {} : { reconnect }),
  };
}

/** What its kind alone shows. */
function describedBeside(vault: TenantVault, row: CredentialRow): Pick<WireCredential, 'grant'> {
  const { describe } = rulesOfKind(row.kind);
  if (describe === undefined) return {};
  return vault.lookup('describe', (lookup, view) => describe(view, lookup, row)) as { grant: WireGrant };
}

export function revisionTag(located: Located): string {
  return `"r${located.row.revision}"`;
}

export function versionView(entry: HistoryEntry): WireVersion {
  return {
    version: entry.version,
    stages: [...entry.stages] as WireVersion['stages'],
    origin: entry.origin as WireVersion['origin'],
    expires_at: time(entry.value_expires_at),
    created_at: toTimestamp(entry.created_at),
    created_by: entry.created_by,
    run: entry.run_id,
  };
}

export function readerView({ id, type, name, version, sinceAt, seenAt, isLive }: ReaderView): WireReader {
  return { id, type, name, version, since: toTimestamp(sinceAt), seen: toTimestamp(seenAt), live: isLive };
}

export function planView({ planned, hash, consequence, checks, readers }: RotationPlan): WireRotationPlan {
  const { credential, version, connector, strategy, calls, destinations, manager } = planned;
  const { keys_max, grace_seconds, deadline_seconds } = planned;
  return {
    hash,
    ready: checks.every(({ fault }) => fault === undefined),
    checks: checks.map(({ check, fault }) => ({ check, ok: fault === undefined, fault: fault ?? null })),
    consequence,
    plan: {
      credential,
      version,
      connector,
      strategy,
      calls: calls.map(({ step, what, undoable }) => ({ step, what, undoable })),
      destinations: [...destinations],
      manager: manager === null ? null : { id: manager.id, name: manager.name },
      keys_max,
      grace_seconds,
      deadline_seconds,
    },
    readers: readers.map(readerView),
  };
}

export function runView(row: RunRow, steps?: readonly RunStepRow[]): WireRun {
  const request = requestOf(row);
  return {
    id: row.id,
    credential: row.credential_id,
    kind: row.kind as WireRun['kind'],
    version: row.generation,
    trigger: row.trigger as WireRun['trigger'],
    requested_by: row.requested_by,
    reason: request.reason ?? null,
    plan: request.plan ?? null,
    retry_of: request.retryOf ?? null,
    state: row.state as WireRun['state'],
    step: row.step,
    attempts: row.attempts,
    outcome: row.outcome,
    cause: row.cause,
    new_version: row.new_version,
    started_at: toTimestamp(row.started_at),
    finished_at: time(row.finished_at),
    next_attempt_at: time(row.next_attempt_at),
    ...lateReadersOf(row),
    ...(steps === undefined ? {} : { steps: steps.map(runStepView) }),
  };
}

/** Of a revocation that waits for readers, or did not wait for all of them. */
function lateReadersOf({ kind, facts }: RunRow): Pick<WireRun, 'late_readers' | 'deadline_at'> {
  if (kind !== 'revocation') return {};
  const { late, lateCount = 0, deadlineAt } = JSON.parse(facts) as { late?: string[]; lateCount?: number; deadlineAt?: number };
  if (late === undefined) return {};
  return {
    late_readers: { count: lateCount, names: late },
    ...(deadlineAt === undefined ? {} : { deadline_at: toTimestamp(deadlineAt) }),
  };
}

export function runStepView({ step, status, at, evidence }: RunStepRow): NonNullable<WireRun['steps']>[number] {
  const parsed = evidence === null ? {} : { evidence: JSON.parse(evidence) as WireEvidence };
  return { step, status, at: toTimestamp(at), ...parsed };
}

export function environmentView(row: EnvironmentRow): WireEnvironment {
  return { id: row.id, name: row.name, production: isProduction(row), created_at: toTimestamp(row.created_at) };
}

export function tenantView(row: TenantRow): WireTenant {
  return { id: row.id, name: row.name, state: row.state, demo: row.demo === 1, created_at: toTimestamp(row.created_at) };
}

export function workloadView(row: Workload & { last_used_at?: number | null }): WireWorkload {
  return {
    id: row.id,
    name: row.name,
    environment: row.environment,
    patterns: JSON.parse(row.patterns) as string[],
    permissions: JSON.parse(row.permissions) as WireWorkload['permissions'],
    networks: JSON.parse(row.networks) as string[],
    authentication: row.jwks === null ? 'client_secret' : 'private_key_jwt',
    created_at: toTimestamp(row.created_at),
    created_by: row.created_by,
    expires_at: toTimestamp(row.expires_at),
    revoked_at: time(row.revoked_at),
    last_used_at: time(row.last_used_at ?? null),
  };
}

export function tokenView(row: TokenRow) {
  return {
    id: row.public_id,
    type: row.type,
    created_at: toTimestamp(row.created_at),
    created_by: row.created_by,
    expires_at: toTimestamp(row.expires_at),
    revoked_at: time(row.revoked_at),
    last_used_at: time(row.last_used_at),
  };
}

export function userView({ row, grants }: UserWithGrants): WireUser {
  return {
    id: row.id,
    name: row.name,
    grants: grants.map((grant) => ({ role: grant.role, tenant: grant.tenant_id })),
    created_at: toTimestamp(row.created_at),
    offboarded_at: time(row.offboarded_at),
  };
}

export function progressView(progress: KeyProgress) {
  return {
    purpose: progress.purpose,
    to_version: progress.toVersion,
    total: progress.total,
    done: progress.done,
    started_at: toTimestamp(progress.startedAtMs),
    finished_at: time(progress.finishedAtMs),
  };
}

export function keysView({ keys, turns, progress }: ListedKeys): WireKeys {
  return {
    keys: keys.map((row) => ({
      id: row.key_id,
      purpose: row.purpose,
      version: row.version,
      state: row.state as 'active' | 'decrypt_only' | 'destroyed',
      wraps: row.wraps,
      created_at: toTimestamp(row.created_at),
      turns_at: time(turns.get(row.key_id) ?? null),
      destroy_after_at: time(row.destroy_after_at),
      destroyed_at: time(row.destroyed_at),
    })),
    rotations: progress.map(progressView),
  };
}
