// The credential: creates, reads and changes it. A change is one draft, saved once: saving sets the revision, checks due dates and drops the
// cache entry. No other module may save a credential (the architecture check enforces that), and no due date may contradict its state.
import type { EventDetails } from '../audit/event.ts';
import { newId } from '../base/ids.ts';
import type { Bookkeeping, WriteAccess } from '../cell/access.ts';
import type { CredentialRow, EnvironmentRow } from '../cell/credentials.ts';
import { kindFacts, type OAuth2Config } from './credential-kinds.ts';
import type { KeyConfig } from './rotation-state.ts';
import type { Located } from './targets.ts';
import type { TenantJob } from './tenant-job.ts';

/** A mutable copy of a row, for `saveDraft`. */
export type Draft = CredentialRow;

/** A change of one credential. `draft` is changed in place; the function that created it saves it. */
export interface CredentialChange {
  readonly job: TenantJob;
  readonly access: WriteAccess;
  readonly draft: Draft;
  readonly environment: Pick<EnvironmentRow, 'name'>;
  /** The details of the event that records the change. */
  readonly details: EventDetails;
}

export function draftOf(row: CredentialRow): Draft {
  return { ...row };
}

/** The facts of a new credential. */
export interface NewCredential {
  readonly name: string;
  readonly kind: string;
  readonly connector: string | null;
  readonly config: OAuth2Config | KeyConfig | undefined;
  readonly labels: Readonly<Record<string, string>> | undefined;
  readonly description: string | undefined;
}

/** The row of a new credential, not inserted yet and without due dates; its first version is stored afterwards. */
export function newDraft(
  job: TenantJob,
  access: WriteAccess,
  environment: EnvironmentRow,
  { name, kind, connector, config, labels, description }: NewCredential,
): CredentialRow {
  const now = job.platform.clock.now();
  return {
    id: newId('credential', job.platform.entropy),
    environment_id: environment.id,
    name,
    kind,
    connector,
    state: 'active',
    health: 'ready',
    health_since: now,
    health_cause: null,
    current_version: 1,
    previous_version: null,
    pending_version: null,
    latest_version: 1,
    revision: 0,
    description: description ?? '',
    labels: JSON.stringify(labels ?? {}),
    config: JSON.stringify(config ?? {}),
    value_expires_at: null,
    refresh_due_at: null,
    created_at: now,
    created_by: access.principalId,
    updated_at: now,
    deleted_at: null,
    destroy_after_at: null,
    grant_facts: '{}',
    grant_ends_at: null,
    review_due_at: null,
    rotation: '{}',
    rotation_due_at: null,
    schedule: '{}',
    rotation_promised_at: null,
    overdue_check_at: null,
  };
}

/** The settings of an OAuth grant; empty for other kinds. */
export function configOf({ config }: Pick<CredentialRow, 'config'>): OAuth2Config {
  return JSON.parse(config) as OAuth2Config;
}

export function labelsOf({ labels }: Pick<CredentialRow, 'labels'>): Readonly<Record<string, string>> {
  return JSON.parse(labels) as Record<string, string>;
}

/** Changes and saves a credential. */
export function changeCredential(
  job: TenantJob,
  access: WriteAccess,
  { environment, row }: Located,
  change: (draft: Draft) => void,
): Located {
  const draft = draftOf(row);
  change(draft);
  // `saveDraft` drops the entry under the new name; the name may have changed.
  job.cache.forget(environment.name, row.name);
  return saveDraft(job, access, environment, draft);
}

/** Inserts a credential; its version is stored afterwards. */
export function createCredential(job: TenantJob, access: WriteAccess, environment: EnvironmentRow, draft: Draft): Located {
  planByState(draft);
  job.credentials.insert(access, draft);
  return saved(job, environment, draft);
}

/** Saves a draft of an existing credential under the next revision. */
export function saveDraft(job: TenantJob, access: WriteAccess, environment: EnvironmentRow, draft: Draft): Located {
  draft.revision += 1;
  draft.updated_at = job.platform.clock.now();
  return saveUnseen(job, access, environment, draft);
}

/** As `saveDraft`, without a new revision: for computed dates and the time of a review, which readers do not see. */
export function saveUnseen(
  job: TenantJob,
  access: WriteAccess | Bookkeeping<'review'>,
  environment: EnvironmentRow,
  draft: Draft,
): Located {
  planByState(draft);
  job.credentials.save(access, draft);
  return saved(job, environment, draft);
}

function saved(job: TenantJob, environment: EnvironmentRow, row: CredentialRow): Located {
  job.cache.forget(environment.name, row.name);
  job.dueChanged();
  return { environment, row };
}

/**
 * Removes due dates that the credential's state excludes; due.ts computes the dates.
 * INVARIANT: a deleted credential has no due refresh, and a grant that needs consent has none either (test/vault/credential.test.ts).
 */
function planByState(draft: Draft): void {
  const isLive = draft.state === 'active' && draft.health !== 'needs_consent' && draft.health !== 'disconnected';
  if (!kindFacts(draft.kind).isRenewed || !isLive) draft.refresh_due_at = null;
  if (draft.state !== 'active') {
    draft.rotation_due_at = null;
    draft.rotation_promised_at = null;
    draft.overdue_check_at = null;
  }
  if (draft.state !== 'deleted') draft.destroy_after_at = null;
}
