// Reads credentials without their values: one, a filtered list, and the history of versions.
import type { Caller } from '../access/principals.ts';
import { LIMITS } from '../base/limits.ts';
import type { Lookup } from '../cell/access.ts';
import type { CredentialFilter, EnvironmentRow, VersionMetadata } from '../cell/credentials.ts';
import { credentialTarget, environmentTarget, type Located } from './targets.ts';
import type { TenantJob } from './tenant-job.ts';
import type { TenantVault } from './tenant-vault.ts';

/** Includes a deleted credential in its recovery window. @throws not_found */
export function describeCredential(job: TenantJob, caller: Caller, environment: string, name: string): Located {
  return job.door.enter(
    caller,
    'credential.describe',
    (lookup) => credentialTarget(job, lookup, environment, name),
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

/** Reads one row more than the page has, which shows whether another page follows. */
export function pageFrom<T>(maxRows: number, read: (maxRows: number) => readonly T[], cursorOf: (last: T) => string): Page<T> {
  const found = read(maxRows + 1);
  const rows = found.slice(0, maxRows);
  const last = found.length > maxRows ? rows.at(-1) : undefined;
  return { rows, next: last === undefined ? undefined : cursorOf(last) };
}

/** A page that may be short although there are more rows: one turn reads a bounded number of rows, and few of them matched. */
interface ListTurn extends Page<Located> {
  readonly environment: EnvironmentRow;
  /** Undefined: every name. */
  readonly visible: ((name: string) => boolean) | undefined;
}

/** One turn of a list, with only what the caller may see: for a workload, the names that its patterns match (AZ-15). */
export function listCredentials(job: TenantJob, caller: Caller, input: ListCredentialsInput): ListTurn {
  return job.door.enter(
    caller,
    'credential.list',
    (lookup) => environmentTarget(job, lookup, input.environment),
    (access, environment, details, principal) => {
      const visible = principal.type === 'Workload' ? principal.matches : undefined;
      const page = pageOf(job, access, environment, visible, input);
      if (page.next === undefined || page.rows.length === input.maxRows) details.count = page.rows.length;
      return { ...page, environment, visible };
    },
  );
}

/** Fills a short page, one turn per job, so that other requests run in between. The first turn recorded the list. */
export async function filledPage(vault: TenantVault, first: ListTurn, input: ListCredentialsInput): Promise<Page<Located>> {
  const rows = [...first.rows];
  let { next } = first;
  for (let turn = 1; turn < LIMITS.listTurnsMax && next !== undefined && rows.length < input.maxRows; turn++) {
    const rest = { ...input, afterName: next, maxRows: input.maxRows - rows.length };
    const more = await vault.submit((job) =>
      job.door.lookup('list', (lookup) => pageOf(job, lookup, first.environment, first.visible, rest)),
    );
    rows.push(...more.rows);
    next = more.next;
  }
  return { rows, next };
}

function pageOf(
  job: TenantJob,
  access: Lookup,
  environment: EnvironmentRow,
  visible: ((name: string) => boolean) | undefined,
  { filter, afterName, maxRows }: ListCredentialsInput,
): Page<Located> {
  // One more row than requested shows whether there are more. Names out of scope must not cost a query each (DS-08).
  const asked = visible === undefined ? maxRows + 1 : LIMITS.listScanMaxRows;
  const whole = { ...filter, environmentId: environment.id, nowMs: job.platform.clock.now() };
  const found = job.credentials.list(access, whole, afterName, asked);
  const fitting = visible === undefined ? found.rows : found.rows.filter((row) => visible(row.name));
  const rows = fitting.slice(0, maxRows).map((row) => ({ environment, row }));
  return { rows, next: fitting.length > maxRows ? rows.at(-1)?.row.name : found.scannedTo };
}

export interface HistoryEntry extends VersionMetadata {
  readonly stages: readonly string[];
}

/** The page of a list that belongs to one credential. */
export interface PageOfCredential {
  readonly environment: string;
  readonly name: string;
  /** Only rows before this number: a version, or an instant. */
  readonly before: number;
  readonly maxRows: number;
}

/** Newest version first. */
export function listVersions(
  job: TenantJob,
  caller: Caller,
  { environment, name, before, maxRows }: PageOfCredential,
): Page<HistoryEntry> {
  return job.door.enter(
    caller,
    'credential.describe',
    (lookup) => credentialTarget(job, lookup, environment, name),
    (access, { row }) => {
      const { rows: page, next } = pageFrom(
        maxRows,
        (rows) => job.credentials.versions(access, row.id, before, rows),
        ({ version }) => String(version),
      );
      const rows = page.map((facts) => ({
        ...facts,
        stages: [
          ...(facts.version === row.current_version ? ['current'] : []),
          ...(facts.version === row.previous_version ? ['previous'] : []),
          ...(facts.version === row.pending_version ? ['pending'] : []),
        ],
      }));
      return { rows, next };
    },
  );
}
