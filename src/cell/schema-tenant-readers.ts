// Schema step 12 of a tenant's cell: who received which version of a credential, and which settings were tried before production.
import type { SchemaStep } from './schema-step.ts';

export const READERS_STEP: SchemaStep = {
  version: 12,
  name: 'readers of credentials, rehearsals of rotations',
  script: `
CREATE TABLE reader (
  credential_id TEXT NOT NULL REFERENCES credential (id),
  principal_id TEXT NOT NULL,
  version INTEGER NOT NULL,
  since_at INTEGER NOT NULL,
  seen_at INTEGER NOT NULL,
  PRIMARY KEY (credential_id, principal_id)
) STRICT;

CREATE TABLE rehearsal (
  configuration TEXT PRIMARY KEY,
  credential_id TEXT NOT NULL,
  run_id TEXT NOT NULL,
  at INTEGER NOT NULL
) STRICT;

ALTER TABLE environment ADD COLUMN production INTEGER;
`,
};
