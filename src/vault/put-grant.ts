// What a put of an OAuth grant says of it beside its tokens: whether it is the grant that was here, where it comes from, what it may do.
// It must never keep what was learnt of another grant.
import type { EventDetails } from '../audit/event.ts';
import { KeyturnError } from '../base/errors.ts';
import type { WriteAccess } from '../cell/access.ts';
import type { CredentialFacts, CredentialRow } from '../cell/credentials.ts';
import { fromJsonBytes, type RetainedGrant } from './credential-kinds.ts';
import { changeGrantFacts, grantFacts } from './grant-facts.ts';
import { grantFingerprint } from './grant-fingerprint.ts';
import { changeHealth } from './grant-health.ts';
import { noteGrantedScope } from './grant-scopes.ts';
import { noteSign, signOnPut } from './import-guard.ts';
import type { GrantImport } from './put-credential.ts';
import { prepareVersion } from './read-credential.ts';
import type { TenantVault } from './tenant-vault.ts';

interface PutTarget {
  /** To be saved; its version is the new one already. */
  readonly facts: CredentialFacts;
  /** As it was; undefined for a new credential. */
  readonly before: CredentialRow | undefined;
  readonly environment: string;
}

interface PutGrant {
  readonly value: { readonly refresh_token?: string | undefined; readonly scope?: string | undefined };
  readonly imported: GrantImport | undefined;
  readonly alwaysScopes: readonly string[] | undefined;
}

/** Changes `facts` in place and raises what must be told. Inside a job. */
export function notePutGrant(
  vault: TenantVault,
  access: WriteAccess,
  { facts, before, environment }: PutTarget,
  { value, imported, alwaysScopes }: PutGrant,
  details: EventDetails,
): void {
  const now = vault.around.clock.now();
  const old = before === undefined ? undefined : refreshTokenOf(vault, access, before);
  const isSame = old !== undefined && old === value.refresh_token;
  if (before !== undefined && !isSame) forgetGrant(facts);
  const fingerprint = value.refresh_token === undefined ? undefined : grantFingerprint(vault, value.refresh_token);
  if (!isSame) changeGrantFacts(facts, { fingerprint });
  if (before !== undefined) {
    const { revocation } = grantFacts(before);
    // A waiting revocation is about the version that was disconnected: it goes on, unless these are its very tokens.
    changeGrantFacts(facts, { revocation: revocation?.state === 'waiting' ? revocation : undefined });
    facts.health = before.health;
    changeHealth(vault, access, facts, environment, 'ready', null);
  }
  if (imported !== undefined) {
    changeGrantFacts(facts, {
      importedAt: now,
      importedFrom: imported.from,
      stillUsedThere: imported.stillUsedThere ? true : undefined,
    });
  }
  const sign = before === undefined || old === undefined ? undefined : signOnPut(before, isSame, now);
  if (sign !== undefined) noteSign(vault, access, facts, environment, sign, details);
  noteGrantedScope(vault, access, facts, environment, { scope: value.scope, source: 'answer', alwaysScopes }, details);
}

/** A sign of another refresher stays until a person consents. */
function forgetGrant(facts: CredentialFacts): void {
  changeGrantFacts(facts, {
    consentedAt: undefined,
    refreshedAt: undefined,
    refreshTokenExpiresAt: undefined,
    grantedScope: undefined,
    scopeSource: undefined,
    lookedAt: undefined,
    scopesTold: undefined,
    account: undefined,
    fingerprint: undefined,
    end: undefined,
    noticedDays: undefined,
  });
}

function refreshTokenOf(vault: TenantVault, access: WriteAccess, row: CredentialRow): string | undefined {
  const stored = vault.credentials.findVersion(access, row.id, row.current_version);
  if (stored === undefined || stored.retained === null) return undefined;
  try {
    return fromJsonBytes<RetainedGrant>(prepareVersion(vault, row, stored, 'retained').open()).refresh_token;
  } catch (error) {
    // A damaged version must not stand in the way of the put that mends it.
    if (error instanceof KeyturnError) return undefined;
    throw error;
  }
}
