// The tables of every cell: its identity, its keys, its audit log, its tokens and its replay protection.

export const CORE_SCRIPT = `
CREATE TABLE cell (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  kind TEXT NOT NULL,
  installation_id TEXT NOT NULL,
  cell_id TEXT NOT NULL,
  incarnation_id TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE tenant_key (
  key_id TEXT PRIMARY KEY,
  purpose TEXT NOT NULL,
  version INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('active', 'decrypt_only', 'destroyed')),
  wrapped BLOB,
  wraps INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL,
  retired_at INTEGER,
  destroy_after_at INTEGER,
  destroyed_at INTEGER,
  UNIQUE (purpose, version)
) STRICT;

CREATE TABLE key_rotation (
  purpose TEXT NOT NULL,
  to_version INTEGER NOT NULL,
  total INTEGER NOT NULL,
  done INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  finished_at INTEGER,
  PRIMARY KEY (purpose, to_version)
) STRICT;

CREATE TABLE audit_head (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  size INTEGER NOT NULL,
  state_sequence INTEGER NOT NULL,
  frontier BLOB NOT NULL
) STRICT;

CREATE TABLE audit_block (
  first_index INTEGER PRIMARY KEY,
  events INTEGER NOT NULL,
  last_at INTEGER NOT NULL,
  bytes BLOB NOT NULL,
  leaves BLOB NOT NULL
) STRICT;

CREATE TABLE audit_source (
  source_id TEXT PRIMARY KEY,
  wrapped_key BLOB NOT NULL,
  key_id TEXT NOT NULL,
  value BLOB NOT NULL
) STRICT;
CREATE INDEX audit_source_by_key ON audit_source (key_id);

CREATE TABLE checkpoint (
  size INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  note TEXT NOT NULL
) STRICT;

CREATE TABLE token (
  public_id TEXT PRIMARY KEY,
  type TEXT NOT NULL,
  hash BLOB NOT NULL,
  subject_id TEXT NOT NULL,
  permissions TEXT,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  revoked_at INTEGER,
  last_used_at INTEGER,
  mac BLOB NOT NULL,
  mac_key_id TEXT NOT NULL
) STRICT;
CREATE INDEX token_by_subject ON token (subject_id);
CREATE INDEX token_by_expiry ON token (expires_at);
CREATE INDEX token_by_mac_key ON token (mac_key_id);

CREATE TABLE idempotency (
  principal_id TEXT NOT NULL,
  idempotency_key TEXT NOT NULL,
  request_hash BLOB NOT NULL,
  status INTEGER NOT NULL,
  wrapped_key BLOB NOT NULL,
  key_id TEXT NOT NULL,
  value BLOB NOT NULL,
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (principal_id, idempotency_key)
) STRICT;
CREATE INDEX idempotency_by_expiry ON idempotency (expires_at);
CREATE INDEX idempotency_by_key ON idempotency (key_id);
`;
