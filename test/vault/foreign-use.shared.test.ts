// The signs that another system still refreshes a grant: which facts count, for how long, and which never count.
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import {
  explainForeignUse,
  foreignUseOnDeadToken,
  foreignUseOnPut,
  foreignUseOnRefusal,
  foreignUseOnReplacement,
} from '../../src/vault/foreign-use.ts';
import type { Grant } from '../../src/vault/grant.ts';

const NOW = Date.UTC(2026, 0, 2);
const IMPORT: Grant = { importedAt: NOW, importedFrom: 'nango' };
const CONSENTED: Grant = { consentedAt: NOW };

describe('a refresh token that the provider rejects as dead', () => {
  it.each<[string, Grant, number, string | undefined]>([
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
    expect(foreignUseOnRefusal(facts, nowMs)).toBe(sign);
  });
});

describe('another refresh token', () => {
  it('from a provider that never replaces them is a sign for an imported grant only', () => {
    expect(foreignUseOnReplacement({ refreshTokenRotates: 'never' }, IMPORT, true)).toBe('replaced_unexpectedly');
    expect(foreignUseOnReplacement({ refreshTokenRotates: 'never' }, IMPORT, false)).toBeUndefined();
    expect(foreignUseOnReplacement({ refreshTokenRotates: 'sometimes' }, IMPORT, true)).toBeUndefined();
    expect(foreignUseOnReplacement({ refreshTokenRotates: 'never' }, CONSENTED, true)).toBeUndefined();
  });

  it('in a put is a sign only minutes after a successful refresh, and only if it is another token', () => {
    const row = (health: string) => ({ health, grant_facts: JSON.stringify({ refreshedAt: NOW }) }) as CredentialRow;
    expect(foreignUseOnPut(row('ready'), false, NOW + LIMITS.importPutMs - 1)).toBe('put_while_alive');
    expect(foreignUseOnPut(row('ready'), false, NOW + LIMITS.importPutMs)).toBeUndefined();
    expect(foreignUseOnPut(row('ready'), true, NOW)).toBeUndefined();
    expect(foreignUseOnPut(row('needs_consent'), false, NOW)).toBeUndefined();
    const neverRefreshed = { health: 'ready', grant_facts: '{}' } as CredentialRow;
    expect(foreignUseOnPut(neverRefreshed, false, NOW)).toBeUndefined();
  });
});

it('a rejected access token is a sign only well before its expiry', () => {
  expect(foreignUseOnDeadToken(IMPORT, NOW + 3_600_000, NOW)).toBe('token_dead_early');
  expect(foreignUseOnDeadToken(IMPORT, null, NOW)).toBe('token_dead_early');
  expect(foreignUseOnDeadToken(IMPORT, NOW + LIMITS.clockSkewMs, NOW)).toBeUndefined();
  expect(foreignUseOnDeadToken(IMPORT, NOW + LIMITS.clockSkewMs + 1, NOW)).toBe('token_dead_early');
  expect(foreignUseOnDeadToken({}, NOW + 3_600_000, NOW)).toBeUndefined();
});

it('a sign is explained with the origin of the grant and what to do', () => {
  const guarded: Grant = { ...IMPORT, guard: { sign: 'refused_early', at: NOW } };
  expect(explainForeignUse(guarded)).toMatch(/Stop the refresh in nango.*connect again/);
  expect(explainForeignUse({ importedAt: NOW, guard: { sign: 'refused_early', at: NOW } })).toContain(
    'refresh in the other system',
  );
  expect(explainForeignUse(IMPORT)).toBe('');
});
