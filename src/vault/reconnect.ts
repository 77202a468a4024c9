// Where a person is led to who must connect an account again.
import type { CredentialRow } from '../cell/credentials.ts';
import { kindFacts } from './credential-kinds.ts';

/** Where a link to connect again is made; undefined while the grant needs none. */
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
