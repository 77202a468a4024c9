// The signs that another system still refreshes a grant, one by one: what counts, until when, and what never does.
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import type { GrantFacts } from '../../src/vault/grant-facts.ts';
import { explainSign, signOnPut, signOnRefused, signOnReplaced, signOnTokenDead } from '../../src/vault/import-guard.ts';

const NOW = Date.UTC(2026, 0, 2);
const IMPORT: GrantFacts = { importedAt: NOW, importedFrom: 'nango' };

describe('a refresh token called dead', () => {
  it.each<[string, GrantFacts, number, string | undefined]>([
    ['within the watch', IMPORT, NOW + LIMITS.importWatchMs - 1, 'refused_early'],
    ['after the watch', IMPORT, NOW + LIMITS.importWatchMs, undefined],
    [
      'after it while the other system is said to go on',
      { ...IMPORT, stillUsedThere: true },
      NOW + 365 * 86_400_000,
      'refused_early',
    ],
    [
      'hours after it worked here',
      { ...IMPORT, refreshedAt: NOW + LIMITS.importWatchMs },
      NOW + LIMITS.importWatchMs + 3_600_000,
      'refused_early',
    ],
    [
      'a day after it worked here',
      { ...IMPORT, refreshedAt: NOW + LIMITS.importWatchMs },
      NOW + LIMITS.importWatchMs + LIMITS.importRecentMs,
      undefined,
    ],
    [
      'just before that day is over',
      { ...IMPORT, refreshedAt: NOW + LIMITS.importWatchMs },
      NOW + LIMITS.importWatchMs + LIMITS.importRecentMs - 1,
      'refused_early',
    ],
    [
      'of a grant that another system is said to use and nobody imported',
      { stillUsedThere: true, refreshedAt: NOW },
      NOW + 1,
      undefined,
    ],
    ['of a grant that a person consented to here', { consentedAt: NOW, refreshedAt: NOW }, NOW + 1, undefined],
  ])('%s', (_when, facts, nowMs, sign) => {
    expect(signOnRefused(facts, nowMs)).toBe(sign);
  });
});

describe('another refresh token', () => {
  it('from a provider that never replaces them is a sign for an import alone', () => {
    expect(signOnReplaced({ refreshTokenRotates: 'never' }, IMPORT, true)).toBe('replaced_unexpectedly');
    expect(signOnReplaced({ refreshTokenRotates: 'never' }, IMPORT, false)).toBeUndefined();
    expect(signOnReplaced({ refreshTokenRotates: 'sometimes' }, IMPORT, true)).toBeUndefined();
    expect(signOnReplaced({ refreshTokenRotates: 'never' }, { consentedAt: NOW }, true)).toBeUndefined();
  });

  it('put by hand is a sign only minutes after a refresh that worked, and only if it is another', () => {
    const row = (health: string) => ({ health, grant_facts: JSON.stringify({ refreshedAt: NOW }) }) as CredentialRow;
    expect(signOnPut(row('ready'), false, NOW + LIMITS.importPutMs - 1)).toBe('put_while_alive');
    expect(signOnPut(row('ready'), false, NOW + LIMITS.importPutMs)).toBeUndefined();
    expect(signOnPut(row('ready'), true, NOW)).toBeUndefined();
    expect(signOnPut(row('needs_consent'), false, NOW)).toBeUndefined();
    const neverRefreshed = { health: 'ready', grant_facts: '{}' } as CredentialRow;
    expect(signOnPut(neverRefreshed, false, NOW)).toBeUndefined();
  });
});

it('an access token refused is a sign only well before its end', () => {
  expect(signOnTokenDead(IMPORT, NOW + 3_600_000, NOW)).toBe('token_dead_early');
  expect(signOnTokenDead(IMPORT, null, NOW)).toBe('token_dead_early');
  expect(signOnTokenDead(IMPORT, NOW + LIMITS.clockSkewMs, NOW)).toBeUndefined();
  expect(signOnTokenDead(IMPORT, NOW + LIMITS.clockSkewMs + 1, NOW)).toBe('token_dead_early');
  expect(signOnTokenDead({}, NOW + 3_600_000, NOW)).toBeUndefined();
});

it('is explained with the place it came from and how to hand over', () => {
  const guarded: GrantFacts = { ...IMPORT, guard: { sign: 'refused_early', at: NOW } };
  expect(explainSign(guarded)).toMatch(/Stop the refresh in nango.*connect again/);
  expect(explainSign({ importedAt: NOW, guard: { sign: 'refused_early', at: NOW } })).toContain('refresh in the other system');
  expect(explainSign(IMPORT)).toBe('');
});
