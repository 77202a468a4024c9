// Schema step 6 of a tenant's cell: credential names keep their case, and two names in an environment never differ in case alone.
import type { SchemaStep } from './schema-step.ts';

export const NAMES_STEP: SchemaStep = {
  version: 6,
  name: 'names without twins, end dates',
  script: `
CREATE UNIQUE INDEX credential_by_folded_name ON credential (environment_id, lower(name)) WHERE state <> 'destroyed';
CREATE INDEX credential_dated ON credential (environment_id, name)
  WHERE state = 'active' AND kind <> 'oauth2' AND value_expires_at IS NOT NULL;
-- Credentials that were put with an end date by a build that planned no review of it; empty once they were looked at.
CREATE INDEX credential_unplanned_end ON credential (value_expires_at)
  WHERE review_due_at IS NULL AND value_expires_at IS NOT NULL AND kind <> 'oauth2' AND state = 'active';
`,
};
