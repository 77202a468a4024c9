// Whose account a grant is for, watched: a person who connects again, or a provider, may bring another one without meaning to.
// It must never put the provider's text into an alert or an event: only the name that the connector gave the field.

import { raiseAlert } from '../alerts/raise-alert.ts';
import type { CredentialChange } from './credential.ts';
import { changeGrant, grantOf } from './grant.ts';

/**
 * Keeps whose account it is; another than before raises one alert. The caller saves the draft.
 * @param field which member of `account` tells; undefined: none does at this provider
 */
export function noteAccount(
  { job, access, draft, environment, details }: CredentialChange,
  field: string | undefined,
  account: Readonly<Record<string, string>>,
): void {
  const now = field !== undefined && Object.hasOwn(account, field) ? account[field] : undefined;
  if (field === undefined || now === undefined) return;
  const before = grantOf(draft).accountId;
  changeGrant(draft, { accountId: now });
  if (before === undefined || before === now) return;
  details.account_changed = field;
  raiseAlert(job, access, { credential: draft, environment, kind: 'credential.account_changed', details: { field } });
}
