// Calendar feeds: a URL with a key of its own that shows what is due, and nothing else. The key is derived, never stored, and shown once.
// It must never accept a key of a revoked feed, nor let its holder learn anything beside the list.
import type { Caller } from '../access/principals.ts';
import { fail, KeyturnError } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import { SecretValue } from '../base/secret-value.ts';
import type { Lookup, ReadAccess } from '../cell/access.ts';
import type { CalendarFeedRow } from '../cell/schedules.ts';
import { FrameWriter } from '../crypto/framing.ts';
import { hmacSha256 } from '../crypto/primitives.ts';
import { equalBytes } from '../crypto/token.ts';
import { tenantTarget } from './targets.ts';
import type { TenantJob } from './tenant-job.ts';

export interface CreatedFeed {
  readonly row: CalendarFeedRow;
  /** 43 characters of base64url. */
  readonly key: SecretValue;
}

/** @throws conflict when the tenant has the maximum number of feeds */
export function createFeed(job: TenantJob, caller: Caller): CreatedFeed {
  return job.door.enter(
    caller,
    'feed.create',
    () => ({ ...tenantTarget(job), target: { type: 'feed' } }),
    (access, _subject, details) => {
      if (job.feeds.live(access).length >= LIMITS.calendarFeedsMaxCount)
        fail('conflict', `a tenant may have at most ${LIMITS.calendarFeedsMaxCount} calendar feeds: revoke one first`);
      const row: CalendarFeedRow = {
        id: newId('feed', job.platform.entropy),
        created_at: job.platform.clock.now(),
        created_by: access.principalId,
        revoked_at: null,
      };
      job.feeds.insert(access, row);
      details.feed = row.id;
      const bytes = keyOf(job, row.id);
      const key = SecretValue.fromText(Buffer.from(bytes).toString('base64url'));
      bytes.fill(0);
      return { row, key };
    },
  );
}

/** Without revoked ones, oldest first. */
export function listFeeds(job: TenantJob, caller: Caller): CalendarFeedRow[] {
  return job.door.enter(
    caller,
    'feed.list',
    () => ({ ...tenantTarget(job), target: { type: 'feeds' } }),
    (access, _subject, details) => {
      const rows = job.feeds.live(access);
      details.count = rows.length;
      return rows;
    },
  );
}

/** @throws not_found also for a revoked one */
export function revokeFeed(job: TenantJob, caller: Caller, id: string): CalendarFeedRow {
  return job.door.enter(
    caller,
    'feed.revoke',
    (lookup) => feedTarget(job, lookup, id),
    (access, row, details) => {
      details.feed = row.id;
      job.feeds.revoke(access, row, job.platform.clock.now());
      return row;
    },
  );
}

function feedTarget(job: TenantJob, lookup: Lookup, id: string) {
  return {
    resource: { type: 'Tenant' as const, tenant: job.tenant.id },
    target: { type: 'feed', id },
    subject: job.feeds.find(lookup, id),
  };
}

/**
 * Runs `read` for the holder of the feed's key. SECURITY: an unknown feed takes the same work as a wrong key, and the comparison takes
 * constant time (LK-10). @throws unauthenticated for every kind of bad feed or key
 */
export function readFeed<T>(job: TenantJob, id: string, key: string, read: (access: ReadAccess) => T): T {
  const bytes = keyOf(job, id);
  const matches = equalBytes(bytes, Buffer.from(key, 'base64url'));
  bytes.fill(0);
  const isLive = job.door.lookup('calendar-feed', (lookup) => job.feeds.find(lookup, id)) !== undefined;
  if (!matches || !isLive) throw refusedFeed();
  return job.door.enterAsSystem(
    'calendar-feed',
    'feed.read',
    (lookup) => feedTarget(job, lookup, id),
    (access, _row, details) => {
      details.feed = id;
      return read(access);
    },
  );
}

/** The same answer for an unknown or revoked feed, a wrong key, and a tenant that does not exist. */
export function refusedFeed(): KeyturnError {
  return new KeyturnError('unauthenticated', 'the feed or its key is unknown or revoked');
}

function keyOf(job: TenantJob, id: string): Uint8Array {
  const context = new FrameWriter().text('keyturn-calendar-feed-v1').text(job.tenant.id).text(id);
  return hmacSha256(job.platform.root.subkey('webhook'), context.peek());
}
