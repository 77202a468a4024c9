// One exhaustive table from code to problem (RFC 9457): every code has a status and a title, and nothing of what went wrong inside leaves.
import { describe, expect, it } from 'vitest';
import { ERROR_CODES, type ErrorCode, KeyturnError } from '../../src/base/errors.ts';
import { operatorLine, problemHeaders, problemOf, STATUS_OF, toKeyturnError } from '../../src/http/problems.ts';

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

  // Clients branch on these: a changed one is a change of the interface, and shows here.
  const CODES_OF: Readonly<Record<number, readonly ErrorCode[]>> = {
    400: ['invalid_request', 'malformed_json'],
    401: ['unauthenticated', 'insufficient_user_authentication'],
    403: ['approval_required', 'forbidden'],
    404: ['not_found'],
    405: ['method_not_allowed'],
    409: ['conflict', 'version_conflict'],
    410: ['gone', 'key_destroyed'],
    412: ['precondition_failed'],
    413: ['payload_too_large'],
    415: ['unsupported_media_type'],
    422: ['idempotency_mismatch', 'not_rotatable'],
    423: ['sealed', 'rolled_back'],
    424: ['needs_consent'],
    429: ['rate_limited'],
    500: ['integrity', 'internal'],
    502: ['provider_misconfigured'],
    503: ['provider_unavailable', 'storage_unavailable', 'unavailable'],
    507: ['storage_full'],
  };

  it('answers each code with its one status', () => {
    const expected = Object.entries(CODES_OF).flatMap(([status, codes]) => codes.map((code) => [code, Number(status)] as const));
    expect(Object.fromEntries(expected)).toEqual(STATUS_OF);
  });
});

describe('the operator’s log', () => {
  it('holds what must be looked into, with its evidence, and no refusal', () => {
    const logged = ERROR_CODES.filter((code) => operatorLine(new KeyturnError(code, 'x'), 'req_1', 'GET /x') !== undefined);
    expect(logged.sort()).toEqual(
      ['integrity', 'internal', 'key_destroyed', 'rolled_back', 'storage_full', 'storage_unavailable'].sort(),
    );
    const error = new KeyturnError('integrity', CANARY, { evidence: 'the row of a credential' });
    expect(operatorLine(error, 'req_1', 'GET /x')).toBe('integrity req_1 GET /x the row of a credential');
    expect(operatorLine(new KeyturnError('internal', CANARY), 'req_1', 'GET /x')).toBe('internal req_1 GET /x ');
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
