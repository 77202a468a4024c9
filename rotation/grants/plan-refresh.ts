// The plan of a refresh on request. It must never call anything outside.
import type { ReadAccess } from '../../src/cell/access.ts';
import { mayBeTriedAgain } from '../../src/vault/grant-health.ts';
import { readersInPlan } from '../../src/vault/readers.ts';
import { hashOfPlan, type PlannedRun, type RotationPlan } from '../../src/vault/rotation-plan.ts';
import { whyDead } from '../../src/vault/stale-grant.ts';
import type { Located } from '../../src/vault/targets.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { destinationsOf } from '../oauth2/destinations.ts';
import type { ResolvedConnector } from '../oauth2/settings.ts';

/** @param resolved undefined if the connector cannot be used with the settings */
export function planRefresh(
  job: TenantJob,
  access: ReadAccess,
  { row }: Located,
  resolved: ResolvedConnector | undefined,
): RotationPlan {
  const endpoint = resolved?.oauth2.tokenEndpoint;
  const planned: PlannedRun = {
    credential: row.id,
    version: row.current_version,
    connector: row.connector,
    strategy: 'refresh',
    // A provider that replaces the refresh token does not take the old one again.
    calls:
      endpoint === undefined
        ? []
        : [{ step: 'refresh', what: `POST ${endpoint}`, undoable: resolved?.oauth2.refreshTokenRotates === 'never' }],
    destinations: resolved === undefined ? [] : destinationsOf(resolved),
    manager: null,
    keys_max: null,
    grace_seconds: null,
    deadline_seconds: null,
  };
  const isDead = row.health === 'needs_consent' && !mayBeTriedAgain(row.health_cause);
  const isDisconnected = row.health === 'disconnected';
  const open = job.runs.findOpen(access, row.id);
  return {
    planned,
    hash: hashOfPlan(planned),
    consequence:
      'Readers get the new access token with their next read. The old one works until it expires, unless the provider ends it at the refresh.',
    checks: [
      {
        check: 'state',
        fault: isDead ? whyDead(row) : isDisconnected ? 'the account is disconnected: connect it again' : undefined,
      },
      {
        check: 'configuration',
        fault:
          resolved === undefined ? 'the connector cannot be used with the settings of this credential: put it again' : undefined,
      },
      {
        check: 'conflict',
        fault: open === undefined ? undefined : `a run of this credential is open (${open.id}): wait for its end, or resume it`,
      },
    ],
    readers: readersInPlan(job, access, row),
  };
}
