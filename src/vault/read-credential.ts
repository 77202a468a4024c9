// Serves one credential to a workflow, as bytes that were never a string. For an OAuth grant it opens the access token only;
// it must never open the retained part (refresh token, client secret).
import type { Found } from '../access/guard.ts';
import type { Caller } from '../access/principals.ts';
import { toTimestamp } from '../base/clock.ts';
import { fail } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Lookup, ReadAccess } from '../cell/access.ts';
import type { CredentialRow, EnvironmentRow, VersionRow } from '../cell/credentials.ts';
import type { PreparedOpen } from '../crypto/envelope.ts';
import type { OpenedCredential } from './credential-cache.ts';
import { healthNow } from './end-date.ts';
import { rulesOfKind } from './kinds.ts';
import { noteReader } from './readers.ts';
import { previousValidUntil, rotatedAtOf, ValueInDoubt } from './rotation-state.ts';
import { StaleGrant } from './stale-grant.ts';
import { credentialTarget, foundCredential, type Located, requireActive } from './targets.ts';
import type { TenantJob } from './tenant-job.ts';
import type { TenantVault } from './tenant-vault.ts';
import { prepareVersion } from './versions.ts';

export type Stage = 'current' | 'previous' | 'pending';

export interface ReadCredentialInput {
  readonly environment: string;
  readonly name: string;
  readonly version: number | undefined;
  readonly stage: Stage | undefined;
}

export interface ReadResult {
  readonly credentialId: string;
  readonly version: number;
  /** JSON with facts and value; the caller may wipe it after sending. */
  readonly body: Uint8Array;
  readonly expiresAtMs: number | null;
}

type Wanted = Located | OpenedCredential;

/** @throws not_found | forbidden | gone | needs_consent | StaleGrant */
export function readCredential(job: TenantJob, caller: Caller, input: ReadCredentialInput): ReadResult {
  return job.door.enter(
    caller,
    'credential.read',
    (lookup) => readTarget(job, lookup, input),
    (access, wanted, details, principal) => {
      const row = requireActive(wanted.row);
      const version = versionWanted(row, input);
      const current = version === row.current_version;
      details.version = version;
      const { state } = healthNow(row, job.platform.clock.now());
      if (current && state !== 'ready') details.health = state;
      if (input.stage !== undefined) details.stage = input.stage;
      if (current || row.health === 'disconnected') rulesOfKind(row.kind).refuseRead?.(job, access, row, wanted.environment.name);
      const opened = current && 'prepared' in wanted ? wanted : open(job, access, wanted, version, current);
      const body = answer(opened.head, opened.prepared);
      // A reader that only looked at the pending version still uses the one before.
      if (version !== row.pending_version) noteReader(job, row.id, principal.id, version);
      return { credentialId: row.id, version, body, expiresAtMs: row.value_expires_at };
    },
  );
}

/** As `readCredential`, but waits for the shared refresh when the token is stale, and for a rotation that is replacing the value. The log also has the refused first attempt. */
export async function readFreshCredential(vault: TenantVault, caller: Caller, input: ReadCredentialInput): Promise<ReadResult> {
  try {
    return await vault.submit((job) => readCredential(job, caller, input));
  } catch (error) {
    if (error instanceof ValueInDoubt && vault.rotator !== undefined) {
      await vault.rotator.settle(error.credentialId);
      return await vault.submit((job) => readCredential(job, caller, input));
    }
    if (!(error instanceof StaleGrant) || vault.refresher === undefined) throw error;
    const heldForMs = await vault.refresher.refreshNow(error.credentialId);
    try {
      return await vault.submit((job) => readCredential(job, caller, input));
    } catch (again) {
      if (!(again instanceof StaleGrant) || heldForMs === undefined) throw again;
      throw new StaleGrant(again.credentialId, { kind: 'held', againInMs: heldForMs });
    }
  }
}

function readTarget(job: TenantJob, lookup: Lookup, input: ReadCredentialInput): Found<Wanted> {
  const cached = job.cache.find(input.environment, input.name, job.platform.clock.now());
  return cached ?? credentialTarget(job, lookup, input.environment, input.name);
}

function versionWanted(row: CredentialRow, input: ReadCredentialInput): number {
  if (input.version !== undefined) return input.version;
  if (input.stage === 'previous') return row.previous_version ?? fail('not_found', 'the credential has no previous version');
  if (input.stage === 'pending') return row.pending_version ?? fail('not_found', 'the credential has no pending version');
  return row.current_version;
}

function open(job: TenantJob, access: ReadAccess, wanted: Located, version: number, current: boolean): OpenedCredential {
  const { row, environment } = wanted;
  const stored = job.credentials.findVersion(access, row.id, version) ?? fail('not_found', 'no such version');
  const now = job.platform.clock.now();
  const { value_expires_at: endsAt } = row;
  const opened: OpenedCredential = {
    environment,
    row,
    head: headOf(row, environment, stored, now),
    prepared: prepareVersion(job, row, stored, 'value'),
    // The cached head states whether the value has expired, so the entry ends when that changes.
    expiresAtMs: Math.min(now + LIMITS.dataKeyCacheTtlMs, endsAt !== null && endsAt > now ? endsAt : Number.POSITIVE_INFINITY),
  };
  if (current) job.cache.keep({ ...foundCredential(job, environment, row), subject: opened, memo: {} });
  return opened;
}

const encoder = new TextEncoder();
const CLOSE = 125; // }

function headOf(row: CredentialRow, environment: EnvironmentRow, stored: VersionRow, nowMs: number): Uint8Array {
  // The expiry of the current version may have been learnt after it was stored (rotation/grants/learn-expiry.ts).
  const current = stored.version === row.current_version;
  const endsAt = current ? row.value_expires_at : stored.value_expires_at;
  const previousUntil = previousValidUntil(row);
  const facts = JSON.stringify({
    id: row.id,
    name: row.name,
    environment: environment.name,
    kind: row.kind,
    version: stored.version,
    version_created_at: toTimestamp(stored.created_at),
    rotated_at: toTimestamp((current ? rotatedAtOf(row) : undefined) ?? stored.created_at),
    previous_valid_until: previousUntil === undefined ? null : toTimestamp(previousUntil),
    good_for_seconds: goodForSeconds(row, nowMs),
    expires_at: endsAt === null ? null : toTimestamp(endsAt),
    expired: endsAt !== null && endsAt <= nowMs,
    // While the access token lives it is served, whatever the last refresh was told (docs/connect-a-customer.md).
    health: healthNow(row, nowMs).state,
  });
  return encoder.encode(`${facts.slice(0, -1)},"value":`);
}

/**
 * How long a client may use its copy without asking again. A rotation waits this long before it ends a value that was handed out, unless its
 * target replaces values at once: then copies are short-lived while one is near.
 */
function goodForSeconds({ pending_version: pending, rotation_due_at: dueAt }: CredentialRow, nowMs: number): number {
  // The head of the answer is cached.
  const isNear = dueAt !== null && dueAt - nowMs < LIMITS.copyMaxSeconds * 1_000 + LIMITS.dataKeyCacheTtlMs;
  return pending !== null || isNear ? LIMITS.copyWhileRotatingSeconds : LIMITS.copyMaxSeconds;
}

// SECURITY: the plaintext goes from the cipher into the answer's bytes and is wiped; it is never a JS string (security-review 2.9).
function answer(head: Uint8Array, prepared: PreparedOpen): Uint8Array {
  const plaintext = prepared.open();
  const body = new Uint8Array(head.byteLength + plaintext.byteLength + 1);
  body.set(head);
  body.set(plaintext, head.byteLength);
  body[body.byteLength - 1] = CLOSE;
  plaintext.fill(0);
  return body;
}
