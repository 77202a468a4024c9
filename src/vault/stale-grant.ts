// Refuses a read of an OAuth grant whose access token has expired: a refresh is needed, or a new consent.
// It must never refuse a live token, even if its renewal failed.
import { toTimestamp } from '../base/clock.ts';
import { fail, KeyturnError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Lookup } from '../cell/access.ts';
import type { CredentialRow } from '../cell/credentials.ts';
import { ANSWER_LOST, REFUSED_TOO_LONG } from './grant-health.ts';
import { connectionsPath } from './reconnect.ts';
import { readerTriesAt } from './refresh-schedule.ts';
import type { TenantJob } from './tenant-job.ts';

/** The access token has expired and a refresh is needed; the message says why there is none yet. */
export class StaleGrant extends KeyturnError {
  readonly credentialId: string;

  constructor(credentialId: string, why: Staleness) {
    const seconds = Math.max(1, Math.ceil(why.againInMs / 1_000));
    super('provider_unavailable', `the access token has expired: ${textOf(why, seconds)}`, {
      retryAfterSeconds: seconds,
      extra: why.cause === undefined ? {} : { cause: why.cause },
    });
    this.credentialId = credentialId;
  }
}

interface Staleness {
  /** `due`: nothing was sent yet. `under_way`: a refresh is running. `failed`: the last refresh failed. `held`: the provider fails or throttles. */
  readonly kind: 'due' | 'under_way' | 'failed' | 'held';
  readonly againInMs: number;
  readonly cause?: string;
}

function textOf({ kind, cause }: Staleness, seconds: number): string {
  switch (kind) {
    case 'due':
      return 'a refresh is due';
    case 'under_way':
      return 'a refresh is under way';
    case 'failed':
      return `the last refresh failed (${cause}); a read in ${seconds} s or later tries again, a rotation on request tries at once`;
    case 'held':
      return `the provider fails or throttles requests; none is sent for ${seconds} s`;
  }
}

/**
 * INVARIANT: a live access token is served in every state of its renewal; only a disconnected account is refused at once
 * (test/rotation/grants/odd-answers.test.ts).
 */
export function refuseUnusable(job: TenantJob, access: Lookup, row: CredentialRow, environment: string): void {
  const now = job.platform.clock.now();
  const { health, value_expires_at: endsAt } = row;
  const isLive = endsAt !== null && endsAt > now;
  const reconnect = connectionsPath(job.tenant.id, environment, row.name);
  if (health === 'disconnected' || (health === 'needs_consent' && !isLive)) {
    fail('needs_consent', whyDead(row), {
      extra: { health, since: toTimestamp(row.health_since), cause: row.health_cause, reconnect },
    });
  }
  if (isLive) return;
  // A token without an end that is due for a refresh was never fetched.
  if (row.refresh_due_at !== null) throw new StaleGrant(row.id, staleness(job, access, row, now));
  if (endsAt === null) return;
  // No refresh is possible, so the caller must not be told to wait.
  fail('needs_consent', 'the access token has expired and there is no refresh token: connect the account again', {
    extra: { health, since: toTimestamp(endsAt), cause: 'no_refresh_token', reconnect },
  });
}

function staleness(job: TenantJob, access: Lookup, row: CredentialRow, now: number): Staleness {
  const run = job.runs.findOpen(access, row.id);
  if (run === undefined) return { kind: 'due', againInMs: LIMITS.readerRetryMs };
  if (run.lease_owner !== '') return { kind: 'under_way', againInMs: LIMITS.refreshUnderWayAgainMs };
  if (run.cause === null) return { kind: 'due', againInMs: LIMITS.refreshUnderWayAgainMs };
  return { kind: 'failed', againInMs: readerTriesAt(run) - now, cause: run.cause };
}

/** Why a credential that needs consent cannot be used, and what to do. */
export function whyDead(row: CredentialRow): string {
  if (row.health === 'disconnected') return 'the account is disconnected: connect it again';
  if (row.health_cause === 'not_connected_yet')
    return 'the account is not connected yet: create a link and have a person consent';
  return row.health_cause === ANSWER_LOST
    ? 'an answer of the provider was lost: connect the account again, or request a rotation, which tries the stored tokens once more'
    : row.health_cause === REFUSED_TOO_LONG
      ? 'the provider has refused every refresh for longer than a token lives, with an unknown error (see the runs): ' +
        'connect the account again, or request a rotation, which tries the stored tokens once more'
      : 'the grant is dead at the provider: connect the account again';
}
