// The whole table of role by operation, written out, and the policies' ties to the rest: operations, permissions, commitments.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { AuthorizationContext, AuthorizationPrincipal, AuthorizationResource } from '../../src/access/authorizer.ts';
import {
  OPERATIONS,
  type Operation,
  PERSONAL_OPERATIONS,
  ROLES,
  type Role,
  WORKLOAD_PERMISSIONS,
} from '../../src/access/operations.ts';
import { REQUIRED_POLICIES } from '../../src/access/policy-bundle.ts';
import { cedarEngine, POLICIES, shippedPolicies, testAuthorizer } from '../kit/cedar.ts';

const ALL = Object.keys(OPERATIONS) as Operation[];
const except = (...left: Operation[]) => ALL.filter((operation) => !left.includes(operation));

const SYSTEM_ONLY = ['credential.revoke', 'credential.review', 'connection.complete', 'webhook.deliver', 'feed.read'] as const;

/** About the caller's own tokens. */
const OWN = [...PERSONAL_OPERATIONS];

/** In the friendliest circumstances. `team` is a user without any role. */
const MAY: Record<string, readonly Operation[]> = {
  owner: ALL,
  admin: except(
    'installation.setup',
    'installation.keys.rotate',
    'root.rotate',
    'staging.skip',
    'tenant.erase',
    'token.exchange',
    ...SYSTEM_ONLY,
  ),
  'rotation-operator': [
    ...OWN,
    'tenant.list',
    'tenant.read',
    'environment.list',
    'credential.list',
    'credential.describe',
    'credential.rotate',
    'run.read',
    'reader.list',
    'key.list',
    'connection.list',
    'forecast.read',
    'schedule.list',
    'due.read',
    'credential.schedule',
    'alert.list',
  ],
  engineer: [
    ...OWN,
    'tenant.list',
    'tenant.read',
    'environment.list',
    'credential.list',
    'credential.describe',
    'credential.read',
    'credential.put',
    'credential.redirect',
    'credential.appoint',
    'credential.label',
    'credential.rollback',
    'credential.delete',
    'credential.restore',
    'credential.rotate',
    'credential.freshen',
    'run.read',
    'reader.list',
    'credential.disconnect',
    'credential.schedule',
    'connection.list',
    'connection.create',
    'connection.cancel',
    'forecast.read',
    'schedule.list',
    'due.read',
    'alert.list',
    'workload.list',
    'workload.create',
    'workload.revoke',
    'workload.secret.create',
    'token.create',
    'token.revoke',
  ],
  auditor: [
    ...OWN,
    'installation.metrics',
    'installation.audit.read',
    'installation.keys.list',
    'user.list',
    'tenant.list',
    'tenant.read',
    'environment.list',
    'credential.list',
    'credential.describe',
    'run.read',
    'reader.list',
    'workload.list',
    'audit.read',
    'audit.verify',
    'audit.export',
    'key.list',
    'connection.list',
    'forecast.read',
    'schedule.list',
    'due.read',
    'alert.list',
    'webhook.list',
    'feed.list',
  ],
  workload: [
    'credential.list',
    'credential.describe',
    'credential.read',
    'credential.put',
    'credential.rotate',
    'credential.freshen',
    'run.read',
    'token.exchange',
  ],
  system: ['credential.rotate', 'credential.destroy', 'key.rotate', 'installation.keys.rotate', 'root.rotate', ...SYSTEM_ONLY],
  team: ['tenant.list', ...OWN],
};

const FRIENDLIEST: AuthorizationContext = {
  assigned: true,
  inNetwork: true,
  inScope: true,
  permitted: true,
  mfaFresh: true,
  approved: true,
  demo: false,
  contained: false,
};

function thing(operation: Operation): AuthorizationResource {
  const type = OPERATIONS[operation].resource;
  if (type === 'Installation') return { type };
  if (type !== 'Environment' && type !== 'Credential') return { type, tenant: 'ten_made-up' };
  return { type, tenant: 'ten_made-up', environment: 'production' };
}

const authorizer = testAuthorizer();
const allowed = (principal: AuthorizationPrincipal, context: AuthorizationContext) =>
  ALL.filter((operation) => {
    const decision = authorizer.decide(principal, operation, thing(operation), context);
    expect(decision.failed, `${operation}: ${decision.evidence}`).toBe(false);
    return decision.allow;
  });

describe('role by operation', () => {
  it.each(Object.keys(MAY))('%s may do exactly what the table says', (name) => {
    const type = name === 'workload' ? 'Workload' : name === 'system' ? 'System' : 'User';
    const roles = ROLES.filter((role) => role === name);
    expect(allowed({ type, id: 'p-1', revision: 1, roles }, FRIENDLIEST)).toEqual(
      ALL.filter((operation) => MAY[name]?.includes(operation)),
    );
  });

  it('leaves nothing but the log when contained, for every role', () => {
    for (const role of ROLES) {
      const type = role === 'workload' ? 'Workload' : 'User';
      for (const operation of allowed({ type, id: 'p-1', revision: 1, roles: [role] }, { ...FRIENDLIEST, contained: true })) {
        expect(operation).toMatch(/^(installation\.)?audit\./);
      }
    }
  });

  it('gives an engineer nothing in a tenant that no grant names', () => {
    const engineer: AuthorizationPrincipal = { type: 'User', id: 'p-1', revision: 1, roles: ['engineer'] };
    expect(allowed(engineer, { ...FRIENDLIEST, assigned: false })).toEqual(
      ALL.filter((operation) => MAY['team']?.includes(operation)),
    );
  });

  it('gives a user no power through the role of programs, and a program none through the roles of people', () => {
    expect(allowed({ type: 'User', id: 'p-1', revision: 1, roles: ['workload'] }, FRIENDLIEST)).toEqual(
      ALL.filter((operation) => MAY['team']?.includes(operation)),
    );
    const people = ROLES.filter((role) => role !== 'workload');
    expect(allowed({ type: 'Workload', id: 'p-1', revision: 1, roles: people }, FRIENDLIEST)).toEqual([]);
  });

  it('lets no auditor do an operation that writes, but for their own tokens', () => {
    expect(MAY['auditor']?.filter((operation) => OPERATIONS[operation].writes)).toEqual(OWN);
  });

  it('lets nobody, with whatever role, touch the tokens of another person', () => {
    for (const role of ROLES)
      for (const operation of OWN)
        expect(
          allowed({ type: 'User', id: 'p-1', revision: 1, roles: [role] }, { ...FRIENDLIEST, inScope: false }),
        ).not.toContain(operation);
  });

  it('lets a workload do what the permissions of tokens name, and exchange its secret', () => {
    const named = new Set<string>([...Object.values(WORKLOAD_PERMISSIONS).flat(), 'token.exchange']);
    expect([...(MAY['workload'] ?? [])].sort()).toEqual([...named].sort());
  });
});

describe('the guardrails alone, when a role permits everything to everyone', () => {
  const lifted = testAuthorizer({ 'roles/everything': '@id("to-everyone") permit (principal, action, resource);' });
  const left = (principal: AuthorizationPrincipal, context: AuthorizationContext, environment = 'production') =>
    ALL.filter((operation) => {
      const about = thing(operation);
      return lifted.decide(principal, operation, about.environment === undefined ? about : { ...about, environment }, context)
        .allow;
    });
  const user = (...roles: Role[]): AuthorizationPrincipal => ({ type: 'User', id: 'p-1', revision: 1, roles });
  const inTable = (name: string) => ALL.filter((operation) => MAY[name]?.includes(operation));
  /** Every combination of the other circumstances around one fixed fact. */
  const platform = (fixed: Partial<AuthorizationContext>): AuthorizationContext[] => {
    const free = (Object.keys(FRIENDLIEST) as (keyof AuthorizationContext)[]).filter((fact) => !(fact in fixed));
    return Array.from({ length: 2 ** free.length }, (_, bits) => ({
      ...FRIENDLIEST,
      ...Object.fromEntries(free.map((fact, index) => [fact, ((bits >> index) & 1) === 1])),
      ...fixed,
    }));
  };

  it('leave an auditor, whatever else they are, exactly what the table gives to an auditor', () => {
    for (const beside of ROLES) expect(left(user('auditor', beside), FRIENDLIEST)).toEqual(inTable('auditor'));
  });

  it('leave a workload and the scheduler exactly what the table gives them, whatever roles they hold', () => {
    const roles = ROLES.filter((role) => role !== 'auditor');
    expect(left({ type: 'Workload', id: 'p-1', revision: 1, roles }, FRIENDLIEST)).toEqual(inTable('workload'));
    expect(left({ type: 'System', id: 'p-1', revision: 1, roles: [] }, FRIENDLIEST)).toEqual(inTable('system'));
  });

  it('leave everyone but an owner everything but the end of a tenant', () => {
    expect(left(user('admin'), FRIENDLIEST)).toEqual(except('tenant.erase'));
    expect(left(user('owner'), FRIENDLIEST)).toEqual(ALL);
  });

  it.each(['permitted', 'inScope', 'inNetwork'])('leave nothing without %s, in any circumstances', (fact) => {
    for (const context of platform({ [fact]: false })) expect(left(user('owner'), context)).toEqual([]);
  });

  it('leave only the log when contained, in any circumstances', () => {
    const log = new Set<Operation>(['installation.audit.read', 'audit.read', 'audit.verify', 'audit.export']);
    for (const context of platform({ contained: true })) {
      for (const operation of left(user('owner'), context)) expect(log).toContain(operation);
    }
    expect(left(user('owner'), { ...FRIENDLIEST, contained: true })).toEqual(ALL.filter((operation) => log.has(operation)));
  });

  it('leave an engineer only the installation where no grant names the tenant', () => {
    const installation = ALL.filter((operation) => OPERATIONS[operation].resource === 'Installation');
    expect(left(user('engineer', 'owner'), { ...FRIENDLIEST, assigned: false })).toEqual(installation);
  });

  it('leave a user without a fresh second factor no production value, and nothing else less', () => {
    const stale = { ...FRIENDLIEST, mfaFresh: false };
    expect(left(user('owner'), stale)).toEqual(except('credential.read'));
    expect(left(user('owner'), stale, 'staging')).toEqual(ALL);
    expect(left(user('owner'), { ...stale, demo: true })).toEqual(ALL);
  });
});

describe('the schema', () => {
  it('declares exactly the operations, each about the type that operations.ts says', () => {
    const parsed = cedarEngine.schemaToJson(shippedPolicies().schema);
    if (parsed.type !== 'success') throw new Error('the schema does not parse');
    const actions = parsed.json['']?.actions as Record<
      string,
      { appliesTo?: { resourceTypes: string[] }; memberOf?: { id: string }[] }
    >;
    const operations = Object.entries(actions).filter(([, action]) => action.appliesTo?.resourceTypes.length !== 0);
    const declared = Object.fromEntries(operations.map(([name, action]) => [name, action.appliesTo?.resourceTypes]));
    expect(declared).toEqual(Object.fromEntries(ALL.map((operation) => [operation, [OPERATIONS[operation].resource]])));
  });

  it('has no group without members, nor one that no policy speaks of', () => {
    const { schema, policies } = shippedPolicies();
    const parsed = cedarEngine.schemaToJson(schema);
    if (parsed.type !== 'success') throw new Error('the schema does not parse');
    const actions = (parsed.json['']?.actions ?? {}) as Record<
      string,
      { appliesTo: { resourceTypes: string[] }; memberOf?: { id: string }[] }
    >;
    const groups = Object.keys(actions).filter((name) => actions[name]?.appliesTo.resourceTypes.length === 0);
    const joined = new Set(Object.values(actions).flatMap(({ memberOf = [] }) => memberOf.map(({ id }) => id)));
    expect([...joined].sort()).toEqual([...groups].sort());
    const text = Object.values(policies).join('\n');
    for (const group of groups) expect(text, group).toContain(`Action::"${group}"`);
  });

  it('names exactly the roles', () => {
    const parsed = cedarEngine.schemaToJson(shippedPolicies().schema);
    const json =
      parsed.type === 'success'
        ? (parsed.json[''] as unknown as { entityTypes: Record<string, { enum?: string[] }> })
        : undefined;
    expect(json?.entityTypes['Role']?.enum).toEqual([...ROLES]);
  });
});

describe('the files', () => {
  it('are exactly those without which the process refuses to start', () => {
    expect(Object.keys(shippedPolicies().policies).sort()).toEqual([...REQUIRED_POLICIES].sort());
  });

  it('have cases for each role file', () => {
    for (const file of readdirSync(`${POLICIES}roles`)) {
      expect(existsSync(`${POLICIES}cases/${file.replace(/\.cedar$/, '')}/DENY`), file).toBe(true);
    }
  });

  interface Commitment {
    readonly promise: string;
    readonly enforcedBy: readonly string[];
    readonly shownBy?: readonly string[];
    /** Why nothing keeps it yet, with the guardrails that wait for it. */
    readonly notYet?: string;
    readonly prepared?: readonly string[];
  }
  const map = JSON.parse(readFileSync(`${POLICIES}commitments/commitments.json`, 'utf8')) as Record<string, Commitment>;

  it('enforce each mapped commitment by a guardrail that exists, and each guardrail keeps one', () => {
    expect(Object.keys(map)).toEqual(expect.arrayContaining(['X1', 'X2', 'X3', 'X4', 'X5', 'X8', 'X9', 'R6', 'M3']));
    const named = Object.values(map).flatMap(({ enforcedBy, prepared = [] }) => [...enforcedBy, ...prepared]);
    expect([...new Set(named)].sort()).toEqual(authorizer.policyIds.filter((id) => id.startsWith('guardrails/')));
    // What no policy can decide is kept by code: such a half names the tests that show it.
    expect(map['X2']?.shownBy?.length).toBeGreaterThan(0);
    for (const shown of Object.values(map).flatMap(({ shownBy = [] }) => shownBy)) {
      const [file = '', sentence = ''] = shown.split('#');
      expect(readFileSync(`${POLICIES}../${file}`, 'utf8'), shown).toContain(`it('${sentence}'`);
    }
  });

  it('claim as enforced only what a guardrail can refuse in the product as it is, and the rest is said to be missing', () => {
    const canFire = guardrailsThatCanFire();
    for (const [id, { enforcedBy, notYet, prepared = [] }] of Object.entries(map)) {
      expect(enforcedBy.length > 0, `${id} is either enforced or not yet there`).toBe(notYet === undefined);
      expect(
        enforcedBy.filter((guardrail) => !canFire.has(guardrail)),
        `${id} claims what can never fire`,
      ).toEqual([]);
      expect(
        prepared.filter((guardrail) => canFire.has(guardrail)),
        `${id} is there now: claim it`,
      ).toEqual([]);
    }
  });
});

/** Every guardrail that refuses something in circumstances the product can bring about, when a role permits everything to everyone. */
function guardrailsThatCanFire(): Set<string> {
  const lifted = testAuthorizer({ 'roles/everything': '@id("to-everyone") permit (principal, action, resource);' });
  const operations = ALL.filter((operation) => isEntered(operation));
  const fixed = fixedFacts();
  const facts = (Object.keys(FRIENDLIEST) as (keyof AuthorizationContext)[]).filter((fact) => !fixed.has(fact));
  const friendly = { ...FRIENDLIEST, ...Object.fromEntries(fixed) };
  const contexts = [friendly, ...facts.map((fact) => ({ ...friendly, [fact]: !friendly[fact] }))];
  const types = ['User', 'Workload', 'System'] as const;
  const principals = types.flatMap((type) =>
    [[], ...ROLES.map((role) => [role])].map((roles) => ({ type, id: 'p-1', revision: 1, roles })),
  );
  const reasons = principals.flatMap((principal) =>
    operations.flatMap((operation) => contexts.map((context) => lifted.decide(principal, operation, thing(operation), context))),
  );
  return new Set(reasons.filter(({ allow }) => !allow).flatMap(({ reason }) => reason.split(', ')));
}

const PRODUCT = [`${POLICIES}../src`, `${POLICIES}../rotation`].flatMap((folder) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(({ name }) => name.endsWith('.ts'))
    .map(({ parentPath, name }) => `${parentPath}/${name}`),
);

/** Some use case enters the door with it. */
function isEntered(operation: Operation): boolean {
  return PRODUCT.filter((path) => !path.includes('/src/access/')).some((path) =>
    readFileSync(path, 'utf8').includes(`'${operation}'`),
  );
}

/** Facts to which the product gives one constant only. */
function fixedFacts(): Map<string, boolean> {
  const read = (path: string) => readFileSync(`${POLICIES}../${path}`, 'utf8');
  const [, context = ''] = /#context<S>\(([\s\S]*?)\n {2}\}\n/.exec(read('src/access/guard.ts')) ?? [];
  expect(context).toContain('mfaFresh:');
  const places = PRODUCT.filter((path) => path.includes('/src/vault/')).map((path) => readFileSync(path, 'utf8'));
  const text = [context, ...places].join('\n');
  const fixed = new Map<string, boolean>();
  for (const fact of Object.keys(FRIENDLIEST)) {
    const given = [...text.matchAll(new RegExp(`[ {]${fact}:\\s+([^,;}]+)`, 'g'))].map(([, value = '']) => value.trim());
    const values = new Set(given.filter((value) => !value.startsWith('place.') && value !== 'boolean'));
    const [only = ''] = values;
    const constant = /^(?:\(\) => )?(true|false)$/.exec(only)?.[1];
    if (values.size === 1 && constant !== undefined) fixed.set(fact, constant === 'true');
  }
  return fixed;
}
