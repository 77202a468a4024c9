// Reviews each grant periodically: stores its end date, and raises an alert 30, 7 and 1 days before, once each.
// It must never warn of a date that the next planned refresh postpones, nor write a row or event without a change.

import { type AlertDetails, type AlertKind, raiseAlert } from '../../src/alerts/raise-alert.ts';
import { toTimestamp } from '../../src/base/clock.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { WriteAccess } from '../../src/cell/access.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import { saveUnseen } from '../../src/vault/credential.ts';
import { changeGrant, type GrantEnd, grantOf } from '../../src/vault/grant.ts';
import { foundCredential } from '../../src/vault/targets.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import type { DueWorkPorts } from '../engine/due-work.ts';
import { daysLeft, type End, type Forecast } from './forecast.ts';
import { type GrantForecast, GrantForecasts, mayEnd } from './grant-forecast.ts';
import { readGrantedScopesOf } from './scope-check.ts';

const DAY_MS = 24 * 60 * 60 * 1_000;

/** Reviews due grants; returns how many. The error of a damaged row is thrown after all were processed. */
export async function reviewDue(ports: DueWorkPorts): Promise<number> {
  const { vault, connectors } = ports;
  const now = vault.platform.clock.now();
  const { due, forecasts } = vault.lookup('review', (lookup, view) => ({
    due: view.forecasts.dueForReview(lookup, now, LIMITS.dueWorkBatchRows),
    forecasts: new GrantForecasts(view, connectors),
  }));
  const ends = await Promise.allSettled(due.map((id) => vault.submit((job) => review(job, forecasts, id))));
  if (due.length > 0) await vault.submit((job) => forgetOldAlerts(job, now));
  await readGrantedScopesOf(ports, due);
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
  return due.length;
}

function forgetOldAlerts(job: TenantJob, now: number): void {
  job.door.keepBooks('purge', (access) => {
    const before = now - LIMITS.alertsKeepMs;
    if (job.platform.clock.isSteady() && job.alerts.hasAlertBefore(access, before))
      job.alerts.purge(access, before, LIMITS.dueWorkBatchRows);
  });
}

function review(job: TenantJob, forecasts: GrantForecasts, id: string): void {
  const now = job.platform.clock.now();
  const { located, next, notices, isBack } = job.door.keepBooks('review', (access) => {
    const row = job.credentials.byId(access, id);
    const environment = job.credentials.environmentById(access, row.environment_id);
    const reviewed = reviewedRow(row, forecasts.of(access, row, now), now, job.platform.entropy.fraction());
    // Only dates changed, so there is no event.
    const isBack = grantOf(row).noticedDays === 0 && grantOf(reviewed.next).noticedDays !== 0;
    if (reviewed.notices.length === 0 && !isBack) saveUnseen(job, access, environment, reviewed.next);
    return { located: { row, environment }, isBack, ...reviewed };
  });
  if (notices.length === 0 && !isBack) return;
  const tell = (access: WriteAccess, kind: AlertKind, told: AlertDetails) =>
    raiseAlert(job, access, { credential: next, environment: located.environment, kind, details: told });
  job.door.enterAsSystem(
    'review',
    'credential.review',
    () => foundCredential(job, located.environment, located.row),
    (access, _subject, details) => {
      if (isBack) {
        details.alert = tell(access, 'credential.ready', { before: 'expired', cause: null, since: toTimestamp(now) });
      }
      for (const { endsAt, cause, certain, remedy } of notices) {
        const ends_at = toTimestamp(endsAt);
        const kind = cause === 'end_date' && endsAt <= now ? 'credential.expired' : 'credential.ends_soon';
        details.alert = tell(access, kind, { ends_at, days_left: daysLeft(endsAt, now), cause, certain, remedy });
        details.cause = cause;
        details.ends_at = ends_at;
      }
      saveUnseen(job, access, located.environment, next);
    },
  );
}

interface Reviewed {
  readonly next: CredentialRow;
  /** The alerts to raise now. */
  readonly notices: readonly End[];
}

/** The row after its review. Its revision is unchanged, because nothing changed that a reader sees. */
function reviewedRow(row: CredentialRow, found: GrantForecast, now: number, fraction: number): Reviewed {
  const next: CredentialRow = { ...row };
  const before = grantOf(row);
  const { forecast } = found;
  // A reconnection plans the next review.
  next.review_due_at = mayEnd(row) ? nextReviewAt(forecast, now, fraction) : null;
  if (!mayEnd(row) || forecast === undefined) {
    forget(next, before);
    return { next, notices: [] };
  }
  const isCapKnown = before.end?.cause === 'token_cap' && row.grant_ends_at !== null;
  // A risk keeps the date at which it was first detected.
  next.grant_ends_at = forecast.cause === 'token_cap' && isCapKnown ? row.grant_ends_at : forecast.endsAt;
  const { reached, notices } = noticesOf(row, forecast, before, now);
  changeGrant(next, { end: { cause: forecast.cause, certain: forecast.certain }, noticedDays: reached });
  const isCapNew = forecast.cause === 'token_cap' && !isCapKnown && found.isOldest;
  return { next, notices: isCapNew ? [forecast, ...notices] : notices };
}

/** `reached`: the smallest notice period before the nearest end that has begun; undefined if none has. */
function noticesOf(row: CredentialRow, forecast: Forecast, before: GrantEnd, now: number) {
  const threat = forecast.all.find((end) => end.cause !== 'token_cap' && !isPutOff(row, end));
  const reached =
    threat === undefined ? undefined : noticeDaysOf(threat).findLast((days) => threat.endsAt - now <= days * DAY_MS);
  const isNew = reached !== undefined && reached < (before.noticedDays ?? Number.POSITIVE_INFINITY);
  return { reached, notices: threat !== undefined && isNew ? [threat] : [] };
}

/** A credential with its own end date also has an alert on the day; the end of a grant changes its health. */
function noticeDaysOf(threat: End | undefined): readonly number[] {
  return threat?.cause === 'end_date' ? [...LIMITS.noticeDays, 0] : LIMITS.noticeDays;
}

function forget(next: CredentialRow, before: GrantEnd): void {
  next.grant_ends_at = null;
  if (before.end !== undefined || before.noticedDays !== undefined) changeGrant(next, { end: undefined, noticedDays: undefined });
}

/** While refreshes succeed, the next one is before the date. */
function isPutOff(row: CredentialRow, end: End): boolean {
  return end.isMovedByRefresh && row.health === 'ready' && row.refresh_due_at !== null && row.refresh_due_at < end.endsAt;
}

/** Daily, and on the days of alerts. @param fraction spreads reviews that started together */
function nextReviewAt(forecast: Forecast | undefined, now: number, fraction: number): number {
  const notices = (forecast?.all ?? []).flatMap(({ endsAt }) => noticeDaysOf(forecast).map((days) => endsAt - days * DAY_MS));
  const daily = now + LIMITS.reviewEveryMs * (1 - fraction / 10);
  return Math.round(Math.min(daily, ...notices.filter((at) => at > now)));
}
