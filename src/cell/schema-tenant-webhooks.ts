// Schema step 10 of a tenant's cell: secrets of new webhooks also depend on the URL. Secrets of older webhooks do not change.
import type { SchemaStep } from './schema-step.ts';

export const WEBHOOKS_STEP: SchemaStep = {
  version: 10,
  name: 'webhook secrets bound to their URL',
  script: `
ALTER TABLE webhook ADD COLUMN url_bound INTEGER NOT NULL DEFAULT 0 CHECK (url_bound IN (0, 1));
`,
};
