// The end date that was put with a key, password or document: past it the credential is `expired`, everywhere it is shown.
// It must never keep a value back: whether it still works is the provider's word, and a wrong date must not stop a workflow.
import type { CredentialRow } from '../cell/credentials.ts';
import { kindFacts } from './credential-kinds.ts';

type Dated = Pick<CredentialRow, 'kind' | 'value_expires_at'>;

/** Of a kind that is renewed, the date is that of what is renewed. */
export function endDateOf({ kind, value_expires_at }: Dated): number | undefined {
  return kindFacts(kind).isRenewed ? undefined : (value_expires_at ?? undefined);
}

export function hasEnded(row: Dated, nowMs: number): boolean {
  const endsAt = endDateOf(row);
  return endsAt !== undefined && endsAt <= nowMs;
}

export interface HealthNow {
  readonly state: string;
  readonly sinceMs: number;
  readonly cause: string | null;
}

/** What is kept of its health, or `expired` since its end date. */
export function healthNow(
  row: Dated & Pick<CredentialRow, 'health' | 'health_since' | 'health_cause'>,
  nowMs: number,
): HealthNow {
  const endsAt = endDateOf(row);
  return endsAt !== undefined && endsAt <= nowMs
    ? { state: 'expired', sinceMs: endsAt, cause: 'end_date' }
    : { state: row.health, sinceMs: row.health_since, cause: row.health_cause };
}
