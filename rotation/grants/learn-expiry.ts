// When an access token ends, where neither the answer nor the token itself told (rule 5): the provider is asked, once the pair is stored.
// It must never stand between a pair and its storage, nor make a token end later than the provider says.
import { LIMITS } from '../../src/base/limits.ts';
import type { SecretValue } from '../../src/base/secret-value.ts';
import { changeCredential } from '../../src/vault/credential.ts';
import { applyLearntEnd } from '../../src/vault/due.ts';
import { changeGrant, grantOf } from '../../src/vault/grant.ts';
import { endsAtOnce } from '../../src/vault/refresh-schedule.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import type { DueWorkPorts, JobPorts } from '../engine/due-work.ts';
import { callPorts, makeCall } from '../engine/outside-call.ts';
import type { Refreshed } from '../oauth2/answer.ts';
import { introspectExpiry } from '../oauth2/introspection.ts';
import { resolvedOrNot } from './disconnect.ts';
import { isLiveGrant } from './grant-forecast.ts';
import { type BoundGrant, openGrant, wipeTokens } from './grant-tokens.ts';
import { enterReview, locate, REVIEW_POINTS } from './scope-check.ts';

/** Whether the end that was stored is a guess that introspection may replace. */
export function isGuessed({ expirySource }: Pick<Refreshed, 'expirySource'>): boolean {
  return expirySource === 'default';
}

/** Asks and books the end of the current access token; does nothing where the connector has no introspection that tells it. */
export function learnExpiry(ports: DueWorkPorts, credentialId: string): Promise<void> {
  const { vault } = ports;
  return makeCall<Question, number | undefined, void>(callPorts(vault), {
    points: REVIEW_POINTS,
    begin: (job) => {
      const question = begin({ ...ports, job }, credentialId);
      return question === undefined ? { kind: 'stop', as: undefined } : { kind: 'go', attempt: question };
    },
    call: ({ resolved, accessToken, tokens, egress }) =>
      introspectExpiry(resolved, accessToken, tokens.client, egress, vault.platform.clock),
    book: (job, { version }, endsAtMs) => {
      if (endsAtMs !== undefined) book(job, credentialId, version, endsAtMs);
    },
    release: ({ tokens }) => wipeTokens(tokens),
  });
}

interface Question extends BoundGrant {
  readonly accessToken: SecretValue;
  readonly version: number;
}

/** Opens the token for a question about itself; the event says that it was. */
function begin(ports: JobPorts, credentialId: string): Question | undefined {
  const located = locate(ports.job, credentialId);
  const { row } = located;
  // A token that the connector calls endless needs no end.
  const resolved = isLiveGrant(row) && row.value_expires_at !== null ? resolvedOrNot(ports, row) : undefined;
  const { expiresAt, expiresIn } = resolved?.introspection?.fields ?? {};
  if (resolved === undefined || (expiresAt === undefined && expiresIn === undefined)) return undefined;
  return enterReview(ports.job, located, (access, details) => {
    details.step = 'looked_at';
    const opened = openGrant(ports, access, row, row.current_version);
    if (opened.kind === 'unusable') return undefined;
    Object.assign(details, opened.grant.moved);
    const { accessToken } = opened.grant.tokens;
    return accessToken === undefined ? undefined : { ...opened.grant, accessToken, version: row.current_version };
  });
}

/** A grant that moved on meanwhile keeps its own end. */
function book(job: TenantJob, credentialId: string, version: number, endsAtMs: number): void {
  const { row, environment } = locate(job, credentialId);
  const now = job.platform.clock.now();
  const moved = row.value_expires_at === null || Math.abs(row.value_expires_at - endsAtMs) > LIMITS.clockSkewMs;
  if (row.current_version !== version || !isLiveGrant(row) || !moved) return;
  enterReview(job, { row, environment }, (access, details) => {
    details.step = 'expiry_read';
    const endedAtOnce = endsAtOnce(now, endsAtMs) ? (grantOf(row).endedAtOnce ?? 0) + 1 : undefined;
    changeCredential(job, access, { environment, row }, (draft) => {
      changeGrant(draft, { endedAtOnce });
      applyLearntEnd(job, draft, endsAtMs, now);
    });
  });
}
