// Opens the secrets of one step of a rotation, in the job that journals its intent: the old value, the new one and the admin credential,
// with the settings and the egress they are bound to (D14). It must never combine secrets with settings they were not stored with.
import { fail } from '../../src/base/errors.ts';
import type { ReadAccess } from '../../src/cell/access.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import { fromJsonBytes } from '../../src/vault/credential-kinds.ts';
import { isBoundAlike, type KeySettings, keyConfigOf, keySettingsOf, type RetainedKey } from '../../src/vault/rotation-state.ts';
import type { Located } from '../../src/vault/targets.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { prepareVersion } from '../../src/vault/versions.ts';
import type { Egress, Rotator, StoredValue, Target } from '../connector.ts';
import type { JobPorts } from '../engine/due-work.ts';
import { gatedEgress } from '../engine/gated-egress.ts';
import type { Urgency } from '../engine/provider-gate.ts';
import { boundEgress, type ResolvedKey, resolvedOrNot, settingsOfKey } from './key-settings.ts';

/** The access token of an OAuth grant that manages keys, with the origins and base paths it is bound to; undefined if there is none. */
export type GrantTokenOf = (
  ports: JobPorts,
  access: ReadAccess,
  grant: CredentialRow,
) => { readonly accessToken: string; readonly places: readonly string[] } | undefined;

export interface TargetPorts extends JobPorts {
  /** Whether a person waits for the call. */
  readonly urgency: Urgency;
  readonly grantTokenOf: GrantTokenOf;
}

/** Why a rotation cannot begin or go on until a person changes something. */
export type Unusable =
  | 'value_destroyed'
  | 'stored_without_connector'
  | 'connector_unusable'
  | 'admin_not_found'
  | 'admin_of_another_kind'
  | 'admin_without_value'
  | 'admin_bound_elsewhere';

export interface OpenedTarget {
  readonly kind: 'open';
  readonly resolved: ResolvedKey & { readonly rotator: Rotator };
  readonly target: Target;
  /** The settings that the value was stored with; a value that replaces it is sealed with the same. */
  readonly sealed: RetainedKey;
  /** The status of the target's last answer, for the evidence; undefined without HTTP, or before any answer. */
  readonly answered: { status?: number | undefined };
  /** The id of the admin credential, for the event of its use. */
  readonly adminId: string | undefined;
}

export type OpenTarget = OpenedTarget | { readonly kind: 'unusable'; readonly cause: Unusable };

const unusable = (cause: Unusable): OpenTarget => ({ kind: 'unusable', cause });

/** @param version the value that is replaced or ended; its sealed settings determine the target. @throws integrity | key_destroyed */
export function openTarget(ports: TargetPorts, access: ReadAccess, located: Located, version: number, name: string): OpenTarget {
  const { job } = ports;
  const { row } = located;
  const opened = openValue(job, access, row, version);
  if (opened === undefined) return unusable('value_destroyed');
  const settings = settingsOfKey(row, opened.retained);
  if (settings === undefined) return unusable('stored_without_connector');
  const resolved = resolvedOrNot(ports, row.kind, settings);
  const rotator = resolved?.rotator;
  if (resolved === undefined || rotator === undefined) return unusable('connector_unusable');
  const admin = openAdmin(ports, access, located, resolved, { version, ...opened });
  if (admin.kind === 'unusable') return admin;
  const answered: OpenedTarget['answered'] = {};
  const target: Target = {
    parameters: resolved.parameters,
    old: opened.value,
    admin: admin.value,
    name,
    egress: noting(boundEgress(egressOf(ports, resolved), resolved), answered),
    allowedHosts: resolved.hosts,
    allowLoopback: ports.sandboxAllowed && settings.config.sandbox !== undefined,
    clock: job.platform.clock,
    entropy: job.platform.entropy,
  };
  return { kind: 'open', resolved: { ...resolved, rotator }, target, answered, sealed: opened.retained, adminId: admin.id };
}

function noting(egress: Egress, answered: OpenedTarget['answered']): Egress {
  return {
    send: async (request) => {
      const answer = await egress.send(request);
      answered.status = answer.status;
      return answer;
    },
  };
}

/** Requests keep the budget of the provider, whatever credential they are for. */
function egressOf({ egress, gate, urgency, job }: TargetPorts, { connector }: ResolvedKey): Egress {
  if (gate === undefined) return egress;
  const { clock, later } = job.platform;
  const wait = (ms: number) => new Promise<void>((resolve) => later(ms, resolve));
  return gatedEgress(egress, { gate, budget: connector.key.rateBudget, urgency, nowMs: () => clock.now(), wait });
}

/** A key that manages itself is ended by the current one, which works; by itself if that is bound to other hosts or calls. */
function ownAdmin(ports: TargetPorts, access: ReadAccess, { row }: Located, resolved: ResolvedKey, ended: Ended): StoredValue {
  if (ended.version === row.current_version) return ended.value;
  const opened = openValue(ports.job, access, row, row.current_version);
  if (opened === undefined || !isBoundTo(ports, row, opened, resolved)) return ended.value;
  return hasStepsInSettings(resolved) && !isSealedWith(opened, ended.retained.settings) ? ended.value : opened.value;
}

/** The value that is replaced or ended. */
interface Ended extends OpenedValue {
  readonly version: number;
}

interface OpenedValue {
  readonly value: StoredValue;
  readonly retained: RetainedKey;
}

/** Undefined if the version no longer exists. */
function openValue(job: TenantJob, access: ReadAccess, row: CredentialRow, version: number): OpenedValue | undefined {
  const stored = job.credentials.findVersion(access, row.id, version);
  if (stored === undefined) return undefined;
  const value = fromJsonBytes<StoredValue>(prepareVersion(job, row, stored, 'value').open());
  if (stored.retained === null) return { value, retained: {} };
  return { value, retained: fromJsonBytes<RetainedKey>(prepareVersion(job, row, stored, 'retained').open()) };
}

type OpenedAdmin =
  | { readonly kind: 'open'; readonly value: StoredValue; readonly id: string | undefined }
  | { readonly kind: 'unusable'; readonly cause: Unusable };

function openAdmin(ports: TargetPorts, access: ReadAccess, located: Located, resolved: ResolvedKey, ended: Ended): OpenedAdmin {
  const { environment, row } = located;
  const { key } = resolved.connector;
  const name = keyConfigOf(row).admin;
  if (name === undefined || key.admin === 'self')
    return { kind: 'open', value: ownAdmin(ports, access, located, resolved, ended), id: undefined };
  const { job } = ports;
  const admin = job.credentials.find(access, environment.id, name);
  if (admin === undefined || admin.state !== 'active' || admin.id === row.id)
    return { kind: 'unusable', cause: 'admin_not_found' };
  if (!(key.adminKinds ?? [key.credential]).some((kind) => kind === admin.kind))
    return { kind: 'unusable', cause: 'admin_of_another_kind' };
  // SECURITY: the admin was appointed for the settings in the row. An older version may have calls that would send its secret elsewhere.
  if (hasStepsInSettings(resolved) && !isSealedWith(ended, keySettingsOf(row)))
    return { kind: 'unusable', cause: 'admin_bound_elsewhere' };
  return admin.kind === 'oauth2' ? grantAsAdmin(ports, access, admin, resolved) : valueAsAdmin(ports, access, admin, resolved);
}

function valueAsAdmin(ports: TargetPorts, access: ReadAccess, admin: CredentialRow, resolved: ResolvedKey): OpenedAdmin {
  const opened = openValue(ports.job, access, admin, admin.current_version);
  if (opened === undefined) return { kind: 'unusable', cause: 'admin_without_value' };
  // A driver's host is in the value itself, and the driver requires that both values have the same one.
  if (resolved.connector.key.driver === undefined && !isBoundTo(ports, admin, opened, resolved))
    return { kind: 'unusable', cause: 'admin_bound_elsewhere' };
  return { kind: 'open', value: opened.value, id: admin.id };
}

function grantAsAdmin(ports: TargetPorts, access: ReadAccess, admin: CredentialRow, resolved: ResolvedKey): OpenedAdmin {
  const opened = ports.grantTokenOf(ports, access, admin);
  if (opened === undefined) return { kind: 'unusable', cause: 'admin_without_value' };
  if (!covers(opened.places, resolved.places)) return { kind: 'unusable', cause: 'admin_bound_elsewhere' };
  return { kind: 'open', value: { access_token: opened.accessToken }, id: admin.id };
}

/**
 * Whether the settings sealed with a value name every place of these. SECURITY: calls that an operator describes may put a secret into any
 * member, so they get only secrets that were stored for the same connector.
 */
function isBoundTo(ports: TargetPorts, row: CredentialRow, { retained }: OpenedValue, resolved: ResolvedKey): boolean {
  const settings = settingsOfKey(row, retained);
  if (settings === undefined) return false;
  if (hasStepsInSettings(resolved) && settings.connector !== resolved.connector.id) return false;
  const its = resolvedOrNot(ports, row.kind, settings);
  return its !== undefined && covers(its.places, resolved.places);
}

/** Whether the settings of the credential, and not the connector, determine what is sent. */
function hasStepsInSettings({ connector }: ResolvedKey): boolean {
  return connector.key.custom !== undefined;
}

function isSealedWith({ retained }: OpenedValue, settings: KeySettings | undefined): boolean {
  return retained.settings !== undefined && settings !== undefined && isBoundAlike(retained.settings, settings);
}

/** SECURITY: an admin secret must not be sent to hosts, or paths at a shared host, that only the settings of the managed credential name. */
function covers(its: readonly string[], wanted: readonly string[]): boolean {
  return wanted.every((place) => its.includes(place));
}

/** Undefined if the version no longer exists. */
export function findValue(job: TenantJob, access: ReadAccess, row: CredentialRow, version: number): StoredValue | undefined {
  return openValue(job, access, row, version)?.value;
}

/** The value of a version that a run depends on. @throws internal if it is missing */
export function requireValue(job: TenantJob, access: ReadAccess, row: CredentialRow, version: number): StoredValue {
  return findValue(job, access, row, version) ?? fail('internal', 'a version that a rotation depends on is missing');
}
