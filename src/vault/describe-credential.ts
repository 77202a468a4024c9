// What is known of credentials beside their values: one, a searched list, and the history of versions. Never a value.
import type { Caller } from '../access/principals.ts';
import { LIMITS } from '../base/limits.ts';
import type { CredentialFilter, VersionFacts } from '../cell/credentials.ts';
import { credentialTarget, environmentTarget, type Located, type TenantVault } from './tenant-vault.ts';

/** Also finds a deleted credential in its recovery window. @throws not_found */
export function describeCredential(vault: TenantVault, caller: Caller, environment: string, name: string): Located {
  return vault.door.enter(
    caller,
    'credential.describe',
    (lookup) => credentialTarget(vault, lookup, environment, name),
    (_access, located) => located,
  );
}

export interface ListCredentialsInput {
  readonly environment: string;
  readonly filter: Omit<CredentialFilter, 'environmentId' | 'nowMs'>;
  readonly afterName: string;
  readonly maxRows: number;
}

export interface Page<T> {
  readonly rows: T[];
  /** Where the next page starts; undefined at the end. */
  readonly next: string | undefined;
}

/** Only what the caller may see: a workload's list holds the names its patterns match (AZ-15). */
export function listCredentials(vault: TenantVault, caller: Caller, input: ListCredentialsInput): Page<Located> {
  return vault.door.enter(
    caller,
    'credential.list',
    (lookup) => environmentTarget(vault, lookup, input.environment),
    (access, environment, details, principal) => {
      const isScoped = principal.type === 'Workload';
      const visible = isScoped ? principal.matches : () => true;
      // A page of one must not mean a query for every two names that are out of scope (DS-08).
      const batchRows = isScoped ? LIMITS.pageMaxRows + 1 : input.maxRows + 1;
      const rows: Located[] = [];
      let after = input.afterName;
      const filter = { ...input.filter, environmentId: environment.id, nowMs: vault.around.clock.now() };
      for (;;) {
        const batch = vault.credentials.list(access, filter, after, batchRows);
        for (const row of batch) {
          if (visible(row.name)) rows.push({ environment, row });
          after = row.name;
          if (rows.length > input.maxRows) break;
        }
        if (rows.length > input.maxRows || batch.length < batchRows) break;
      }
      const page = rows.slice(0, input.maxRows);
      details.count = page.length;
      return { rows: page, next: rows.length > input.maxRows ? page.at(-1)?.row.name : undefined };
    },
  );
}

export interface HistoryEntry extends VersionFacts {
  readonly stages: readonly string[];
}

/** Newest version first. */
export function listVersions(
  vault: TenantVault,
  caller: Caller,
  environment: string,
  name: string,
  beforeVersion: number,
  maxRows: number,
): Page<HistoryEntry> {
  return vault.door.enter(
    caller,
    'credential.describe',
    (lookup) => credentialTarget(vault, lookup, environment, name),
    (access, { row }) => {
      const found = vault.credentials.versions(access, row.id, beforeVersion, maxRows + 1);
      const page = found.slice(0, maxRows);
      const rows = page.map((facts) => ({
        ...facts,
        stages: [
          ...(facts.version === row.current_version ? ['current'] : []),
          ...(facts.version === row.previous_version ? ['previous'] : []),
          ...(facts.version === row.pending_version ? ['pending'] : []),
        ],
      }));
      return { rows, next: found.length > maxRows ? String(page.at(-1)?.version) : undefined };
    },
  );
}
