// The rows of environments, credentials and versions, as stored in a tenant's database.

export interface EnvironmentRow {
  id: string;
  name: string;
  created_at: number;
  /** Whether rotations need a rehearsal elsewhere first (R6): 1 yes, 0 no; null: by the name, `production`. */
  production: number | null;
}

export interface CredentialRow {
  id: string;
  environment_id: string;
  name: string;
  kind: string;
  connector: string | null;
  state: string;
  health: string;
  health_since: number;
  health_cause: string | null;
  current_version: number;
  previous_version: number | null;
  pending_version: number | null;
  latest_version: number;
  revision: number;
  description: string;
  /** JSON object of text to text. */
  labels: string;
  /** JSON object, never secret: token endpoint, client id, scopes ... */
  config: string;
  value_expires_at: number | null;
  refresh_due_at: number | null;
  created_at: number;
  created_by: string;
  updated_at: number;
  deleted_at: number | null;
  destroy_after_at: number | null;
  /** JSON of vault/grant.ts: what is known of an OAuth grant; never secret. */
  grant_facts: string;
  /** When the grant ends if nothing changes. */
  grant_ends_at: number | null;
  /** When forecast, scopes and notices are reviewed next. */
  review_due_at: number | null;
  /** JSON of vault/rotation-state.ts: how the value is rotated, and whether its current version is in doubt; never secret. */
  rotation: string;
  /** When the next scheduled rotation begins; null while a run is open. */
  rotation_due_at: number | null;
  /** JSON of vault/plan-rotation.ts: the credential's own schedule and its pause. */
  schedule: string;
  /** The date by which the schedule wanted a new value; stays until there is one. */
  rotation_promised_at: number | null;
  /** When the watch over overdue rotations looks next. */
  overdue_check_at: number | null;
}

export interface VersionRow {
  credential_id: string;
  version: number;
  key_id: string;
  wrapped_key: Uint8Array;
  value: Uint8Array;
  retained: Uint8Array | null;
  value_expires_at: number | null;
  created_at: number;
  created_by: string;
  origin: string;
  run_id: string | null;
}

/** A version without its sealed bytes. */
export type VersionMetadata = Omit<VersionRow, 'wrapped_key' | 'value' | 'retained'>;

export interface CredentialFilter {
  readonly environmentId: string;
  readonly kind?: string | undefined;
  /** `expired`: of a kind with an end date of its own, and that date is past `nowMs`; never counted as `ready`. */
  readonly health?: string | undefined;
  readonly nowMs: number;
  readonly label?: { readonly name: string; readonly value: string } | undefined;
  /** Part of the name or description, matched literally. */
  readonly text?: string | undefined;
  readonly deleted: boolean;
}
