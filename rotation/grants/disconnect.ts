// Disconnects a grant: unreadable at once, no longer refreshed, and, where the provider has a way, told to the provider.
// It must never end the access of another credential that lives on the same grant.
import type { Caller } from '../../src/access/principals.ts';
import { raiseAlert } from '../../src/alerts/raise-alert.ts';
import { toTimestamp } from '../../src/base/clock.ts';
import { fail, KeyturnError } from '../../src/base/errors.ts';
import type { WriteAccess } from '../../src/cell/access.ts';
import type { CredentialFacts, CredentialRow } from '../../src/cell/credentials.ts';
import { cancelOpenRun } from '../../src/vault/cancel-run.ts';
import { changeCredential, configOf } from '../../src/vault/credential.ts';
import { changeGrantFacts, type GrantFacts, grantFacts } from '../../src/vault/grant-facts.ts';
import { changeHealth } from '../../src/vault/grant-health.ts';
import { checkPrecondition, type WritePrecondition } from '../../src/vault/put-credential.ts';
import { credentialTarget, type Located, requireActive } from '../../src/vault/tenant-job.ts';
import { findConnector } from '../connector.ts';
import type { EnginePorts, JobPorts } from '../engine/due-work.ts';
import type { SettledConnector } from '../oauth2/settings.ts';
import { settleFor } from './connector-settings.ts';
import { endConnection } from './consent/make-link.ts';
import { fingerprintOf, isShared } from './grant-tokens.ts';

export interface DisconnectInput {
  readonly environment: string;
  readonly name: string;
  /** Whether the provider is to be told. */
  readonly revoke: boolean;
  readonly precondition: WritePrecondition;
}

export interface Disconnected {
  readonly located: Located;
  /** What a person does at the provider where no call does it. */
  readonly manualSteps: readonly string[];
}

/** Repeating it changes nothing, but that a revocation not asked for before can be. @throws not_found | gone | conflict */
export function disconnectCredential(ports: JobPorts, caller: Caller, input: DisconnectInput): Disconnected {
  const { job } = ports;
  return job.door.enter(
    caller,
    'credential.disconnect',
    (lookup) => credentialTarget(job, lookup, input.environment, input.name),
    (access, located, details) => {
      const row = requireActive(located.row);
      if (row.kind !== 'oauth2') fail('conflict', 'only an account connected by OAuth can be disconnected');
      checkPrecondition(row, input.precondition);
      const before = grantFacts(row).revocation;
      const asksMore = input.revoke && before?.state === 'not_asked';
      if (row.health === 'disconnected' && !asksMore) return { located, manualSteps: stepsFor(ports, row) };
      const revocation = plan(ports, access, row, input.revoke);
      const next = disconnect(ports, access, located, revocation);
      details.step = revocation.state;
      details.version = row.current_version;
      if (revocation.cause !== undefined) details.cause = revocation.cause;
      return { located: { environment: located.environment, row: next }, manualSteps: stepsFor(ports, next) };
    },
  );
}

type Revocation = NonNullable<GrantFacts['revocation']>;

function disconnect(
  { job }: JobPorts,
  access: WriteAccess,
  { environment, row }: Located,
  revocation: Revocation,
): CredentialRow {
  const now = job.around.clock.now();
  cancelOpenRun(job, access, row.id, 'disconnected');
  for (const connection of job.connections.usable(access, row.id, now)) {
    endConnection(job, access, connection, 'cancelled', 'disconnected');
  }
  // A link that ends may have given up a client secret that waited: the row as it is now.
  const latest = job.credentials.byId(access, row.id);
  const { revocation: before } = grantFacts(latest);
  // Known hole: one revocation is kept. An older grant that still waited for its own is told as exposed and not tried any more.
  if (before?.state === 'waiting' && before.version !== latest.current_version && before.cause === undefined) {
    const since = toTimestamp(before.at);
    raiseAlert(job, access, latest, environment.name, 'credential.exposed', { cause: 'disconnected_again', since });
  }
  return changeCredential(job, access, { environment, row: latest }, (draft) => {
    changeHealth(job, access, draft, environment.name, 'disconnected', 'on_request');
    changeGrantFacts(draft, { revocation });
    draft.revoke_due_at = now;
  }).row;
}

function plan(ports: JobPorts, access: WriteAccess, row: CredentialRow, revoke: boolean): Revocation {
  const { job } = ports;
  const of = (state: Revocation['state'], cause?: string): Revocation => ({
    state,
    at: job.around.clock.now(),
    attempts: 0,
    version: row.current_version,
    ...(cause === undefined ? {} : { cause }),
  });
  if (!revoke) return of('not_asked');
  if (fingerprintOf(job, access, row, row.current_version) === undefined) return of('not_asked', 'nothing_to_revoke');
  const spec = settledOrNot(ports, row)?.revocation;
  if (spec === undefined) return of('not_possible', 'no_way_to_revoke');
  const { client_id: clientId } = configOf(row);
  return isShared(job, access, row, row.current_version, { ends: spec.ends, clientId }) ? of('shared') : of('waiting');
}

/** Undefined when the connector is gone or its settings lead nowhere. */
export function settledOrNot(ports: EnginePorts, row: CredentialFacts): SettledConnector | undefined {
  const connector = findConnector(ports.connectors, 'oauth2', row.connector);
  if (connector === undefined) return undefined;
  try {
    return settleFor(connector, configOf(row), grantFacts(row));
  } catch (error) {
    if (error instanceof KeyturnError) return undefined;
    throw error;
  }
}

/** None where the provider was or will be told, or where others still use the grant. */
function stepsFor(ports: EnginePorts, row: CredentialRow): readonly string[] {
  const { state } = grantFacts(row).revocation ?? {};
  if (state !== 'not_possible' && state !== 'given_up') return [];
  const steps = findConnector(ports.connectors, 'oauth2', row.connector)?.manualSteps ?? [];
  const withdrawing = steps.filter((step) => step.startsWith('To withdraw '));
  return withdrawing.length > 0 ? withdrawing : steps;
}
