// Workloads: programs that fetch credentials, each bound to one environment, name patterns, networks and an expiry (D9).
import type { Bookkeeping, Lookup, WriteAccess } from './access.ts';
import type { Keyring } from './keyring.ts';
import { checkRow, eachIntact, sealRow, UNDER_OTHER_KEY } from './row-integrity.ts';
import type { Sql, SqlValue } from './sql.ts';

export interface WorkloadRow {
  id: string;
  name: string;
  /** One environment's name; a workload never spans two (R6). */
  environment: string;
  /** JSON array of name patterns, `*` matches any run of characters. */
  patterns: string;
  /** JSON array of WORKLOAD_PERMISSIONS keys. */
  permissions: string;
  /** JSON array of CIDR blocks; empty means any. */
  networks: string;
  /** JSON Web Key Set for private_key_jwt, or null. */
  jwks: string | null;
  revision: number;
  created_at: number;
  created_by: string;
  expires_at: number;
  revoked_at: number | null;
  last_used_at: number | null;
  mac: Uint8Array;
  mac_key_id: string;
}

export type WorkloadFacts = Omit<WorkloadRow, 'mac' | 'mac_key_id' | 'last_used_at'>;

function decisive(row: WorkloadFacts): SqlValue[] {
  const { name, environment, patterns, permissions, networks, jwks, revision, expires_at, revoked_at } = row;
  return [name, environment, patterns, permissions, networks, jwks, revision, expires_at, revoked_at];
}

export class WorkloadStore {
  readonly #sql: Sql;
  readonly #keyring: Keyring;

  #whenChanged: () => void = () => {};

  constructor(sql: Sql, keyring: Keyring) {
    this.#sql = sql;
    this.#keyring = keyring;
  }

  /** SECURITY: whoever remembers a workload forgets it when it changes, whichever use case does it. One listener. */
  whenChanged(listener: () => void): void {
    this.#whenChanged = listener;
  }

  insert(access: WriteAccess, row: WorkloadFacts): void {
    access.check();
    const { mac, mac_key_id } = sealRow(this.#keyring, 'workload', row.id, decisive(row));
    this.#sql.run(
      'INSERT INTO workload (id, name, environment, patterns, permissions, networks, jwks, revision, created_at, created_by, ' +
        'expires_at, revoked_at, mac, mac_key_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
      row.id,
      row.name,
      row.environment,
      row.patterns,
      row.permissions,
      row.networks,
      row.jwks,
      row.revision,
      row.created_at,
      row.created_by,
      row.expires_at,
      row.revoked_at,
      mac,
      mac_key_id,
    );
  }

  /** By id or by the name of a workload that is not revoked. @throws integrity */
  find(access: Lookup, idOrName: string): WorkloadRow | undefined {
    access.check();
    const row =
      this.#sql.get<WorkloadRow>('SELECT * FROM workload WHERE id = ?', idOrName) ??
      this.#sql.get<WorkloadRow>('SELECT * FROM workload WHERE name = ? AND revoked_at IS NULL', idOrName);
    if (row !== undefined) checkRow(this.#keyring, 'workload', row.id, decisive(row), row);
    return row;
  }

  /** Of revoked ones, too; unchecked, for names in a log. */
  idsNamed(access: Lookup, name: string): string[] {
    access.check();
    return this.#sql.all<{ id: string }>('SELECT id FROM workload WHERE name = ?', name).map(({ id }) => id);
  }

  list(access: Lookup, afterName: string, maxRows: number): WorkloadRow[] {
    access.check();
    return this.#sql.all<WorkloadRow>(
      'SELECT * FROM workload WHERE (name, id) > (?, ?) ORDER BY name, id LIMIT ?',
      afterName.split('\n')[0] ?? '',
      afterName.split('\n')[1] ?? '',
      maxRows,
    );
  }

  revoke(access: WriteAccess, row: WorkloadRow, nowMs: number): WorkloadRow {
    access.check();
    const next = { ...row, revoked_at: nowMs, revision: row.revision + 1 };
    const { mac, mac_key_id } = sealRow(this.#keyring, 'workload', row.id, decisive(next));
    this.#sql.run(
      'UPDATE workload SET revoked_at = ?, revision = ?, mac = ?, mac_key_id = ? WHERE id = ?',
      nowMs,
      next.revision,
      mac,
      mac_key_id,
      row.id,
    );
    this.#whenChanged();
    return next;
  }

  markUsed(access: Bookkeeping<'authentication'>, id: string, nowMs: number): void {
    access.check();
    this.#sql.run('UPDATE workload SET last_used_at = ? WHERE id = ?', nowMs, id);
  }

  /** Single use of a client assertion (RFC 7523 section 3, jti). False when it was seen before. */
  claimAssertion(access: Bookkeeping<'authentication'>, jtiHash: Uint8Array, expiresAtMs: number): boolean {
    access.check();
    return (
      this.#sql.get(
        'INSERT INTO assertion_seen (jti_hash, expires_at) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING 1 AS claimed',
        jtiHash,
        expiresAtMs,
      ) !== undefined
    );
  }

  purgeAssertions(access: Bookkeeping<'purge'>, beforeMs: number): void {
    access.check();
    this.#sql.run('DELETE FROM assertion_seen WHERE expires_at < ?', beforeMs);
  }

  resealBatch(access: WriteAccess, maxRows: number): number {
    access.check();
    const { keyId } = this.#keyring.macKey();
    const rows = this.#sql.all<WorkloadRow>(`SELECT * FROM workload WHERE ${UNDER_OTHER_KEY} LIMIT ?`, keyId, keyId, maxRows);
    return eachIntact(rows, (row) => {
      checkRow(this.#keyring, 'workload', row.id, decisive(row), row);
      const { mac, mac_key_id } = sealRow(this.#keyring, 'workload', row.id, decisive(row));
      this.#sql.run('UPDATE workload SET mac = ?, mac_key_id = ? WHERE id = ?', mac, mac_key_id, row.id);
    });
  }
}
