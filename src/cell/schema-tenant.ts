// A tenant's cell: environments, credentials, their versions, workloads and runs.

import { CORE_SCRIPT } from './schema-core.ts';
import { TENANT_LISTS_SCRIPT } from './schema-lists.ts';
import type { SchemaStep } from './schema-step.ts';
import { ANCHOR_STEP } from './schema-tenant-anchor.ts';
import { FORECAST_STEP } from './schema-tenant-forecast.ts';
import { GRANTS_STEP } from './schema-tenant-grants.ts';
import { NAMES_STEP } from './schema-tenant-names.ts';
import { READERS_STEP } from './schema-tenant-readers.ts';
import { REVOCATIONS_STEP } from './schema-tenant-revocations.ts';
import { ROTATIONS_STEP } from './schema-tenant-rotations.ts';
import { RUNS_STEP } from './schema-tenant-runs.ts';
import { SCHEDULES_STEP } from './schema-tenant-schedules.ts';
import { WEBHOOKS_STEP } from './schema-tenant-webhooks.ts';
import { TOKEN_ORIGIN_SCRIPT } from './schema-token-origin.ts';

export const TENANT_STEPS: readonly SchemaStep[] = [
  {
    version: 1,
    name: 'credentials, workloads, runs',
    script: `${CORE_SCRIPT}
CREATE TABLE environment (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  created_at INTEGER NOT NULL,
  mac BLOB NOT NULL,
  mac_key_id TEXT NOT NULL
) STRICT;

CREATE TABLE credential (
  id TEXT PRIMARY KEY,
  environment_id TEXT NOT NULL REFERENCES environment (id),
  name TEXT NOT NULL,
  kind TEXT NOT NULL,
  connector TEXT,
  state TEXT NOT NULL CHECK (state IN ('active', 'deleted', 'destroyed')),
  health TEXT NOT NULL CHECK (health IN ('ready', 'degraded', 'needs_consent', 'disconnected')),
  health_since INTEGER NOT NULL,
  health_cause TEXT,
  current_version INTEGER NOT NULL,
  previous_version INTEGER,
  pending_version INTEGER,
  latest_version INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  description TEXT NOT NULL,
  labels TEXT NOT NULL,
  config TEXT NOT NULL,
  value_expires_at INTEGER,
  refresh_due_at INTEGER,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  updated_at INTEGER NOT NULL,
  deleted_at INTEGER,
  destroy_after_at INTEGER,
  mac BLOB NOT NULL,
  mac_key_id TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX credential_by_name ON credential (environment_id, name) WHERE state <> 'destroyed';
CREATE INDEX credential_by_refresh ON credential (refresh_due_at) WHERE refresh_due_at IS NOT NULL;
CREATE INDEX credential_by_destroy ON credential (destroy_after_at) WHERE destroy_after_at IS NOT NULL;
CREATE INDEX credential_by_mac_key ON credential (mac_key_id);

CREATE TABLE credential_version (
  credential_id TEXT NOT NULL REFERENCES credential (id),
  version INTEGER NOT NULL,
  key_id TEXT NOT NULL,
  wrapped_key BLOB NOT NULL,
  value BLOB NOT NULL,
  retained BLOB,
  value_expires_at INTEGER,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  origin TEXT NOT NULL CHECK (origin IN ('put', 'refresh', 'rotation')),
  run_id TEXT,
  PRIMARY KEY (credential_id, version)
) STRICT;
CREATE INDEX credential_version_by_key ON credential_version (key_id);

CREATE TABLE workload (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  environment TEXT NOT NULL,
  patterns TEXT NOT NULL,
  permissions TEXT NOT NULL,
  networks TEXT NOT NULL,
  jwks TEXT,
  revision INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  revoked_at INTEGER,
  last_used_at INTEGER,
  mac BLOB NOT NULL,
  mac_key_id TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX workload_by_name ON workload (name) WHERE revoked_at IS NULL;
CREATE INDEX workload_by_mac_key ON workload (mac_key_id);

CREATE TABLE assertion_seen (
  jti_hash BLOB PRIMARY KEY,
  expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE run (
  id TEXT PRIMARY KEY,
  credential_id TEXT NOT NULL REFERENCES credential (id),
  kind TEXT NOT NULL CHECK (kind IN ('refresh', 'rotation')),
  trigger TEXT NOT NULL CHECK (trigger IN ('schedule', 'request', 'read')),
  requested_by TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('open', 'succeeded', 'failed', 'cancelled')),
  step TEXT NOT NULL,
  generation INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  fence INTEGER NOT NULL,
  lease_until INTEGER NOT NULL,
  lease_owner TEXT NOT NULL,
  next_attempt_at INTEGER,
  outcome TEXT,
  cause TEXT,
  new_version INTEGER,
  started_at INTEGER NOT NULL,
  finished_at INTEGER
) STRICT;
CREATE UNIQUE INDEX run_open ON run (credential_id) WHERE state = 'open';
CREATE INDEX run_by_credential ON run (credential_id, started_at);
CREATE INDEX run_due ON run (next_attempt_at) WHERE state = 'open';

CREATE TABLE run_step (
  run_id TEXT NOT NULL REFERENCES run (id),
  sequence INTEGER NOT NULL,
  step TEXT NOT NULL,
  status TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (run_id, sequence)
) STRICT;
`,
  },
  GRANTS_STEP,
  FORECAST_STEP,
  { version: 4, name: 'origin of tokens', script: TOKEN_ORIGIN_SCRIPT },
  { version: 5, name: 'lists', script: TENANT_LISTS_SCRIPT },
  NAMES_STEP,
  RUNS_STEP,
  ANCHOR_STEP,
  REVOCATIONS_STEP,
  WEBHOOKS_STEP,
  ROTATIONS_STEP,
  READERS_STEP,
  SCHEDULES_STEP,
];
