// Forward-only, atomic schema steps. A released step must never be edited: add another one.
import { fail } from '../base/errors.ts';
import { HOME_STEPS } from './schema-home.ts';
import type { CellKind, SchemaStep } from './schema-step.ts';
import { TENANT_STEPS } from './schema-tenant.ts';
import type { Sql } from './sql.ts';

const STEPS: Record<CellKind, readonly SchemaStep[]> = { home: HOME_STEPS, tenant: TENANT_STEPS };

/** `schema_step.applied_at` of a step whose sealed rows are not migrated yet. */
export const NOT_CARRIED = 0;

const newestOf = (steps: readonly SchemaStep[]): number => steps.at(-1)?.version ?? 0;

/** The newest schema version of this build. */
export function latestSchemaVersion(kind: CellKind): number {
  return newestOf(STEPS[kind]);
}

/** 0 for an empty database. */
export function schemaVersion(sql: Sql): number {
  const known = sql.get("SELECT 1 AS present FROM sqlite_master WHERE type = 'table' AND name = 'schema_step'");
  if (known === undefined) return 0;
  return Number(sql.get('SELECT max(version) AS version FROM schema_step')?.['version']);
}

/**
 * Migrates the database to the newest schema in one transaction; idempotent. `carryRows` migrates sealed rows later.
 * @throws conflict when a newer build wrote the database
 */
export function migrate(sql: Sql, kind: CellKind, nowMs: number, steps: readonly SchemaStep[] = STEPS[kind]): number {
  const newest = newestOf(steps);
  const present = schemaVersion(sql);
  if (present > newest)
    fail('conflict', `the database has schema ${present}, but this build supports up to ${newest}: run the newer build`);
  if (present === newest) return newest;
  sql.transaction(() => {
    if (present === 0) {
      sql.script(
        'CREATE TABLE schema_step (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT;',
      );
    }
    for (const step of steps) {
      if (step.version <= present) continue;
      sql.script(step.script);
      const hasRows = present > 0 && step.carries === true;
      const appliedAt = hasRows ? NOT_CARRIED : nowMs;
      sql.run('INSERT INTO schema_step (version, name, applied_at) VALUES (?, ?, ?)', step.version, step.name, appliedAt);
    }
  });
  return newest;
}
