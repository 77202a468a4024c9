// Routes of what is due, as a list and as a calendar feed, and of the feeds.
import { daysLeft } from '../../../rotation/grants/forecast.ts';
import { type DueEntry, dueForCalendar, readDue } from '../../../rotation/grants/read-due.ts';
import { toTimestamp } from '../../base/clock.ts';
import type { CalendarFeedRow } from '../../cell/schedules.ts';
import { createFeed, listFeeds, readFeed, revokeFeed } from '../../vault/calendar-feeds.ts';
import { healthNow } from '../../vault/end-date.ts';
import type { TenantContext } from '../context.ts';
import { openCursor, pageAnswer } from '../cursor.ts';
import { type CalendarEvent, icalendar } from '../icalendar.ts';
import { once } from '../idempotency.ts';
import { type Route, route } from '../route.ts';
import * as wire from './wire.ts';

const TENANT = '/v1/tenants/{tenant}';
const FEEDS = `${TENANT}/feeds`;
const tenantField = { tenant: 'tenant' } as const;
const tag = 'schedules';

function dueView(entry: DueEntry, nowMs: number): wire.WireDueEntry {
  const { environment, row } = entry.what === 'end' ? entry.end : entry.rotation;
  const dueAt = entry.what === 'end' ? entry.end.forecast.endsAt : entry.rotation.promisedAt;
  return {
    id: row.id,
    environment: environment.name,
    name: row.name,
    kind: row.kind,
    connector: row.connector,
    what: entry.what,
    due_at: toTimestamp(dueAt),
    overdue: dueAt <= nowMs,
    days_left: dueAt <= nowMs ? -daysLeft(nowMs, dueAt) : daysLeft(dueAt, nowMs),
    ...(entry.what === 'end' ? endFacts(entry.end, nowMs) : rotationFacts(entry.rotation, dueAt <= nowMs)),
  };
}

type Facts = Pick<wire.WireDueEntry, 'cause' | 'certain' | 'state' | 'remedy'>;

function endFacts({ row, forecast }: Extract<DueEntry, { what: 'end' }>['end'], nowMs: number): Facts {
  const { cause, certain, remedy } = forecast;
  return { cause, certain, remedy, state: healthNow(row, nowMs).state };
}

function rotationFacts({ applied, step }: Extract<DueEntry, { what: 'rotation' }>['rotation'], isOverdue: boolean): Facts {
  const state = applied?.pause !== undefined ? 'paused' : (step ?? 'planned');
  const remedy =
    state === 'paused'
      ? `Resume its schedule, or rotate it on request; it is paused: ${applied?.pause?.reason ?? ''}`
      : state === 'needs_manual'
        ? 'Look at its run and remove the cause; it then continues by itself within an hour, or after a request.'
        : isOverdue
          ? 'Look at its run; it is tried again by itself.'
          : 'Nothing: it is rotated by its schedule.';
  return { cause: applied?.rule === undefined ? 'schedule' : `rule ${applied.rule}`, certain: true, state, remedy };
}

function eventOf(entry: wire.WireDueEntry): CalendarEvent {
  const what = entry.what === 'rotation' ? 'Rotation' : 'End';
  const late = entry.overdue ? 'OVERDUE: ' : '';
  return {
    uid: `${entry.id}-${entry.what}@keyturn`,
    startsAt: Date.parse(entry.due_at),
    summary: `${late}${what} of ${entry.name} (${entry.environment})`,
    description: `${entry.remedy}\nCause: ${entry.cause}. State: ${entry.state}. Connector: ${entry.connector ?? entry.kind}.`,
    categories: [entry.what, entry.environment],
  };
}

function feedView(row: CalendarFeedRow): wire.WireFeed {
  return { id: row.id, created_at: toTimestamp(row.created_at), created_by: row.created_by };
}

export const dueRoutes: readonly Route<TenantContext>[] = [
  route({
    method: 'GET',
    path: `${TENANT}/due`,
    summary: 'What is due: rotations by schedule, and the ends of the forecast, overdue first',
    tag,
    operation: 'due.read',
    fields: tenantField,
    query: wire.listDue,
    success: { status: 200, description: 'A page of what is due', schema: wire.listOf(wire.dueEntry) },
    async handle({ vault, rotation, cursorKey }: TenantContext, request) {
      const { cursor, limit, environment, within_days: withinDays } = request.query;
      const scope = `due/${vault.tenant.id}/${environment ?? ''}`;
      const page = await vault.submit((job) => {
        job.door.authenticate(request.caller);
        const after = cursor === undefined ? '' : openCursor(cursorKey, scope, cursor);
        const input = { environment, withinDays, after, maxRows: limit };
        return readDue(job, rotation.ports.connectors, request.caller, input);
      });
      const now = vault.platform.clock.now();
      return pageAnswer(cursorKey, scope, page, (entry) => dueView(entry, now));
    },
  }),
  route({
    method: 'GET',
    path: `${TENANT}/due.ics`,
    summary: 'What is due as a calendar (RFC 5545), for the holder of the key of a feed',
    tag,
    operation: 'public',
    fields: tenantField,
    query: wire.feedQuery,
    success: { status: 200, description: 'The calendar', mediaTypes: ['text/calendar'] },
    async handle({ vault, rotation }: TenantContext, request) {
      const { feed, key } = request.query;
      const now = vault.platform.clock.now();
      const entries = await vault.submit((job) =>
        readFeed(job, feed, key, (access) => dueForCalendar(job, rotation.ports.connectors, access)),
      );
      const events = entries.map((entry) => eventOf(dueView(entry, now)));
      const body = icalendar({ name: `Keyturn ${vault.tenant.name}`, madeAt: now, events });
      return { status: 200, body, headers: { 'content-type': 'text/calendar; charset=utf-8' } };
    },
  }),
  route({
    method: 'GET',
    path: FEEDS,
    summary: 'List calendar feeds, without their keys',
    tag,
    operation: 'feed.list',
    fields: tenantField,
    success: { status: 200, description: 'All feeds of the tenant', schema: wire.listOf(wire.feed) },
    async handle({ vault }: TenantContext, request) {
      const rows = await vault.submit((job) => listFeeds(job, request.caller));
      return { status: 200, body: { items: rows.map(feedView), next_cursor: null } };
    },
  }),
  route({
    method: 'POST',
    path: FEEDS,
    summary: 'Create a calendar feed: a URL that shows what is due to whoever has it; shown once',
    tag,
    operation: 'feed.create',
    fields: tenantField,
    body: wire.empty,
    secret: true,
    idempotent: true,
    success: { status: 201, description: 'The feed and its URL', schema: wire.createdFeed },
    handle: ({ vault, publicUrl }: TenantContext, request) =>
      once(vault, 'feed.create', request, (job) => {
        const { row, key } = createFeed(job, request.caller);
        const path = `/v1/tenants/${vault.tenant.id}/due.ics?feed=${row.id}`;
        const url = key.reveal((bytes) => `${publicUrl}${path}&key=${new TextDecoder().decode(bytes)}`);
        return { status: 201, body: { ...feedView(row), url } };
      }),
  }),
  route({
    method: 'DELETE',
    path: `${FEEDS}/{feed}`,
    summary: 'Revoke a calendar feed; its URL shows nothing any more',
    tag,
    operation: 'feed.revoke',
    fields: { tenant: 'tenant', feed: 'feed' },
    success: { status: 200, description: 'The revoked feed', schema: wire.feed },
    async handle({ vault }: TenantContext, request) {
      const row = await vault.submit((job) => revokeFeed(job, request.caller, request.params['feed'] ?? ''));
      return { status: 200, body: feedView(row) };
    },
  }),
];
