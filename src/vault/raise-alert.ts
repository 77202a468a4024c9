// One alert for one change of state, recovery included (commitment: never one per attempt), in the transaction of the change itself.
// It must never carry a value, a token or a byte of a provider's answer.
import { newId } from '../base/ids.ts';
import type { Access } from '../cell/access.ts';
import type { CredentialFacts } from '../cell/credentials.ts';
import type { TenantVault } from './tenant-vault.ts';

export const ALERT_KINDS = [
  'credential.ready', // recovered, or connected
  'credential.degraded',
  'credential.needs_consent',
  'credential.disconnected',
  'credential.ends_soon', // forecast: 30, 7, 1 days
  'credential.scopes_changed', // wider or narrower than asked for
  'credential.used_elsewhere', // import guard
  'credential.exposed', // could not be revoked at the provider
] as const;
export type AlertKind = (typeof ALERT_KINDS)[number];

/** Facts of an alert: words of ours, numbers and instants. */
export type AlertFacts = Readonly<Record<string, string | number | boolean | null>>;

/** Stores the alert and a delivery for each webhook that wants its kind. Inside a job. */
export function raiseAlert(
  vault: TenantVault,
  access: Access,
  row: Pick<CredentialFacts, 'id' | 'name' | 'connector'>,
  environment: string,
  kind: AlertKind,
  facts: AlertFacts,
): string {
  const now = vault.around.clock.now();
  const id = newId('alert', vault.around.entropy);
  vault.alerts.insert(access, {
    id,
    kind,
    credential_id: row.id,
    at: now,
    facts: JSON.stringify({ environment, name: row.name, connector: row.connector, ...facts }),
  });
  return id;
}
