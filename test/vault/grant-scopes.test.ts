import { describe, expect, it } from 'vitest';
import type { Grant } from '../../src/vault/grant.ts';
import { compareScopes } from '../../src/vault/grant-scopes.ts';

type Workflows = readonly { readonly name: string; readonly scopes: readonly string[] }[];
const NIGHTLY: Workflows = [{ name: 'nightly', scopes: ['contacts.read', 'deals.read'] }];
const compare = (facts: Grant, workflows: Workflows | undefined = NIGHTLY) =>
  compareScopes({ config: JSON.stringify({ workflows }), grant_facts: JSON.stringify(facts) });

describe('the comparison of granted and needed scopes', () => {
  it('finds no difference for equal sets, in any order and with repetitions', () => {
    expect(compare({ grantedScope: 'deals.read  contacts.read deals.read' })).toEqual({
      wanted: ['contacts.read', 'deals.read'],
      granted: ['contacts.read', 'deals.read'],
      missing: [],
      extra: [],
      source: 'answer',
    });
  });

  it('reports a missing scope of a workflow once, and never a missing scope that only the connector requests', () => {
    const workflows = [...NIGHTLY, { name: 'hourly', scopes: ['deals.read', 'calls.read'] }];
    const found = compare({ grantedScope: 'contacts.read', alwaysScope: 'openid offline_access' }, workflows);
    expect(found.missing).toEqual(['calls.read', 'deals.read']);
    expect(found.wanted).toEqual(['calls.read', 'contacts.read', 'deals.read', 'offline_access', 'openid']);
  });

  it('reports an extra scope that neither a workflow nor the connector requests, case-sensitively', () => {
    const facts: Grant = { grantedScope: 'openid contacts.read deals.read Deals.Read admin', alwaysScope: 'openid' };
    expect(compare(facts)).toMatchObject({ missing: [], extra: ['Deals.Read', 'admin'] });
  });

  it('reports nothing for unknown granted scopes or without declared workflows', () => {
    expect(compare({})).toMatchObject({ granted: null, missing: [], extra: [], source: null });
    expect(compare({ scopeSource: 'jwt' })).toMatchObject({ granted: null, source: null });
    const nothingDeclared = [undefined, []].map((workflows) =>
      compareScopes({ config: JSON.stringify({ workflows }), grant_facts: JSON.stringify({ grantedScope: 'admin' }) }),
    );
    for (const found of nothingDeclared) expect(found).toMatchObject({ granted: ['admin'], missing: [], extra: [] });
  });

  it('reports every scope as missing if none was granted, with the source of that fact', () => {
    expect(compare({ grantedScope: '', scopeSource: 'introspection' })).toMatchObject({
      granted: [],
      missing: ['contacts.read', 'deals.read'],
      source: 'introspection',
    });
  });
});
