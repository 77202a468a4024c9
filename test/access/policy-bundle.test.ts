// A bundle of policies must be complete, valid and bounded, and independent of every other bundle.
import { describe, expect, it } from 'vitest';
import {
  type AuthorizationContext,
  type AuthorizationPrincipal,
  type AuthorizationResource,
  Authorizer,
} from '../../src/access/authorizer.ts';
import { KeyturnError } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { cedarEngine, shippedPolicies, testAuthorizer } from '../kit/cedar.ts';

const OWNER: AuthorizationPrincipal = { type: 'User', id: 'usr_made-up', revision: 1, roles: ['owner'] };
const PRODUCTION: AuthorizationResource = {
  type: 'Credential',
  tenant: 'ten_made-up',
  environment: 'production',
  kind: 'api_key',
};
const CONTEXT: AuthorizationContext = {
  assigned: true,
  inNetwork: true,
  inScope: true,
  permitted: true,
  mfaFresh: true,
  approved: true,
  demo: false,
  contained: false,
};

function refusal(change: { schema?: string; policies?: Record<string, string>; without?: string }): KeyturnError {
  const shipped = shippedPolicies();
  const policies = { ...shipped.policies, ...change.policies };
  if (change.without !== undefined) delete policies[change.without];
  try {
    new Authorizer(cedarEngine, { schema: change.schema ?? shipped.schema, policies });
  } catch (error) {
    if (error instanceof KeyturnError) return error;
    throw error;
  }
  throw new Error('it was accepted');
}

describe('a bundle is refused whole', () => {
  it.each([
    ['that does not parse', { policies: { 'roles/owner': '@id("x") permit (principal' } }, 'roles/owner does not parse'],
    [
      'that does not fit the schema',
      { policies: { 'roles/owner': '@id("x") permit (principal, action, resource) when { context.nope };' } },
      'roles/owner#x',
    ],
    [
      'with an unknown role',
      { policies: { 'roles/owner': '@id("x") permit (principal in Role::"ownr", action, resource);' } },
      'roles/owner#x',
    ],
    [
      'with a guardrail that can never apply',
      { policies: { 'guardrails/extra': '@id("x") forbid (principal is Role, action, resource);' } },
      'guardrails/extra#x',
    ],
    ['without a guardrail', { without: 'guardrails/token' }, 'guardrails/token is missing'],
    ['without a role', { without: 'roles/auditor' }, 'roles/auditor is missing'],
    ['with an empty guardrail', { policies: { 'guardrails/token': '// nothing here' } }, 'guardrails/token is empty'],
    [
      'with a permit among the guardrails',
      { policies: { 'guardrails/extra': '@id("x") permit (principal, action, resource);' } },
      'must contain forbid policies only, but contains a permit',
    ],
    [
      'with a forbid among the roles',
      { policies: { 'roles/extra': '@id("x") forbid (principal, action, resource);' } },
      'must contain permit policies only, but contains a forbid',
    ],
    [
      'with a template',
      { policies: { 'roles/extra': '@id("x") permit (principal == ?principal, action, resource);' } },
      'must not contain a policy template',
    ],
    [
      'with a policy without an id',
      { policies: { 'roles/extra': 'permit (principal, action, resource);' } },
      'must have an @id of lower case',
    ],
    [
      'with two policies of one id',
      { policies: { 'roles/extra': '@id("x") permit (principal, action, resource);'.repeat(2) } },
      'two are equal',
    ],
    [
      'with a file outside both folders',
      { policies: { 'extra/x': '@id("x") permit (principal, action, resource);' } },
      'the name of a policy file must be',
    ],
    [
      'with a file whose bytes were not UTF-8',
      { policies: { 'roles/extra': '// \uFFFD\n@id("x") permit (principal, action, resource);' } },
      'not valid UTF-8',
    ],
    [
      'with a zero byte in a file',
      { policies: { 'roles/extra': '// \0\n@id("x") permit (principal, action, resource);' } },
      'not valid UTF-8',
    ],
    ['with a schema that is nested too deeply', { schema: `${'('.repeat(100)}` }, 'the policy schema must nest at most'],
    ['with a schema that does not parse', { schema: 'entity' }, 'schema does not parse'],
    ['with a missing operation', { schema: shippedPolicies().schema.replace('"audit.verify", ', '') }, 'must be the operations'],
    [
      'with an unknown action',
      { schema: shippedPolicies().schema.replace('"audit.verify"', '"audit.verify", "audit.delete"') },
      'must be the operations',
    ],
  ])('%s', (_name, change, expected) => {
    const error = refusal(change);
    expect(error.code).toBe('internal');
    expect(error.message).toContain(expected);
  });

  it('with the engine’s message in the evidence and not in the error message', () => {
    const error = refusal({
      policies: { 'roles/owner': '@id("x") permit (principal, action, resource) when { context.canary };' },
    });
    expect(error.evidence).toContain('canary');
    expect(error.message).not.toContain('canary');
    expect(refusal({ policies: { 'roles/owner': '@id("x") permit (canary' } }).evidence).not.toBe('');
    expect(refusal({ without: 'roles/owner' }).evidence).toBeUndefined();
  });

  it('for a warning of the engine without a policy', () => {
    const warning = { message: 'a canary of the engine' };
    const validate = (): ReturnType<typeof cedarEngine.validate> => ({
      type: 'success',
      validationErrors: [],
      validationWarnings: [],
      otherWarnings: [warning],
    });
    const load = () => new Authorizer({ ...cedarEngine, validate }, shippedPolicies());
    expect(load).toThrow(
      expect.objectContaining({ message: 'the policies do not match the schema', evidence: 'a canary of the engine' }),
    );
  });

  it('when it exceeds a limit by one, and accepted at the limit', () => {
    const extra = (text: string) => () => testAuthorizer({ 'roles/extra': text });
    const plain = '@id("x") permit (principal, action, resource) when';
    // The braces of `when` are one level, and `when` itself is one operator.
    const nested = (depth: number) => `${plain} { ${'('.repeat(depth - 1)}true${')'.repeat(depth - 1)} };`;
    expect(extra(nested(LIMITS.bodyMaxDepth))).not.toThrow();
    expect(extra(nested(LIMITS.bodyMaxDepth + 1))).toThrow('must nest at most');
    const chained = (operators: number) => `${plain} { ${'1 + '.repeat(operators - 1)}1 == 1 };`;
    expect(extra(chained(LIMITS.policyOperatorsMaxCount))).not.toThrow();
    expect(extra(chained(LIMITS.policyOperatorsMaxCount + 1))).toThrow('must have at most ');
    const shipped = shippedPolicies();
    const used = [shipped.schema, ...Object.values(shipped.policies), `${plain} { true };//`].join('');
    const filled = (bytes: number) => `${plain} { true };//${'x'.repeat(bytes - Buffer.byteLength(used))}`;
    expect(extra(filled(LIMITS.bodyMaxBytes))).not.toThrow();
    expect(extra(filled(LIMITS.bodyMaxBytes + 1))).toThrow('must have at most');
  });

  const policy = (condition: string) => `@id("x") permit (principal, action, resource) when { ${condition} };`;
  it.each([
    ['parentheses', policy(`${'('.repeat(10_000)}true${')'.repeat(10_000)}`)],
    ['parentheses behind a comment that ends early for Cedar', `//\r${policy(`${'('.repeat(200)}true${')'.repeat(200)}`)}`],
    [
      'parentheses whose closing ones are in a string',
      policy(`"${')'.repeat(200)}" == "" || ${'('.repeat(200)}true${')'.repeat(200)}`),
    ],
    ['sums', policy(`${'1 + '.repeat(1_000)}1 == 1`)],
    ['attributes', policy(`principal${'.a'.repeat(2_000)}`)],
    ['100,000 policies', '@id("x") permit (principal, action, resource);\n'.repeat(100_000)],
  ])('when it is too deep or too large, before the engine parses it: %s', (_name, text) => {
    const inUse = testAuthorizer();
    const started = performance.now();
    expect(refusal({ policies: { 'roles/extra': text } }).message).toMatch(/must nest at most|must have at most/);
    expect(performance.now() - started).toBeLessThan(2_000);
    expect(inUse.decide(OWNER, 'tenant.erase', { type: 'Tenant', tenant: 'ten_made-up' }, CONTEXT).allow).toBe(true);
  });

  it.each([
    ['parentheses', policy(`${'('.repeat(29)}true${')'.repeat(29)}`), 'accepted'],
    ['sums', policy(`${'1 + '.repeat(120)}1 == 121`), 'accepted'],
    ['attributes', policy(`principal${'.a'.repeat(120)}`), 'do not match the schema'],
    ['indices', policy(`principal${'["a"]'.repeat(120)}`), 'do not match the schema'],
    ['negations', policy(`${'!('.repeat(28)}true${')'.repeat(28)}`), 'accepted'],
    ['alternatives', policy(`${'true || '.repeat(60)}context.assigned`), 'accepted'],
    ['conditions', policy(`${'if context.demo then true else '.repeat(60)}context.assigned`), 'accepted'],
    ['clauses', policy(`true} when {`.repeat(120).concat('true')), 'accepted'],
  ])('and within these limits the engine keeps working: %s', (_name, text, expected) => {
    const inUse = testAuthorizer();
    let outcome = 'accepted';
    try {
      const extra = testAuthorizer({ 'roles/extra': text });
      expect(
        extra.decide({ ...OWNER, roles: [] }, 'tenant.erase', { type: 'Tenant', tenant: 'ten_made-up' }, CONTEXT).failed,
      ).toBe(false);
    } catch (error) {
      outcome = (error as Error).message;
    }
    expect(outcome).toContain(expected);
    expect(inUse.decide(OWNER, 'tenant.erase', { type: 'Tenant', tenant: 'ten_made-up' }, CONTEXT).allow).toBe(true);
  });

  it('and the bundle in use is not affected', () => {
    const inUse = testAuthorizer();
    expect(refusal({ policies: { 'roles/owner': '@id("x") permit (principal' } }).code).toBe('internal');
    expect(inUse.decide(OWNER, 'credential.read', PRODUCTION, CONTEXT)).toEqual({
      allow: true,
      reason: 'roles/owner#everything',
      failed: false,
    });
  });
});

describe('policyVersion', () => {
  it('is equal for equal texts and different for different texts', () => {
    const shipped = shippedPolicies();
    const version = testAuthorizer().policyVersion;
    expect(version).toMatch(/^[0-9a-f]{16}$/);
    const turned = Object.fromEntries(Object.entries(shipped.policies).reverse());
    expect(new Authorizer(cedarEngine, { schema: shipped.schema, policies: turned }).policyVersion).toBe(version);
    expect(testAuthorizer({ 'roles/team': `${shipped.policies['roles/team']}\n` }).policyVersion).not.toBe(version);
    expect(new Authorizer(cedarEngine, { ...shipped, schema: `${shipped.schema}\n` }).policyVersion).not.toBe(version);
  });

  it('separates two bundles in one engine', () => {
    const strict = testAuthorizer({
      'guardrails/extra': '@id("nobody") forbid (principal, action == Action::"key.list", resource);',
    });
    const shipped = testAuthorizer();
    const key: AuthorizationResource = { type: 'TenantKey', tenant: 'ten_made-up' };
    expect(strict.decide(OWNER, 'key.list', key, CONTEXT)).toEqual({
      allow: false,
      reason: 'guardrails/extra#nobody',
      failed: false,
    });
    expect(shipped.decide(OWNER, 'key.list', key, CONTEXT).allow).toBe(true);
  });
});
