// The roles of a user at one tenant, and the names that a workload's patterns match.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { patternMatcher, type UserGrant, type UserIdentity, userAt } from '../../src/access/principals.ts';

const withGrants = (...grants: readonly UserGrant[]): UserIdentity => ({
  id: 'usr_made-up',
  name: 'someone',
  revision: 1,
  bootstrap: false,
  grants,
  tokenId: 'token',
});

describe('a user at a tenant', () => {
  it('has the roles granted for it and for all tenants, each once, and no others', () => {
    const identity = withGrants(
      { role: 'engineer', tenantId: 'ten_one' },
      { role: 'auditor', tenantId: '*' },
      { role: 'auditor', tenantId: 'ten_one' },
      { role: 'owner', tenantId: 'ten_two' },
    );
    expect(userAt(identity, 'ten_one').roles).toEqual(['auditor', 'engineer']);
    expect(userAt(identity, 'ten_two').roles).toEqual(['auditor', 'owner']);
    expect(userAt(identity, undefined).roles).toEqual(['auditor']);
  });

  it('is assigned only with the engineer role for this tenant by name', () => {
    const isAssigned = (...grants: UserGrant[]) => userAt(withGrants(...grants), 'ten_one').assigned;
    expect(isAssigned({ role: 'engineer', tenantId: 'ten_one' })).toBe(true);
    expect(isAssigned({ role: 'engineer', tenantId: 'ten_one' }, { role: 'auditor', tenantId: '*' })).toBe(true);
    expect(isAssigned({ role: 'engineer', tenantId: '*' })).toBe(false);
    expect(isAssigned({ role: 'admin', tenantId: 'ten_one' })).toBe(false);
    expect(isAssigned({ role: 'engineer', tenantId: 'ten_two' })).toBe(false);
    expect(isAssigned()).toBe(false);
  });

  it('is the same object each time, so that cached decisions apply, and another object at another tenant', () => {
    const identity = withGrants({ role: 'admin', tenantId: '*' });
    for (const place of ['ten_one', 'ten_two', undefined]) expect(userAt(identity, place)).toBe(userAt(identity, place));
    const places = [userAt(identity, 'ten_one'), userAt(identity, 'ten_two'), userAt(identity, undefined)];
    expect(new Set(places).size).toBe(3);
    expect(userAt({ ...identity }, 'ten_one')).not.toBe(places[0]);
  });
});

describe('the names that patterns match', () => {
  it.each([
    [['stripe'], ['stripe'], ['stripe2', 'strip', '']],
    [['db_*'], ['db_', 'db_main'], ['db', 'my_db_main', 'DB_main']],
    [['*_db'], ['_db', 'main_db'], ['main_db2', 'db']],
    [['a*a'], ['aa', 'aba'], ['a', 'ab']],
    [['ab*b'], ['abb', 'abab'], ['ab']],
    [['a*b*b'], ['abb', 'axbyb'], ['ab', 'axb']],
    [['*b*'], ['b', 'abc'], ['ac', '']],
    [
      ['one', 'two*'],
      ['one', 'two', 'two3'],
      ['one3', 'three'],
    ],
    [['one', '*'], ['', 'anything'], []],
    [[], [], ['', 'one']],
  ])('%j', (patterns, matched, others) => {
    const matches = patternMatcher(patterns);
    expect(matched.filter((name) => !matches(name))).toEqual([]);
    expect(others.filter(matches)).toEqual([]);
  });

  it('are those of the regular expression with `.*` for each `*`', () => {
    const pattern = fc.string({ unit: fc.constantFrom('a', 'b', '*'), maxLength: 6 });
    const name = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 6 });
    fc.assert(
      fc.property(fc.array(pattern, { maxLength: 3 }), name, (patterns, text) => {
        const expected = patterns.some((each) => new RegExp(`^${each.replaceAll('*', '.*')}$`).test(text));
        expect(patternMatcher(patterns)(text)).toBe(expected);
      }),
      { numRuns: 2_000 },
    );
  });
});
