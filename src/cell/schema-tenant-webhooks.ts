// The tenth step of a tenant's cell: the secret of a webhook made from now on is derived from its URL, too. Older secrets stay as they are.
import type { SchemaStep } from './schema-step.ts';

export const WEBHOOKS_STEP: SchemaStep = {
  version: 10,
  name: 'webhook secrets bound to their URL',
  script: `
ALTER TABLE webhook ADD COLUMN url_bound INTEGER NOT NULL DEFAULT 0 CHECK (url_bound IN (0, 1));
`,
};
