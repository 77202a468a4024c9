// Schema step 3 of a tenant's cell: an index of ended grants, which a forecast lists first.
import type { SchemaStep } from './schema-step.ts';

export const FORECAST_STEP: SchemaStep = {
  version: 3,
  name: 'grants that ended',
  script: `
CREATE INDEX credential_ended ON credential (health_since, id) WHERE health = 'needs_consent';
`,
};
