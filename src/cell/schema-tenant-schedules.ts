// Schema step 13 of a tenant's cell: schedules of rotations, by credential and by rule, the watch over overdue ones, and calendar feeds.
import type { SchemaStep } from './schema-step.ts';

export const SCHEDULES_STEP: SchemaStep = {
  version: 13,
  name: 'schedules of rotations',
  script: `
ALTER TABLE credential ADD COLUMN schedule TEXT NOT NULL DEFAULT '{}';
ALTER TABLE credential ADD COLUMN rotation_promised_at INTEGER;
ALTER TABLE credential ADD COLUMN overdue_check_at INTEGER;
CREATE INDEX credential_by_overdue_check ON credential (overdue_check_at) WHERE overdue_check_at IS NOT NULL;
CREATE INDEX credential_by_promise ON credential (rotation_promised_at, id) WHERE rotation_promised_at IS NOT NULL;
CREATE INDEX credential_rotatable ON credential (id) WHERE connector IS NOT NULL AND kind <> 'oauth2' AND state = 'active';
CREATE TABLE schedule_rule (
  name TEXT PRIMARY KEY,
  environment TEXT,
  connector TEXT,
  label_name TEXT,
  label_value TEXT,
  priority INTEGER NOT NULL,
  spec TEXT NOT NULL,
  pause TEXT,
  set_at INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  removed_at INTEGER,
  walk_after TEXT
) STRICT;
CREATE TABLE calendar_feed (
  id TEXT PRIMARY KEY,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  revoked_at INTEGER
) STRICT;
CREATE INDEX calendar_feed_live ON calendar_feed (created_at, id) WHERE revoked_at IS NULL;
`,
};
