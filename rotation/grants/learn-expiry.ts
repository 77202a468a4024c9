// Asks the provider for an access token's expiry if neither answer nor token contains it (rule 5), after the pair is stored.
// It must never delay the storage of a pair, nor set a later expiry than the provider's.
import { LIMITS } from '../../src/base/limits.ts';
import { changeCredential } from '../../src/vault/credential.ts';
import { applyLearntEnd } from '../../src/vault/due.ts';
import { changeGrant, grantOf } from '../../src/vault/grant.ts';
import { endsAtOnce } from '../../src/vault/refresh-schedule.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import type { DueWorkPorts } from '../engine/due-work.ts';
import type { Refreshed } from '../oauth2/answer.ts';
import { introspectExpiry } from '../oauth2/introspection.ts';
import { resolvedOf } from './connector-settings.ts';
import { isLiveGrant } from './grant-forecast.ts';
import { requesterOf } from './grant-tokens.ts';
import { askAboutToken, enterReview, locate } from './token-question.ts';

/** Whether the stored expiry is a default that introspection may replace. */
export function isGuessed({ expirySource }: Pick<Refreshed, 'expirySource'>): boolean {
  return expirySource === 'default';
}

/** Asks for and stores the expiry of the current access token; does nothing if the connector's introspection does not return it. */
export function learnExpiry(ports: DueWorkPorts, credentialId: string): Promise<void> {
  const { clock } = ports.vault.platform;
  return askAboutToken<number | undefined>(ports, credentialId, {
    isWorthAsking: (row) => {
      // The connector declares that its tokens do not expire.
      if (!isLiveGrant(row) || row.value_expires_at === null) return false;
      const { expiresAt, expiresIn } = resolvedOf(ports.connectors, row)?.introspection?.fields ?? {};
      return expiresAt !== undefined || expiresIn !== undefined;
    },
    ask: (grant) => introspectExpiry(grant.resolved, grant.accessToken, requesterOf(grant, clock)),
    book: (job, { located: { row } }, endsAtMs) => {
      if (endsAtMs !== undefined) book(job, credentialId, row.current_version, endsAtMs);
    },
  });
}

/** A newer version keeps its own expiry. */
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
