// The home cell: the team and the list of tenants (D1). It must never contain data of a tenant beyond its name and state.

import { ANCHOR_SCRIPT } from './schema-anchor.ts';
import { CORE_SCRIPT } from './schema-core.ts';
import { HOME_LISTS_SCRIPT } from './schema-lists.ts';
import type { SchemaStep } from './schema-step.ts';
import { TOKEN_ORIGIN_SCRIPT } from './schema-token-origin.ts';

export const HOME_STEPS: readonly SchemaStep[] = [
  {
    version: 1,
    name: 'team and tenants',
    script: `${CORE_SCRIPT}
CREATE TABLE tenant (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('creating', 'active', 'erasing', 'erased')),
  demo INTEGER NOT NULL,
  environments TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  witnessed TEXT,
  mac BLOB NOT NULL,
  mac_key_id TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX tenant_by_name ON tenant (name) WHERE state <> 'erased';

CREATE TABLE user (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  revision INTEGER NOT NULL,
  bootstrap INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  offboarded_at INTEGER,
  mac BLOB NOT NULL,
  mac_key_id TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX user_by_name ON user (name) WHERE offboarded_at IS NULL;
CREATE INDEX user_by_mac_key ON user (mac_key_id);

CREATE TABLE user_grant (
  user_id TEXT NOT NULL REFERENCES user (id),
  role TEXT NOT NULL,
  tenant_id TEXT NOT NULL,
  PRIMARY KEY (user_id, role, tenant_id)
) STRICT;
`,
  },
  { version: 2, name: 'origin of tokens', script: TOKEN_ORIGIN_SCRIPT },
  { version: 3, name: 'lists', script: HOME_LISTS_SCRIPT },
  {
    version: 4,
    name: 'anchored state',
    script: `${ANCHOR_SCRIPT}
-- 1: the tenant's own cell is anchored, so it is never opened without its head, nor made anew.
ALTER TABLE tenant ADD COLUMN anchored INTEGER NOT NULL DEFAULT 0;
`,
  },
];
