// The behaviour of a kind of credential: what a put stores, when a read is refused, its due dates, and where its secrets are sent.
// A kind is a file in kinds/ and a line in kinds.ts; use cases call this interface and never compare the name of a kind.
import type { Lookup, WriteAccess } from '../cell/access.ts';
import type { CredentialRow, EnvironmentRow } from '../cell/credentials.ts';
import type { CredentialChange, Draft } from './credential.ts';
import type { BoundSettings, RetainedPart, SplitValue } from './credential-kinds.ts';
import type { GrantView } from './grant-view.ts';
import type { GrantImport } from './put-grant.ts';
import type { RenewalRules } from './refresh-schedule.ts';
import type { TenantJob, TenantView } from './tenant-job.ts';

/** The members of a put that depend on the kind. */
export interface PutValue {
  readonly value: unknown;
  readonly expiresAtMs: number | undefined;
  /** Stored parts that the put may drop, although they cannot be read back. */
  readonly discard?: readonly RetainedPart[] | undefined;
  /** Set for a grant from another system. */
  readonly imported?: GrantImport | undefined;
}

/** The state of a put. */
export interface PutUnderWay {
  /** The row to save; it already has the new version. */
  readonly draft: Draft;
  /** The row before the put; undefined for a new credential. */
  readonly before: CredentialRow | undefined;
  readonly environment: EnvironmentRow;
  readonly given: PutValue;
  readonly now: number;
}

export interface SplitPut extends SplitValue {
  /** For a kind that is renewed. */
  readonly rules?: RenewalRules | undefined;
}

export interface CredentialKind {
  /** The parts of the value to store. @throws invalid_request for an unusable value */
  split(job: TenantJob, put: PutUnderWay): SplitPut;
  /** Updates the draft from the value and raises alerts; the row is already inserted. Absent: nothing to update. */
  readonly note?: (change: CredentialChange, put: PutUnderWay, split: SplitPut) => void;
  /** Refuses a read of an unusable current value. Absent: the value is always served. */
  readonly refuseRead?: (job: TenantJob, access: Lookup, row: CredentialRow, environment: string) => void;
  /** @throws conflict if older versions are unusable. Absent: any version can become current again. */
  readonly refuseRollBack?: () => void;
  /** Plans the due dates of a value that becomes current now. */
  plan(job: TenantJob, access: WriteAccess, put: PutUnderWay, split: SplitPut): void;
  /** Plans the due dates of a restored credential. */
  planRestored(job: TenantJob, access: WriteAccess, draft: Draft, environment: EnvironmentRow): void;
  /** The settings to seal with its secrets, which determine where they are sent (D14). Absent: they are sent nowhere. */
  readonly settings?: (job: TenantJob, row: CredentialRow) => BoundSettings | undefined;
  /** Facts to show in addition to those of every credential. Absent: none. */
  readonly describe?: (view: TenantView, lookup: Lookup, row: CredentialRow) => { readonly grant: GrantView };
}
