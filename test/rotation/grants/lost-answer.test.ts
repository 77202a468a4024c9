import { describe, expect, it } from 'vitest';
import type { OAuth2Spec } from '../../../rotation/connector.ts';
import { type LostAnswers, maySendAgain, windowEndsAt } from '../../../rotation/grants/lost-answer.ts';
import { GENERIC } from '../kit.ts';

const NOW = 1_000_000_000;
const WINDOW: OAuth2Spec = { ...GENERIC, lostAnswer: { kind: 'window', seconds: 60 } };
const SAFE: OAuth2Spec = { ...GENERIC, lostAnswer: { kind: 'safe' } };
const lost = (count: number, sentBeforeMs?: number, givenUp = false): LostAnswers => ({
  count,
  firstSentAtMs: sentBeforeMs === undefined ? undefined : NOW - sentBeforeMs,
  givenUp,
});

describe('a reuse window', () => {
  it.each([
    ['begins with the first send', 0, true],
    ['is used for nine tenths of its length', 53_999, true],
    ['leaves the rest for the way to the provider', 54_000, false],
    ['is none where the first send lies ahead: how long ago it was nobody can tell', -1, false],
  ])('%s', (_, sentBeforeMs, isOpen) => {
    expect(windowEndsAt(WINDOW, lost(1, sentBeforeMs), NOW)).toBe(isOpen ? NOW - sentBeforeMs + 54_000 : undefined);
  });

  it('is none where nothing was sent, or where the provider has none', () => {
    expect(windowEndsAt(WINDOW, lost(1), NOW)).toBeUndefined();
    expect(windowEndsAt(GENERIC, lost(1, 0), NOW)).toBeUndefined();
    expect(windowEndsAt(SAFE, lost(1, 0), NOW)).toBeUndefined();
  });
});

describe('a token may be sent once more', () => {
  it.each<[string, OAuth2Spec, LostAnswers, boolean]>([
    ['where no answer was lost', GENERIC, lost(0, 0, true), true],
    ['after one that was', GENERIC, lost(1, 0), true],
    ['not after two', GENERIC, lost(2, 0), false],
    ['not even after one where the grant was given up before', GENERIC, lost(1, 0, true), false],
    ['always where it stays good', SAFE, lost(9, 0, true), true],
    ['inside a reuse window however often', WINDOW, lost(9, 0, true), true],
    ['after a reuse window as where there is none', WINDOW, lost(2, 60_000), false],
    ['and once where only one was lost', WINDOW, lost(1, 60_000), true],
    ['always where a key renews the grant', { ...GENERIC, renewal: { kind: 'client_credentials' } }, lost(9, 0), true],
    ['not where renewal is by the token alone', { ...GENERIC, renewal: { kind: 'refresh_token' } }, lost(2, 0), false],
  ])('%s', (_, spec, answers, may) => {
    expect(maySendAgain(spec, answers, NOW)).toBe(may);
  });
});
