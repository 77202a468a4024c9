// Which settings are bound and where secrets go by them, and when a grant is due by what its value says: pure, and on both sides of each bound.
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import { boundPart, changedSetting, hostsAsText, hostsOf, settingsOfVersion } from '../../src/vault/bound-settings.ts';
import { jsonBytes, type OAuth2Config } from '../../src/vault/credential-kinds.ts';
import { applyLearntEnd, applyTiming, renewalRules } from '../../src/vault/due.ts';
import { endDateOf, healthNow } from '../../src/vault/end-date.ts';
import type { RenewalRules } from '../../src/vault/refresh-schedule.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';

const CONFIG: OAuth2Config = { client_id: 'c', token_endpoint: 'https://a.example/t', parameters: { a: '1', b: '2' } };

describe('a bound setting', () => {
  const changed = (before: Partial<OAuth2Config>, after: Partial<OAuth2Config>, open: string[] = []) =>
    changedSetting({ ...CONFIG, ...before }, { ...CONFIG, ...after }, new Set(open));

  it.each<[Partial<OAuth2Config>, Partial<OAuth2Config>, string | undefined]>([
    [{}, {}, undefined],
    [{ issuer: 'https://a.example' }, {}, '/config/issuer'],
    [{}, { issuer: 'https://a.example' }, '/config/issuer'],
    [{ base_urls: { a: 'x', b: 'y' } }, { base_urls: { b: 'y', a: 'x' } }, undefined],
    [{ client_id: 'd', token_endpoint: 'https://b.example' }, {}, '/config/client_id'],
    [{ parameters: { a: '1' } }, {}, '/config/parameters/b'],
    [{ parameters: { b: '3', a: '0' } }, {}, '/config/parameters/a'],
    [{ parameters: { a: '1', b: '2', constructor: 'x' } }, {}, '/config/parameters/constructor'],
  ])('%j against %j differs in %s', (before, after, pointer) => {
    expect(changed(before, after)).toBe(pointer);
  });

  it('is not one that is told anew at each consent', () => {
    expect(changed({ parameters: { a: '9', b: '2' } }, {}, ['a'])).toBeUndefined();
    expect(changed({ parameters: { a: '9', b: '9' } }, {}, ['a'])).toBe('/config/parameters/b');
    const { parameters: _none, ...without } = CONFIG;
    expect(changedSetting(without, CONFIG, new Set(['a', 'b']))).toBeUndefined();
    expect(changedSetting(without, CONFIG)).toBe('/config/parameters/a');
    expect(changedSetting(CONFIG, without)).toBe('/config/parameters/a');
  });

  it('is kept apart from what is free', () => {
    expect(boundPart({ ...CONFIG, scope: 's', refresh: 'ahead', issuer: undefined })).toStrictEqual(CONFIG);
  });

  it('is that of the version, with the free ones of today; of an old version nobody can tell', () => {
    const row = {
      connector: 'new',
      config: JSON.stringify({ ...CONFIG, client_id: 'today', scope: 'today' }),
      current_version: 2,
    };
    const settings = { connector: 'then', config: CONFIG };
    expect(settingsOfVersion(row, 1, { settings })).toEqual({ connector: 'then', config: { ...CONFIG, scope: 'today' } });
    expect(settingsOfVersion(row, 1, {})).toBeUndefined();
    expect(settingsOfVersion(row, 2, {})).toEqual({
      connector: 'new',
      config: { ...CONFIG, client_id: 'today', scope: 'today' },
    });
    expect(settingsOfVersion({ ...row, connector: null }, 2, {})).toBeUndefined();
  });

  it('leads to hosts, which are told sorted, once each, and no longer than so', () => {
    expect(hostsOf(['https://b.example/x', 'https://a.example:8/', 'https://b.example/', 'nowhere'])).toEqual([
      'a.example:8',
      'b.example',
    ]);
    expect(hostsAsText(['a', 'b'])).toBe('a b');
    const long = 'h'.repeat(LIMITS.hostsTextMaxChars);
    expect(hostsAsText([long])).toBe(long);
    expect(hostsAsText([`${long}x`])).toBe(`${long} ...`);
  });
});

const NOW = 1_800_000_000_000;
const HOUR = 3_600_000;
const job = (rules?: RenewalRules | Error): TenantJob =>
  ({
    platform: { entropy: { fraction: () => 0 } },
    refresher:
      rules === undefined
        ? undefined
        : {
            checkSettings: () => {
              if (rules instanceof Error) throw rules;
              return rules;
            },
          },
  }) as unknown as TenantJob;
const draft = (given: Partial<CredentialRow> = {}): CredentialRow =>
  ({
    kind: 'oauth2',
    connector: 'x',
    config: '{"client_id":"c"}',
    grant_facts: '{}',
    grant_ends_at: null,
    review_due_at: NOW + 5,
    value_expires_at: 1,
    refresh_due_at: 1,
    ...given,
  }) as CredentialRow;
const RETAINED = jsonBytes({ refresh_token: 'r' });

describe('a refresh', () => {
  const planned = (
    given: Partial<CredentialRow>,
    value: { expiresAtMs?: number; retained?: Uint8Array | undefined },
    rules?: RenewalRules,
    engine?: RenewalRules | Error,
  ) => {
    const row = draft(given);
    applyTiming(job(engine), row, { expiresAtMs: undefined, retained: RETAINED, ...value }, NOW, rules);
    return [row.value_expires_at, row.refresh_due_at, row.review_due_at];
  };
  const by = (renews: RenewalRules['renews'], idleMs?: number): RenewalRules => ({ renews, idleMs });

  it.each<[string, unknown[], unknown[]]>([
    ['is at once where there is no end', planned({}, {}), [null, NOW, NOW + 5]],
    ['is ahead of the end', planned({}, { expiresAtMs: NOW + HOUR }), [NOW + HOUR, NOW + HOUR - 360_000, NOW + 5]],
    [
      'is none without a refresh token',
      planned({}, { retained: jsonBytes({}), expiresAtMs: NOW + HOUR }),
      [NOW + HOUR, null, NOW + 5],
    ],
    ['is one without it where a key renews', planned({}, { retained: jsonBytes({}) }, by('key')), [null, NOW, NOW + 5]],
    ['is none where nothing renews', planned({}, {}, by('never')), [null, null, NOW + 5]],
    [
      'is none of another kind',
      planned({ kind: 'api_key' }, { retained: undefined, expiresAtMs: NOW + 1 }),
      [NOW + 1, null, NOW],
    ],
    ['goes by the engine where no rules are given', planned({}, {}, undefined, by('never')), [null, null, NOW + 5]],
    ['goes by those that are given', planned({}, {}, by('key'), by('never')), [null, NOW, NOW + 5]],
    [
      'goes by a refresh token where the engine cannot say',
      planned({}, {}, undefined, new Error('made up')),
      [null, NOW, NOW + 5],
    ],
    [
      'is a keep-alive where it is refreshed when read',
      planned({ config: '{"client_id":"c","refresh":"on_read"}' }, { expiresAtMs: NOW + HOUR }, by('refresh_token', 1_000)),
      [NOW + HOUR, NOW + 750, NOW + 5],
    ],
    [
      'is after a cool-down where the provider handed out one that ends at once',
      planned({ grant_facts: JSON.stringify({ refreshedAt: NOW }) }, { expiresAtMs: NOW + 999 }),
      [NOW + 999, NOW + LIMITS.refreshCoolDownMs, NOW + 5],
    ],
    [
      'is ahead of one that the provider handed out with a useful life',
      planned({ grant_facts: JSON.stringify({ refreshedAt: NOW }) }, { expiresAtMs: NOW + 1_000 }),
      [NOW + 1_000, NOW + 500, NOW + 5],
    ],
    [
      'is ahead of one that a put brought, however short',
      planned({ grant_facts: JSON.stringify({ refreshedAt: NOW - 1 }) }, { expiresAtMs: NOW + 998 }),
      [NOW + 998, NOW + 499, NOW + 5],
    ],
  ])('%s', (_what, found, expected) => {
    expect(found).toEqual(expected);
  });

  it.each<[string, Partial<CredentialRow>, number, number | null]>([
    [
      'moves with an end that was learnt',
      { refresh_due_at: NOW + 5, value_expires_at: NOW + 9 },
      NOW + HOUR,
      NOW + HOUR - 360_000,
    ],
    [
      'moves where it was due at the end itself',
      { refresh_due_at: NOW + 9, value_expires_at: NOW + 9 },
      NOW + HOUR,
      NOW + HOUR - 360_000,
    ],
    [
      'cools down where the end is now',
      { refresh_due_at: NOW + 5, value_expires_at: NOW + 9 },
      NOW,
      NOW + LIMITS.refreshCoolDownMs,
    ],
    ['stays where it keeps the grant alive', { refresh_due_at: NOW + 10, value_expires_at: NOW + 9 }, NOW + HOUR, NOW + 10],
    ['stays none', { refresh_due_at: null, value_expires_at: NOW + 9 }, NOW + HOUR, null],
  ])('%s', (_what, given, endsAt, expected) => {
    const row = draft(given);
    applyLearntEnd(job(), row, endsAt, NOW);
    expect([row.value_expires_at, row.refresh_due_at]).toEqual([endsAt, expected]);
  });

  it('goes by a refresh token where there is no engine', () => {
    expect(renewalRules(job(), draft())).toEqual({ renews: 'refresh_token', idleMs: undefined });
    expect(renewalRules(job({ renews: 'never', idleMs: 5 }), draft())).toEqual({ renews: 'never', idleMs: 5 });
  });
});

describe('an end date', () => {
  const key = { kind: 'api_key', value_expires_at: NOW, health: 'ready', health_since: 5, health_cause: null };

  it('is that of the value, and none of a grant', () => {
    expect(endDateOf(key)).toBe(NOW);
    expect(endDateOf({ ...key, kind: 'oauth2' })).toBeUndefined();
    expect(endDateOf({ ...key, value_expires_at: null })).toBeUndefined();
  });

  it('is what a credential is told by from then on', () => {
    const kept = { state: 'ready', sinceMs: 5, cause: null };
    expect(healthNow(key, NOW - 1)).toEqual(kept);
    expect(healthNow(key, NOW)).toEqual({ state: 'expired', sinceMs: NOW, cause: 'end_date' });
    expect(healthNow({ ...key, value_expires_at: null }, NOW)).toEqual(kept);
    expect(healthNow({ ...key, kind: 'oauth2', health: 'degraded', health_cause: 'x' }, NOW)).toEqual({
      state: 'degraded',
      sinceMs: 5,
      cause: 'x',
    });
  });
});
