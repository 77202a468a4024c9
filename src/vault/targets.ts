// The targets of a tenant's use cases, in the form that the door needs: looked up before the decision, and named the same in all events.
import type { Found } from '../access/guard.ts';
import { KeyturnError } from '../base/errors.ts';
import type { Lookup } from '../cell/access.ts';
import type { CredentialRow, EnvironmentRow } from '../cell/credentials.ts';
import type { TenantView } from './tenant-job.ts';

/** A credential with its environment. */
export interface Located {
  readonly environment: EnvironmentRow;
  readonly row: CredentialRow;
}

export function environmentTarget(job: TenantView, lookup: Lookup, name: string): Found<EnvironmentRow> {
  return {
    resource: { type: 'Environment', tenant: job.tenant.id, environment: name },
    target: { type: 'environment', environment: name, name },
    subject: job.credentials.findEnvironment(lookup, name),
  };
}

/** For work that knows the id: another credential may have its name by now. @throws not_found | integrity */
export function locateById(view: TenantView, lookup: Lookup, credentialId: string): Located {
  const row = view.credentials.byId(lookup, credentialId);
  return { row, environment: view.credentials.environmentById(lookup, row.environment_id) };
}

/** A missing environment and a missing credential give the same result. */
export function credentialTarget(job: TenantView, lookup: Lookup, environmentName: string, name: string): Found<Located> {
  const environment = job.credentials.findEnvironment(lookup, environmentName);
  const row = environment === undefined ? undefined : job.credentials.find(lookup, environment.id, name);
  if (environment !== undefined && row !== undefined) return foundCredential(job, environment, row);
  return {
    resource: { type: 'Credential', tenant: job.tenant.id, environment: environmentName },
    target: { type: 'credential', environment: environmentName, name },
    subject: undefined,
  };
}

export function foundCredential(job: TenantView, environment: EnvironmentRow, row: CredentialRow): Found<Located> {
  const connector = row.connector === null ? {} : { connector: row.connector };
  return {
    resource: { type: 'Credential', tenant: job.tenant.id, environment: environment.name, kind: row.kind, ...connector },
    target: { type: 'credential', environment: environment.name, name: row.name, id: row.id },
    subject: { environment, row },
  };
}

export function tenantTarget(job: TenantView): Found<true> {
  return {
    resource: { type: 'Tenant', tenant: job.tenant.id },
    target: { type: 'tenant', id: job.tenant.id },
    subject: true,
  };
}

/** @throws gone when it is deleted */
export function requireActive(row: CredentialRow): CredentialRow {
  if (row.state !== 'active') throw new KeyturnError('gone', 'the credential is deleted: restore it within its recovery window');
  return row;
}
