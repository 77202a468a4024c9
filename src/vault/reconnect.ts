// The path at which a link for connecting an account again is created.
import type { CredentialRow } from '../cell/credentials.ts';
import { kindFacts } from './credential-kinds.ts';

/** Undefined while the grant does not need a new consent. */
export function reconnectPath(
  tenantId: string,
  environment: string,
  row: Pick<CredentialRow, 'kind' | 'health' | 'name'>,
): string | undefined {
  const isDead = kindFacts(row.kind).isRenewed && (row.health === 'needs_consent' || row.health === 'disconnected');
  return isDead ? connectionsPath(tenantId, environment, row.name) : undefined;
}

export function connectionsPath(tenantId: string, environment: string, name: string): string {
  return `/v1/tenants/${tenantId}/environments/${environment}/credentials/${encodeURIComponent(name)}/connections`;
}
