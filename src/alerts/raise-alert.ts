// Raises one alert per change of state, including recovery (commitment: never one per attempt), in the transaction of that change.
// An alert must never contain a value, a token or a byte of a provider's answer.
import type { Clock, Entropy } from '../base/clock.ts';
import { newId } from '../base/ids.ts';
import type { WriteAccess } from '../cell/access.ts';
import type { AlertRow, AlertStore } from '../cell/alerts.ts';
import type { CredentialRow } from '../cell/credentials.ts';
import { sha256OfText } from '../crypto/primitives.ts';

export const ALERT_KINDS = [
  'credential.ready', // recovered, or connected
  'credential.degraded',
  'credential.needs_consent',
  'credential.disconnected',
  'credential.ends_soon', // forecast: 30, 7, 1 days
  'credential.expired', // the end date stored with it has passed
  'credential.scopes_changed', // wider or narrower than the requested scopes
  'credential.account_changed', // the grant is for another account than before
  'credential.used_elsewhere', // import guard
  'credential.exposed', // could not be revoked at the provider
  'credential.readers_late', // workloads still have a version that is about to be ended
  'credential.rotation_failed', // a rotation needs a person
  'credential.rotation_overdue', // no new value by the date of its schedule and a margin
  'credential.destination_changed', // its secrets are sent to other hosts than before
  'clock.jumped', // the machine's clock jumped ahead or back; without a credential
  'state.damaged', // a stored object differs from the last written one; without a credential
] as const;
export type AlertKind = (typeof ALERT_KINDS)[number];

/** Facts of an alert: texts of Keyturn itself, numbers and instants. */
export type AlertDetails = Readonly<Record<string, string | number | boolean | null>>;

/** The parts of a tenant's vault that raising an alert needs. */
export interface AlertingVault {
  readonly alerts: AlertStore;
  readonly platform: { readonly clock: Clock; readonly entropy: Entropy };
  dueChanged(): void;
}

export interface CredentialAlert {
  readonly credential: Pick<CredentialRow, 'id' | 'name' | 'connector'>;
  readonly environment: { readonly name: string };
  readonly kind: AlertKind;
  readonly details: AlertDetails;
}

/** Stores the alert, and a delivery for each webhook that subscribes to its kind; returns the id of the alert. */
export function raiseAlert(
  vault: AlertingVault,
  access: WriteAccess,
  { credential, environment, kind, details }: CredentialAlert,
): string {
  const told = { environment: environment.name, name: credential.name, connector: credential.connector, ...details };
  const id = newId('alert', vault.platform.entropy);
  return storeAlert(vault, access, { id, kind, credential_id: credential.id, facts: JSON.stringify(told) });
}

/** As `raiseAlert`, for a damaged object of the tenant; its id is a hash of its facts, so the same damage raises only one alert. */
export function raiseDamageAlert(vault: AlertingVault, access: WriteAccess, facts: AlertDetails): void {
  const text = JSON.stringify(facts);
  const id = newId('alert', { bytes: (count) => sha256OfText(text).slice(0, count), fraction: () => 0 });
  if (vault.alerts.has(access, id)) return;
  storeAlert(vault, access, { id, kind: 'state.damaged', credential_id: null, facts: text });
}

/** As `raiseAlert`, for the machine's clock. */
export function raiseClockAlert(vault: AlertingVault, access: WriteAccess, facts: AlertDetails): void {
  const id = newId('alert', vault.platform.entropy);
  storeAlert(vault, access, { id, kind: 'clock.jumped', credential_id: null, facts: JSON.stringify(facts) });
}

function storeAlert(vault: AlertingVault, access: WriteAccess, alert: Omit<AlertRow, 'at'>): string {
  const now = vault.platform.clock.now();
  const { id } = alert;
  vault.alerts.insert(access, { at: now, ...alert });
  for (const webhookId of vault.alerts.webhooksFor(access, alert.kind)) {
    vault.alerts.insertDelivery(access, {
      id: newId('delivery', vault.platform.entropy),
      webhook_id: webhookId,
      alert_id: id,
      state: 'waiting',
      attempts: 0,
      next_attempt_at: now,
      cause: null,
      created_at: now,
      finished_at: null,
    });
    vault.dueChanged();
  }
  return id;
}

/** An alert for its readers: its credential, and its facts without those of the credential. */
export interface DescribedAlert {
  readonly id: string;
  readonly kind: string;
  readonly at: number;
  /** Null for an alert without a credential. */
  readonly credential: { readonly id: string; readonly environment: string; readonly name: string } | null;
  readonly facts: AlertDetails;
}

export function describeAlert(row: AlertRow): DescribedAlert {
  const { id: alertId, kind, at } = row;
  if (row.credential_id === null)
    return { id: alertId, kind, at, credential: null, facts: JSON.parse(row.facts) as AlertDetails };
  const { environment, name, ...facts } = JSON.parse(row.facts) as AlertDetails;
  const credential = { id: row.credential_id, environment: String(environment), name: String(name) };
  return { id: alertId, kind, at, credential, facts };
}
