// Stores a consented grant in its credential: same id and history, a new version, current at once.
// It must never be used before it is stored, nor be overwritten by an answer for an older grant.

import type { EventDetails } from '../../../src/audit/event.ts';
import type { SecretValue } from '../../../src/base/secret-value.ts';
import type { WriteAccess } from '../../../src/cell/access.ts';
import type { CredentialRow, EnvironmentRow } from '../../../src/cell/credentials.ts';
import { cancelOpenRun } from '../../../src/vault/cancel-run.ts';
import { type CredentialChange, changeCredential, type Draft, newDraft, saveDraft } from '../../../src/vault/credential.ts';
import {
  type BoundSettings,
  fromJsonBytes,
  jsonBytes,
  type OAuth2Config,
  type RetainedGrant,
  type ServedGrant,
  type SplitValue,
} from '../../../src/vault/credential-kinds.ts';
import { boundSettings, redirection, tellRedirected } from '../../../src/vault/destinations.ts';
import { applyTiming } from '../../../src/vault/due.ts';
import { changeGrant, grantOf, replaceGrant } from '../../../src/vault/grant.ts';
import { grantFingerprint } from '../../../src/vault/grant-fingerprint.ts';
import { changeHealth } from '../../../src/vault/grant-health.ts';
import { noteGrantedScope } from '../../../src/vault/grant-scopes.ts';
import { noteAccount } from '../../../src/vault/note-account.ts';
import type { TenantJob } from '../../../src/vault/tenant-job.ts';
import { prepareVersion, retainedOf, storeVersion } from '../../../src/vault/versions.ts';
import type { Refreshed } from '../../oauth2/answer.ts';
import { text } from '../../oauth2/client-request.ts';
import type { Consent } from './request.ts';

export interface NewCredential {
  readonly name: string;
  readonly connector: string;
  readonly config: OAuth2Config;
  readonly labels: Readonly<Record<string, string>> | undefined;
  readonly description: string | undefined;
}

/** A credential before its first consent; the caller inserts it with its first version. */
export function unconnectedCredential(
  job: TenantJob,
  access: WriteAccess,
  environment: EnvironmentRow,
  asked: NewCredential,
): CredentialRow {
  const draft = newDraft(job, access, environment, { ...asked, kind: 'oauth2' });
  return { ...draft, revision: 1, health: 'needs_consent', health_cause: 'not_connected_yet' };
}

/** The client credentials of this consent, with the settings they are bound to. */
function consentSecrets(job: TenantJob, access: WriteAccess, { located, version }: Consent): RetainedGrant {
  const { refresh_token: _spent, settings: _of, ...secrets } = retainedOf(job, access, located.row, version);
  return secrets;
}

/** The result of a consent. */
export interface Consented {
  readonly outcome: Refreshed;
  /** Scopes that the connector requires. */
  readonly alwaysScopes: readonly string[];
  /** OAuth2Spec.accountId */
  readonly accountId: string | undefined;
  /** Parameters that each consent supplies. */
  readonly open: ReadonlySet<string>;
}

/** Stores the grant as the next version; ends older runs, and clears the risks and plans of the old grant. */
export function storeConsented(
  job: TenantJob,
  access: WriteAccess,
  consent: Consent,
  consented: Consented,
  details: EventDetails,
): CredentialRow {
  const { located, request, config, connector } = consent;
  const { outcome } = consented;
  const { environment, row } = located;
  const now = job.platform.clock.now();
  // RFC 6749 section 5.1: without a scope in the answer, the requested one is granted.
  const scope = outcome.scope ?? (request.scopes.length === 0 ? undefined : request.scopes.join(' '));
  const settings = boundSettings(job, { connector, config: JSON.stringify(config) });
  const split = splitConsented(job, access, consent, outcome, { scope, settings });
  const next = nextVersion(consent, now);
  noteConsented({ job, access, draft: next, environment, details }, consented, scope);
  applyTiming(job, next, split, now);
  // A token without an expiry is not due; a refresh would only use up the new refresh token.
  if (outcome.expiresAtMs === undefined) next.refresh_due_at = null;
  cancelOpenRun(job, access, next, 'superseded');
  storeVersion(job, access, next, split, { origin: 'consent', runId: null });
  const stored = saveDraft(job, access, environment, next);
  const before = boundSettings(job, row);
  const moved =
    before === undefined || settings === undefined ? undefined : redirection(job, row.kind, before, settings, consented.open);
  if (moved !== undefined) {
    Object.assign(details, moved);
    tellRedirected(job, access, stored, moved);
  }
  return next;
}

function splitConsented(
  job: TenantJob,
  access: WriteAccess,
  consent: Consent,
  outcome: Refreshed,
  { scope, settings }: { readonly scope: string | undefined; readonly settings: BoundSettings | undefined },
): SplitValue {
  const refreshToken = outcome.refreshToken === undefined ? undefined : text(outcome.refreshToken);
  const secrets = consentSecrets(job, access, consent);
  return {
    value: jsonBytes(servedOf(outcome, scope)),
    retained: jsonBytes({ ...secrets, refresh_token: refreshToken, settings } satisfies RetainedGrant),
    expiresAtMs: outcome.expiresAtMs,
  };
}

function nextVersion({ located: { row }, request, config, connector }: Consent, now: number): Draft {
  const version = row.latest_version + 1;
  return {
    ...row,
    connector,
    config: JSON.stringify(config),
    previous_version: row.current_version,
    current_version: version,
    latest_version: version,
    pending_version: row.pending_version === request.secretVersion ? null : row.pending_version,
    grant_ends_at: null,
    review_due_at: now,
  };
}

/** The facts about the grant from the consent. @param scope separated by spaces */
function noteConsented(
  change: CredentialChange,
  { outcome, alwaysScopes, accountId }: Consented,
  scope: string | undefined,
): void {
  const { job, draft } = change;
  const now = job.platform.clock.now();
  replaceGrant(draft, {
    consentedAt: now,
    refreshedAt: now,
    importedAt: undefined,
    importedFrom: undefined,
    stillUsedThere: undefined,
    guard: undefined,
    refreshTokenExpiresAt: outcome.refreshTokenExpiresAtMs,
    account: Object.keys(outcome.account).length === 0 ? undefined : outcome.account,
    fingerprint: outcome.refreshToken === undefined ? undefined : grantFingerprint(job, text(outcome.refreshToken)),
  });
  changeHealth(change, 'ready', null);
  noteAccount(change, accountId, outcome.account);
  noteGrantedScope(change, { scope, source: 'answer', alwaysScopes });
}

/** Stores the person's choice; the grant itself is unchanged. @param chosen the account field and its value */
export function storeChosen(
  job: TenantJob,
  access: WriteAccess,
  { located: { environment, row } }: Consent,
  chosen: { readonly field: string; readonly id: string },
  details: EventDetails,
): void {
  const account = { ...grantOf(row).account, [chosen.field]: chosen.id };
  changeCredential(job, access, { environment, row }, (draft) => {
    const change: CredentialChange = { job, access, draft, environment, details };
    changeGrant(draft, { account });
    noteAccount(change, chosen.field, account);
    if (draft.health_cause === 'account_not_chosen') changeHealth(change, 'ready', null);
    // INVARIANT: no version may be added during a refresh, or its answer would count as superseded and be lost; the refresh
    // takes the account from the facts (test/rotation/grants/consent/choose-account.test.ts).
    if (job.runs.findOpen(access, draft.id) === undefined) serveAccount(job, access, draft, account);
  });
}

function serveAccount(job: TenantJob, access: WriteAccess, next: CredentialRow, account: Readonly<Record<string, string>>): void {
  const stored = job.credentials.findVersion(access, next.id, next.current_version);
  if (stored === undefined) return;
  const served = fromJsonBytes<ServedGrant>(prepareVersion(job, next, stored, 'value').open());
  const retained = retainedOf(job, access, next, next.current_version);
  next.previous_version = next.current_version;
  next.latest_version += 1;
  next.current_version = next.latest_version;
  const split = {
    value: jsonBytes({ ...served, account } satisfies ServedGrant),
    retained: jsonBytes(retained),
    expiresAtMs: stored.value_expires_at ?? undefined,
  };
  storeVersion(job, access, next, split, { origin: 'consent', runId: null });
}

function servedOf(outcome: Refreshed, scope: string | undefined): ServedGrant {
  const bytes: SecretValue = outcome.accessToken;
  return {
    access_token: text(bytes),
    token_type: outcome.tokenType,
    scope,
    ...(Object.keys(outcome.account).length === 0 ? {} : { account: outcome.account }),
  };
}
