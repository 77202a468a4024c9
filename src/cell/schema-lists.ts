// Indexes for lists, filters and due work: each query uses one of them (test/cell/query-plans.test.ts).

export const HOME_LISTS_SCRIPT = `
CREATE INDEX token_of_subject ON token (subject_id, created_at, public_id);
DROP INDEX token_by_subject;
CREATE INDEX tenant_by_state ON tenant (state, created_at);
`;

export const TENANT_LISTS_SCRIPT = `
CREATE INDEX token_of_subject ON token (subject_id, created_at, public_id);
DROP INDEX token_by_subject;

CREATE INDEX credential_of_kind ON credential (environment_id, kind, name) WHERE state = 'active';
CREATE INDEX credential_not_ready ON credential (environment_id, health, name) WHERE state = 'active' AND health <> 'ready';
CREATE INDEX credential_deleted ON credential (environment_id, name) WHERE state = 'deleted';

CREATE INDEX credential_ends ON credential (grant_ends_at, id) WHERE grant_ends_at IS NOT NULL AND state = 'active';
CREATE INDEX credential_ends_in ON credential (environment_id, grant_ends_at, id) WHERE grant_ends_at IS NOT NULL AND state = 'active';
DROP INDEX credential_by_end;
CREATE INDEX credential_ended_at ON credential (health_since, id)
  WHERE health = 'needs_consent' AND kind = 'oauth2' AND state = 'active' AND health_cause IS NOT 'not_connected_yet';
CREATE INDEX credential_ended_in ON credential (environment_id, health_since, id)
  WHERE health = 'needs_consent' AND kind = 'oauth2' AND state = 'active' AND health_cause IS NOT 'not_connected_yet';
DROP INDEX credential_ended;
CREATE INDEX credential_of_client ON credential (CASE WHEN json_valid(config) THEN json_extract(config, '$.client_id') END, id)
  WHERE kind = 'oauth2' AND state = 'active' AND health IN ('ready', 'degraded');
CREATE INDEX credential_of_account ON credential (
  connector,
  CASE WHEN json_valid(config) THEN json_extract(config, '$.client_id') END,
  CASE WHEN json_valid(grant_facts) THEN json_extract(grant_facts, '$.account') END,
  created_at
) WHERE kind = 'oauth2' AND state = 'active' AND health IN ('ready', 'degraded');

CREATE INDEX workload_in_order ON workload (name, id);
CREATE INDEX assertion_by_expiry ON assertion_seen (expires_at);

CREATE INDEX connection_of_credential ON connection (credential_id, created_at, id);
DROP INDEX connection_by_credential;

CREATE INDEX alert_of_credential ON alert (credential_id, at, id);
DROP INDEX alert_by_credential;
CREATE INDEX webhook_live ON webhook (created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX delivery_waiting ON delivery (webhook_id, next_attempt_at, created_at, id) WHERE state = 'waiting';
`;
