// Schema step 7 of a tenant's cell: the journal of a run keeps the provider's errors.
import type { SchemaStep } from './schema-step.ts';

export const RUNS_STEP: SchemaStep = {
  version: 7,
  name: 'what providers said',
  script: `
ALTER TABLE run_step ADD COLUMN evidence TEXT;
`,
};
