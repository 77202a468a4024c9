// One exhaustive table from code to problem (RFC 9457): every code has a status and a title, and nothing of what went wrong inside leaves.
import { describe, expect, it } from 'vitest';
import { ERROR_CODES, type ErrorCode, KeyturnError } from '../../src/base/errors.ts';
import { problemHeaders, problemOf, STATUS_OF, toKeyturnError } from '../../src/http/problems.ts';

const CANARY = 'not-a-real-secret-problem';
const problem = (code: ErrorCode, detail = 'a detail', options = {}) =>
  problemOf(new KeyturnError(code, detail, options), 'req_1');

describe('the table of problems', () => {
  it('has a status and a title for every code, and no further one', () => {
    expect(Object.keys(STATUS_OF).sort()).toEqual([...ERROR_CODES].sort());
    for (const code of ERROR_CODES) {
      const made = problem(code);
      expect(made.status, code).toBe(STATUS_OF[code]);
      expect(made.title.length, code).toBeGreaterThan(3);
      expect(made.type).toBe(`urn:keyturn:problem:${code}`);
    }
    expect(new Set(ERROR_CODES.map((code) => problem(code).title)).size).toBe(ERROR_CODES.length);
  });

  it('answers a fault of the caller with 4xx and one of ours with 5xx', () => {
    const ours = new Set<ErrorCode>([
      'provider_unavailable',
      'provider_misconfigured',
      'storage_full',
      'storage_unavailable',
      'integrity',
      'unavailable',
      'internal',
    ]);
    for (const code of ERROR_CODES) expect.soft(Math.floor(STATUS_OF[code] / 100), code).toBe(ours.has(code) ? 5 : 4);
  });
});

describe('a problem', () => {
  it('names the request, the detail and the place', () => {
    expect(problem('invalid_request', 'is too long', { pointer: '/name' })).toEqual({
      type: 'urn:keyturn:problem:invalid_request',
      title: 'The request is not valid',
      status: 400,
      code: 'invalid_request',
      detail: 'is too long',
      request_id: 'req_1',
      pointer: '/name',
      errors: ['is too long'],
    });
  });

  it('carries the further facts of its error, which cannot replace its own', () => {
    const made = problem('version_conflict', 'x', { extra: { current_version: 7, status: 200, code: 'ok', type: 'ok' } });
    expect(made).toMatchObject({ current_version: 7, status: 409, code: 'version_conflict' });
  });

  it.each(['internal', 'integrity'] as const)('of code %s tells nothing of what happened', (code) => {
    const made = problem(code, CANARY, { evidence: CANARY, extra: { canary: CANARY } });
    expect(JSON.stringify(made)).not.toContain(CANARY);
    expect(made.detail).toContain('request id');
  });

  it('never shows evidence or cause', () => {
    for (const code of ERROR_CODES) {
      const made = problem(code, 'x', { evidence: CANARY, cause: new Error(CANARY) });
      expect(JSON.stringify(made)).not.toContain(CANARY);
    }
  });
});

describe('anything unexpected', () => {
  it('becomes `internal` and keeps its message out of the log, too', () => {
    for (const thrown of [new TypeError(CANARY), CANARY, { message: CANARY }, null, undefined, 42]) {
      const error = toKeyturnError(thrown);
      expect(error.code).toBe('internal');
      expect(`${error.message} ${error.evidence}`).not.toContain(CANARY);
    }
    expect(toKeyturnError(new TypeError('x')).evidence).toMatch(/^TypeError \| at /);
  });

  it('but a KeyturnError stays what it is', () => {
    const error = new KeyturnError('gone', 'x');
    expect(toKeyturnError(error)).toBe(error);
  });
});

describe('the headers of a problem', () => {
  it('say how to authenticate (RFC 6750, RFC 9470), and only where that helps', () => {
    for (const code of ERROR_CODES) {
      const header = problemHeaders(new KeyturnError(code, 'x'))['www-authenticate'];
      expect(header !== undefined, code).toBe(STATUS_OF[code] === 401);
    }
    const stepUp = problemHeaders(new KeyturnError('insufficient_user_authentication', 'x'));
    expect(stepUp['www-authenticate']).toContain('max_age="300"');
  });

  it('say when to come back, in whole seconds of at least one', () => {
    for (const [seconds, header] of [
      [0.2, '1'],
      [5, '5'],
      [5.1, '6'],
    ] as const) {
      const { 'retry-after': said } = problemHeaders(new KeyturnError('rate_limited', 'x', { retryAfterSeconds: seconds }));
      expect(said).toBe(header);
    }
    expect(problemHeaders(new KeyturnError('rate_limited', 'x'))).not.toHaveProperty('retry-after');
  });
});
