// The cases of policies/cases, each a test: what a role may and may not, and which guardrail says no.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import type {
  AuthorizationContext,
  AuthorizationPrincipal,
  AuthorizationResource,
  Authorizer,
} from '../../src/access/authorizer.ts';
import { OPERATIONS, type Operation, ROLES, type Role } from '../../src/access/operations.ts';
import { POLICIES, testAuthorizer } from '../kit/cedar.ts';

const OPERATION_NAMES = Object.keys(OPERATIONS) as [Operation, ...Operation[]];
const CIRCUMSTANCES = ['assigned', 'inNetwork', 'inScope', 'permitted', 'mfaFresh', 'approved', 'demo', 'contained'] as const;
const Case = z.strictObject({
  why: z.string().min(10),
  roles: z.array(z.enum(ROLES)).optional(),
  operation: z.enum(OPERATION_NAMES),
  resource: z.strictObject({
    type: z.string(),
    tenant: z.string().optional(),
    environment: z.string().optional(),
    kind: z.string().optional(),
    connector: z.string().optional(),
  }),
  context: z.partialRecord(z.enum(CIRCUMSTANCES), z.boolean()).optional(),
  deniedBy: z.array(z.string()).min(1).optional(),
});
type Case = z.infer<typeof Case> & { readonly role: string; readonly expected: 'ALLOW' | 'DENY'; readonly name: string };

const FRIENDLIEST: AuthorizationContext = {
  assigned: true,
  inNetwork: true,
  inScope: true,
  permitted: true,
  mfaFresh: true,
  approved: false,
  demo: false,
  contained: false,
};

function readCases(): Case[] {
  const cases: Case[] = [];
  for (const role of readdirSync(`${POLICIES}cases`)) {
    for (const expected of ['ALLOW', 'DENY'] as const) {
      const folder = `${POLICIES}cases/${role}/${expected}`;
      if (!existsSync(folder)) continue;
      for (const file of readdirSync(folder)) {
        const parsed = Case.parse(JSON.parse(readFileSync(`${folder}/${file}`, 'utf8')));
        cases.push({ ...parsed, role, expected, name: file.replace(/\.json$/, '').replaceAll('-', ' ') });
      }
    }
  }
  return cases;
}

function principalOf(item: Case): AuthorizationPrincipal {
  const roles = item.roles ?? ROLES.filter((role) => role === item.role);
  const type = item.role === 'workload' ? 'Workload' : item.role === 'system' ? 'System' : 'User';
  return { type, id: `${item.role}-1`, revision: 1, roles: roles as Role[] };
}

function decide(authorizer: Authorizer, item: Case) {
  const context = { ...FRIENDLIEST, ...item.context } as AuthorizationContext;
  return authorizer.decide(principalOf(item), item.operation, item.resource as AuthorizationResource, context);
}

const cases = readCases();
const authorizer = testAuthorizer();

describe.each([...ROLES, 'system', 'team'])('%s', (role) => {
  it.each(cases.filter((item) => item.role === role && item.expected === 'ALLOW'))('may: $name', (item) => {
    const decision = decide(authorizer, item);
    expect(decision).toMatchObject({ allow: true, failed: false });
    expect(decision.reason).toContain(`roles/${role}#`);
  });

  it.each(cases.filter((item) => item.role === role && item.expected === 'DENY'))('may not: $name', (item) => {
    const reason = item.deniedBy === undefined ? 'no policy permits' : [...item.deniedBy].sort().join(', ');
    expect(decide(authorizer, item)).toEqual({ allow: false, reason, failed: false });
  });
});

describe('the set of cases', () => {
  it('has both answers for every role and none for a role that is not there', () => {
    const have = new Set(cases.map((item) => `${item.role}/${item.expected}`));
    const want = [...ROLES, 'system', 'team'].flatMap((role) => [`${role}/ALLOW`, `${role}/DENY`]);
    expect([...have].sort()).toEqual(want.sort());
  });

  it('shows every guardrail saying no', () => {
    const shown = new Set(cases.flatMap((item) => item.deniedBy ?? []));
    expect([...shown].sort()).toEqual(authorizer.policyIds.filter((id) => id.startsWith('guardrails/')));
  });

  it('keeps every guarded no when a role permits everything to everyone', () => {
    const lifted = testAuthorizer({ 'roles/everything': '@id("to-everyone") permit (principal, action, resource);' });
    const guarded = cases.filter((item) => item.deniedBy !== undefined);
    expect(guarded.length).toBeGreaterThan(30);
    for (const item of guarded) {
      expect(decide(lifted, item), item.name).toEqual({
        allow: false,
        reason: [...(item.deniedBy ?? [])].sort().join(', '),
        failed: false,
      });
    }
    const unguarded = cases.find((item) => item.expected === 'DENY' && item.deniedBy === undefined);
    expect(decide(lifted, unguarded as Case).allow).toBe(true);
  });
});
