// Detects that a grant is for another account than before: a person may connect the wrong account, and a provider may change it.
// It must never put the provider's text into an alert or an event, only the connector's name of the field.

import { raiseAlert } from '../alerts/raise-alert.ts';
import type { CredentialChange } from './credential.ts';
import { changeGrant, grantOf } from './grant.ts';

/**
 * Stores the account of the grant; another account than before raises one alert. The caller saves the draft.
 * @param field the member of `account` that identifies the account; undefined if this provider has none
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
