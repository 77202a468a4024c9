// The closed list of operations. Each is one Cedar action, one audit action and one entry in guard.ts.
// An operation that is not listed here cannot pass the door.

/** The type of resource that an operation acts on; the Cedar entity type of the same name. */
export type ResourceType = 'Installation' | 'Tenant' | 'Environment' | 'Credential' | 'Workload' | 'AuditLog' | 'TenantKey';

/** `step-up`: a fresh second factor (RFC 9470). `approval`: a second person (DESIGN D10, commitment X5). */
export type Need = 'nothing' | 'step-up' | 'approval';

export interface OperationSpec<W extends boolean = boolean> {
  readonly resource: ResourceType;
  /** True when it changes state; such an operation runs in its own savepoint. */
  readonly writes: W;
  /** What a user needs beyond the role. Workloads have no second factor: their token is bound to scope, network and expiry instead. */
  readonly userNeeds: Need;
}

const read = (resource: ResourceType, userNeeds: Need = 'nothing'): OperationSpec<false> => ({
  resource,
  writes: false,
  userNeeds,
});
const write = (resource: ResourceType, userNeeds: Need = 'nothing'): OperationSpec<true> => ({
  resource,
  writes: true,
  userNeeds,
});

const TABLE = {
  // the installation (home cell)
  'installation.setup': write('Installation'),
  'installation.metrics': read('Installation'),
  'installation.audit.read': read('Installation'),
  'installation.keys.list': read('Installation'),
  'installation.keys.rotate': write('Installation'),
  // Known hole: it needs no second factor until users have one; then it becomes 'step-up'.
  'root.rotate': write('Installation'),
  'user.list': read('Installation'),
  'user.create': write('Installation'),
  'user.offboard': write('Installation'),
  'user.enrol': write('Installation'),
  'user.token.create': write('Installation'),
  'user.token.revoke': write('Installation'),
  'tenant.list': read('Installation'),
  'tenant.create': write('Installation'),
  'tenant.read': read('Tenant'),
  'tenant.erase': write('Tenant', 'approval'),
  // inside a tenant
  'environment.list': read('Tenant'),
  'environment.create': write('Tenant'),
  'forecast.read': read('Tenant'),
  'schedule.list': read('Tenant'),
  'schedule.set': write('Tenant'),
  'schedule.remove': write('Tenant'),
  // What is due: rotations by schedule and end dates. A calendar feed reads the same list.
  'due.read': read('Tenant'),
  'feed.list': read('Tenant'),
  'feed.create': write('Tenant'),
  'feed.revoke': write('Tenant'),
  'feed.read': read('Tenant'),
  'alert.list': read('Tenant'),
  'webhook.list': read('Tenant'),
  'webhook.create': write('Tenant'),
  'webhook.delete': write('Tenant'),
  'webhook.deliver': write('Tenant'),
  'credential.list': read('Environment'),
  'credential.describe': read('Credential'),
  'credential.read': read('Credential', 'step-up'),
  'credential.put': write('Credential'),
  // Changes the hosts that a credential's secrets are sent to; required beside the put or link that brings the new secrets.
  // Known hole: it needs no second factor until users have one; then it becomes 'step-up' (D14).
  'credential.redirect': write('Credential'),
  // Lets a credential manage another one at its target: required beside the put that names it.
  'credential.appoint': write('Credential'),
  'credential.label': write('Credential'),
  'credential.rollback': write('Credential'),
  'credential.delete': write('Credential'),
  'credential.restore': write('Credential'),
  'credential.destroy': write('Credential', 'approval'),
  'credential.rotate': write('Credential'),
  // Changes when a credential is rotated, or pauses that.
  'credential.schedule': write('Credential'),
  // Lets a rotation run in production although its configuration was not tried in staging; required beside the rotation, of owners only.
  // Known hole: it needs no second person until there are approvals; then it becomes 'approval' (R6).
  'staging.skip': write('Credential'),
  'credential.disconnect': write('Credential'),
  'credential.revoke': write('Credential'),
  'credential.review': write('Credential'),
  'connection.list': read('Credential'),
  'connection.create': write('Credential'),
  'connection.cancel': write('Credential'),
  'connection.complete': write('Credential'),
  'run.read': read('Credential'),
  'reader.list': read('Credential'),
  // Asks for the newest value: refreshes a grant, or settles a rotation in doubt, before the read.
  'credential.freshen': write('Credential'),
  'workload.list': read('Workload'),
  // Known hole: a user who may create a workload or its token can read values through it that their own role may not read. Each use is
  // an event; once users have second factors, these become 'step-up'.
  'workload.create': write('Workload'),
  'workload.revoke': write('Workload'),
  'workload.secret.create': write('Workload'),
  'token.exchange': write('Workload'),
  'token.create': write('Workload'),
  'token.revoke': write('Workload'),
  'audit.read': read('AuditLog'),
  'audit.verify': read('AuditLog'),
  'audit.export': read('AuditLog'),
  'key.list': read('TenantKey'),
  'key.rotate': write('TenantKey'),
} as const satisfies Record<string, OperationSpec>;

export type Operation = keyof typeof TABLE;
export const OPERATIONS: Readonly<Record<Operation, OperationSpec>> = TABLE;
/** Operations that change state. */
export type WriteOperation = { [O in Operation]: (typeof TABLE)[O]['writes'] extends true ? O : never }[Operation];

/**
 * SECURITY: operations that a user may do on their own tokens only, in every role: a user who could create a token for another user could
 * act as that user. For policies, the tokens of other users are out of scope (guardrail `only-its-scope`).
 */
export const PERSONAL_OPERATIONS: ReadonlySet<Operation> = new Set(['user.enrol', 'user.token.create', 'user.token.revoke']);

export const ROLES = ['owner', 'admin', 'rotation-operator', 'engineer', 'auditor', 'workload'] as const;
export type Role = (typeof ROLES)[number];

/** The permissions that a workload or a token can be limited to, beside its patterns. */
export const WORKLOAD_PERMISSIONS = {
  read: ['credential.read', 'credential.describe', 'credential.list', 'run.read'],
  put: ['credential.put', 'credential.describe', 'credential.list'],
  rotate: ['credential.rotate', 'credential.freshen', 'credential.describe', 'credential.list', 'run.read'],
} as const satisfies Record<string, readonly Operation[]>;
export type WorkloadPermission = keyof typeof WORKLOAD_PERMISSIONS;
