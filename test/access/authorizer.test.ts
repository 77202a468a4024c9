// The wrapper around Cedar: what it refuses to start with, that every doubt is a no, and what it remembers.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type AuthorizationContext,
  type AuthorizationPrincipal,
  type AuthorizationResource,
  Authorizer,
  type CedarEngine,
  decisionKey,
  evaluate,
} from '../../src/access/authorizer.ts';
import { OPERATIONS, type Operation, ROLES } from '../../src/access/operations.ts';
import { KeyturnError } from '../../src/base/errors.ts';
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
const ALL = Object.keys(OPERATIONS) as Operation[];
// Fits the schema strictly and errs all the same: Cedar finds overflow only while it evaluates.
const ERRING_FORBID = '@id("overflows") forbid (principal, action, resource) when { 9223372036854775807 + 1 == 0 };';

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

/** The real engine with some of its functions replaced. */
function engineWith(change: Partial<CedarEngine>): CedarEngine {
  return { ...cedarEngine, ...change };
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
      'holds a permit',
    ],
    [
      'with a forbid among the roles',
      { policies: { 'roles/extra': '@id("x") forbid (principal, action, resource);' } },
      'holds a forbid',
    ],
    [
      'with a template',
      { policies: { 'roles/extra': '@id("x") permit (principal == ?principal, action, resource);' } },
      'holds a template',
    ],
    ['with a policy without a name', { policies: { 'roles/extra': 'permit (principal, action, resource);' } }, 'without an @id'],
    [
      'with two policies of one name',
      { policies: { 'roles/extra': '@id("x") permit (principal, action, resource);'.repeat(2) } },
      'two policies of one @id',
    ],
    ['with a file elsewhere', { policies: { 'extra/x': '@id("x") permit (principal, action, resource);' } }, 'not named'],
    [
      'with a file whose bytes were not UTF-8',
      { policies: { 'roles/extra': '// \uFFFD\n@id("x") permit (principal, action, resource);' } },
      'not valid UTF-8',
    ],
    ['with a schema that does not parse', { schema: 'entity' }, 'schema does not parse'],
    ['with an operation less', { schema: shippedPolicies().schema.replace('"audit.verify", ', '') }, 'are not the operations'],
    [
      'with an action more',
      { schema: shippedPolicies().schema.replace('"audit.verify"', '"audit.verify", "audit.delete"') },
      'are not the operations',
    ],
  ])('%s', (_name, change, expected) => {
    const error = refusal(change);
    expect(error.code).toBe('internal');
    expect(error.message).toContain(expected);
  });

  it('and says in the evidence, not in the message, what the engine said', () => {
    const error = refusal({
      policies: { 'roles/owner': '@id("x") permit (principal, action, resource) when { context.canary };' },
    });
    expect(error.evidence).toContain('canary');
    expect(error.message).not.toContain('canary');
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
  ])('when it is too deep or too large, before the engine can break on it: %s', (_name, text) => {
    const inUse = testAuthorizer();
    const started = performance.now();
    expect(refusal({ policies: { 'roles/extra': text } }).message).toMatch(/nested too deeply|chains too many|too large/);
    expect(performance.now() - started).toBeLessThan(2_000);
    expect(inUse.decide(OWNER, 'tenant.erase', { type: 'Tenant', tenant: 'ten_made-up' }, CONTEXT).allow).toBe(true);
  });

  it.each([
    ['parentheses', policy(`${'('.repeat(29)}true${')'.repeat(29)}`), 'accepted'],
    ['sums', policy(`${'1 + '.repeat(120)}1 == 121`), 'accepted'],
    ['attributes', policy(`principal${'.a'.repeat(120)}`), 'do not fit the schema'],
    ['indices', policy(`principal${'["a"]'.repeat(120)}`), 'do not fit the schema'],
    ['negations', policy(`${'!('.repeat(28)}true${')'.repeat(28)}`), 'accepted'],
    ['alternatives', policy(`${'true || '.repeat(60)}context.assigned`), 'accepted'],
    ['conditions', policy(`${'if context.demo then true else '.repeat(60)}context.assigned`), 'accepted'],
    ['clauses', policy(`true} when {`.repeat(120).concat('true')), 'accepted'],
  ])('and whatever passes these bounds leaves the engine working: %s', (_name, text, expected) => {
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

  it('and a refused one leaves the set in use as it was', () => {
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
  it('is the same for the same text and another for any other', () => {
    const shipped = shippedPolicies();
    const version = testAuthorizer().policyVersion;
    expect(version).toMatch(/^[0-9a-f]{16}$/);
    const turned = Object.fromEntries(Object.entries(shipped.policies).reverse());
    expect(new Authorizer(cedarEngine, { schema: shipped.schema, policies: turned }).policyVersion).toBe(version);
    expect(testAuthorizer({ 'roles/team': `${shipped.policies['roles/team']}\n` }).policyVersion).not.toBe(version);
    expect(new Authorizer(cedarEngine, { ...shipped, schema: `${shipped.schema}\n` }).policyVersion).not.toBe(version);
  });

  it('keeps two sets in one engine apart', () => {
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

describe('every doubt is a no', () => {
  it('when a guardrail errs that Cedar would have skipped (AZ-10), and it is not remembered', () => {
    const authorizer = testAuthorizer({ 'guardrails/extra': ERRING_FORBID });
    for (let i = 0; i < 3; i++) {
      const decision = authorizer.decide(OWNER, 'credential.read', PRODUCTION, CONTEXT);
      expect(decision).toMatchObject({ allow: false, reason: 'policy error', failed: true });
      expect(decision.evidence).toContain('guardrails/extra#overflows');
    }
    expect(authorizer.counters).toEqual({ hits: 0, misses: 3, failures: 3 });
  });

  it('when a role errs beside one that permits', () => {
    const authorizer = testAuthorizer({ 'roles/extra': ERRING_FORBID.replace('forbid', 'permit') });
    expect(authorizer.decide(OWNER, 'credential.read', PRODUCTION, CONTEXT)).toMatchObject({ allow: false, failed: true });
  });

  const success = (decision: unknown, errors: unknown) => ({
    type: 'success',
    response: { decision, diagnostics: { reason: [], errors } },
  });
  it.each([
    ['throws', undefined],
    ['answers nothing', null],
    ['answers failure', { type: 'failure', errors: [{ message: 'made up' }] }],
    ['answers failure without saying why', { type: 'failure' }],
    ['answers success without a response', { type: 'success' }],
    ['answers allow without diagnostics', { type: 'success', response: { decision: 'allow' } }],
    ['answers allow with an error', success('allow', [{ policyId: 'x' }])],
    ['answers something in between', success('Allow', [])],
  ])('when the engine %s', (name, answer) => {
    const engine = engineWith({
      statefulIsAuthorized: () => {
        if (answer === undefined) throw new Error('memory access out of bounds');
        return answer as never;
      },
    });
    const decision = new Authorizer(engine, shippedPolicies()).decide(OWNER, 'credential.read', PRODUCTION, CONTEXT);
    expect(decision.allow).toBe(false);
    expect(decision.failed).toBe(name !== 'answers something in between');
  });

  it.each([
    ['an operation that is not there', { operation: 'credential.reveal' }],
    ['an operation on a thing of another type', { resource: { type: 'Tenant', tenant: 'ten_made-up' } }],
    ['a thing of an unknown type', { resource: { type: 'Vault', tenant: 'ten_made-up' } }],
    ['a thing without its tenant', { resource: { type: 'Credential' } }],
    ['an attribute of the wrong type', { resource: { ...PRODUCTION, kind: 7 } }],
    ['an unknown role', { principal: { ...OWNER, roles: ['owner', 'root'] } }],
    ['an unknown type of principal', { principal: { ...OWNER, type: 'Admin' } }],
  ])('when the request has %s', (_name, change: Record<string, unknown>) => {
    const request = { principal: OWNER, operation: 'credential.read', resource: PRODUCTION, ...change };
    const authorizer = testAuthorizer();
    const decide = () =>
      authorizer.decide(request.principal as never, request.operation as never, request.resource as never, CONTEXT);
    expect(decide()).toMatchObject({ allow: false, failed: true });
    expect(decide()).toMatchObject({ allow: false, failed: true });
    expect(authorizer.counters).toMatchObject({ hits: 0, failures: 2 });
  });

  it('when a fact of the circumstances is missing', () => {
    const authorizer = testAuthorizer();
    for (const fact of ['inNetwork', 'inScope', 'permitted', 'mfaFresh', 'contained']) {
      const { [fact as 'contained']: _left, ...rest } = CONTEXT;
      expect(authorizer.decide(OWNER, 'credential.read', PRODUCTION, rest as AuthorizationContext).allow, fact).toBe(false);
    }
  });
});

describe('the memory of decisions', () => {
  it('asks Cedar once for one class of request, and again when anything of it differs', () => {
    let asked = 0;
    const engine = engineWith({
      statefulIsAuthorized: (request) => {
        asked++;
        return cedarEngine.statefulIsAuthorized(request);
      },
    });
    const authorizer = new Authorizer(engine, shippedPolicies());
    for (let i = 0; i < 5; i++) authorizer.decide(OWNER, 'credential.read', PRODUCTION, CONTEXT);
    expect(asked).toBe(1);
    authorizer.decide({ ...OWNER, revision: 2 }, 'credential.read', PRODUCTION, CONTEXT);
    authorizer.decide({ ...OWNER, roles: [] }, 'credential.read', PRODUCTION, CONTEXT);
    authorizer.decide(OWNER, 'credential.put', PRODUCTION, CONTEXT);
    authorizer.decide(OWNER, 'credential.read', { ...PRODUCTION, tenant: 'ten_other' }, CONTEXT);
    authorizer.decide(OWNER, 'credential.read', PRODUCTION, { ...CONTEXT, mfaFresh: false });
    expect(asked).toBe(6);
    expect(authorizer.counters).toEqual({ hits: 4, misses: 6, failures: 0 });
    authorizer.forget();
    authorizer.decide(OWNER, 'credential.read', PRODUCTION, CONTEXT);
    expect(asked).toBe(7);
  });

  it('hands out decisions nobody can change', () => {
    const decision = testAuthorizer().decide(OWNER, 'credential.read', PRODUCTION, { ...CONTEXT, contained: true });
    expect(() => Object.assign(decision, { allow: true })).toThrow(TypeError);
  });

  // Parts that look like each other's separators and lengths, and parts moved over their borders.
  const TEXTS = ['', '-', ':', ';', '1', '1:', '1:a', 'a', 'a1:', 'ab', '0:', '0:-', '-0:', '\u0000', 'ä', '😀'];

  it('has one key for one class only: pairwise over awkward parts', () => {
    const keys = new Map<string, string>();
    let count = 0;
    const add = (p: AuthorizationPrincipal, operation: Operation, r: AuthorizationResource, c: AuthorizationContext) => {
      const key = decisionKey(p, operation, r, c);
      const what = JSON.stringify([p, operation, r, c]);
      expect(keys.get(key) ?? what).toBe(what);
      keys.set(key, what);
      count++;
    };
    const options = [undefined, ...TEXTS];
    for (const a of options) {
      for (const b of options) {
        add(OWNER, 'key.list', resource({ tenant: a, environment: b }), CONTEXT);
        add(OWNER, 'key.list', resource({ environment: a ?? 'x', kind: b ?? 'y' }), CONTEXT);
        add(OWNER, 'key.list', resource({ kind: a ?? 'x', connector: b ?? 'y' }), CONTEXT);
        if (a !== undefined && b !== undefined) {
          add({ ...OWNER, id: a, roles: [b as 'owner'] }, 'key.list', resource({ tenant: 't' }), CONTEXT);
          add({ ...OWNER, id: 'i', roles: [a as 'owner', b as 'owner'] }, 'key.list', resource({ tenant: 't' }), CONTEXT);
        }
      }
    }
    for (const operation of ALL) for (const revision of [0, 1, 10]) add({ ...OWNER, revision }, operation, PRODUCTION, CONTEXT);
    for (const type of ['User', 'Workload', 'System'] as const)
      add({ ...OWNER, id: 'kind', type }, 'key.list', PRODUCTION, CONTEXT);
    for (const type of ['Tenant', 'AuditLog', 'TenantKey'] as const)
      add({ ...OWNER, id: 'of' }, 'key.list', { type, tenant: 't' }, CONTEXT);
    for (let bits = 0; bits < 256; bits++) add({ ...OWNER, id: 'bits' }, 'key.list', PRODUCTION, circumstances(bits));
    expect(keys.size).toBe(count);
    expect(count).toBeGreaterThan(1_700);
  });

  it('has one key for one class only: random pairs', () => {
    const text = fc.oneof(fc.constantFrom(...TEXTS), fc.string({ maxLength: 6 }));
    const request = fc.tuple(
      fc.record({
        type: fc.constant('User' as const),
        id: text,
        revision: fc.nat(20),
        roles: fc.uniqueArray(fc.constantFrom(...ROLES)),
      }),
      fc.constantFrom(...ALL),
      fc.record(
        { type: fc.constant('Credential' as const), tenant: text, environment: text, kind: text, connector: text },
        { requiredKeys: ['type'] },
      ),
      fc.nat(255).map(circumstances),
    );
    fc.assert(
      fc.property(request, request, (a, b) => {
        expect(decisionKey(...a) === decisionKey(...b)).toBe(JSON.stringify(a) === JSON.stringify(b));
        expect(decisionKey(...a)).toBe(decisionKey(...structuredClone(a)));
      }),
      { seed: 8, numRuns: 3_000 },
    );
  });
});

function resource(parts: Record<string, string | undefined>): AuthorizationResource {
  const given = Object.fromEntries(Object.entries(parts).filter(([, text]) => text !== undefined));
  return { type: 'Credential', ...given };
}

function circumstances(bits: number): AuthorizationContext {
  const names = Object.keys(CONTEXT) as (keyof AuthorizationContext)[];
  return Object.fromEntries(names.map((name, index) => [name, ((bits >> index) & 1) === 1])) as unknown as AuthorizationContext;
}

describe('whatever the roles and circumstances', () => {
  const authorizer = testAuthorizer();
  const anyContext = fc.nat(255).map(circumstances);
  const anyEnvironment = fc.constantFrom('staging', 'production', 'qa');
  const anyPrincipal = (roles: fc.Arbitrary<(typeof ROLES)[number][]>) =>
    fc.record({
      type: fc.constantFrom('User' as const, 'Workload' as const, 'System' as const),
      id: fc.constant('p-1'),
      revision: fc.constant(1),
      roles,
    });

  it('only an owner reaches tenant.erase', () => {
    const roles = fc.uniqueArray(fc.constantFrom(...ROLES));
    let reached = 0;
    fc.assert(
      fc.property(anyPrincipal(roles), anyContext, (principal, context) => {
        const decision = authorizer.decide(principal, 'tenant.erase', { type: 'Tenant', tenant: 'ten_made-up' }, context);
        if (decision.allow) reached++;
        if (!principal.roles.includes('owner') || principal.type !== 'User') expect(decision.allow).toBe(false);
      }),
      { seed: 8, numRuns: 2_000 },
    );
    expect(reached).toBeGreaterThan(0);
  });

  it('an auditor never reaches a value nor a change', () => {
    const roles = fc.uniqueArray(fc.constantFrom(...ROLES)).map((held) => [...new Set([...held, 'auditor' as const])]);
    const forbidden = ALL.filter((operation) => operation === 'credential.read' || OPERATIONS[operation].writes);
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
      { seed: 8, numRuns: 2_000 },
    );
  });

  it('a workload without permission, scope or network reaches nothing', () => {
    fc.assert(
      fc.property(fc.constantFrom(...ALL), anyContext, (operation, context) => {
        fc.pre(!(context.permitted && context.inScope && context.inNetwork));
        const type = OPERATIONS[operation].resource;
        const thing = type === 'Installation' ? { type } : { type, tenant: 'ten_made-up' };
        const principal: AuthorizationPrincipal = { type: 'Workload', id: 'w-1', revision: 1, roles: [...ROLES] };
        expect(authorizer.decide(principal, operation, thing, context).allow).toBe(false);
      }),
      { seed: 8, numRuns: 2_000 },
    );
  });

  // Not checked against a schema, so that every way to err is there.
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

  it.each(ERRORS)('a forbid that errs never lets a permit win: %s', (error) => {
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
      { seed: 8, numRuns: 40 },
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
