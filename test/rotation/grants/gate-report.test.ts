import { describe, expect, it } from 'vitest';
import { reportOf } from '../../../rotation/grants/gate-report.ts';
import type { RefreshOutcome } from '../../../rotation/oauth2/answer.ts';
import { notSent } from '../../../rotation/oauth2/refresh.ts';
import { SecretValue } from '../../../src/base/secret-value.ts';

const answered = { cause: 'any', status: 400, retryAfterSeconds: undefined };
const refused = (means: 'dead' | 'configuration'): RefreshOutcome => ({ kind: 'refused', means, recognised: true, ...answered });
const oddly = (refreshToken?: SecretValue): RefreshOutcome => ({
  kind: 'answered_oddly',
  mayBeSpent: true,
  refreshToken,
  ...answered,
});

describe('what an outcome says of the provider', () => {
  it.each<[string, RefreshOutcome, object]>([
    ['a dead grant', refused('dead'), { kind: 'alive' }],
    ['a wrong client secret', refused('configuration'), { kind: 'alive' }],
    ['500', { kind: 'transient', mayBeSpent: true, ...answered, status: 500 }, { kind: 'failed' }],
    [
      '503 with Retry-After',
      { kind: 'transient', mayBeSpent: true, ...answered, status: 503, retryAfterSeconds: 9 },
      { kind: 'failed' },
    ],
    [
      '429 with Retry-After',
      { kind: 'throttled', ...answered, retryAfterSeconds: 9 },
      { kind: 'throttled', retryAfterMs: 9_000 },
    ],
    ['429 without', { kind: 'throttled', ...answered }, { kind: 'failed' }],
    ['a page', oddly(), { kind: 'failed' }],
    ['a token that is too large', oddly(SecretValue.fromText('refresh-not-a-real-secret')), { kind: 'alive' }],
    ['no connection', notSent('transient', 'connect_failed'), { kind: 'failed' }],
    ['an answer that was lost', { kind: 'sent_and_lost', certain: true, cause: 'timeout' }, { kind: 'failed' }],
    ['a withdrawn request', notSent('withdrawn', 'withdrawn'), { kind: 'none' }],
    ['a request that could not be built', notSent('configuration', 'client_secret_missing'), { kind: 'none' }],
  ])('%s', (_, outcome, report) => {
    expect(reportOf(outcome)).toEqual(report);
  });
});
