// Schema step 2 of a tenant's cell: connections by consent, facts of grants, alerts and webhooks.
import type { SchemaStep } from './schema-step.ts';

export const GRANTS_STEP: SchemaStep = {
  version: 2,
  name: 'connections, grant facts, alerts, webhooks',
  script: `
ALTER TABLE credential ADD COLUMN grant_facts TEXT NOT NULL DEFAULT '{}';
ALTER TABLE credential ADD COLUMN grant_ends_at INTEGER;
ALTER TABLE credential ADD COLUMN review_due_at INTEGER;
ALTER TABLE credential ADD COLUMN revoke_due_at INTEGER;
CREATE INDEX credential_by_review ON credential (review_due_at) WHERE review_due_at IS NOT NULL;
CREATE INDEX credential_by_revoke ON credential (revoke_due_at) WHERE revoke_due_at IS NOT NULL;
CREATE INDEX credential_by_end ON credential (grant_ends_at) WHERE grant_ends_at IS NOT NULL;

ALTER TABLE run ADD COLUMN lost_answers INTEGER NOT NULL DEFAULT 0;

-- A version can come from consent now; SQLite changes a CHECK only by making the table anew.
CREATE TABLE credential_version_2 (
  credential_id TEXT NOT NULL REFERENCES credential (id),
  version INTEGER NOT NULL,
  key_id TEXT NOT NULL,
  wrapped_key BLOB NOT NULL,
  value BLOB NOT NULL,
  retained BLOB,
  value_expires_at INTEGER,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  origin TEXT NOT NULL CHECK (origin IN ('put', 'import', 'consent', 'refresh', 'rotation')),
  run_id TEXT,
  PRIMARY KEY (credential_id, version)
) STRICT;
INSERT INTO credential_version_2 SELECT credential_id, version, key_id, wrapped_key, value, retained, value_expires_at, created_at, created_by, origin, run_id
  FROM credential_version;
DROP TABLE credential_version;
ALTER TABLE credential_version_2 RENAME TO credential_version;
CREATE INDEX credential_version_by_key ON credential_version (key_id);

-- One consent asked of a person: the link, its attempts, how it ended. Nothing in it is a secret: link and state are kept as hashes,
-- the PKCE verifier is derived from the root key.
CREATE TABLE connection (
  id TEXT PRIMARY KEY,
  credential_id TEXT NOT NULL REFERENCES credential (id),
  state TEXT NOT NULL CHECK (state IN ('open', 'exchanging', 'choosing', 'connected', 'declined', 'failed', 'cancelled', 'expired')),
  link_hash BLOB NOT NULL UNIQUE,
  state_hash BLOB,
  browser_hash BLOB,
  attempt INTEGER NOT NULL,
  request TEXT NOT NULL,
  cause TEXT,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  attempt_expires_at INTEGER,
  finished_at INTEGER,
  mac BLOB NOT NULL,
  mac_key_id TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX connection_by_state ON connection (state_hash) WHERE state_hash IS NOT NULL;
CREATE INDEX connection_by_credential ON connection (credential_id, created_at);
CREATE INDEX connection_open ON connection (expires_at) WHERE state IN ('open', 'exchanging', 'choosing');
CREATE INDEX connection_by_mac_key ON connection (mac_key_id);

-- One change of state that someone should know of, recovery included.
CREATE TABLE alert (
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  credential_id TEXT NOT NULL REFERENCES credential (id),
  facts TEXT NOT NULL,
  at INTEGER NOT NULL
) STRICT;
CREATE INDEX alert_by_time ON alert (at, id);
CREATE INDEX alert_by_credential ON alert (credential_id, at);

CREATE TABLE webhook (
  id TEXT PRIMARY KEY,
  url TEXT NOT NULL,
  kinds TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  deleted_at INTEGER,
  mac BLOB NOT NULL,
  mac_key_id TEXT NOT NULL
) STRICT;
CREATE INDEX webhook_by_mac_key ON webhook (mac_key_id);

CREATE TABLE delivery (
  id TEXT PRIMARY KEY,
  webhook_id TEXT NOT NULL REFERENCES webhook (id),
  alert_id TEXT NOT NULL REFERENCES alert (id),
  state TEXT NOT NULL CHECK (state IN ('waiting', 'delivered', 'given_up')),
  attempts INTEGER NOT NULL,
  next_attempt_at INTEGER,
  cause TEXT,
  created_at INTEGER NOT NULL,
  finished_at INTEGER
) STRICT;
CREATE INDEX delivery_due ON delivery (next_attempt_at) WHERE state = 'waiting';
CREATE INDEX delivery_by_alert ON delivery (alert_id);
CREATE INDEX delivery_by_webhook ON delivery (webhook_id, created_at, id);
`,
};
