// Kinds whose value is served unchanged: API keys, user names with passwords, databases, documents. With a connector they can be rotated.

import { fail } from '../../base/errors.ts';
import type { CredentialRow } from '../../cell/credentials.ts';
import { hostsOf } from '../bound-settings.ts';
import type { BoundSettings } from '../credential-kinds.ts';
import { jsonBytes } from '../credential-kinds.ts';
import type { CredentialKind } from '../kind.ts';
import { dropOwnSpec, planNewValue, valueMadeAt } from '../plan-rotation.ts';
import { reviewDueAt } from '../review-schedule.ts';
import { boundKeyConfig, keyConfigOf, type RetainedKey, refuseInDoubt, setPut } from '../rotation-state.ts';
import type { TenantJob } from '../tenant-job.ts';

export const plainValue: CredentialKind = {
  split: (job, { draft, given: { value, expiresAtMs } }) => {
    const settings = keySettings(job, draft);
    const retained: RetainedKey | undefined = settings === undefined ? undefined : { settings };
    return { value: jsonBytes(value), retained: retained === undefined ? undefined : jsonBytes(retained), expiresAtMs };
  },
  refuseRead: (_job, _access, row) => refuseInDoubt(row),
  plan: (job, access, { draft, environment, now, before }, { expiresAtMs }) => {
    draft.value_expires_at = expiresAtMs ?? null;
    draft.review_due_at = reviewDueAt(draft, now);
    draft.pending_version = null;
    setPut(draft);
    // The last one who says how often is right: the period in the settings, or a schedule set later.
    if (draft.config !== before?.config && keyConfigOf(draft).rotate_every_seconds !== undefined) dropOwnSpec(draft);
    planNewValue({ view: job, lookup: access, environment }, draft, now);
    job.dueChanged();
  },
  planRestored: (job, access, draft, environment) => {
    const ports = { view: job, lookup: access, environment };
    draft.review_due_at = reviewDueAt(draft, job.platform.clock.now());
    planNewValue(ports, draft, valueMadeAt(ports, draft));
  },
  // The settings of keys have the shape that hosts and differences are computed from (destinations.ts).
  settings: (_job, { connector, config }) =>
    connector === null ? undefined : ({ connector, config: boundKeyConfig(keyConfigOf({ config })) } as BoundSettings),
};

/** The settings to seal with a value; undefined without a connector. @throws invalid_request naming the field */
function keySettings(job: TenantJob, row: Pick<CredentialRow, 'kind' | 'connector' | 'config'>): RetainedKey['settings'] {
  if (row.connector === null) return undefined;
  if (job.rotator === undefined) return { connector: row.connector, config: boundKeyConfig(keyConfigOf(row)) };
  const places = job.rotator.checkSettings(row.kind, row.connector, keyConfigOf(row));
  if (places === undefined)
    return fail('invalid_request', 'the connector does not exist: see `keyturn connectors`', { pointer: '/connector' });
  return { connector: row.connector, config: boundKeyConfig(keyConfigOf(row)), hosts: hostsOf(places) };
}
