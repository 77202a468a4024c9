// Puts a credential: the first put creates it, each further put stores a new immutable version, which becomes current (R5).
// It must never overwrite a version, nor accept a write whose precondition does not hold.
import type { Caller } from '../access/principals.ts';
import { fail, KeyturnError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Lookup, WriteAccess } from '../cell/access.ts';
import type { CredentialRow, EnvironmentRow } from '../cell/credentials.ts';
import { appointAdmin } from './appoint-admin.ts';
import { cancelOpenRun } from './cancel-run.ts';
import { createCredential, newDraft, saveDraft } from './credential.ts';
import { type Kind, kindFacts, type OAuth2Config } from './credential-kinds.ts';
import { redirect } from './destinations.ts';
import type { PutUnderWay, PutValue, SplitPut } from './kind.ts';
import { rulesOfKind } from './kinds.ts';
import { checkPrecondition, type WritePrecondition } from './precondition.ts';
import type { KeyConfig } from './rotation-state.ts';
import { setAside } from './set-aside.ts';
import { type Located, requireActive } from './targets.ts';
import type { TenantJob } from './tenant-job.ts';
import { storeVersion } from './versions.ts';

export interface PutCredentialInput extends PutValue {
  readonly environment: string;
  readonly name: string;
  readonly kind: Kind;
  readonly connector: string | undefined;
  readonly config: OAuth2Config | KeyConfig | undefined;
  readonly labels: Readonly<Record<string, string>> | undefined;
  readonly description: string | undefined;
  readonly precondition: WritePrecondition;
  /** A deleted credential with this name is renamed, so that the name is free. */
  readonly replaceDeleted?: boolean | undefined;
}

export interface PutResult {
  readonly created: boolean;
  readonly located: Located;
  /** The new name of the deleted credential that was renamed. */
  readonly setAside: string | undefined;
}

/** @throws not_found | version_conflict | precondition_failed | conflict | payload_too_large | gone */
export function putCredential(job: TenantJob, caller: Caller, input: PutCredentialInput): PutResult {
  return job.door.enter(
    caller,
    'credential.put',
    (lookup) => putTarget(job, lookup, input),
    (access, subject, details, principal) => {
      const { environment } = subject;
      const aside = input.replaceDeleted === true ? setAside(job, access, subject, principal.type, details) : undefined;
      const row = aside === undefined ? subject.row : undefined;
      checkPrecondition(row, input.precondition);
      const now = job.platform.clock.now();
      const draft = row === undefined ? firstDraft(job, access, environment, input) : nextDraft(row, access, input, now);
      const kind = rulesOfKind(draft.kind);
      const put: PutUnderWay = { draft, before: row, environment, given: input, now };
      const split = checkedSize(kind.split(job, put));
      if (kind.note !== undefined) {
        // Alerts refer to the row, so it is inserted first.
        if (row === undefined) createCredential(job, access, environment, draft);
        kind.note({ job, access, draft, environment, details }, put, split);
      }
      kind.plan(job, access, put, split);
      details.version = draft.latest_version;
      details.kind = draft.kind;
      const located =
        row === undefined && kind.note === undefined
          ? createCredential(job, access, environment, { ...draft, revision: 1 })
          : saveDraft(job, access, environment, draft);
      if (row !== undefined) cancelOpenRun(job, access, row, 'superseded');
      storeVersion(job, access, draft, split, { origin: input.imported === undefined ? 'put' : 'import', runId: null });
      if (row !== undefined)
        redirect(job, caller, located, {
          before: kind.settings?.(job, row),
          after: kind.settings?.(job, draft),
          takesEffect: true,
        });
      appointAdmin(job, caller, located, row);
      return { created: row === undefined, located, setAside: aside };
    },
  );
}

function putTarget(job: TenantJob, lookup: Lookup, input: PutCredentialInput) {
  const environment = job.credentials.findEnvironment(lookup, input.environment);
  const row = environment === undefined ? undefined : job.credentials.find(lookup, environment.id, input.name);
  return {
    resource: {
      type: 'Credential' as const,
      tenant: job.tenant.id,
      environment: input.environment,
      kind: row?.kind ?? input.kind,
    },
    target: {
      type: 'credential',
      environment: input.environment,
      name: input.name,
      ...(row === undefined ? {} : { id: row.id }),
    },
    subject: environment === undefined ? undefined : { environment, row },
  };
}

/** @throws payload_too_large */
function checkedSize(split: SplitPut): SplitPut {
  const bytes = split.value.byteLength + (split.retained?.byteLength ?? 0);
  if (bytes > LIMITS.valueMaxBytes)
    fail('payload_too_large', `a value must have at most ${LIMITS.valueMaxBytes} bytes`, { pointer: '/value' });
  return split;
}

function firstDraft(job: TenantJob, access: WriteAccess, environment: EnvironmentRow, input: PutCredentialInput): CredentialRow {
  const connector = input.connector ?? kindFacts(input.kind).defaultConnector;
  return newDraft(job, access, environment, { ...input, connector });
}

function nextDraft(row: CredentialRow, access: WriteAccess, input: PutCredentialInput, now: number): CredentialRow {
  access.check();
  if (row.state !== 'active') {
    throw new KeyturnError(
      'conflict',
      'a deleted credential with this name is in its recovery window: restore it, or put with replace_deleted, which renames the deleted one',
    );
  }
  requireActive(row);
  if (row.kind !== input.kind)
    fail('conflict', 'the kind of a credential cannot change: this one exists with another kind', { pointer: '/kind' });
  const version = row.latest_version + 1;
  return {
    ...row,
    connector: input.connector ?? row.connector,
    previous_version: row.current_version,
    current_version: version,
    latest_version: version,
    description: input.description ?? row.description,
    labels: input.labels === undefined ? row.labels : JSON.stringify(input.labels),
    config: input.config === undefined ? row.config : JSON.stringify(input.config),
    health: 'ready',
    health_since: row.health === 'ready' ? row.health_since : now,
    health_cause: null,
    review_due_at: null, // the forecast is computed anew for the new value
  };
}
