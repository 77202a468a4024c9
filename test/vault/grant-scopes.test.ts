import { describe, expect, it } from 'vitest';
import type { Grant } from '../../src/vault/grant.ts';
import { compareScopes } from '../../src/vault/grant-scopes.ts';

type Workflows = readonly { readonly name: string; readonly scopes: readonly string[] }[];
const NIGHTLY: Workflows = [{ name: 'nightly', scopes: ['contacts.read', 'deals.read'] }];
const compare = (facts: Grant, workflows: Workflows | undefined = NIGHTLY) =>
  compareScopes({ config: JSON.stringify({ workflows }), grant_facts: JSON.stringify(facts) });

describe('what was granted, held against what the workflows need', () => {
  it('is as wanted where it is the same, in whatever order and however often it is said', () => {
    expect(compare({ grantedScope: 'deals.read  contacts.read deals.read' })).toEqual({
      wanted: ['contacts.read', 'deals.read'],
      granted: ['contacts.read', 'deals.read'],
      missing: [],
      extra: [],
      source: 'answer',
    });
  });

  it('misses what a workflow needs, once however many need it, and never what only the connector asks for', () => {
    const workflows = [...NIGHTLY, { name: 'hourly', scopes: ['deals.read', 'calls.read'] }];
    const found = compare({ grantedScope: 'contacts.read', alwaysScope: 'openid offline_access' }, workflows);
    expect(found.missing).toEqual(['calls.read', 'deals.read']);
    expect(found.wanted).toEqual(['calls.read', 'contacts.read', 'deals.read', 'offline_access', 'openid']);
  });

  it('is too much where neither a workflow nor the connector wants it; another case is another scope', () => {
    const facts: Grant = { grantedScope: 'openid contacts.read deals.read Deals.Read admin', alwaysScope: 'openid' };
    expect(compare(facts)).toMatchObject({ missing: [], extra: ['Deals.Read', 'admin'] });
  });

  it('is not judged where nobody told what was granted, or nobody declared what is needed', () => {
    expect(compare({})).toMatchObject({ granted: null, missing: [], extra: [], source: null });
    expect(compare({ scopeSource: 'jwt' })).toMatchObject({ granted: null, source: null });
    const nothingDeclared = [undefined, []].map((workflows) =>
      compareScopes({ config: JSON.stringify({ workflows }), grant_facts: JSON.stringify({ grantedScope: 'admin' }) }),
    );
    for (const found of nothingDeclared) expect(found).toMatchObject({ granted: ['admin'], missing: [], extra: [] });
  });

  it('is everything missing where nothing was granted, and says who told', () => {
    expect(compare({ grantedScope: '', scopeSource: 'introspection' })).toMatchObject({
      granted: [],
      missing: ['contacts.read', 'deals.read'],
      source: 'introspection',
    });
  });
});
