// The wrapper around Cedar: every failure is a deny, and decisions are cached under all their inputs.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type AuthorizationContext,
  type AuthorizationPrincipal,
  type AuthorizationResource,
  Authorizer,
  type CedarEngine,
  decisionKey,
} from '../../src/access/authorizer.ts';
import { OPERATIONS, type Operation, ROLES } from '../../src/access/operations.ts';
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
// Valid under the strict schema, but its evaluation fails: Cedar detects overflow only during evaluation.
const ERRING_FORBID = '@id("overflows") forbid (principal, action, resource) when { 9223372036854775807 + 1 == 0 };';

/** The real engine with some of its functions replaced. */
function engineWith(change: Partial<CedarEngine>): CedarEngine {
  return { ...cedarEngine, ...change };
}

describe('a failure is a deny', () => {
  it('when a guardrail fails that Cedar would have skipped (AZ-10), and it is not cached', () => {
    const authorizer = testAuthorizer({ 'guardrails/extra': ERRING_FORBID });
    for (let i = 0; i < 3; i++) {
      const decision = authorizer.decide(OWNER, 'credential.read', PRODUCTION, CONTEXT);
      expect(decision).toMatchObject({ allow: false, reason: 'policy error', failed: true });
      expect(decision.evidence).toContain('guardrails/extra#overflows');
    }
    expect(authorizer.counters).toEqual({ hits: 0, misses: 3, failures: 3 });
  });

  it('when a role fails beside one that permits', () => {
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
    ['an unknown operation', { operation: 'credential.reveal' }],
    ['an operation on a resource of another type', { resource: { type: 'Tenant', tenant: 'ten_made-up' } }],
    ['a resource of an unknown type', { resource: { type: 'Vault', tenant: 'ten_made-up' } }],
    ['a resource without its tenant', { resource: { type: 'Credential' } }],
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

  it('and has the engine’s error as evidence, whether answered or thrown', () => {
    const evidenceOf = (statefulIsAuthorized: () => unknown) => {
      const engine = engineWith({ statefulIsAuthorized: statefulIsAuthorized as CedarEngine['statefulIsAuthorized'] });
      return new Authorizer(engine, shippedPolicies()).decide(OWNER, 'credential.read', PRODUCTION, CONTEXT);
    };
    const thrown = (what: unknown) => () => {
      throw what;
    };
    const failure = { type: 'failure', errors: [{ message: 'one' }, { message: 'two' }] };
    expect(evidenceOf(() => failure)).toMatchObject({ failed: true, evidence: 'one; two' });
    expect(evidenceOf(thrown(new Error('out of bounds')))).toMatchObject({ failed: true, evidence: 'out of bounds' });
    expect(evidenceOf(thrown('out of bounds'))).toMatchObject({ failed: true, evidence: 'the engine threw' });
  });

  it('when no policy applies, and the reason says so', () => {
    const decision = testAuthorizer().decide({ ...OWNER, roles: [] }, 'credential.read', PRODUCTION, CONTEXT);
    expect(decision).toEqual({ allow: false, reason: 'no policy permits', failed: false });
  });

  it('when a fact is missing, also in the key of the cache: a missing fact is as the denying one', () => {
    const key = (context: Partial<AuthorizationContext>) =>
      decisionKey(OWNER, 'credential.read', PRODUCTION, context as AuthorizationContext);
    for (const fact of Object.keys(CONTEXT) as (keyof AuthorizationContext)[]) {
      const { [fact]: _left, ...rest } = CONTEXT;
      const worst = fact === 'contained';
      expect(key(rest), fact).toBe(key({ ...CONTEXT, [fact]: worst }));
      expect(key(rest), fact).not.toBe(key({ ...CONTEXT, [fact]: !worst }));
    }
  });

  it('when a fact of the context is missing', () => {
    const authorizer = testAuthorizer();
    for (const fact of ['inNetwork', 'inScope', 'permitted', 'mfaFresh', 'contained']) {
      const { [fact as 'contained']: _left, ...rest } = CONTEXT;
      expect(authorizer.decide(OWNER, 'credential.read', PRODUCTION, rest as AuthorizationContext).allow, fact).toBe(false);
    }
  });
});

describe('the cache of decisions', () => {
  it('evaluates one class of request once, and again when any part differs', () => {
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

  it('returns frozen decisions', () => {
    const decision = testAuthorizer().decide(OWNER, 'credential.read', PRODUCTION, { ...CONTEXT, contained: true });
    expect(() => Object.assign(decision, { allow: true })).toThrow(TypeError);
  });

  // Parts that look like separators and lengths, and parts shifted across their boundaries.
  const TEXTS = ['', '-', ':', ';', '1', '1:', '1:a', 'a', 'a1:', 'ab', '0:', '0:-', '-0:', '\u0000', 'ä', '😀'];

  it('has different keys for different classes: pairwise over awkward parts', () => {
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

  it('has different keys for different classes: random pairs', () => {
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
      { numRuns: 3_000 },
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
