// The end date of a key, password or document: after it, the credential is shown as `expired`.
// It must never block a read: only the provider decides whether the value still works, and a wrong date must not stop a workflow.
import type { CredentialRow } from '../cell/credentials.ts';
import { kindFacts } from './credential-kinds.ts';

type Dated = Pick<CredentialRow, 'kind' | 'value_expires_at'>;

/** Undefined for a kind that is renewed: there the date is the expiry of the present value only. */
export function endDateOf({ kind, value_expires_at }: Dated): number | undefined {
  return kindFacts(kind).isRenewed ? undefined : (value_expires_at ?? undefined);
}

export interface HealthNow {
  readonly state: string;
  readonly sinceMs: number;
  readonly cause: string | null;
}

/** The stored health, or `expired` since the end date. */
export function healthNow(
  row: Dated & Pick<CredentialRow, 'health' | 'health_since' | 'health_cause'>,
  nowMs: number,
): HealthNow {
  const endsAt = endDateOf(row);
  return endsAt !== undefined && endsAt <= nowMs
    ? { state: 'expired', sinceMs: endsAt, cause: 'end_date' }
    : { state: row.health, sinceMs: row.health_since, cause: row.health_cause };
}
