import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { type CachedCredential, CredentialCache } from '../../src/vault/credential-cache.ts';

const entry = (environment: string, name: string, expiresAtMs = 1_000) =>
  ({ subject: { environment: { name: environment }, row: { name }, expiresAtMs } }) as unknown as CachedCredential;

describe('a cached credential', () => {
  const filled = () => {
    const cache = new CredentialCache();
    for (const name of ['crm', 'erp']) for (const environment of ['staging', 'production']) cache.keep(entry(environment, name));
    return { cache, names: (nowMs = 0) => ['crm', 'erp'].map((name) => cache.find('staging', name, nowMs)?.subject.row.name) };
  };

  it('is found under its own environment and name', () => {
    const { cache } = filled();
    expect(cache.find('production', 'crm', 0)?.subject.environment.name).toBe('production');
    expect(cache.find('staging', 'other', 0)).toBeUndefined();
    expect(cache.find('other', 'crm', 0)).toBeUndefined();
  });

  it('is dropped at its maximum age, and stays dropped at any later time', () => {
    const { names } = filled();
    expect(names(999)).toEqual(['crm', 'erp']);
    expect(names(1_000)).toEqual([undefined, undefined]);
    expect(names(0)).toEqual([undefined, undefined]);
  });

  it('whose remaining life is longer than any was added by a clock that was ahead: it is dropped', () => {
    const { names } = filled();
    expect(names(1_000 - LIMITS.dataKeyCacheTtlMs)).toEqual(['crm', 'erp']);
    expect(names(999 - LIMITS.dataKeyCacheTtlMs)).toEqual([undefined, undefined]);
    expect(names(999)).toEqual([undefined, undefined]);
  });

  it('is dropped alone when it changes, and with all others at a rollback', () => {
    const { cache, names } = filled();
    cache.forget('production', 'crm');
    expect(names()).toEqual(['crm', 'erp']);
    cache.forget('staging', 'crm');
    expect(names()).toEqual([undefined, 'erp']);
    cache.clear();
    expect(names()).toEqual([undefined, undefined]);
    expect(cache.find('production', 'erp', 0)).toBeUndefined();
  });
});
