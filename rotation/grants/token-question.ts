// A question to a provider about the access token of a valid grant: its expiry, its scopes, whether it works.
// It must never be asked without an event that records the use of the token.
import type { EventDetails } from '../../src/audit/event.ts';
import type { SecretValue } from '../../src/base/secret-value.ts';
import type { WriteAccess } from '../../src/cell/access.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import { foundCredential, type Located } from '../../src/vault/targets.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import type { DueWorkPorts, JobPorts } from '../engine/due-work.ts';
import { callPorts, makeCall } from '../engine/outside-call.ts';
import { type BoundGrant, openGrant, wipeTokens } from './grant-tokens.ts';

/** The grant at the time when its token was opened. */
export interface AskedGrant extends BoundGrant {
  readonly located: Located;
  readonly accessToken: SecretValue;
}

/** `A`: the provider's answer. */
export interface TokenQuestion<A> {
  /** Checked in the job that opens the token. */
  isWorthAsking(row: CredentialRow): boolean;
  /** Resolves for every outcome. */
  ask(grant: AskedGrant): Promise<A>;
  /** The grant may have a newer version by now. */
  book(job: TenantJob, grant: AskedGrant, answer: A): void;
}

/** Asks once; does nothing if it is not needed or the token cannot be opened. */
export function askAboutToken<A>(ports: DueWorkPorts, credentialId: string, question: TokenQuestion<A>): Promise<void> {
  return makeCall<AskedGrant, A, void>(callPorts(ports.vault), {
    points: { before: 'review.before-call', after: 'review.after-call' },
    begin: (job) => {
      const located = locate(job, credentialId);
      const grant = question.isWorthAsking(located.row) ? open({ ...ports, job }, located) : undefined;
      return grant === undefined ? { kind: 'stop', as: undefined } : { kind: 'go', attempt: grant };
    },
    call: (grant) => question.ask(grant),
    book: (job, grant, answer) => question.book(job, grant, answer),
    release: ({ tokens }) => wipeTokens(tokens),
  });
}

function open(ports: JobPorts, located: Located): AskedGrant | undefined {
  const { row } = located;
  return enterReview(ports.job, located, (access, details) => {
    details.step = 'looked_at';
    const opened = openGrant(ports, access, row, row.current_version);
    if (opened.kind === 'unusable') return undefined;
    Object.assign(details, opened.grant.moved);
    const { accessToken } = opened.grant.tokens;
    return accessToken === undefined ? undefined : { located, accessToken, ...opened.grant };
  });
}

/** @throws not_found | integrity */
export function locate(job: TenantJob, id: string): Located {
  return job.door.lookup('review', (lookup) => {
    const row = job.credentials.byId(lookup, id);
    return { row, environment: job.credentials.environmentById(lookup, row.environment_id) };
  });
}

/** Enters as the review of grants. */
export function enterReview<T>(job: TenantJob, { row, environment }: Located, effect: (a: WriteAccess, d: EventDetails) => T): T {
  return job.door.enterAsSystem(
    'review',
    'credential.review',
    () => foundCredential(job, environment, row),
    (access, _subject, details) => effect(access, details),
  );
}
