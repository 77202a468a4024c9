// Looks at a live grant through the provider's eyes: what it may do really, and whether its access token still works.
// It must never change a token or a state of health, nor touch customer records; what it finds is told, once.
import type { EventDetails } from '../../src/audit/event.ts';
import { isInForce } from '../../src/base/clock.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { SecretValue } from '../../src/base/secret-value.ts';
import type { WriteAccess } from '../../src/cell/access.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import { configOf, draftOf, saveDraft, saveUnseen } from '../../src/vault/credential.ts';
import { foreignUseOnDeadToken, isWatched, noteForeignUse } from '../../src/vault/foreign-use.ts';
import { changeGrant, grantOf } from '../../src/vault/grant.ts';
import { noteGrantedScope } from '../../src/vault/grant-scopes.ts';
import { foundCredential, type Located } from '../../src/vault/targets.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { findConnector, type OAuthConnector } from '../connector.ts';
import type { DueWorkPorts, EnginePorts, JobPorts } from '../engine/due-work.ts';
import { type CallPoints, callPorts, makeCall } from '../engine/outside-call.ts';
import { inPool } from '../engine/pool.ts';
import { canTell, readGrantedScopes, type ScopeReading } from '../oauth2/granted-scope.ts';
import { askProbe } from '../oauth2/probe.ts';
import { resolvedOrNot } from './disconnect.ts';
import { isLiveGrant } from './grant-forecast.ts';
import { type BoundGrant, openGrant, wipeTokens } from './grant-tokens.ts';

/** A little less than the time between two daily reviews. */
const LOOK_EVERY_MS = LIMITS.reviewEveryMs * 0.8;

/** Looks at each of these in turn, as long as `budgetMs` lasts: the rest has its turn with its next review. Never throws for one of them. */
export async function readGrantedScopesOf(ports: DueWorkPorts, credentialIds: readonly string[]): Promise<void> {
  const { clock } = ports.vault.platform;
  const stopAtMs = clock.now() + LIMITS.providerTimeoutMs;
  await inPool(credentialIds, LIMITS.providerCallsAtOnce, async (id) => {
    if (clock.now() >= stopAtMs) return 'stop';
    // A damaged row is the review's to tell; a vault that closes has no one to tell.
    await readGrantedScope(ports, id).catch(() => {});
    return 'done';
  });
}

interface Look extends BoundGrant {
  readonly located: Located;
  readonly accessToken: SecretValue;
}

/** Reads back what the grant may do, where its connector knows more than the token answer told, and probes an import that is watched. */
export async function readGrantedScope(ports: DueWorkPorts, credentialId: string): Promise<void> {
  const { vault } = ports;
  if (!vault.lookup('review', (lookup, view) => isWorthALook(ports, view.credentials.byId(lookup, credentialId)))) return;
  await makeCall<Look, ScopeReading, void>(callPorts(vault), {
    points: REVIEW_POINTS,
    begin: (job) => {
      const look = begin({ ...ports, job }, credentialId);
      return look === undefined ? { kind: 'stop', as: undefined } : { kind: 'go', attempt: look };
    },
    call: (look) => read(ports, look),
    book: (job, look, reading) => book(job, look, reading),
    release: ({ tokens }) => wipeTokens(tokens),
  });
}

export const REVIEW_POINTS: CallPoints = { before: 'review.before-call', after: 'review.after-call' };

async function read({ vault }: DueWorkPorts, look: Look): Promise<ScopeReading> {
  const { resolved, connector, tokens, egress, accessToken } = look;
  const { client } = tokens;
  const { clock } = vault.platform;
  const reading = await readGrantedScopes(resolved, connector.scopes ?? [], accessToken, client, egress, clock);
  if (reading.verdict !== undefined || resolved.probe === undefined || !isGuarded(look)) return reading;
  const { verdict } = await askProbe(resolved.probe, resolved.hosts, accessToken, egress, client.allowLoopback);
  return { ...reading, verdict };
}

const isGuarded = ({ located }: Look): boolean => grantOf(located.row).importedAt !== undefined;

function isWorthALook(ports: DueWorkPorts, row: CredentialRow): boolean {
  if (!isLiveGrant(row)) return false;
  const now = ports.vault.platform.clock.now();
  if (row.value_expires_at !== null && row.value_expires_at <= now) return false;
  const connector = findConnector(ports.connectors, 'oauth2', row.connector);
  const facts = grantOf(row);
  const since = Math.max(facts.consentedAt ?? 0, facts.importedAt ?? 0);
  if (facts.lookedAt !== undefined && facts.lookedAt >= since && isInForce(facts.lookedAt, facts.lookedAt + LOOK_EVERY_MS, now))
    return false;
  return readsScopes(ports, row, connector) || (isWatched(facts, now) && connector?.probe !== undefined);
}

/** Where workflows say what they need, the answer did not tell what they got, and something else can. */
function readsScopes(ports: EnginePorts, row: CredentialRow, connector: OAuthConnector | undefined): boolean {
  const { workflows = [] } = configOf(row);
  const isTold = grantOf(row).scopeSource === 'answer' && connector?.scopes?.[0]?.from === 'answer';
  if (workflows.length === 0 || isTold || connector?.scopes === undefined) return false;
  const resolved = resolvedOrNot(ports, row);
  return resolved !== undefined && connector.scopes.some((source) => canTell(resolved, source));
}

/** Opens the access token for a question about itself; the event says that it was. */
function begin(ports: JobPorts, credentialId: string): Look | undefined {
  const located = locate(ports.job, credentialId);
  const { row } = located;
  if (!isLiveGrant(row) || resolvedOrNot(ports, row) === undefined) return undefined;
  return enterReview(ports.job, located, (access, details) => {
    details.step = 'looked_at';
    const opened = openGrant(ports, access, row, row.current_version);
    if (opened.kind === 'unusable') return undefined;
    Object.assign(details, opened.grant.moved);
    const { accessToken } = opened.grant.tokens;
    return accessToken === undefined ? undefined : { located, accessToken, ...opened.grant };
  });
}

/** A grant that moved on meanwhile is looked at another time. */
function book(job: TenantJob, look: Look, { granted, verdict }: ScopeReading): void {
  const { row, environment } = locate(job, look.located.row.id);
  if (row.current_version !== look.located.row.current_version || !isLiveGrant(row)) return;
  const now = job.platform.clock.now();
  const sign = verdict === 'rejected' ? foreignUseOnDeadToken(grantOf(row), row.value_expires_at, now) : undefined;
  const next = draftOf(row);
  changeGrant(next, { lookedAt: now });
  const known = grantOf(row);
  const isNew = granted !== undefined && (granted.scope !== known.grantedScope || granted.source !== known.scopeSource);
  if (sign === undefined && !isNew) {
    // Nothing that anyone could see changed: no event.
    job.door.keepBooks('review', (books) => saveUnseen(job, books, environment, next));
    return;
  }
  enterReview(job, { row, environment }, (access, details) => {
    details.step = isNew ? 'scopes_read' : 'token_refused';
    const change = { job, access, draft: next, environment, details };
    if (sign !== undefined) noteForeignUse(change, sign);
    if (granted !== undefined) {
      const noted = { ...granted, alwaysScopes: look.resolved.consent?.alwaysScopes };
      noteGrantedScope(change, noted);
    }
    saveDraft(job, access, environment, next);
  });
}

/** @throws not_found | integrity */
export function locate(job: TenantJob, id: string): Located {
  return job.door.lookup('review', (lookup) => {
    const row = job.credentials.byId(lookup, id);
    return { row, environment: job.credentials.environmentById(lookup, row.environment_id) };
  });
}

/** Enters as the review of grants. */
export function enterReview<T>(job: TenantJob, { row, environment }: Located, effect: (a: WriteAccess, d: EventDetails) => T): T {
  return job.door.enterAsSystem(
    'review',
    'credential.review',
    () => foundCredential(job, environment, row),
    (access, _subject, details) => effect(access, details),
  );
}
