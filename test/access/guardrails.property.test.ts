// Guardrails hold for every combination of roles and every context, also when a policy fails (AZ-10).
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type AuthorizationContext, type AuthorizationPrincipal, evaluate } from '../../src/access/authorizer.ts';
import { OPERATIONS, type Operation, PERSONAL_OPERATIONS, ROLES } from '../../src/access/operations.ts';
import { cedarEngine, testAuthorizer } from '../kit/cedar.ts';

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
const ALL = Object.keys(OPERATIONS) as Operation[];

function contextFrom(bits: number): AuthorizationContext {
  const names = Object.keys(CONTEXT) as (keyof AuthorizationContext)[];
  return Object.fromEntries(names.map((name, index) => [name, ((bits >> index) & 1) === 1])) as unknown as AuthorizationContext;
}

describe('for any roles and any context', () => {
  const authorizer = testAuthorizer();
  const anyContext = fc.nat(255).map(contextFrom);
  const anyEnvironment = fc.constantFrom('staging', 'production', 'qa');
  const anyPrincipal = (roles: fc.Arbitrary<(typeof ROLES)[number][]>) =>
    fc.record({
      type: fc.constantFrom('User' as const, 'Workload' as const, 'System' as const),
      id: fc.constant('p-1'),
      revision: fc.constant(1),
      roles,
    });

  it('only an owner may do tenant.erase', () => {
    const roles = fc.uniqueArray(fc.constantFrom(...ROLES));
    let reached = 0;
    fc.assert(
      fc.property(anyPrincipal(roles), anyContext, (principal, context) => {
        const decision = authorizer.decide(principal, 'tenant.erase', { type: 'Tenant', tenant: 'ten_made-up' }, context);
        if (decision.allow) reached++;
        if (!principal.roles.includes('owner') || principal.type !== 'User') expect(decision.allow).toBe(false);
      }),
      { numRuns: 2_000, examples: [[{ type: 'User', id: 'p-1', revision: 1, roles: ['owner'] }, CONTEXT]] },
    );
    expect(reached).toBeGreaterThan(0);
  });

  it('an auditor never reads a value and changes only their own tokens', () => {
    const roles = fc.uniqueArray(fc.constantFrom(...ROLES)).map((held) => [...new Set([...held, 'auditor' as const])]);
    const forbidden = ALL.filter(
      (operation) => operation === 'credential.read' || (OPERATIONS[operation].writes && !PERSONAL_OPERATIONS.has(operation)),
    );
    fc.assert(
      fc.property(
        anyPrincipal(roles),
        fc.constantFrom(...forbidden),
        anyEnvironment,
        anyContext,
        (principal, operation, environment, context) => {
          const type = OPERATIONS[operation].resource;
          const scoped = type === 'Credential' || type === 'Environment';
          const thing = type === 'Installation' ? { type } : { type, tenant: 'ten_made-up', ...(scoped ? { environment } : {}) };
          expect(authorizer.decide(principal, operation, thing, context).allow).toBe(false);
        },
      ),
      { numRuns: 2_000 },
    );
  });

  it('a workload without permission, scope or network may do nothing', () => {
    fc.assert(
      fc.property(fc.constantFrom(...ALL), anyContext, (operation, context) => {
        fc.pre(!(context.permitted && context.inScope && context.inNetwork));
        const type = OPERATIONS[operation].resource;
        const thing = type === 'Installation' ? { type } : { type, tenant: 'ten_made-up' };
        const principal: AuthorizationPrincipal = { type: 'Workload', id: 'w-1', revision: 1, roles: [...ROLES] };
        expect(authorizer.decide(principal, operation, thing, context).allow).toBe(false);
      }),
      { numRuns: 2_000 },
    );
  });

  // Not validated against a schema, so that every kind of error can occur.
  const ERRORS = [
    'context.missing',
    'principal.missing == 1',
    '1 + "a" == 2',
    '9223372036854775807 + 1 == 0',
    'ip("300.1.1.1").isLoopback()',
    'decimal("1.23456").lessThan(decimal("1.0"))',
    '"a" < 1',
    'if 1 then true else false',
    'principal in "x"',
    '[].containsAll(1)',
  ] as const;

  it.each(ERRORS)('a failing forbid never lets a permit win: %s', (error) => {
    const condition = fc.constantFrom('true', 'false', '1 == 1', 'context has a', error);
    const policy = fc
      .tuple(fc.constantFrom('permit', 'forbid'), condition)
      .map(([effect, when]) => `${effect} (principal, action, resource) when { ${when} };`);
    fc.assert(
      fc.property(fc.array(policy, { maxLength: 4 }), fc.nat(4), (others, place) => {
        const forbid = `forbid (principal, action, resource) when { ${error} };`;
        const texts = [...others.slice(0, place), forbid, ...others.slice(place), 'permit (principal, action, resource);'];
        expect(evaluateUnchecked(Object.fromEntries(texts.map((text, index) => [`p${index}`, text])))).toMatchObject({
          allow: false,
          failed: true,
        });
      }),
      { numRuns: 40 },
    );
    expect(evaluateUnchecked({ p: 'permit (principal, action, resource);' })).toMatchObject({ allow: true, failed: false });
  });
});

function evaluateUnchecked(staticPolicies: Record<string, string>) {
  expect(cedarEngine.preparsePolicySet('unchecked', { staticPolicies }).type).toBe('success');
  return evaluate(cedarEngine, {
    principal: { type: 'User', id: 'u' },
    action: { type: 'Action', id: 'a' },
    resource: { type: 'Thing', id: 't' },
    context: {},
    validateRequest: false,
    preparsedPolicySetId: 'unchecked',
    entities: [],
  });
}
