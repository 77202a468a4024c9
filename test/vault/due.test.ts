// When a grant is refreshed and reviewed next, by its tokens, its settings and the rules of its connector.
import { describe, expect, it } from 'vitest';
import { fail } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import type { Draft } from '../../src/vault/credential.ts';
import { jsonBytes } from '../../src/vault/credential-kinds.ts';
import { applyLearntEnd, applyTiming, renewalRules } from '../../src/vault/due.ts';
import { keepAliveAt, type RenewalRules, refreshDueAt } from '../../src/vault/refresh-schedule.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { START_MS as NOW } from '../kit/vaults.ts';

const HOUR = 3_600_000;
const FRACTION = 0.25;
const BY_TOKEN = { refresh_token: 'r-not-a-real-secret' };
const rules = (renews: RenewalRules['renews'], idleMs?: number): RenewalRules => ({ renews, idleMs });

const jobWith = (refresher?: { checkSettings: () => RenewalRules }) =>
  ({ platform: { entropy: { fraction: () => FRACTION } }, refresher }) as unknown as TenantJob;

const draftWith = (change: Partial<CredentialRow> = {}) =>
  ({
    kind: 'oauth2',
    connector: 'good',
    config: '{}',
    grant_facts: '{}',
    grant_ends_at: null,
    value_expires_at: 7,
    refresh_due_at: 7,
    review_due_at: null,
    ...change,
  }) as unknown as Draft;

interface Timing {
  readonly endsAt?: number;
  /** `null`: the value has no retained part. */
  readonly retained?: object | null;
  readonly given?: RenewalRules;
  readonly job?: TenantJob;
}

function timed(draft: Draft, { endsAt, retained = BY_TOKEN, given, job = jobWith() }: Timing): (number | null)[] {
  const bytes = retained === null ? undefined : jsonBytes(retained);
  applyTiming(job, draft, { expiresAtMs: endsAt, retained: bytes }, NOW, given);
  return [draft.value_expires_at, draft.refresh_due_at];
}

describe('a value that becomes current', () => {
  const ahead = refreshDueAt(NOW, NOW + HOUR, FRACTION);

  it('is refreshed ahead of its end, or now if its end is unknown', () => {
    expect(timed(draftWith(), { endsAt: NOW + HOUR })).toEqual([NOW + HOUR, ahead]);
    expect(timed(draftWith(), {})).toEqual([null, NOW]);
  });

  it('is refreshed only with what its connector refreshes it with', () => {
    const never = [NOW + HOUR, null];
    expect(timed(draftWith(), { endsAt: NOW + HOUR, retained: null })).toEqual(never);
    expect(timed(draftWith(), { endsAt: NOW + HOUR, retained: {} })).toEqual(never);
    expect(timed(draftWith(), { endsAt: NOW + HOUR, given: rules('never') })).toEqual(never);
    expect(timed(draftWith(), { endsAt: NOW + HOUR, retained: {}, given: rules('key') })).toEqual([NOW + HOUR, ahead]);
  });

  it('is kept alive only, if its reads refresh it', () => {
    const onRead = () => draftWith({ config: '{"refresh":"on_read"}' });
    const given = rules('refresh_token', 10 * HOUR);
    expect(timed(onRead(), { endsAt: NOW + HOUR, given })).toEqual([NOW + HOUR, keepAliveAt(NOW, 10 * HOUR, FRACTION)]);
    expect(timed(onRead(), { endsAt: NOW + HOUR })).toEqual([NOW + HOUR, keepAliveAt(NOW, undefined, FRACTION)]);
    expect(timed(onRead(), {})).toEqual([null, NOW]);
  });

  it('that a refresh just brought already expired is refreshed after a cool-down', () => {
    const brought = () => draftWith({ grant_facts: JSON.stringify({ refreshedAt: NOW }) });
    const put = () => draftWith({ grant_facts: JSON.stringify({ refreshedAt: NOW - 1 }) });
    expect(timed(brought(), { endsAt: NOW })).toEqual([NOW, NOW + LIMITS.refreshCoolDownMs]);
    expect(timed(put(), { endsAt: NOW })).toEqual([NOW, NOW]);
    expect(timed(brought(), { endsAt: NOW + HOUR })).toEqual([NOW + HOUR, ahead]);
  });

  it('follows the rules of its connector, and the default ones if that refuses its settings', () => {
    const byKey = jobWith({ checkSettings: () => rules('key') });
    const refusing = jobWith({ checkSettings: () => fail('not_rotatable', 'no such connector') });
    const noToken = { endsAt: NOW + HOUR, retained: {} };
    expect(timed(draftWith(), { ...noToken, job: byKey })).toEqual([NOW + HOUR, ahead]);
    expect(timed(draftWith(), { ...noToken, job: byKey, given: rules('never') })).toEqual([NOW + HOUR, null]);
    expect(timed(draftWith(), { ...noToken, job: refusing })).toEqual([NOW + HOUR, null]);
    expect(timed(draftWith(), { endsAt: NOW + HOUR, job: refusing })).toEqual([NOW + HOUR, ahead]);
    expect(renewalRules(jobWith(), draftWith())).toEqual(rules('refresh_token'));
    expect(() => renewalRules(refusing, draftWith())).toThrow(expect.objectContaining({ code: 'not_rotatable' }));
  });

  it('is reviewed now', () => {
    const draft = draftWith();
    timed(draft, { endsAt: NOW + HOUR });
    expect(draft.review_due_at).toBe(NOW);
  });
});

describe('a newly learnt end of the current token', () => {
  const learnt = (change: Partial<CredentialRow>, endsAt: number) => {
    const draft = draftWith(change);
    applyLearntEnd(jobWith(), draft, endsAt, NOW);
    return [draft.value_expires_at, draft.refresh_due_at];
  };

  it('moves a refresh that was planned ahead of the end, and never a keep-alive after it', () => {
    const ahead = refreshDueAt(NOW, NOW + HOUR, FRACTION);
    const before = { value_expires_at: NOW + 9 };
    expect(learnt({ ...before, refresh_due_at: NOW + 9 }, NOW + HOUR)).toEqual([NOW + HOUR, ahead]);
    expect(learnt({ ...before, refresh_due_at: NOW + 10 }, NOW + HOUR)).toEqual([NOW + HOUR, NOW + 10]);
    expect(learnt({ ...before, refresh_due_at: null }, NOW + HOUR)).toEqual([NOW + HOUR, null]);
    expect(learnt({ value_expires_at: null, refresh_due_at: NOW }, NOW + HOUR)).toEqual([NOW + HOUR, NOW]);
    expect(learnt({ ...before, refresh_due_at: NOW }, NOW)).toEqual([NOW, NOW + LIMITS.refreshCoolDownMs]);
  });
});
