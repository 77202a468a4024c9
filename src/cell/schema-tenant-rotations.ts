// Schema step 11 of a tenant's cell: rotations of keys and passwords.
import type { SchemaStep } from './schema-step.ts';

export const ROTATIONS_STEP: SchemaStep = {
  version: 11,
  name: 'rotations of keys and passwords',
  script: `
ALTER TABLE run ADD COLUMN facts TEXT NOT NULL DEFAULT '{}';
ALTER TABLE credential ADD COLUMN rotation TEXT NOT NULL DEFAULT '{}';
ALTER TABLE credential ADD COLUMN rotation_due_at INTEGER;
CREATE INDEX credential_by_rotation ON credential (rotation_due_at) WHERE rotation_due_at IS NOT NULL;
`,
};
