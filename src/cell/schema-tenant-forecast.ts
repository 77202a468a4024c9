// The third step of a tenant's cell: the forecast begins with the grants that ended already, and finds them without looking at all others.
import type { SchemaStep } from './schema-step.ts';

export const FORECAST_STEP: SchemaStep = {
  version: 3,
  name: 'grants that ended',
  script: `
CREATE INDEX credential_ended ON credential (health_since, id) WHERE health = 'needs_consent';
`,
};
