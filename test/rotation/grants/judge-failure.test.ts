import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type FailureFacts, judgeFailure, waitAfter } from '../../../rotation/grants/judge-failure.ts';
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
const factsOf = ({ maySend, ...rest }: Drawn): FailureFacts => ({ ...rest, maySendAgain: () => maySend });
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
