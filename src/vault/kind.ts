// What a kind of credential is to the vault: what a put stores of it, when it is served, what is due of it and where its secrets go.
// A kind is a file in kinds/ and a line in kinds.ts; use cases ask it here and never for its name.
import type { Lookup, WriteAccess } from '../cell/access.ts';
import type { CredentialRow, EnvironmentRow } from '../cell/credentials.ts';
import type { CredentialChange, Draft } from './credential.ts';
import type { BoundSettings, RetainedPart, SplitValue } from './credential-kinds.ts';
import type { GrantView } from './grant-view.ts';
import type { GrantImport } from './put-grant.ts';
import type { RenewalRules } from './refresh-schedule.ts';
import type { TenantJob, TenantView } from './tenant-job.ts';

/** What a put gives beside what is the same for all kinds. */
export interface PutValue {
  readonly value: unknown;
  readonly expiresAtMs: number | undefined;
  /** Parts of the stored value that go away although nobody can read them back. */
  readonly discard?: readonly RetainedPart[] | undefined;
  /** It was made elsewhere. */
  readonly imported?: GrantImport | undefined;
}

/** A put under way. */
export interface PutUnderWay {
  /** To be saved; its version is the new one already. */
  readonly draft: Draft;
  /** As it was; undefined for a new credential. */
  readonly before: CredentialRow | undefined;
  readonly environment: EnvironmentRow;
  readonly given: PutValue;
  readonly now: number;
}

export interface SplitPut extends SplitValue {
  /** Of a kind that is renewed. */
  readonly rules?: RenewalRules | undefined;
}

export interface CredentialKind {
  /** What is stored of the value. @throws invalid_request for a value that could not be used */
  split(job: TenantJob, put: PutUnderWay): SplitPut;
  /** Changes the draft by what the value says, and raises what must be told; the row is there already. Absent: it says nothing. */
  readonly note?: (change: CredentialChange, put: PutUnderWay, split: SplitPut) => void;
  /** Refuses a read of the current value that would be of no use. Absent: the value is served as it is. */
  readonly refuseRead?: (job: TenantJob, access: Lookup, row: CredentialRow, environment: string) => void;
  /** @throws conflict where an older version is of no use. Absent: any version can be current again. */
  readonly refuseRollBack?: () => void;
  /** Plans what is due of a value that is current from `now` on. */
  plan(job: TenantJob, draft: Draft, split: SplitPut, now: number): void;
  /** Plans what is due of a credential that is restored. */
  planRestored(job: TenantJob, access: WriteAccess, draft: Draft): void;
  /** What is sealed with its secrets: where they go, and as whom (D14). Absent: they go nowhere. */
  readonly settings?: (job: TenantJob, row: CredentialRow) => BoundSettings | undefined;
  /** What is shown beside what every credential shows. Absent: nothing. */
  readonly describe?: (view: TenantView, lookup: Lookup, row: CredentialRow) => { readonly grant: GrantView };
}
