// Asks the provider about a valid grant: its real scopes, and whether its access token still works. A finding raises one alert.
// It must never change a token or the health, nor access customer records.
import { isInForce } from '../../src/base/clock.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import { configOf, draftOf, saveDraft, saveUnseen } from '../../src/vault/credential.ts';
import { foreignUseOnDeadToken, isWatched, noteForeignUse } from '../../src/vault/foreign-use.ts';
import { changeGrant, grantOf } from '../../src/vault/grant.ts';
import { noteGrantedScope } from '../../src/vault/grant-scopes.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { findConnector, type OAuthConnector } from '../connector.ts';
import type { DueWorkPorts, EnginePorts } from '../engine/due-work.ts';
import { inPool } from '../engine/pool.ts';
import { canTell, readGrantedScopes, type ScopeReading } from '../oauth2/granted-scope.ts';
import { askProbe } from '../oauth2/probe.ts';
import { resolvedOf } from './connector-settings.ts';
import { isLiveGrant } from './grant-forecast.ts';
import { requesterOf } from './grant-tokens.ts';
import { type AskedGrant, askAboutToken, enterReview, locate } from './token-question.ts';

/** Slightly less than the time between two daily reviews. */
const LOOK_EVERY_MS = LIMITS.reviewEveryMs * 0.8;

/** Checks these one after the other within `budgetMs`; the rest is checked with its next review. Does not throw for a single one. */
export async function readGrantedScopesOf(ports: DueWorkPorts, credentialIds: readonly string[]): Promise<void> {
  const { clock } = ports.vault.platform;
  const stopAtMs = clock.now() + LIMITS.providerTimeoutMs;
  await inPool(credentialIds, LIMITS.providerCallsAtOnce, async (id) => {
    if (clock.now() >= stopAtMs) return 'stop';
    // The review reports a damaged row; a closing vault needs no report.
    await readGrantedScope(ports, id).catch(() => {});
    return 'done';
  });
}

/** Reads the granted scopes if the connector has a better source than the token answer, and probes a watched import. */
export async function readGrantedScope(ports: DueWorkPorts, credentialId: string): Promise<void> {
  const { vault } = ports;
  if (!vault.lookup('review', (lookup, view) => isWorthALook(ports, view.credentials.byId(lookup, credentialId)))) return;
  await askAboutToken<ScopeReading>(ports, credentialId, {
    isWorthAsking: (row) => isLiveGrant(row) && resolvedOf(ports.connectors, row) !== undefined,
    ask: (grant) => read(ports, grant),
    book,
  });
}

async function read({ vault }: DueWorkPorts, grant: AskedGrant): Promise<ScopeReading> {
  const { resolved, connector, tokens, egress, accessToken } = grant;
  const requester = requesterOf(grant, vault.platform.clock);
  const reading = await readGrantedScopes(resolved, connector.scopes ?? [], accessToken, requester);
  if (reading.verdict !== undefined || resolved.probe === undefined || !isImported(grant)) return reading;
  const { verdict } = await askProbe(resolved.probe, resolved.hosts, accessToken, egress, tokens.client.allowLoopback);
  return { ...reading, verdict };
}

const isImported = ({ located }: AskedGrant): boolean => grantOf(located.row).importedAt !== undefined;

function isWorthALook(ports: DueWorkPorts, row: CredentialRow): boolean {
  if (!isLiveGrant(row)) return false;
  const now = ports.vault.platform.clock.now();
  if (row.value_expires_at !== null && row.value_expires_at <= now) return false;
  const connector = findConnector(ports.connectors, 'oauth2', row.connector);
  const grant = grantOf(row);
  // A grant is either consented to here or imported.
  const since = grant.consentedAt ?? grant.importedAt ?? 0;
  if (grant.lookedAt !== undefined && grant.lookedAt >= since && isInForce(grant.lookedAt, grant.lookedAt + LOOK_EVERY_MS, now))
    return false;
  return readsScopes(ports, row, connector) || (isWatched(grant, now) && connector?.probe !== undefined);
}

/** If workflows declare scopes, the answer did not contain the granted ones, and another source does. */
function readsScopes(ports: EnginePorts, row: CredentialRow, connector: OAuthConnector | undefined): boolean {
  const { workflows = [] } = configOf(row);
  const isTold = grantOf(row).scopeSource === 'answer' && connector?.scopes?.[0]?.from === 'answer';
  if (workflows.length === 0 || isTold || connector?.scopes === undefined) return false;
  const resolved = resolvedOf(ports.connectors, row);
  return resolved !== undefined && connector.scopes.some((source) => canTell(resolved, source));
}

/** A newer version is checked another time. */
function book(job: TenantJob, asked: AskedGrant, { granted, verdict }: ScopeReading): void {
  const { row, environment } = locate(job, asked.located.row.id);
  if (row.current_version !== asked.located.row.current_version || !isLiveGrant(row)) return;
  const now = job.platform.clock.now();
  const sign = verdict === 'rejected' ? foreignUseOnDeadToken(grantOf(row), row.value_expires_at, now) : undefined;
  const next = draftOf(row);
  changeGrant(next, { lookedAt: now });
  const known = grantOf(row);
  const isNew = granted !== undefined && (granted.scope !== known.grantedScope || granted.source !== known.scopeSource);
  if (sign === undefined && !isNew) {
    // Nothing visible changed: no event.
    job.door.keepBooks('review', (books) => saveUnseen(job, books, environment, next));
    return;
  }
  enterReview(job, { row, environment }, (access, details) => {
    details.step = isNew ? 'scopes_read' : 'token_refused';
    const change = { job, access, draft: next, environment, details };
    if (sign !== undefined) noteForeignUse(change, sign);
    if (granted !== undefined) {
      const noted = { ...granted, alwaysScopes: asked.resolved.consent?.alwaysScopes };
      noteGrantedScope(change, noted);
    }
    saveDraft(job, access, environment, next);
  });
}
