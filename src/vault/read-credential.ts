// Hands a workflow the one credential it may have, as bytes that were never a string. Of an OAuth grant only the access token
// is opened; the retained part (refresh token, client secret) is not touched on this path at all.
import type { Found } from '../access/guard.ts';
import type { Caller } from '../access/principals.ts';
import { toTimestamp } from '../base/clock.ts';
import { fail, KeyturnError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Lookup, ReadAccess } from '../cell/access.ts';
import type { CredentialFacts, CredentialRow, EnvironmentRow, VersionRow } from '../cell/credentials.ts';
import { prepareField, prepareFields } from '../crypto/data-key.ts';
import type { PreparedOpen } from '../crypto/envelope.ts';
import type { OpenedCredential } from './credential-cache.ts';
import { fromJsonBytes, purposeOf, type RetainedGrant } from './credential-kinds.ts';
import { ANSWER_LOST } from './grant-health.ts';
import { connectionsPath } from './grant-view.ts';
import { credentialTarget, foundCredential, type Located, requireActive, type TenantVault } from './tenant-vault.ts';

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
  /** JSON: the facts and the value; the caller may wipe it after sending. */
  readonly body: Uint8Array;
  readonly expiresAtMs: number | null;
}

/** The grant's access token is past its expiry: a refresh must come first. */
class StaleGrant extends KeyturnError {
  readonly credentialId: string;

  constructor(credentialId: string) {
    super('provider_unavailable', 'the access token has expired and is being refreshed', { retryAfterSeconds: 5 });
    this.credentialId = credentialId;
  }
}

type Wanted = Located | OpenedCredential;

/** @throws not_found | forbidden | gone | needs_consent | StaleGrant */
export function readCredential(vault: TenantVault, caller: Caller, input: ReadCredentialInput): ReadResult {
  return vault.door.enter(
    caller,
    'credential.read',
    (lookup) => readTarget(vault, lookup, input),
    (access, wanted, details) => {
      const row = requireActive(wanted.row);
      const version = versionWanted(row, input);
      details.version = version;
      if (input.stage !== undefined) details.stage = input.stage;
      const current = version === row.current_version;
      if (current || row.health === 'disconnected') refuseUnusable(vault, row, wanted.environment.name);
      const opened = current && 'prepared' in wanted ? wanted : open(vault, access, wanted, version, current);
      return { credentialId: row.id, version, body: answer(opened.head, opened.prepared), expiresAtMs: row.value_expires_at };
    },
  );
}

/** As `readCredential`, waiting for the one shared refresh when the token is stale. The refused first try is in the log, too. */
export async function readFreshCredential(vault: TenantVault, caller: Caller, input: ReadCredentialInput): Promise<ReadResult> {
  try {
    return await vault.submit(() => readCredential(vault, caller, input));
  } catch (error) {
    if (!(error instanceof StaleGrant) || vault.refresher === undefined) throw error;
    await vault.refresher.refreshNow(error.credentialId);
    return vault.submit(() => readCredential(vault, caller, input));
  }
}

function readTarget(vault: TenantVault, lookup: Lookup, input: ReadCredentialInput): Found<Wanted> {
  const cached = vault.cache.find(input.environment, input.name, vault.around.clock.now());
  return cached ?? credentialTarget(vault, lookup, input.environment, input.name);
}

function versionWanted(row: CredentialRow, input: ReadCredentialInput): number {
  if (input.version !== undefined) return input.version;
  if (input.stage === 'previous') return row.previous_version ?? fail('not_found', 'no such version');
  if (input.stage === 'pending') return row.pending_version ?? fail('not_found', 'no such version');
  return row.current_version;
}

function refuseUnusable(vault: TenantVault, row: CredentialRow, environment: string): void {
  if (row.kind !== 'oauth2') return;
  const reconnect = connectionsPath(vault.tenant.id, environment, row.name);
  if (row.health === 'needs_consent' || row.health === 'disconnected') {
    fail('needs_consent', whyDead(row), {
      extra: { health: row.health, since: toTimestamp(row.health_since), cause: row.health_cause, reconnect },
    });
  }
  const expired = row.value_expires_at !== null && row.value_expires_at <= vault.around.clock.now();
  // Nothing can bring a fresh one: saying "wait" would have the caller wait for ever.
  if (expired && row.refresh_due_at === null) {
    fail('needs_consent', 'the access token has expired and there is no refresh token: connect it again', {
      extra: { health: row.health, since: toTimestamp(row.value_expires_at ?? 0), cause: 'no_refresh_token', reconnect },
    });
  }
  const neverFetched = row.value_expires_at === null && row.refresh_due_at !== null;
  if (expired || neverFetched) throw new StaleGrant(row.id);
}

/** Why a credential that needs consent cannot be used, and what helps. */
export function whyDead(row: CredentialRow): string {
  if (row.health === 'disconnected') return 'the account is disconnected';
  if (row.health_cause === 'not_connected_yet')
    return 'nobody has connected the account yet: it takes a link, and a person who agrees';
  return row.health_cause === ANSWER_LOST
    ? 'an answer of the provider was lost: connect it again, or ask for a rotation, which tries the kept tokens once more'
    : 'the grant is dead at the provider: connect it again';
}

function open(vault: TenantVault, access: ReadAccess, wanted: Located, version: number, current: boolean): OpenedCredential {
  const { row, environment } = wanted;
  const stored = vault.credentials.findVersion(access, row.id, version) ?? fail('not_found', 'no such version');
  const opened: OpenedCredential = {
    environment,
    row,
    head: headOf(row, environment, stored),
    prepared: prepareVersion(vault, row, stored, 'value'),
    expiresAtMs: vault.around.clock.now() + LIMITS.dataKeyCacheTtlMs,
  };
  if (current) vault.cache.keep({ ...foundCredential(vault, environment, row), subject: opened, memo: {} });
  return opened;
}

/** Unwraps a version's data key for one of its fields. @throws integrity | key_destroyed | not_found */
export function prepareVersion(
  vault: TenantVault,
  row: CredentialRow,
  stored: VersionRow,
  field: 'value' | 'retained',
): PreparedOpen {
  const sealed = stored[field] ?? fail('not_found', 'this version has no such part');
  return prepareField(...keyAndPlace(vault, row, stored), field, stored.wrapped_key, sealed);
}

/** As `prepareVersion` for both of its fields. @throws integrity | key_destroyed | not_found */
export function prepareWholeVersion(
  vault: TenantVault,
  row: CredentialRow,
  stored: VersionRow,
): Record<'value' | 'retained', PreparedOpen> {
  const { value, retained } = stored;
  if (value === null || retained === null) fail('not_found', 'this version has no such part');
  return prepareFields(...keyAndPlace(vault, row, stored), stored.wrapped_key, { value, retained });
}

/** What a version keeps for the vault alone; nothing where it keeps nothing. @throws integrity | key_destroyed */
export function retainedOf(vault: TenantVault, access: ReadAccess, row: CredentialFacts, version: number): RetainedGrant {
  const stored = vault.credentials.findVersion(access, row.id, version);
  if (stored === undefined || stored.retained === null) return {};
  return fromJsonBytes<RetainedGrant>(prepareVersion(vault, row as CredentialRow, stored, 'retained').open());
}

function keyAndPlace(vault: TenantVault, row: CredentialRow, stored: VersionRow) {
  const { keyring } = vault.core;
  const purpose = purposeOf(row.kind);
  const context = keyring.context(purpose, 'credential_version', row.id, stored.version);
  return [keyring.byId(purpose, stored.key_id), context] as const;
}

const encoder = new TextEncoder();
const CLOSE = 125; // }

function headOf(row: CredentialRow, environment: EnvironmentRow, stored: VersionRow): Uint8Array {
  // Of the current version more may have been learnt since it was stored (rotation/grants/learn-expiry.ts).
  const endsAt = stored.version === row.current_version ? row.value_expires_at : stored.value_expires_at;
  const facts = JSON.stringify({
    id: row.id,
    name: row.name,
    environment: environment.name,
    kind: row.kind,
    version: stored.version,
    version_created_at: toTimestamp(stored.created_at),
    expires_at: endsAt === null ? null : toTimestamp(endsAt),
  });
  return encoder.encode(`${facts.slice(0, -1)},"value":`);
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
