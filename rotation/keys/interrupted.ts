// What the vault knows of a create whose answer was lost: when it may have acted, and which keys made since then are its own or another's.
// It must never call a key unknown that a value of the vault may contain.
import { LIMITS } from '../../src/base/limits.ts';
import type { WriteAccess } from '../../src/cell/access.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import { canonicalJson } from '../../src/crypto/canonical-json.ts';
import { keyConfigOf } from '../../src/vault/rotation-state.ts';
import type { Located } from '../../src/vault/targets.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import type { Interrupted, KeyConnector, StoredValue } from '../connector.ts';

interface Asked {
  readonly job: TenantJob;
  readonly access: WriteAccess;
  readonly located: Located;
  /** When the attempts began whose outcome is not known. */
  readonly createsAt: readonly number[];
  /** The value of a version of this credential. */
  readonly open: (version: number) => StoredValue | undefined;
}

/** Whether the keys of interrupted attempts are found by their time, so that a key of another run could be taken for one of them. */
export function findsByTime({ key: { calls } }: KeyConnector): boolean {
  return calls?.list?.createdAt !== undefined && calls.list.name === undefined;
}

/** Undefined if no earlier attempt may have acted. */
export function interruptedOf({ job, access, located, createsAt, open }: Asked): Interrupted | undefined {
  const [first] = createsAt;
  if (first === undefined) return undefined;
  const fromMs = first - LIMITS.clockSkewMs;
  const { row } = located;
  const recent = job.credentials
    .versions(access, row.id, row.latest_version + 1, LIMITS.versionsKept)
    .filter(({ created_at }) => created_at >= fromMs);
  return {
    fromMs,
    untilMs: Math.max(...createsAt) + LIMITS.leaseMs + LIMITS.clockSkewMs,
    attempts: createsAt.length,
    known: recent.map(({ version }) => open(version)).filter((value) => value !== undefined),
    isShared: hasRival(job, access, row, fromMs),
  };
}

/** Whether another credential of the same account may have been given a key since then, so that no key is certain to be this run's. */
function hasRival(job: TenantJob, access: WriteAccess, row: CredentialRow, fromMs: number): boolean {
  const account = accountOf(row);
  const { admin } = keyConfigOf(row);
  return job.credentials.environments(access).some((environment) => {
    const filter = { environmentId: environment.id, kind: row.kind, deleted: false, nowMs: job.platform.clock.now() };
    const { rows } = job.credentials.list(access, filter, '', LIMITS.pageMaxRows);
    if (rows.length >= LIMITS.pageMaxRows) return true;
    // The admin credential is no key that this one could be taken for: its own id is known.
    const rivals = rows.filter(({ id, name }) => id !== row.id && name !== admin);
    return rivals.some((other) => accountOf(other) === account && isRecent(job, access, other, fromMs));
  });
}

const accountOf = (row: CredentialRow) => canonicalJson([row.connector, keyConfigOf(row).parameters ?? {}]);

function isRecent(job: TenantJob, access: WriteAccess, row: CredentialRow, fromMs: number): boolean {
  const latest = job.credentials.findVersionMetadata(access, row.id, row.latest_version);
  return job.runs.findOpen(access, row.id) !== undefined || (latest?.created_at ?? 0) >= fromMs;
}
