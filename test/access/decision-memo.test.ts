// The decision cached beside a resource: it saves work and never changes a decision.
import { describe, expect, it } from 'vitest';
import type {
  AuthorizationContext,
  AuthorizationPrincipal,
  AuthorizationResource,
  DecisionMemo,
} from '../../src/access/authorizer.ts';
import type { Operation } from '../../src/access/operations.ts';
import { testAuthorizer } from '../kit/cedar.ts';

const OWNER: AuthorizationPrincipal = { type: 'User', id: 'usr_made-up', revision: 1, roles: ['owner'] };
const AUDITOR: AuthorizationPrincipal = { type: 'User', id: 'usr_other', revision: 1, roles: ['auditor'] };
const STAGING: AuthorizationResource = { type: 'Credential', tenant: 'ten_made-up', environment: 'staging', kind: 'api_key' };
const PRODUCTION: AuthorizationResource = { ...STAGING, environment: 'production' };
const FRESH: AuthorizationContext = {
  assigned: true,
  inNetwork: true,
  inScope: true,
  permitted: true,
  mfaFresh: true,
  approved: false,
  demo: false,
  contained: false,
};

describe('a memo', () => {
  it('answers the same request again without evaluation', () => {
    const authorizer = testAuthorizer();
    const memo: DecisionMemo = {};
    const first = authorizer.decide(OWNER, 'credential.put', STAGING, FRESH, memo);
    expect(authorizer.decide(OWNER, 'credential.put', STAGING, { ...FRESH }, memo)).toBe(first);
    expect(authorizer.counters).toMatchObject({ hits: 1, misses: 1 });
    expect(memo.last?.decision).toBe(first);
  });

  it('is used before the cache of the authorizer', () => {
    const authorizer = testAuthorizer();
    const memo: DecisionMemo = {};
    authorizer.decide(OWNER, 'credential.put', STAGING, FRESH, memo);
    const marked = { allow: false, reason: 'made up', failed: false };
    memo.last = { ...memo.last!, decision: marked };
    expect(authorizer.decide(OWNER, 'credential.put', STAGING, FRESH, memo)).toBe(marked);
  });

  it('answers no other request: a change of any part gives the decision without a memo', () => {
    const authorizer = testAuthorizer();
    const cases: [AuthorizationPrincipal, Operation, AuthorizationResource, AuthorizationContext][] = [
      [AUDITOR, 'credential.put', STAGING, FRESH],
      [OWNER, 'credential.read', STAGING, FRESH],
      [OWNER, 'credential.put', PRODUCTION, FRESH],
      [OWNER, 'credential.put', STAGING, { ...FRESH, contained: true }],
      [{ ...OWNER, revision: 2, roles: [] }, 'credential.put', STAGING, FRESH],
    ];
    const answers = new Set<boolean>();
    for (const [principal, operation, resource, context] of cases) {
      const memo: DecisionMemo = {};
      authorizer.decide(OWNER, 'credential.put', STAGING, FRESH, memo);
      const decision = authorizer.decide(principal, operation, resource, context, memo);
      expect(decision).toEqual(testAuthorizer().decide(principal, operation, resource, context));
      answers.add(decision.allow);
    }
    expect(answers).toEqual(new Set([true, false]));
  });

  it('answers no request that differs only in operation or resource', () => {
    const authorizer = testAuthorizer();
    const unproven = { ...FRESH, mfaFresh: false };
    const memo: DecisionMemo = {};
    const ask = (p: AuthorizationPrincipal, operation: Operation, r: AuthorizationResource) =>
      authorizer.decide(p, operation, r, unproven, memo).allow;
    expect([ask(AUDITOR, 'credential.describe', STAGING), ask(AUDITOR, 'credential.read', STAGING)]).toEqual([true, false]);
    expect([ask(OWNER, 'credential.read', STAGING), ask(OWNER, 'credential.read', PRODUCTION)]).toEqual([true, false]);
    expect([ask(OWNER, 'credential.put', STAGING), ask(AUDITOR, 'credential.put', STAGING)]).toEqual([true, false]);
  });

  it('is not written after a failed evaluation: the next request is evaluated again', () => {
    const overflows = '@id("overflows") forbid (principal, action, resource) when { 9223372036854775807 + 1 == 0 };';
    const authorizer = testAuthorizer({ 'guardrails/extra': overflows });
    const memo: DecisionMemo = {};
    for (let i = 0; i < 3; i++) authorizer.decide(OWNER, 'credential.put', STAGING, FRESH, memo);
    expect(authorizer.counters).toEqual({ hits: 0, misses: 3, failures: 3 });
  });

  it('is invalid once the authorizer empties its cache', () => {
    const authorizer = testAuthorizer();
    const memo: DecisionMemo = {};
    authorizer.decide(OWNER, 'credential.put', STAGING, FRESH, memo);
    authorizer.forget();
    authorizer.decide(OWNER, 'credential.put', STAGING, FRESH, memo);
    expect(authorizer.counters).toMatchObject({ hits: 0, misses: 2 });
  });

  it('is not used by another authorizer, whose policies may differ', () => {
    const memo: DecisionMemo = {};
    testAuthorizer().decide(OWNER, 'credential.put', STAGING, FRESH, memo);
    const strict = testAuthorizer({ 'guardrails/extra': '@id("nobody") forbid (principal, action, resource);' });
    expect(strict.decide(OWNER, 'credential.put', STAGING, FRESH, memo).allow).toBe(false);
  });
});
