// The plan of a rotation of a key or password, with every local check. It must never call anything outside.

import { KeyturnError } from '../../src/base/errors.ts';
import type { ReadAccess } from '../../src/cell/access.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import { readersInPlan } from '../../src/vault/readers.ts';
import { rehearsalFault } from '../../src/vault/rehearsals.ts';
import { hashOfPlan, type PlanCheck, type PlannedRun, type RotationPlan } from '../../src/vault/rotation-plan.ts';
import { keyConfigOf } from '../../src/vault/rotation-state.ts';
import type { Located } from '../../src/vault/targets.ts';
import type { RotationStrategy } from '../connector.ts';
import { deadlineMs, graceMsOf } from './await-readers.ts';
import { type ResolvedKey, resolveKey } from './key-settings.ts';
import { replacesAtOnce } from './rotation-phase.ts';
import { openTarget, type TargetPorts, type Unusable } from './rotation-target.ts';

/** The plan for the credential as it is now. `skipsStaging`: an owner lets it run without a rehearsal. */
export function planRotation(ports: TargetPorts, access: ReadAccess, located: Located, skipsStaging = false): RotationPlan {
  const { job } = ports;
  const { row } = located;
  const settings = resolvedOrFault(ports, row);
  const resolved = typeof settings === 'string' ? undefined : settings;
  const planned = plannedRun(ports, access, located, resolved);
  return {
    planned,
    hash: hashOfPlan(planned),
    consequence: resolved === undefined ? '' : CONSEQUENCES[resolved.connector.key.strategy],
    checks: [
      { check: 'state', fault: row.state === 'active' ? undefined : 'the credential is deleted: restore it first' },
      { check: 'configuration', fault: typeof settings === 'string' ? settings : undefined },
      { check: 'platform', fault: resolved === undefined ? undefined : platformFault(resolved) },
      {
        check: 'staging',
        fault: skipsStaging || resolved?.rotator === undefined ? undefined : rehearsalFault(job, access, located),
      },
      ...(resolved?.rotator === undefined ? [] : secretChecks(ports, access, located)),
      { check: 'conflict', fault: openRunFault(ports, access, row) },
    ],
    readers: readersInPlan(job, access, row),
  };
}

/** The settings, or why they are unusable. */
function resolvedOrFault(ports: TargetPorts, row: CredentialRow): ResolvedKey | string {
  if (row.connector === null)
    return 'the credential has no connector: put it again with one that can rotate it (`keyturn connectors`)';
  try {
    return (
      resolveKey(ports, row.kind, row.connector, keyConfigOf(row)) ??
      'the connector of this credential does not exist in this build'
    );
  } catch (error) {
    if (error instanceof KeyturnError) return error.message;
    throw error;
  }
}

function platformFault({ config, connector, rotator }: ResolvedKey): string | undefined {
  if (config.manages === true)
    return 'this credential manages others and is not rotated itself: put it again without the setting manages';
  if (connector.key.strategy === 'manual')
    return 'only a person can replace this value: see the steps of its connector (`keyturn connectors`)';
  return rotator === undefined ? 'this platform cannot reach the target of this connector' : undefined;
}

function openRunFault({ job }: TargetPorts, access: ReadAccess, row: CredentialRow): string | undefined {
  const open = job.runs.findOpen(access, row.id);
  return open === undefined
    ? undefined
    : `a run of this credential is open (${open.id}): wait for its end, resume it, or cancel it`;
}

/** Opens the secrets as the run would, and drops them. */
function secretChecks(ports: TargetPorts, access: ReadAccess, located: Located): PlanCheck[] {
  const opened = readTarget(ports, access, located);
  if (typeof opened === 'string') {
    const isAdmin = opened.startsWith('admin_');
    return [{ check: isAdmin ? 'admin' : 'value', fault: UNUSABLE[opened] }];
  }
  const cause = opened.resolved.rotator.checkLocally?.(opened.target);
  return [
    { check: 'value', fault: cause === undefined ? undefined : `the value cannot be rotated: ${cause} (see docs/rotation.md)` },
    { check: 'admin', fault: undefined },
  ];
}

function readTarget(ports: TargetPorts, access: ReadAccess, located: Located) {
  try {
    const opened = openTarget(ports, access, located, located.row.current_version, '');
    return opened.kind === 'unusable' ? opened.cause : opened;
  } catch (error) {
    if (error instanceof KeyturnError && (error.code === 'integrity' || error.code === 'key_destroyed'))
      return 'value_unreadable';
    throw error;
  }
}

const UNUSABLE: Readonly<Record<Unusable | 'value_unreadable', string>> = {
  value_unreadable: 'the stored value, or that of its manager, fails its check: put it again',
  value_destroyed: 'the current value no longer exists: put it again',
  stored_without_connector:
    'the value was stored without a connector, so it is bound to no host: put it again with its connector',
  connector_unusable: 'the connector cannot be used with the settings that the value was stored with: put it again',
  admin_not_found: 'the credential named by the setting admin does not exist or is deleted: put it, or name another one',
  admin_of_another_kind:
    'the credential named by the setting admin has another kind than the connector needs: see `keyturn connectors`',
  admin_without_value:
    'the credential named by the setting admin has no value that can be used: put it, or connect its account again',
  admin_bound_elsewhere:
    'the credential named by the setting admin was not stored for the connector and hosts of this value, or the steps in the settings changed after this value was stored: put the admin with the connector and --manages, then the value',
};

function plannedRun(
  ports: TargetPorts,
  access: ReadAccess,
  { environment, row }: Located,
  resolved: ResolvedKey | undefined,
): PlannedRun {
  const name = resolved === undefined || resolved.connector.key.admin === 'self' ? undefined : resolved.config.admin;
  const admin = name === undefined ? undefined : ports.job.credentials.find(access, environment.id, name);
  return {
    credential: row.id,
    version: row.current_version,
    connector: row.connector,
    strategy: resolved?.connector.key.strategy ?? null,
    calls: (resolved?.rotator?.plan(resolved) ?? []).map(({ step, what, undoable }) => ({ step, what, undoable })),
    destinations: resolved?.places ?? [],
    manager: name === undefined ? null : { id: admin?.id ?? '', name },
    keys_max: resolved?.connector.key.keysMaxCount ?? null,
    ...periods(resolved),
  };
}

function periods(resolved: ResolvedKey | undefined): Pick<PlannedRun, 'grace_seconds' | 'deadline_seconds'> {
  if (resolved?.rotator === undefined || replacesAtOnce({ resolved })) return { grace_seconds: null, deadline_seconds: null };
  const graceMs = graceMsOf(resolved);
  return { grace_seconds: graceMs / 1_000, deadline_seconds: deadlineMs(resolved.config, graceMs) / 1_000 };
}

/** What each strategy means for readers. */
const CONSEQUENCES: Readonly<Record<RotationStrategy, string>> = {
  overlap: 'Both keys work until the old one is ended. Readers change over with their next read.',
  alternating_users:
    'Readers change to the other account with their next read. The old account keeps its password until it is ended, and both have the same rights.',
  single_user:
    'The target refuses the old password as soon as it accepts the new one: a reader that keeps the old one is refused until it reads again.',
  in_place:
    'The provider refuses the old value as soon as it makes the new one: a reader that keeps the old one is refused until it reads again.',
  manual: 'Only a person can replace the value.',
};
