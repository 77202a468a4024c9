// Plans the next refresh and review of a grant: after a put, a refresh, a consent, a learnt expiry and a restoration.
// It must never plan a refresh that cannot be sent, nor a loop of refreshes at a provider that issues expired tokens.
import { LIMITS } from '../base/limits.ts';
import type { CredentialRow } from '../cell/credentials.ts';
import { configOf, type Draft } from './credential.ts';
import type { RetainedGrant } from './credential-kinds.ts';
import { grantOf } from './grant.ts';
import { endsAtOnce, keepAliveAt, type RenewalRules, refreshDueAt } from './refresh-schedule.ts';
import { reviewDueAt } from './review-schedule.ts';
import type { TenantJob } from './tenant-job.ts';

const BY_REFRESH_TOKEN: RenewalRules = { renews: 'refresh_token', idleMs: undefined };

/** How an OAuth grant gets new access tokens. @throws invalid_request naming the setting that the connector refuses | not_rotatable */
export function renewalRules(job: TenantJob, facts: Pick<CredentialRow, 'connector' | 'config'>): RenewalRules {
  if (job.refresher === undefined) return BY_REFRESH_TOKEN;
  return job.refresher.checkSettings(facts.connector ?? '', configOf(facts));
}

function rulesOrDefault(job: TenantJob, row: CredentialRow): RenewalRules {
  try {
    return renewalRules(job, row);
  } catch {
    return BY_REFRESH_TOKEN;
  }
}

export interface Timed {
  readonly expiresAtMs: number | undefined;
  /** JSON of RetainedGrant. */
  readonly retained: Uint8Array | undefined;
}

/** Plans for a value that becomes current now; without `given` rules, by those of the connector, or by default rules if it refuses. */
export function applyTiming(
  job: TenantJob,
  draft: Draft,
  { expiresAtMs, retained }: Timed,
  now: number,
  given?: RenewalRules,
): void {
  draft.value_expires_at = expiresAtMs ?? null;
  draft.refresh_due_at = null;
  draft.review_due_at = reviewDueAt(draft, now);
  if (retained === undefined) return;
  const rules = given ?? rulesOrDefault(job, draft);
  if (rules.renews === 'never' || (rules.renews === 'refresh_token' && !hasRefreshToken(retained))) return;
  if (expiresAtMs === undefined) draft.refresh_due_at = now;
  else if (configOf(draft).refresh === 'on_read') {
    draft.refresh_due_at = keepAliveAt(now, rules.idleMs, job.platform.entropy.fraction());
  } else {
    const brought = grantOf(draft).refreshedAt === now;
    draft.refresh_due_at = brought ? afterHandOut(job, now, expiresAtMs) : aheadOf(job, now, expiresAtMs);
  }
}

/** Plans for a newly learnt expiry of the current token; a planned keep-alive does not change. */
export function applyLearntEnd(job: TenantJob, draft: Draft, endsAtMs: number, now: number): void {
  const { refresh_due_at: planned, value_expires_at: before } = draft;
  draft.value_expires_at = endsAtMs;
  if (planned !== null && planned <= Number(before)) draft.refresh_due_at = afterHandOut(job, now, endsAtMs);
}

function aheadOf(job: TenantJob, now: number, expiresAtMs: number): number {
  return refreshDueAt(now, expiresAtMs, job.platform.entropy.fraction());
}

function afterHandOut(job: TenantJob, now: number, expiresAtMs: number): number {
  return endsAtOnce(now, expiresAtMs) ? now + LIMITS.refreshCoolDownMs : aheadOf(job, now, expiresAtMs);
}

function hasRefreshToken(retained: Uint8Array): boolean {
  return (JSON.parse(new TextDecoder().decode(retained)) as RetainedGrant).refresh_token !== undefined;
}
