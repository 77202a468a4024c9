// Disconnects a grant: it becomes unreadable at once, is no longer refreshed, and is revoked at the provider if that is supported.
// It must never end the access of another credential with the same grant.
import type { Caller } from '../../src/access/principals.ts';
import { fail } from '../../src/base/errors.ts';
import type { WriteAccess } from '../../src/cell/access.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import type { RunRow } from '../../src/cell/runs.ts';
import { cancelOpenRun } from '../../src/vault/cancel-run.ts';
import { changeCredential, configOf } from '../../src/vault/credential.ts';
import { changeHealth } from '../../src/vault/grant-health.ts';
import { checkPrecondition, type WritePrecondition } from '../../src/vault/precondition.ts';
import { credentialTarget, type Located, requireActive } from '../../src/vault/targets.ts';
import { findConnector } from '../connector.ts';
import type { JobPorts } from '../engine/due-work.ts';
import { resolvedOf } from './connector-settings.ts';
import { endConnection } from './consent/make-link.ts';
import { fingerprintOf, isShared } from './grant-tokens.ts';
import { openRevocation, type Spared } from './revoke.ts';

export interface DisconnectInput {
  readonly environment: string;
  readonly name: string;
  /** Whether to revoke the grant at the provider. */
  readonly revoke: boolean;
  readonly precondition: WritePrecondition;
}

export interface Disconnected {
  readonly located: Located;
  /** Manual steps at the provider, if it has no revocation call. */
  readonly manualSteps: readonly string[];
}

/** Idempotent, except that a repetition can request a revocation that was not requested before. @throws not_found | gone | conflict */
export function disconnectCredential(ports: JobPorts, caller: Caller, input: DisconnectInput): Disconnected {
  const { job } = ports;
  return job.door.enter(
    caller,
    'credential.disconnect',
    (lookup) => credentialTarget(job, lookup, input.environment, input.name),
    (access, located, details) => {
      const row = requireActive(located.row);
      if (row.kind !== 'oauth2') fail('conflict', 'only a credential of kind oauth2 can be disconnected');
      checkPrecondition(row, input.precondition);
      const before = job.runs.lastRevocation(access, row.id, row.current_version);
      const asksMore = input.revoke && before?.outcome === 'not_asked';
      if (row.health === 'disconnected' && !asksMore) return { located, manualSteps: stepsFor(ports, row, before) };
      const spared = whySpared(ports, access, row, input.revoke);
      const next = disconnect(ports, access, located);
      const run = openRevocation(job, access, next, spared);
      details.step = spared?.outcome ?? 'waiting';
      details.run = run.id;
      details.version = row.current_version;
      if (spared?.cause != null) details.cause = spared.cause;
      return {
        located: { environment: located.environment, row: next },
        manualSteps: stepsFor(ports, next, job.runs.get(access, run.id)),
      };
    },
  );
}

function disconnect({ job }: JobPorts, access: WriteAccess, { environment, row }: Located): CredentialRow {
  const now = job.platform.clock.now();
  cancelOpenRun(job, access, row, 'disconnected');
  for (const connection of job.connections.usable(access, row.id, now)) {
    endConnection(job, access, connection, 'cancelled', 'disconnected');
  }
  // Ending a link may have discarded a pending client secret, so the row is read again.
  const latest = job.credentials.byId(access, row.id);
  return changeCredential(job, access, { environment, row: latest }, (draft) => {
    changeHealth({ job, access, draft, environment }, 'disconnected', 'on_request');
  }).row;
}

/** Why the grant is not revoked at the provider; undefined if it is. */
function whySpared(ports: JobPorts, access: WriteAccess, row: CredentialRow, revoke: boolean): Spared | undefined {
  const { job } = ports;
  if (!revoke) return { outcome: 'not_asked', cause: null };
  if (fingerprintOf(job, access, row, row.current_version) === undefined)
    return { outcome: 'not_asked', cause: 'nothing_to_revoke' };
  const spec = resolvedOf(ports.connectors, row)?.revocation;
  if (spec === undefined) return { outcome: 'not_possible', cause: 'no_way_to_revoke' };
  const { client_id: clientId } = configOf(row);
  const others = isShared(job, access, row, row.current_version, { ends: spec.ends, clientId });
  return others ? { outcome: 'shared', cause: null } : undefined;
}

/** Empty if the grant was or will be revoked at the provider, or if other credentials use it. */
function stepsFor(ports: JobPorts, row: CredentialRow, revocation: RunRow | undefined): readonly string[] {
  const { outcome } = revocation ?? {};
  if (outcome !== 'not_possible' && outcome !== 'given_up') return [];
  const steps = findConnector(ports.connectors, 'oauth2', row.connector)?.manualSteps ?? [];
  const withdrawing = steps.filter((step) => step.startsWith('To withdraw '));
  return withdrawing.length > 0 ? withdrawing : steps;
}
