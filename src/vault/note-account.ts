// Whose account a grant is for, watched: a person who connects again, or a provider, may bring another one without meaning to.
// It must never put the provider's text into an alert or an event: only the name that the connector gave the field.

import { raiseAlert } from '../alerts/raise-alert.ts';
import type { EventDetails } from '../audit/event.ts';
import type { WriteAccess } from '../cell/access.ts';
import type { CredentialRow } from '../cell/credentials.ts';
import { changeGrantFacts, grantFacts } from './grant-facts.ts';
import type { TenantJob } from './tenant-job.ts';

/**
 * Keeps whose account it is in `facts` (the caller saves the row); another than before raises one alert.
 * @param field which of the account's facts tells; undefined: none does at this provider
 */
export function noteAccount(
  job: TenantJob,
  access: WriteAccess,
  facts: CredentialRow,
  environment: string,
  field: string | undefined,
  account: Readonly<Record<string, string>>,
  details: EventDetails,
): void {
  const now = field !== undefined && Object.hasOwn(account, field) ? account[field] : undefined;
  if (field === undefined || now === undefined) return;
  const before = grantFacts(facts).accountId;
  changeGrantFacts(facts, { accountId: now });
  if (before === undefined || before === now) return;
  details.account_changed = field;
  raiseAlert(job, access, facts, environment, 'credential.account_changed', { field });
}
