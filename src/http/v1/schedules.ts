// Routes of schedules.
import type { Caller } from '../../access/principals.ts';
import { toTimestamp } from '../../base/clock.ts';
import { fail } from '../../base/errors.ts';
import type { ScheduleRuleRow } from '../../cell/schedules.ts';
import {
  type DescribedSchedule,
  describeSchedule,
  getRule,
  listRules,
  pauseOwnSchedule,
  pauseRule,
  previewSchedule,
  removeRule,
  setOwnSchedule,
  setRule,
} from '../../vault/manage-schedules.ts';
import type { Pause, ScheduleSpec } from '../../vault/schedule.ts';
import type { TenantContext } from '../context.ts';
import { type Answer, type Route, type RouteRequest, route } from '../route.ts';
import * as wire from './wire.ts';

const TENANT = '/v1/tenants/{tenant}';
const RULES = `${TENANT}/schedules`;
const RULE = `${RULES}/{schedule}`;
const OWN = `${TENANT}/environments/{environment}/credentials/{credential}/schedule`;
const tenantField = { tenant: 'tenant' } as const;
const ruleFields = { tenant: 'tenant', schedule: 'name' } as const;
const ownFields = { tenant: 'tenant', environment: 'name', credential: 'credential' } as const;
const tag = 'schedules';
const EXAMPLE = {
  every_seconds: 2_592_000,
  zone: 'Europe/Berlin',
  windows: [{ days: ['mon', 'tue', 'wed', 'thu', 'fri'], from: '02:00', to: '05:00' }],
  blackouts: [{ from: '12-24', to: '01-02' }],
};

const nameIn = (request: RouteRequest): string => request.params['schedule'] ?? '';
const whereOf = ({ params }: RouteRequest) => ({ environment: params['environment'] ?? '', name: params['credential'] ?? '' });
const time = (atMs: number | null): string | null => (atMs === null ? null : toTimestamp(atMs));

function pauseView(pause: Pause | undefined): wire.WireRule['pause'] {
  return pause === undefined ? null : { reason: pause.reason, at: toTimestamp(pause.at), by: pause.by };
}

function ruleView(row: ScheduleRuleRow): wire.WireRule {
  return {
    name: row.name,
    environment: row.environment,
    connector: row.connector,
    label: row.label_name === null ? null : { name: row.label_name, value: row.label_value ?? '' },
    priority: row.priority,
    schedule: JSON.parse(row.spec) as ScheduleSpec,
    pause: pauseView(row.pause === null ? undefined : (JSON.parse(row.pause) as Pause)),
    set_at: toTimestamp(row.set_at),
    created_at: toTimestamp(row.created_at),
    created_by: row.created_by,
    applied: row.walk_after === null,
  };
}

function scheduleView({ located: { row }, applied, next }: DescribedSchedule): wire.WireSchedule {
  return {
    schedule: applied?.spec ?? null,
    source: applied === undefined ? null : applied.rule === undefined ? 'own' : 'rule',
    rule: applied?.rule ?? null,
    pause: pauseView(applied?.pause),
    due_at: time(row.rotation_due_at),
    promised_at: time(row.rotation_promised_at),
    next: next.map(toTimestamp),
  };
}

async function pausedRule({ vault }: TenantContext, request: RouteRequest, reason: string | undefined): Promise<Answer> {
  const row = await vault.submit((job) => pauseRule(job, request.caller, nameIn(request), reason));
  return { status: 200, body: ruleView(row) };
}

async function own(
  { vault }: TenantContext,
  { caller }: { readonly caller: Caller },
  work: (job: Parameters<typeof describeSchedule>[0], by: Caller) => DescribedSchedule,
): Promise<Answer> {
  return { status: 200, body: scheduleView(await vault.submit((job) => work(job, caller))) };
}

const ruleRoutes: readonly Route<TenantContext>[] = [
  route({
    method: 'GET',
    path: RULES,
    summary: 'List the rules that give schedules to credentials',
    tag,
    operation: 'schedule.list',
    fields: tenantField,
    success: { status: 200, description: 'All rules of the tenant, by name', schema: wire.listOf(wire.rule) },
    async handle({ vault }: TenantContext, request) {
      const rows = await vault.submit((job) => listRules(job, request.caller));
      return { status: 200, body: { items: rows.map(ruleView), next_cursor: null } };
    },
  }),
  route({
    method: 'GET',
    path: RULE,
    summary: 'Describe a rule',
    tag,
    operation: 'schedule.list',
    fields: ruleFields,
    success: { status: 200, description: 'The rule', schema: wire.rule },
    async handle({ vault }: TenantContext, request) {
      return { status: 200, body: ruleView(await vault.submit((job) => getRule(job, request.caller, nameIn(request)))) };
    },
  }),
  route({
    method: 'PUT',
    path: RULE,
    summary: 'Create or replace a rule; the most specific rule applies to a credential without a schedule of its own',
    tag,
    operation: 'schedule.set',
    fields: ruleFields,
    body: wire.putRule,
    examples: { rule: { schedule: EXAMPLE, environment: 'production', label: { name: 'tier', value: 'gold' } } },
    success: { status: 200, description: 'The rule', schema: wire.rule, also: { 201: 'The new rule' } },
    async handle({ vault, rotation }: TenantContext, request) {
      const { schedule, ...conditions } = request.body;
      const { connector } = conditions;
      if (connector !== undefined && !rotation.ports.connectors.has(connector))
        fail('invalid_request', 'the connector does not exist: see `keyturn connectors`', { pointer: '/connector' });
      const input = { ...conditions, name: nameIn(request), spec: schedule };
      const { created, row } = await vault.submit((job) =>
        setRule(job, request.caller, {
          name: input.name,
          environment: input.environment,
          connector: input.connector,
          label: input.label,
          priority: input.priority,
          spec: input.spec,
        }),
      );
      return { status: created ? 201 : 200, body: ruleView(row) };
    },
  }),
  route({
    method: 'DELETE',
    path: RULE,
    summary: 'Remove a rule; the credentials that it covered are planned by another one, or no more',
    tag,
    operation: 'schedule.remove',
    fields: ruleFields,
    success: { status: 200, description: 'The removed rule', schema: wire.rule },
    async handle({ vault }: TenantContext, request) {
      return { status: 200, body: ruleView(await vault.submit((job) => removeRule(job, request.caller, nameIn(request)))) };
    },
  }),
  route({
    method: 'PUT',
    path: `${RULE}/pause`,
    summary: 'Pause a rule: no rotation of its credentials begins by schedule',
    tag,
    operation: 'schedule.set',
    fields: ruleFields,
    body: wire.putPause,
    success: { status: 200, description: 'The rule', schema: wire.rule },
    handle: (context: TenantContext, request) => pausedRule(context, request, request.body.reason),
  }),
  route({
    method: 'DELETE',
    path: `${RULE}/pause`,
    summary: 'Resume a rule; what became due meanwhile is spread over its catch-up time',
    tag,
    operation: 'schedule.set',
    fields: ruleFields,
    success: { status: 200, description: 'The rule', schema: wire.rule },
    handle: (context: TenantContext, request) => pausedRule(context, request, undefined),
  }),
  route({
    method: 'POST',
    path: `${TENANT}/previews`,
    summary: 'The next dates of a schedule that is not stored, for a value made now',
    tag,
    operation: 'schedule.list',
    fields: tenantField,
    body: wire.putSchedule,
    success: { status: 200, description: 'The dates', schema: wire.preview },
    async handle({ vault }: TenantContext, request) {
      const dates = await vault.submit((job) => previewSchedule(job, request.caller, request.body.schedule));
      return { status: 200, body: { next: dates.map(toTimestamp) } };
    },
  }),
];

const ownRoutes: readonly Route<TenantContext>[] = [
  route({
    method: 'GET',
    path: OWN,
    summary: 'The schedule that applies to a credential, where it comes from, and its next dates',
    tag,
    operation: 'credential.describe',
    fields: ownFields,
    success: { status: 200, description: 'The schedule', schema: wire.schedule },
    handle: (context: TenantContext, request) => own(context, request, (job, by) => describeSchedule(job, by, whereOf(request))),
  }),
  route({
    method: 'PUT',
    path: OWN,
    summary: 'Give a credential a schedule of its own, which applies before every rule',
    tag,
    operation: 'credential.schedule',
    fields: ownFields,
    body: wire.putSchedule,
    examples: { own: { schedule: EXAMPLE } },
    success: { status: 200, description: 'The schedule', schema: wire.schedule },
    handle: (context: TenantContext, request) =>
      own(context, request, (job, by) => setOwnSchedule(job, by, whereOf(request), request.body.schedule)),
  }),
  route({
    method: 'DELETE',
    path: OWN,
    summary: "Remove a credential's own schedule, so that a rule may apply",
    tag,
    operation: 'credential.schedule',
    fields: ownFields,
    success: { status: 200, description: 'The schedule that applies now', schema: wire.schedule },
    handle: (context: TenantContext, request) =>
      own(context, request, (job, by) => setOwnSchedule(job, by, whereOf(request), undefined)),
  }),
  route({
    method: 'PUT',
    path: `${OWN}/pause`,
    summary: 'Pause the schedule of a credential, wherever it comes from',
    tag,
    operation: 'credential.schedule',
    fields: ownFields,
    body: wire.putPause,
    success: { status: 200, description: 'The schedule', schema: wire.schedule },
    handle: (context: TenantContext, request) =>
      own(context, request, (job, by) => pauseOwnSchedule(job, by, whereOf(request), request.body.reason)),
  }),
  route({
    method: 'DELETE',
    path: `${OWN}/pause`,
    summary: 'Resume the schedule of a credential',
    tag,
    operation: 'credential.schedule',
    fields: ownFields,
    success: { status: 200, description: 'The schedule', schema: wire.schedule },
    handle: (context: TenantContext, request) =>
      own(context, request, (job, by) => pauseOwnSchedule(job, by, whereOf(request), undefined)),
  }),
  route({
    method: 'POST',
    path: `${OWN}/previews`,
    summary: 'The next dates of a credential with a schedule that is not stored',
    tag,
    operation: 'credential.describe',
    fields: ownFields,
    body: wire.putSchedule,
    success: { status: 200, description: 'The dates', schema: wire.preview },
    async handle({ vault }: TenantContext, request) {
      const found = await vault.submit((job) => describeSchedule(job, request.caller, whereOf(request), request.body.schedule));
      return { status: 200, body: { next: found.next.map(toTimestamp) } };
    },
  }),
];

export const scheduleRoutes: readonly Route<TenantContext>[] = [...ruleRoutes, ...ownRoutes];
