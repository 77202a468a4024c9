// Revokes at the provider what was disconnected: journalled before the call, tried until it is done or a week is over, and then proved.
// It must never send a token that a live credential uses, nor call a grant revoked without the provider's word.

import { recordFailure } from '../../src/access/guard.ts';
import { raiseAlert } from '../../src/alerts/raise-alert.ts';
import type { EventDetails } from '../../src/audit/event.ts';
import { toTimestamp } from '../../src/base/clock.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { WriteAccess } from '../../src/cell/access.ts';
import type { CredentialFacts } from '../../src/cell/credentials.ts';
import { changeCredential } from '../../src/vault/credential.ts';
import { changeGrantFacts, type GrantFacts, grantFacts } from '../../src/vault/grant-facts.ts';
import { foundCredential, type Located, type TenantJob } from '../../src/vault/tenant-job.ts';
import type { TenantVault } from '../../src/vault/tenant-vault.ts';
import type { RevocationSpec, Verdict } from '../connector.ts';
import { type BackOff, backOffMs } from '../engine/back-off.ts';
import type { DueWorkPorts, JobPorts } from '../engine/due-work.ts';
import { callPorts, makeCall } from '../engine/outside-call.ts';
import { inPool } from '../engine/pool.ts';
import { askProbe } from '../oauth2/probe.ts';
import { type RevocationOutcome, revokeGrant } from '../oauth2/revocation.ts';
import { type BoundGrant, isShared, openGrant, wipeTokens } from './grant-tokens.ts';

type Revocation = NonNullable<GrantFacts['revocation']>;

interface Attempt extends BoundGrant {
  readonly id: string;
  readonly revocation: Revocation;
  readonly spec: RevocationSpec;
}

/** Tries what is due; answers how many. A damaged row stops nobody else and is thrown when all had their turn. */
export async function revokeDue(ports: DueWorkPorts): Promise<number> {
  const { vault } = ports;
  const now = vault.around.clock.now();
  const due = vault.lookup('revoke', (lookup, view) => view.revocations.dueForRevocation(lookup, now, LIMITS.dueWorkBatchRows));
  await inPool(due, LIMITS.providerCallsAtOnce, (id) => revokeOne(ports, id));
  return due.length;
}

interface Called {
  readonly outcome: RevocationOutcome;
  readonly proof: Verdict | undefined;
}

function revokeOne(ports: DueWorkPorts, id: string): Promise<'done'> {
  const { vault } = ports;
  return makeCall<Attempt, Called, 'done'>(callPorts(vault), {
    points: { before: 'revoke.before-call', after: 'revoke.after-call' },
    begin: (job) => {
      const attempt = begin({ ...ports, job }, id);
      return attempt === undefined ? { kind: 'stop', as: 'done' } : { kind: 'go', attempt };
    },
    call: async (attempt) => {
      const { spec, settled, tokens, egress } = attempt;
      const outcome = await revokeGrant(spec, settled.hosts, tokens, tokens.client, egress, vault.around.clock);
      return { outcome, proof: outcome.kind === 'revoked' ? await prove(vault, attempt) : undefined };
    },
    settle: (job, attempt, { outcome, proof }) => {
      book(job, attempt, outcome, proof);
      return 'done';
    },
    release: ({ tokens }) => wipeTokens(tokens),
  });
}

/** Uses the access token once more: only its refusal proves that it is dead (D5). Undefined where it cannot or need not be asked. */
async function prove(vault: TenantVault, { settled, tokens, egress }: Attempt): Promise<Verdict | undefined> {
  const { accessToken, accessTokenExpiresAtMs: endsAt } = tokens;
  if (settled.probe === undefined || accessToken === undefined) return undefined;
  if (endsAt !== null && endsAt <= vault.around.clock.now()) return undefined;
  return (await askProbe(settled.probe, settled.hosts, accessToken, egress, tokens.client.allowLoopback)).verdict;
}

interface Due {
  readonly located: Located;
  readonly revocation: Revocation & { readonly version: number };
}

function findDue(job: TenantJob, id: string): Due | undefined {
  return job.door.lookup('revoke', (lookup) => {
    const row = job.credentials.byId(lookup, id);
    const { revocation } = grantFacts(row);
    if (row.revoke_due_at === null || row.revoke_due_at > job.around.clock.now()) return undefined;
    if (revocation?.state !== 'waiting') return undefined;
    const environment = job.credentials.environmentById(lookup, row.environment_id);
    return { located: { row, environment }, revocation: { ...revocation, version: revocation.version ?? row.current_version } };
  });
}

function enterRevoke<T>(job: TenantJob, { environment, row }: Located, effect: (a: WriteAccess, d: EventDetails) => T): T {
  return job.door.enterAsSystem(
    'revoke',
    'credential.revoke',
    () => foundCredential(job, environment, row),
    (access, _subject, details) => effect(access, details),
  );
}

/** Looks once more whether it may be sent, journals the attempt and opens the tokens. */
function begin(ports: JobPorts, id: string): Attempt | undefined {
  const { job } = ports;
  const due = findDue(job, id);
  if (due === undefined) return undefined;
  const { located, revocation } = due;
  const { row } = located;
  const now = job.around.clock.now();
  return enterRevoke(job, located, (access, details) => {
    const end = (state: Revocation['state'], cause: string) => {
      const isExposed = state === 'given_up' && revocation.cause === undefined;
      if (isExposed) alertExposed(job, access, located, cause);
      note(details, state, revocation, cause);
      save(job, access, located, { ...revocation, state, cause, at: now }, null);
      return undefined;
    };
    const { version } = revocation;
    if (row.state === 'destroyed') return end('given_up', 'value_destroyed');
    const attempted = { ...revocation, attempts: revocation.attempts + 1 };
    const opened = openGrant(ports, access, row, version);
    if (opened.kind === 'unusable') {
      if (opened.cause !== 'connector_unusable') return end('given_up', opened.cause);
      bookFailure(job, access, located, details, attempted, { cause: opened.cause, retryAfterSeconds: undefined });
      return undefined;
    }
    const { settled, tokens, moved } = opened.grant;
    const refuse = (state: Revocation['state'], cause: string) => {
      wipeTokens(tokens);
      return end(state, cause);
    };
    if (settled.revocation === undefined) return refuse('not_possible', 'no_way_to_revoke');
    const { ends } = settled.revocation;
    if (isShared(job, access, row, version, { ends, clientId: tokens.client.clientId }))
      return refuse('shared', 'used_by_another');
    Object.assign(details, moved);
    note(details, 'intent', attempted);
    // After a crash in the middle it is tried again once the call must have ended.
    save(job, access, located, attempted, now + 3 * LIMITS.providerTimeoutMs);
    return { id, revocation: attempted, spec: settled.revocation, ...opened.grant };
  });
}

/** What changed meanwhile (disconnected anew, another attempt) makes the answer one of yesterday. */
function book(job: TenantJob, attempt: Attempt, outcome: RevocationOutcome, proof: Verdict | undefined): void {
  const located = job.door.lookup('revoke', (lookup) => {
    const row = job.credentials.byId(lookup, attempt.id);
    return { row, environment: job.credentials.environmentById(lookup, row.environment_id) };
  });
  const { revocation: now } = grantFacts(located.row);
  const { revocation: then } = attempt;
  if (now?.state !== 'waiting' || now.attempts !== then.attempts || (now.version ?? then.version) !== then.version) return;
  enterRevoke(job, located, (access, details) => {
    if (outcome.kind === 'failed') {
      bookFailure(job, access, located, details, then, outcome);
      return;
    }
    const { cause: _failure, ...rest } = then;
    const cause = outcome.alreadyGone ? 'already_gone' : proof === undefined ? undefined : PROOFS[proof];
    note(details, 'revoked', then, cause);
    const at = job.around.clock.now();
    save(job, access, located, { ...rest, state: 'revoked', at, ...(cause === undefined ? {} : { cause }) }, null);
  });
}

const PROOFS: Readonly<Record<Verdict, string | undefined>> = {
  rejected: 'proved_dead',
  works: 'revoked_access_token_lives_until_expiry',
  unknown: undefined,
};

const BACK_OFF: BackOff = { baseMs: LIMITS.revokeBackoffBaseMs, maxMs: LIMITS.revokeBackoffMaxMs };

function bookFailure(
  job: TenantJob,
  access: WriteAccess,
  located: Located,
  details: EventDetails,
  revocation: Revocation,
  failure: { readonly cause: string; readonly retryAfterSeconds: number | undefined },
): void {
  const now = job.around.clock.now();
  const { cause } = failure;
  if (revocation.cause === undefined) alertExposed(job, access, located, cause);
  const giveUpAt = revocation.at + LIMITS.revokeGiveUpMs;
  const isLast = now >= giveUpAt;
  note(details, isLast ? 'given_up' : 'failed', revocation, cause);
  if (isLast) {
    save(job, access, located, { ...revocation, state: 'given_up', cause, at: now }, null);
    return;
  }
  const grown = backOffMs(BACK_OFF, revocation.attempts, job.around.entropy.fraction());
  const waitMs = Math.max(grown, (failure.retryAfterSeconds ?? 0) * 1_000);
  save(job, access, located, { ...revocation, cause }, Math.round(Math.min(now + waitMs, giveUpAt)));
}

/** Once for a grant that should be dead and is not: whoever holds its token can still use it. */
function alertExposed(job: TenantJob, access: WriteAccess, { environment, row }: Located, cause: string): void {
  const since = toTimestamp(row.health_since);
  raiseAlert(job, access, row, environment.name, 'credential.exposed', { cause, since });
}

/** A refresh brought another pair after the grant was disconnected: that one is the one to revoke. The caller saves the row. */
export function moveRevocation(job: TenantJob, next: CredentialFacts): void {
  next.refresh_due_at = null;
  const { revocation } = grantFacts(next);
  if (revocation?.state !== 'waiting' && revocation?.state !== 'revoked') return;
  const at = job.around.clock.now();
  changeGrantFacts(next, { revocation: { state: 'waiting', at, attempts: revocation.attempts, version: next.current_version } });
  next.revoke_due_at = at;
  job.dueChanged();
}

function note(details: EventDetails, step: string, { version, attempts }: Revocation, cause?: string): void {
  details.step = step;
  details.attempts = attempts;
  if (step === 'failed' || step === 'given_up') recordFailure(details, 'provider_unavailable');
  if (version !== undefined) details.version = version;
  if (cause !== undefined) details.cause = cause;
}

function save(job: TenantJob, access: WriteAccess, located: Located, revocation: Revocation, dueAt: number | null): void {
  changeCredential(job, access, located, (draft) => {
    draft.revoke_due_at = dueAt;
    changeGrantFacts(draft, { revocation });
  });
}
