// Preconditions of a change of a credential: RFC 9110 section 13 (If-Match, If-None-Match) and check-and-set.
import { fail } from '../base/errors.ts';
import type { CredentialRow } from '../cell/credentials.ts';

/** All given conditions must hold. */
export interface WritePrecondition {
  /** The credential must not exist yet. */
  readonly absent?: boolean | undefined;
  /** Its revision must be this (If-Match). */
  readonly revision?: number | undefined;
  /** Its current version must be this (check-and-set); 0 means absent. */
  readonly version?: number | undefined;
}

/** @throws precondition_failed | version_conflict */
export function checkPrecondition(row: CredentialRow | undefined, precondition: WritePrecondition): void {
  const { absent, revision, version } = precondition;
  if (absent === true && row !== undefined)
    fail('precondition_failed', 'the credential exists already: If-None-Match requires that it does not');
  if (revision !== undefined && row?.revision !== revision)
    fail('precondition_failed', 'the credential changed since it was read: read it again and repeat the change');
  if (version !== undefined && (row?.current_version ?? 0) !== version) {
    fail('version_conflict', 'cas must be the current version of the credential, which is another one', {
      pointer: '/cas',
      extra: { current_version: row?.current_version ?? 0 },
    });
  }
}
