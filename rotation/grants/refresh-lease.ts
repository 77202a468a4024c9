// The lease of a refresh (D6): which attempt may use a generation, under which fence, and with which data.
// It must never let two attempts use one generation, nor open a grant before the intent is journalled.

import { recordFailure } from '../../src/access/guard.ts';
import type { EventDetails } from '../../src/audit/event.ts';
import { isFromTheFuture } from '../../src/base/clock.ts';
import { fail, KeyturnError } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { Lookup, WriteAccess } from '../../src/cell/access.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import type { RunRow, RunTrigger } from '../../src/cell/runs.ts';
import { boundPart, changedSetting, settingsOfVersion } from '../../src/vault/bound-settings.ts';
import { configOf } from '../../src/vault/credential.ts';
import { fromJsonBytes, type OAuth2Config, type RetainedGrant, type ServedGrant } from '../../src/vault/credential-kinds.ts';
import { grantOf } from '../../src/vault/grant.ts';
import { ANSWER_LOST, mayBeTriedAgain } from '../../src/vault/grant-health.ts';
import { readerTriesAt } from '../../src/vault/refresh-schedule.ts';
import { foundCredential, type Located, locateById } from '../../src/vault/targets.ts';
import type { TenantJob, TenantView } from '../../src/vault/tenant-job.ts';
import type { TenantVault } from '../../src/vault/tenant-vault.ts';
import { prepareWholeVersion } from '../../src/vault/versions.ts';
import { LEAVES_WITHIN_MS } from '../egress.ts';
import { heldRun, leaseRun, type NewRun, openRun } from '../engine/run.ts';
import type { RenewableGrant } from '../oauth2/mint-token.ts';
import type { ResolvedConnector } from '../oauth2/settings.ts';
import { clientProofsOf, movedHosts, secretOf } from './grant-tokens.ts';
import { endAsLost, lostAnswersOf, maySendAgain } from './lost-answer.ts';

/** The data of one attempt, between its two transactions. */
export interface Attempt {
  readonly run: RunRow;
  readonly located: Located;
  readonly grant: RenewableGrant;
  readonly retained: RetainedGrant;
  readonly served: ServedGrant;
  /** Undefined if the connector no longer exists or cannot be used with the credential's settings. */
  readonly resolved: ResolvedConnector | undefined;
  /** Whether an earlier attempt may have used up this generation. */
  readonly doubted: boolean;
  /** When the version whose token this attempt uses was stored. */
  readonly storedAtMs: number;
}

export type Lease =
  | { readonly kind: 'attempt'; readonly attempt: Attempt }
  /** Nothing to do: the token is fresh, or the credential is gone, dead, waiting, leased by another attempt, or not an OAuth grant. */
  | { readonly kind: 'idle' };

export interface LeaseRequest {
  readonly owner: string;
  readonly trigger: RunTrigger;
  /** Whether to refresh even a fresh token. */
  readonly force: boolean;
  readonly allowLoopback: (connector: string | null, config: OAuth2Config) => boolean;
  readonly resolve: (row: CredentialRow) => ResolvedConnector | undefined;
}

/** Identifies the run that a job concerns. */
export interface RunEntry {
  readonly credentialId: string;
  readonly step: string;
  /** Id of the run; absent if there is none yet. */
  readonly run?: string;
  /** The credential as read in this job. */
  readonly found?: Located;
}

/** Enters as the scheduler for one credential, found by id, because another credential may have its name by now (RO-15). The event contains step and run. */
export function enterRun<T>(
  job: TenantJob,
  { credentialId, step, run, found }: RunEntry,
  effect: (access: WriteAccess, located: Located, details: EventDetails) => T,
): T {
  return job.door.enterAsSystem(
    'refresh',
    'credential.rotate',
    (lookup) => {
      const { environment, row } = found ?? locateById(job, lookup, credentialId);
      return foundCredential(job, environment, row);
    },
    (access, located, details) => {
      details.step = step;
      if (run !== undefined) details.run = run;
      return effect(access, located, details);
    },
  );
}

/** A run that uses the current version; `rotation`: explicitly requested. */
export function openRefresh(
  job: TenantJob,
  access: WriteAccess,
  row: CredentialRow,
  trigger: RunTrigger,
  { kind, facts }: Pick<NewRun, 'facts'> & { readonly kind: 'refresh' | 'rotation' },
): RunRow {
  return openRun(job, access, {
    credentialId: row.id,
    kind,
    trigger,
    generation: row.current_version,
    ...(facts === undefined ? {} : { facts }),
  });
}

/** The credential if a refresh should acquire a lease now; undefined if there is nothing to do. */
export function findWork(view: TenantView, lookup: Lookup, credentialId: string, wanted: LeaseRequest): Located | undefined {
  const located = locateById(view, lookup, credentialId);
  return isWorthwhile(view, lookup, located.row, wanted) ? located : undefined;
}

/** Opens or joins the run, acquires its lease under a new fence and journals the intent to use this generation. */
export function takeLease(job: TenantJob, credentialId: string, wanted: LeaseRequest): Lease {
  const work = job.door.lookup('scheduler', (lookup) => findWork(job, lookup, credentialId, wanted));
  if (work === undefined) return { kind: 'idle' };
  return enterRun(job, { credentialId, step: 'intent', found: work }, (access, located, details): Lease => {
    const now = job.platform.clock.now();
    const found =
      job.runs.findOpen(access, located.row.id) ?? openRefresh(job, access, located.row, wanted.trigger, { kind: 'refresh' });
    const run = ofGeneration(found, located.row.current_version);
    const resolved = wanted.resolve(located.row);
    const lost = lostAnswersOf(job, access, run, located, run.lost_answers);
    if (resolved !== undefined && !maySendAgain(resolved.oauth2, lost, now)) {
      details.step = 'failed';
      details.run = run.id;
      details.cause = ANSWER_LOST;
      recordFailure(details, 'needs_consent');
      endAsLost(job, access, run, located);
      return { kind: 'idle' };
    }
    const doubted = run.lost_answers > 0 || run.step === 'answer_lost';
    const leased = leaseRun(job, access, run, wanted.owner, doubted ? 'again' : 'first');
    job.platform.faults.at('refresh.after-lease');
    const attempt = openAttempt(job, access, { run: leased, located, wanted, resolved, doubted });
    if (attempt.resolved !== undefined)
      Object.assign(details, movedHosts(attempt.retained, attempt.resolved, grantOf(located.row).account));
    return { kind: 'attempt', attempt };
  });
}

/** An intent without an outcome is a lost answer: its owner crashed or was superseded. Intents of other generations do not count. */
function ofGeneration(run: RunRow, generation: number): RunRow {
  if (run.generation !== generation) return { ...run, generation, lost_answers: 0, step: 'queued' };
  return run.step === 'intent' ? { ...run, lost_answers: run.lost_answers + 1 } : run;
}

function isWorthwhile(view: TenantView, lookup: Lookup, row: CredentialRow, wanted: LeaseRequest): boolean {
  const now = view.platform.clock.now();
  if (row.state !== 'active' || row.kind !== 'oauth2' || row.health === 'disconnected') return false;
  const run = view.runs.findOpen(lookup, row.id);
  if (row.health === 'needs_consent' && !(run?.trigger === 'request' && mayBeTriedAgain(row.health_cause))) return false;
  if (run !== undefined) return run.lease_owner === '' ? !isWaiting(run, now, wanted) : !isHeldByAnother(run, now, wanted);
  return wanted.force || isDue(view, lookup, row, now);
}

function isDue(view: TenantView, lookup: Lookup, row: CredentialRow, now: number): boolean {
  if (row.refresh_due_at === null) return false;
  const expired = row.value_expires_at !== null && row.value_expires_at <= now && !hasJustEnded(row, now);
  return expired || row.refresh_due_at <= now || isStoredInTheFuture(view, lookup, row, now);
}

/** The provider has just issued two expired tokens in a row, so another refresh would not help. */
function hasJustEnded(row: CredentialRow, now: number): boolean {
  const { refreshedAt, endedAtOnce = 0 } = grantOf(row);
  if (refreshedAt === undefined || endedAtOnce < 2) return false;
  return refreshedAt <= now && now < refreshedAt + LIMITS.refreshCoolDownMs;
}

function isHeldByAnother(run: RunRow, now: number, { owner }: LeaseRequest): boolean {
  // A lease beyond the longest possible one: the clock was set back since.
  return run.lease_owner !== owner && run.lease_until > now && run.lease_until <= now + LIMITS.leaseMs;
}

/** A request ends any delay, a reader without a valid token all except those of the provider; the schedule observes all. */
function isWaiting(run: RunRow, now: number, { trigger, force }: LeaseRequest): boolean {
  const until = run.next_attempt_at ?? 0;
  if (force || until <= now || until > now + LIMITS.refreshWaitMaxMs) return false;
  return trigger !== 'read' || now < readerTriesAt(run);
}

function isStoredInTheFuture(view: TenantView, lookup: Lookup, row: CredentialRow, now: number): boolean {
  const stored = view.credentials.findVersionMetadata(lookup, row.id, row.current_version);
  return stored !== undefined && isFromTheFuture(stored.created_at, now);
}

interface Leased extends Pick<Attempt, 'run' | 'located' | 'resolved' | 'doubted'> {
  readonly wanted: LeaseRequest;
}

/** Opens the secrets with the settings they are bound to. */
function openAttempt(job: TenantJob, access: WriteAccess, { run, located, resolved, doubted, wanted }: Leased): Attempt {
  const { row } = located;
  const version =
    job.credentials.findVersion(access, row.id, row.current_version) ?? fail('internal', 'a current version is missing');
  const prepared = prepareWholeVersion(job, row, version);
  const retained = fromJsonBytes<RetainedGrant>(prepared.retained.open());
  const served = fromJsonBytes<ServedGrant>(prepared.value.open());
  const settings = settingsOfVersion(row, version.version, retained) ?? fail('internal', 'a current version has settings');
  const { config, connector } = settings;
  const bound = retained.settings ?? { connector, config: boundPart(config) };
  const isAsTheRowSays = connector === row.connector && changedSetting(configOf(row), config) === undefined;
  return {
    run,
    located,
    retained: { ...retained, settings: bound },
    served,
    // INVARIANT: the settings sealed with the secrets determine the destination, not those in the row (test/secrecy-destinations.test.ts).
    resolved: isAsTheRowSays ? resolved : wanted.resolve({ ...row, connector, config: JSON.stringify(config) }),
    doubted,
    storedAtMs: version.created_at,
    grant: renewableGrant(retained, config, wanted.allowLoopback(connector, config)),
  };
}

function renewableGrant(retained: RetainedGrant, config: OAuth2Config, allowLoopback: boolean): RenewableGrant {
  return {
    clientId: config.client_id,
    ...clientProofsOf(retained),
    refreshToken: secretOf(retained.refresh_token),
    scope: config.scope,
    allowLoopback,
  };
}

export function wipeGrant({ grant }: Attempt): void {
  for (const secret of [grant.refreshToken, grant.clientSecret, grant.privateKeyJwk, grant.privateKeyPem]) secret?.wipe();
}

/** Whether the attempt may still use its generation; checked right before the first byte is sent, because the process may have been suspended. */
export function holdsLease(vault: TenantVault, attempt: Attempt): boolean {
  try {
    return vault.lookup('refresh', (lookup, view) => {
      const run = heldRun(view, lookup, attempt.run, LEAVES_WITHIN_MS);
      if (run === undefined) return false;
      const row = view.credentials.byId(lookup, run.credential_id);
      return row.state === 'active' && row.health !== 'disconnected' && row.current_version === run.generation;
    });
  } catch (error) {
    if (error instanceof KeyturnError) return false;
    throw error;
  }
}
