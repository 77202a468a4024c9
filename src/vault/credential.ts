// The credential itself: how it is read, made and changed. A change is one draft, saved once: the next revision, what is due, what was cached.
// It must never be saved anywhere else (the architecture check holds everyone to it), nor leave a plan that its state contradicts.
import type { EventDetails } from '../audit/event.ts';
import { newId } from '../base/ids.ts';
import type { Bookkeeping, WriteAccess } from '../cell/access.ts';
import type { CredentialRow, EnvironmentRow } from '../cell/credentials.ts';
import { kindFacts, type OAuth2Config } from './credential-kinds.ts';
import type { Located } from './targets.ts';
import type { TenantJob } from './tenant-job.ts';

/** A copy to be changed and given to `saveDraft`; the row it was made from stays as it was read. */
export type Draft = CredentialRow;

/** A change of one credential under way; `draft` is changed in place, and whoever made it saves it. */
export interface CredentialChange {
  readonly job: TenantJob;
  readonly access: WriteAccess;
  readonly draft: Draft;
  readonly environment: Pick<EnvironmentRow, 'name'>;
  /** Of the event that records it. */
  readonly details: EventDetails;
}

export function draftOf(row: CredentialRow): Draft {
  return { ...row };
}

/** What is said of a credential that is not there yet. */
export interface NewCredential {
  readonly name: string;
  readonly kind: string;
  readonly connector: string | null;
  readonly config: OAuth2Config | undefined;
  readonly labels: Readonly<Record<string, string>> | undefined;
  readonly description: string | undefined;
}

/** A credential with its first version to come, not inserted yet; nothing of it is due. */
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
  };
}

/** The settings of an OAuth grant; of another kind there are none. */
export function configOf({ config }: Pick<CredentialRow, 'config'>): OAuth2Config {
  return JSON.parse(config) as OAuth2Config;
}

export function labelsOf({ labels }: Pick<CredentialRow, 'labels'>): Readonly<Record<string, string>> {
  return JSON.parse(labels) as Record<string, string>;
}

/** Changes a credential in one step. */
export function changeCredential(
  job: TenantJob,
  access: WriteAccess,
  { environment, row }: Located,
  change: (draft: Draft) => void,
): Located {
  const draft = draftOf(row);
  change(draft);
  // It may have another name from now on.
  job.cache.forget(environment.name, row.name);
  return saveDraft(job, access, environment, draft);
}

/** Inserts a credential as it is given; its version follows. */
export function createCredential(job: TenantJob, access: WriteAccess, environment: EnvironmentRow, draft: Draft): Located {
  planByState(draft);
  job.credentials.insert(access, draft);
  return told(job, environment, draft);
}

/** Saves a draft of an existing credential under the next revision. */
export function saveDraft(job: TenantJob, access: WriteAccess, environment: EnvironmentRow, draft: Draft): Located {
  draft.revision += 1;
  draft.updated_at = job.platform.clock.now();
  planByState(draft);
  job.credentials.save(access, draft);
  return told(job, environment, draft);
}

/** As `saveDraft` for what changes nothing that a reader has from it: days worked out anew, when it was last looked at. */
export function saveUnseen(
  job: TenantJob,
  access: WriteAccess | Bookkeeping<'review'>,
  environment: EnvironmentRow,
  draft: Draft,
): void {
  planByState(draft);
  job.credentials.save(access, draft);
  told(job, environment, draft);
}

function told(job: TenantJob, environment: EnvironmentRow, row: CredentialRow): Located {
  job.cache.forget(environment.name, row.name);
  job.dueChanged();
  return { environment, row };
}

/**
 * Takes away what the state of the credential rules out; the figures themselves are planned in due.ts.
 * INVARIANT: nothing is due of a credential that is not there, and no refresh of a grant that a person must bring back
 * (test/vault/credential.test.ts).
 */
function planByState(draft: Draft): void {
  const isLive = draft.state === 'active' && draft.health !== 'needs_consent' && draft.health !== 'disconnected';
  if (!kindFacts(draft.kind).isRenewed || !isLive) draft.refresh_due_at = null;
  if (draft.state !== 'deleted') draft.destroy_after_at = null;
}
