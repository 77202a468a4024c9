// Schema step 8 of a tenant's cell: anchored state, and alerts without a credential.

import { ANCHOR_SCRIPT } from './schema-anchor.ts';
import type { SchemaStep } from './schema-step.ts';

export const ANCHOR_STEP: SchemaStep = {
  version: 8,
  name: 'anchored state',
  script: `${ANCHOR_SCRIPT}
-- SQLite takes a NOT NULL away only by making the table anew; first the one that refers to it.
CREATE TABLE alert_8 (
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  credential_id TEXT REFERENCES credential (id),
  facts TEXT NOT NULL,
  at INTEGER NOT NULL
) STRICT;
INSERT INTO alert_8 SELECT id, kind, credential_id, facts, at FROM alert;
CREATE TABLE delivery_8 (
  id TEXT PRIMARY KEY,
  webhook_id TEXT NOT NULL REFERENCES webhook (id),
  alert_id TEXT NOT NULL REFERENCES alert_8 (id),
  state TEXT NOT NULL CHECK (state IN ('waiting', 'delivered', 'given_up')),
  attempts INTEGER NOT NULL,
  next_attempt_at INTEGER,
  cause TEXT,
  created_at INTEGER NOT NULL,
  finished_at INTEGER
) STRICT;
INSERT INTO delivery_8 SELECT id, webhook_id, alert_id, state, attempts, next_attempt_at, cause, created_at, finished_at FROM delivery;
DROP TABLE delivery;
DROP TABLE alert;
ALTER TABLE alert_8 RENAME TO alert;
ALTER TABLE delivery_8 RENAME TO delivery;
CREATE INDEX alert_by_time ON alert (at, id);
CREATE INDEX alert_of_credential ON alert (credential_id, at, id);
CREATE INDEX delivery_waiting ON delivery (webhook_id, next_attempt_at, created_at, id) WHERE state = 'waiting';
CREATE INDEX delivery_due ON delivery (next_attempt_at) WHERE state = 'waiting';
CREATE INDEX delivery_by_alert ON delivery (alert_id);
CREATE INDEX delivery_by_webhook ON delivery (webhook_id, created_at, id);
`,
};
