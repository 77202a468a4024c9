import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type FailedAttempt, judgeFailure, waitAfter } from '../../../rotation/grants/judge-failure.ts';
import type { RefreshFailure } from '../../../rotation/oauth2/answer.ts';
import { notSent } from '../../../rotation/oauth2/refresh.ts';
import { LIMITS } from '../../../src/base/limits.ts';

const answered = { cause: 'any', status: 400, retryAfterSeconds: undefined };
const OUTCOMES: Readonly<Record<string, RefreshFailure>> = {
  dead: { kind: 'refused', means: 'dead', recognised: true, ...answered },
  configuration: { kind: 'refused', means: 'configuration', recognised: true, ...answered },
  unrecognised: { kind: 'refused', means: 'configuration', recognised: false, ...answered },
  transient: { kind: 'transient', mayBeSpent: true, ...answered },
  throttled: { kind: 'throttled', ...answered, retryAfterSeconds: 7_200 },
  oddly: { kind: 'answered_oddly', mayBeSpent: true, refreshToken: undefined, ...answered },
  lost: { kind: 'sent_and_lost', certain: true, cause: 'timeout' },
  maybeLost: { kind: 'sent_and_lost', certain: false, cause: 'fetch_failed' },
  unreached: notSent('transient', 'connect_failed'),
  unbuildable: notSent('configuration', 'client_secret_missing'),
  withdrawn: notSent('withdrawn', 'withdrawn'),
};

const facts = fc.record({
  attempts: fc.integer({ min: 1, max: 60 }),
  lostBefore: fc.integer({ min: 0, max: 3 }),
  doubted: fc.boolean(),
  leftMs: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 100_000_000 }), fc.constant(Number.POSITIVE_INFINITY)),
  lifeMs: fc.integer({ min: 1_000, max: 100_000_000 }),
  failingForMs: fc.integer({ min: 0, max: 100_000_000 }),
  refusedForMs: fc.option(fc.integer({ min: 0, max: 100_000_000 }), { nil: undefined }),
  windowLeftMs: fc.option(fc.integer({ min: 1, max: 600_000 }), { nil: undefined }),
  fraction: fc.double({ min: 0, max: 0.999, noNaN: true }),
  maySend: fc.boolean(),
});
type Drawn = typeof facts extends fc.Arbitrary<infer T> ? T : never;
const factsOf = ({ maySend, ...rest }: Drawn): FailedAttempt => ({ ...rest, maySendAgain: () => maySend });
const outcomes = fc.constantFrom(...Object.entries(OUTCOMES));

describe('what a failed refresh means', () => {
  it('ends a grant on the provider’s word, on answers lost too often, or on a refusal that outlasts the token, and on nothing else', () => {
    fc.assert(
      fc.property(outcomes, facts, ([name, outcome], drawn) => {
        const judged = judgeFailure(outcome, factsOf(drawn));
        if (judged.kind !== 'ended') {
          expect(name).not.toBe('dead');
          return;
        }
        if (judged.lost) expect(['lost', 'maybeLost', 'unrecognised']).toContain(name);
        else if (judged.cause === 'refused_too_long') expect([name, drawn.leftMs]).toEqual(['unrecognised', 0]);
        else expect(name).toBe('dead');
      }),
    );
  });

  it('waits for at least a second but where an answer was lost for the first time, and never past the token’s end', () => {
    fc.assert(
      fc.property(outcomes, facts, ([name, outcome], drawn) => {
        const judged = judgeFailure(outcome, factsOf(drawn));
        if (judged.kind !== 'again') return;
        if (judged.afterMs === 0) {
          expect([name, judged.lostAnswers]).toEqual([expect.stringMatching(/^(lost|maybeLost|unrecognised)$/), 1]);
          return;
        }
        expect(judged.afterMs).toBeGreaterThan(0);
        if (drawn.leftMs > 0) expect(judged.afterMs).toBeLessThanOrEqual(Math.max(drawn.leftMs, LIMITS.refreshWaitMinMs));
        else if (name !== 'throttled') expect(judged.afterMs).toBeLessThanOrEqual(LIMITS.refreshBackoffMaxMs);
      }),
    );
  });

  it('keeps to the time that a provider names once there is no live token to look after', () => {
    const told = OUTCOMES['throttled'] as RefreshFailure;
    const some = { attempts: 1, lostBefore: 0, doubted: false, lifeMs: 3_600_000, failingForMs: 0, fraction: 0.5 };
    const rest = { refusedForMs: undefined, windowLeftMs: undefined };
    expect(waitAfter(told, { ...some, ...rest, leftMs: 0 })).toBe(7_200_000);
    expect(waitAfter(told, { ...some, ...rest, leftMs: 600_000 })).toBe(600_000);
    expect(waitAfter(told, { ...some, ...rest, leftMs: 86_400_000 })).toBe(7_200_000);
  });

  it('does not wait longer than it has failed already', () => {
    const some = { attempts: 30, lostBefore: 0, doubted: false, leftMs: 0, lifeMs: 1, fraction: 0.99 };
    const passing = OUTCOMES['oddly'] as RefreshFailure;
    const rest = { refusedForMs: undefined, windowLeftMs: undefined };
    expect(waitAfter(passing, { ...some, ...rest, failingForMs: 60_000 })).toBe(60_000);
    expect(waitAfter(passing, { ...some, ...rest, failingForMs: 86_400_000 })).toBeGreaterThan(LIMITS.refreshBackoffMaxMs / 2);
  });
});

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** A first failure of a token that lives on for ten minutes; no chance in the waits. */
const SOME: FailedAttempt = {
  attempts: 1,
  lostBefore: 0,
  doubted: false,
  leftMs: 600_000,
  lifeMs: HOUR,
  failingForMs: 0,
  refusedForMs: undefined,
  maySendAgain: () => true,
  windowLeftMs: undefined,
  fraction: 1,
};
const outcomeOf = (name: string) => OUTCOMES[name] as RefreshFailure;
const judge = (name: string, changes: Partial<FailedAttempt> = {}) => judgeFailure(outcomeOf(name), { ...SOME, ...changes });
const again = (name: string, changes: Partial<FailedAttempt> = {}) => {
  const judged = judge(name, changes);
  if (judged.kind !== 'again') throw new Error(`${name} is ${judged.kind}`);
  return judged;
};

describe('a failure that passes', () => {
  const withAdvice = (retryAfterSeconds: number | undefined): RefreshFailure => ({
    kind: 'transient',
    mayBeSpent: false,
    ...answered,
    retryAfterSeconds,
  });

  it.each([
    ['configuration', 'configuration', false],
    ['unbuildable', 'configuration', false],
    ['unrecognised', 'unrecognised', false],
    ['transient', 'transient', true],
    ['throttled', 'told_when', false],
    ['oddly', 'answered_oddly', true],
    ['lost', 'sent_and_lost', true],
    ['maybeLost', 'sent_and_lost', true],
    ['unreached', 'not_sent', false],
  ])('%s is kept as %s; the token may be spent: %s', (name, classed, mayBeSpent) => {
    expect(again(name)).toMatchObject({ classed, mayBeSpent });
    expect(again(name, { doubted: true }).mayBeSpent).toBe(true);
  });

  it('leaves the token unspent where the answer says so', () => {
    for (const name of ['transient', 'oddly']) {
      const outcome = { ...outcomeOf(name), mayBeSpent: false } as RefreshFailure;
      expect(judgeFailure(outcome, SOME)).toMatchObject({ mayBeSpent: false });
    }
  });

  it('is one that names its time only where it names one', () => {
    const classOf = (seconds: number | undefined) => judgeFailure(withAdvice(seconds), SOME);
    expect([9, 1].map(classOf)).toMatchObject([{ classed: 'told_when' }, { classed: 'told_when' }]);
    expect([0, undefined].map(classOf)).toMatchObject([{ classed: 'transient' }, { classed: 'transient' }]);
    const throttled = { kind: 'throttled', ...answered } as const;
    expect(judgeFailure(throttled, SOME)).toMatchObject({ classed: 'transient' });
  });

  it.each<[string, string, Partial<FailedAttempt>, boolean]>([
    ['at first, while the token lives', 'transient', { leftMs: 1 }, false],
    ['the second time', 'transient', { attempts: 2 }, false],
    ['the third time', 'transient', { attempts: 3 }, true],
    ['when the token has ended', 'transient', { leftMs: 0 }, true],
    ['at once where settings are wrong', 'configuration', {}, true],
    ['at once where we could not build the request', 'unbuildable', {}, true],
    ['not while a lost answer is asked for again at once', 'lost', { leftMs: 0, attempts: 3 }, false],
    ['when an answer was lost for the second time', 'lost', { leftMs: 0, lostBefore: 1 }, true],
  ])('degrades the credential or not: %s', (_, name, changes, degraded) => {
    expect(again(name, changes).degraded).toBe(degraded);
  });
});

describe('the end', () => {
  it('by the provider’s word has its cause, and says whether one of our own sends may have brought it about', () => {
    expect(judge('dead')).toEqual({ kind: 'ended', cause: 'any', lost: false });
    expect(judge('dead', { doubted: true })).toEqual({ kind: 'ended', cause: 'answer_lost_then_any', lost: false });
  });

  it.each<[string, string, Partial<FailedAttempt>, number | undefined]>([
    ['a lost answer counts', 'lost', {}, 1],
    ['and the next one, too', 'lost', { lostBefore: 1 }, 2],
    ['one that perhaps never left does not, while the token lives', 'maybeLost', { leftMs: 1 }, undefined],
    ['and does when it has ended', 'maybeLost', { leftMs: 0 }, 1],
    ['unknown words after a lost answer count', 'unrecognised', { lostBefore: 1 }, 2],
    ['unknown words alone do not', 'unrecognised', {}, undefined],
    ['a known refusal after a lost answer does not', 'configuration', { lostBefore: 1 }, undefined],
    ['a failure after a lost answer does not', 'transient', { lostBefore: 1 }, undefined],
    ['a request that never left does not', 'unreached', { lostBefore: 1, leftMs: 0 }, undefined],
  ])('by lost answers: %s', (_, name, changes, asked) => {
    const askedFor: number[] = [];
    const maySendAgain = (may: boolean) => (count: number) => {
      askedFor.push(count);
      return may;
    };
    expect(again(name, { ...changes, maySendAgain: maySendAgain(true) }).lostAnswers).toBe(asked ?? changes.lostBefore ?? 0);
    const judged = judge(name, { ...changes, maySendAgain: maySendAgain(false) });
    expect(judged.kind).toBe(asked === undefined ? 'again' : 'ended');
    if (judged.kind === 'ended') expect(judged).toEqual({ kind: 'ended', cause: outcomeOf(name).cause, lost: true });
    expect(askedFor).toEqual(asked === undefined ? [] : [asked, asked]);
  });

  it('by a lost answer is put off by one send at once; the second one waits', () => {
    expect(again('lost').afterMs).toBe(0);
    expect(again('lost', { lostBefore: 1 }).afterMs).toBe(LIMITS.refreshBackoffBaseMs);
    expect(again('unrecognised', { lostBefore: 1 }).afterMs).toBe(LIMITS.refreshBackoffBaseMs);
  });

  it.each<[string, string, Partial<FailedAttempt>, boolean]>([
    ['when it lasted as long as a token lives', 'unrecognised', { leftMs: 0, refusedForMs: HOUR }, true],
    ['not a moment earlier', 'unrecognised', { leftMs: 0, refusedForMs: HOUR - 1 }, false],
    ['not while a token lives', 'unrecognised', { leftMs: 1, refusedForMs: 2 * HOUR }, false],
    ['not at the first refusal, however short the life', 'unrecognised', { leftMs: 0, lifeMs: 0 }, false],
    ['after a day where a token lives longer', 'unrecognised', { leftMs: 0, lifeMs: 90 * DAY, refusedForMs: DAY }, true],
    ['and no sooner', 'unrecognised', { leftMs: 0, lifeMs: 90 * DAY, refusedForMs: DAY - 1 }, false],
    ['not where the words are known', 'configuration', { leftMs: 0, refusedForMs: 2 * DAY }, false],
    ['not where nobody refused', 'transient', { leftMs: 0, refusedForMs: 2 * DAY }, false],
  ])('by a refusal in unknown words comes %s', (_, name, changes, ends) => {
    const judged = judge(name, changes);
    expect(judged.kind).toBe(ends ? 'ended' : 'again');
    if (judged.kind === 'ended') expect(judged).toEqual({ kind: 'ended', cause: 'refused_too_long', lost: false });
  });
});

describe('the wait after a failure', () => {
  const LONG = 1e12;
  const wait = (name: string, changes: Partial<FailedAttempt>, seconds?: number) => {
    const outcome = seconds === undefined ? outcomeOf(name) : { ...outcomeOf(name), retryAfterSeconds: seconds };
    return waitAfter(outcome as RefreshFailure, { ...SOME, leftMs: Number.POSITIVE_INFINITY, ...changes });
  };

  it.each([
    ['transient', 5_000],
    ['unrecognised', 5_000],
    ['oddly', 5_000],
    ['unreached', 5_000],
    ['lost', 5_000],
    ['configuration', 60_000],
    ['unbuildable', 60_000],
  ])('%s begins with %i ms and doubles up to an hour', (name, baseMs) => {
    const waits = [1, 2, 3, 60].map((attempts) => wait(name, { attempts, failingForMs: LONG }));
    expect(waits).toEqual([baseMs, 2 * baseMs, 4 * baseMs, HOUR]);
  });

  it('is less by chance', () => {
    expect(wait('transient', { failingForMs: LONG, fraction: 0 })).toBe(2_500);
  });

  it('is no longer than it has failed already, and the base at least', () => {
    const attempts = 60;
    expect([0, 4_999, 5_001, 60_000].map((failingForMs) => wait('oddly', { attempts, failingForMs }))).toEqual([
      5_000, 5_000, 5_001, 60_000,
    ]);
    expect(wait('configuration', { attempts, failingForMs: 5_000 })).toBe(60_000);
  });

  it('is no longer than half of what is left of the token’s life, and a second at least', () => {
    const grown = { attempts: 60, failingForMs: LONG };
    expect([100_000, 2_002, 1_999, 1].map((leftMs) => wait('transient', { ...grown, leftMs }))).toEqual([
      50_000, 1_001, 1_000, 1_000,
    ]);
    expect(wait('transient', { ...grown, leftMs: 0 })).toBe(HOUR);
  });

  it('ends for unknown words when they have lasted too long, where there is no token left', () => {
    const grown = { attempts: 60, failingForMs: LONG, leftMs: 0, lifeMs: 100_000 };
    expect(wait('unrecognised', { ...grown, refusedForMs: 40_000 })).toBe(60_000);
    expect(wait('unrecognised', grown)).toBe(100_000);
    expect(wait('unrecognised', { ...grown, refusedForMs: 99_999 })).toBe(1_000);
    expect(wait('configuration', { ...grown, refusedForMs: 40_000 })).toBe(HOUR);
  });

  it('is what the provider asks for where that is longer', () => {
    expect(wait('transient', {}, 9)).toBe(9_000);
    expect(wait('transient', {}, 4)).toBe(5_000);
    expect(wait('transient', { leftMs: 0 }, 9)).toBe(9_000);
    expect(wait('transient', { leftMs: 8_000 }, 9)).toBe(8_000);
    expect(wait('transient', { leftMs: 8_000, attempts: 60, failingForMs: LONG }, 1)).toBe(4_000);
  });

  it('of a lost answer leaves one more try just before its reuse window closes', () => {
    const grown = { attempts: 60, failingForMs: LONG };
    expect(wait('lost', { ...grown, windowLeftMs: 60_000 })).toBe(59_000);
    expect(wait('lost', { windowLeftMs: 60_000 })).toBe(5_000);
    expect(wait('lost', { ...grown, windowLeftMs: 5_001 })).toBe(4_001);
    expect(wait('lost', { ...grown, windowLeftMs: 5_000 })).toBe(HOUR);
    expect(wait('transient', { ...grown, windowLeftMs: 60_000 })).toBe(HOUR);
  });
});
