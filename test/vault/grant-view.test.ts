// What is told of a grant, whole: nothing at all where nothing is known, and each fact where it is; and which revocation is shown with it.
import { describe, expect, it } from 'vitest';
import { KeyturnError } from '../../src/base/errors.ts';
import type { RunRow } from '../../src/cell/runs.ts';
import { grantView, shownRevocation } from '../../src/vault/grant-view.ts';
import { START_MS } from '../kit/vaults.ts';

const at = (afterMs: number) => new Date(START_MS + afterMs).toISOString();
const row = (grant_facts: object, given: object = {}) => ({
  config: '{"client_id":"c"}',
  grant_facts: JSON.stringify(grant_facts),
  grant_ends_at: null,
  ...given,
});
const RUN = { outcome: null, started_at: START_MS, finished_at: null, attempts: 3, cause: null } as RunRow;

describe('what is told of a grant', () => {
  it('is nothing where nothing is known', () => {
    expect(grantView(row({}), undefined)).toEqual({
      connected_at: null,
      imported_at: null,
      imported_from: null,
      refreshed_at: null,
      ends_at: null,
      ends_because: null,
      ends_certain: null,
      account: {},
      scopes: { wanted: [], granted: null, missing: [], extra: [], source: null },
      guard: null,
      revocation: null,
    });
  });

  it('is each fact where it is known', () => {
    const facts = {
      consentedAt: START_MS,
      importedAt: START_MS + 1,
      importedFrom: 'n8n',
      refreshedAt: START_MS + 2,
      account: { hub_id: '1' },
      grantedScope: 'b a',
      scopeSource: 'introspection',
      end: { cause: 'idle_limit', certain: false },
      guard: { sign: 'put_while_alive', at: START_MS + 4 },
      fingerprint: 'never',
    };
    const view = grantView(row(facts, { grant_ends_at: START_MS + 3 }), RUN);
    expect(view).toEqual({
      connected_at: at(0),
      imported_at: at(1),
      imported_from: 'n8n',
      refreshed_at: at(2),
      ends_at: at(3),
      ends_because: 'idle_limit',
      ends_certain: false,
      account: { hub_id: '1' },
      scopes: { wanted: [], granted: ['a', 'b'], missing: [], extra: [], source: 'introspection' },
      guard: {
        sign: 'put_while_alive',
        at: at(4),
        explanation:
          'Another refresh token was put here minutes after Keyturn had refreshed the previous one. Another system probably refreshes this grant, too; ' +
          'each refresh can end the grant for the other system. Stop the refresh in n8n, or remove the client secret there, then connect again.',
      },
      revocation: { state: 'waiting', at: at(0), attempts: 3, cause: null },
    });
  });

  it('of its revocation is how it ended and when', () => {
    const ended = { ...RUN, outcome: 'revoked', finished_at: START_MS + 9, cause: 'proved_dead' } as RunRow;
    expect(grantView(row({}), ended).revocation).toEqual({ state: 'revoked', at: at(9), attempts: 3, cause: 'proved_dead' });
  });
});

describe('the revocation that is shown', () => {
  const shown = (last: () => RunRow | undefined, health_since = START_MS) => {
    const view = { runs: { lastRevocation: last } } as unknown as Parameters<typeof shownRevocation>[0];
    return shownRevocation(view, {} as never, { id: 'crd_1', health_since });
  };

  it('is the last while it waits, and once it has ended until the grant is another one', () => {
    expect(shown(() => undefined)).toBeUndefined();
    expect(shown(() => RUN, START_MS + 1e9)).toBe(RUN);
    const ended = { ...RUN, finished_at: START_MS };
    expect(shown(() => ended, START_MS)).toBe(ended);
    expect(shown(() => ended, START_MS + 1)).toBeUndefined();
  });

  it('is none where its row is damaged; a defect is no damage', () => {
    const throwing = (error: Error) => () =>
      shown(() => {
        throw error;
      });
    expect(throwing(new KeyturnError('integrity', 'made up'))()).toBeUndefined();
    expect(throwing(new TypeError('made up'))).toThrow('made up');
  });
});
