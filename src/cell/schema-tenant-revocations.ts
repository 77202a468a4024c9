// Schema step 9 of a tenant's cell: a revocation is a run, and the schema no longer restricts the kinds of run.
import type { SchemaStep } from './schema-step.ts';

export const REVOCATIONS_STEP: SchemaStep = {
  version: 9,
  name: 'revocations are runs',
  carries: true,
  script: `
-- SQLite takes a CHECK away only by making the table anew; first the one that refers to it. Rows keep their order.
CREATE TABLE run_9 (
  id TEXT PRIMARY KEY,
  credential_id TEXT NOT NULL REFERENCES credential (id),
  kind TEXT NOT NULL,
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
  finished_at INTEGER,
  lost_answers INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO run_9 (id, credential_id, kind, trigger, requested_by, state, step, generation, attempts, fence, lease_until, lease_owner,
    next_attempt_at, outcome, cause, new_version, started_at, finished_at, lost_answers)
  SELECT id, credential_id, kind, trigger, requested_by, state, step, generation, attempts, fence, lease_until, lease_owner,
    next_attempt_at, outcome, cause, new_version, started_at, finished_at, lost_answers FROM run ORDER BY rowid;
CREATE TABLE run_step_9 (
  run_id TEXT NOT NULL REFERENCES run_9 (id),
  sequence INTEGER NOT NULL,
  step TEXT NOT NULL,
  status TEXT NOT NULL,
  at INTEGER NOT NULL,
  evidence TEXT,
  PRIMARY KEY (run_id, sequence)
) STRICT;
INSERT INTO run_step_9 (run_id, sequence, step, status, at, evidence)
  SELECT run_id, sequence, step, status, at, evidence FROM run_step ORDER BY rowid;
DROP TABLE run_step;
DROP TABLE run;
ALTER TABLE run_9 RENAME TO run;
ALTER TABLE run_step_9 RENAME TO run_step;
CREATE UNIQUE INDEX run_open ON run (credential_id) WHERE state = 'open' AND kind <> 'revocation';
CREATE UNIQUE INDEX run_revoking ON run (credential_id, generation) WHERE state = 'open' AND kind = 'revocation';
CREATE INDEX run_by_credential ON run (credential_id, started_at);
CREATE INDEX run_revocations ON run (credential_id, started_at) WHERE kind = 'revocation';
CREATE INDEX run_due ON run (next_attempt_at) WHERE state = 'open';
CREATE INDEX run_revocation_due ON run (next_attempt_at) WHERE state = 'open' AND kind = 'revocation';
DROP INDEX credential_by_revoke;
`,
};
