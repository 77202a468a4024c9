// Each misbehaviour of the sandbox, and what the functions of production make of it.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Connector } from '../../../rotation/connector.ts';
import { type Misbehaviour, type Personas, startPersonas } from '../../../rotation/sandbox/personas.ts';
import { meaningOf } from '../kit.ts';
import { callbackOf, consent, exchange, lastCall, loadGrantConnectors, refreshed, renew } from './kit.ts';

/** Turns at every use, and a spent token kills the family: the least forgiving provider there is. */
const strict: Connector = {
  id: 'strict-provider',
  title: 'A strict provider',
  kind: 'oauth2',
  oauth2: {
    tokenEndpoint: 'https://{region}.strict.example/token',
    hosts: ['{region}.strict.example'],
    clientAuthentication: 'client_secret_post',
    bodyFormat: 'json',
    refreshTokenRotates: 'always',
    lostAnswer: { kind: 'unsafe' },
    accessTokenTtlSeconds: 600,
    scopeSeparator: ',',
    accountFields: { org: 'org.id' },
  },
  parameters: [{ name: 'region', title: 'Region', shape: 'label', values: ['eu', 'us'] }],
  consent: { authorizeEndpoint: 'https://{region}.strict.example/authorize', pkce: 'S256', issuer: 'https://strict.example' },
  lifetimes: { cap: { count: 2, note: 'two at a time' } },
};
const graceful: Connector = {
  ...strict,
  id: 'graceful-provider',
  oauth2: { ...strict.oauth2!, lostAnswer: { kind: 'window', seconds: 60 } },
};

let personas: Personas;
beforeAll(async () => {
  personas = await startPersonas({ connectors: [strict, graceful] });
});
afterEach(() => {
  personas.calm();
  personas.setClockOffset(0);
});
afterAll(() => personas.stop());

const issue = (connector: Connector = strict) => personas.issueGrant(connector.id, { scope: 'read write' });
const renewUnder = async (misbehaviour: Misbehaviour) => {
  const issued = await issue();
  personas.misbehave(misbehaviour, { connector: strict.id });
  return { issued, outcome: await renew(strict, issued) };
};

describe('a call that misbehaves', () => {
  it.each<[Misbehaviour, string, string]>([
    [{ kind: 'truncate' }, 'sent_and_lost', 'connection_lost'],
    [{ kind: 'html' }, 'answered_oddly', 'no_token_answer'],
    [{ kind: 'drop' }, 'sent_and_lost', 'connection_lost'],
    [{ kind: 'oversized' }, 'sent_and_lost', 'answer_too_large'],
    [{ kind: 'server_error', status: 502, when: 'after' }, 'transient', 'http_5xx'],
  ])('%j after the token turned costs the grant when the same token is sent again', async (misbehaviour, kind, cause) => {
    const { issued, outcome } = await renewUnder(misbehaviour);
    expect(outcome).toMatchObject({ kind, cause });
    if ('mayBeSpent' in outcome) expect(outcome.mayBeSpent).toBe(true);
    expect(personas.isAlive(issued.grant)).toBe(true);
    expect(meaningOf(await renew(strict, issued))).toBe('dead');
    expect(personas.familyRevoked(issued.grant)).toBe(true);
    expect(personas.callsFor(issued.grant).map(({ outcome: told }) => told)).toEqual(['issued', 'reused']);
  });

  it.each<[Misbehaviour, string, string]>([
    [{ kind: 'server_error' }, 'transient', 'http_5xx'],
    [{ kind: 'throttle' }, 'transient', 'http_429'],
    [{ kind: 'reset' }, 'sent_and_lost', 'connection_lost'],
    [{ kind: 'refuse', as: 'transient' }, 'transient', 'http_5xx'],
    [{ kind: 'refuse', as: 'configuration' }, 'configuration', 'invalid_client'],
    [{ kind: 'refuse', as: 'dead' }, 'dead', 'invalid_grant'],
    [{ kind: 'redirect' }, 'answered_oddly', 'redirect_refused'],
  ])('%j before anything happened leaves the same token good', async (misbehaviour, kind, cause) => {
    const { issued, outcome } = await renewUnder(misbehaviour);
    expect([meaningOf(outcome), 'cause' in outcome && outcome.cause]).toEqual([kind, cause]);
    expect((await renew(strict, issued)).kind).toBe('refreshed');
  });

  it.each([
    ['seconds', 2],
    ['past', 0],
    ['huge', undefined],
    ['negative', undefined],
    ['garbage', undefined],
    ['none', undefined],
    ['17', 17],
  ])('asks for a pause in an odd way: %s', async (retryAfter, seconds) => {
    const { outcome } = await renewUnder({ kind: 'throttle', retry_after: retryAfter });
    expect(outcome).toMatchObject({ kind: 'throttled', retryAfterSeconds: seconds });
  });

  it('names a date to come back at', async () => {
    const { outcome } = await renewUnder({ kind: 'throttle', retry_after: 'date' });
    expect('retryAfterSeconds' in outcome && outcome.retryAfterSeconds).toBeGreaterThanOrEqual(1);
    expect('retryAfterSeconds' in outcome && outcome.retryAfterSeconds).toBeLessThanOrEqual(3);
  });

  it('can be slow and right', async () => {
    const started = performance.now();
    const { outcome } = await renewUnder({ kind: 'slow', ms: 120 });
    expect(outcome.kind).toBe('refreshed');
    expect(performance.now() - started).toBeGreaterThanOrEqual(115);
  });

  it.each<[Misbehaviour['kind'], string]>([
    ['revoke_grant', 'revoked'],
    ['withdraw_consent', 'withdrawn'],
  ])('%s ends the grant before it is answered', async (kind, ended) => {
    const { issued, outcome } = await renewUnder({ kind } as Misbehaviour);
    expect(meaningOf(outcome)).toBe('dead');
    expect(personas.grants().find(({ id }) => id === issued.grant)?.ended).toBe(ended);
    expect(personas.familyRevoked(issued.grant)).toBe(false);
  });

  it('spends the token elsewhere first: the generation jumps, and ours is a reuse', async () => {
    const { issued, outcome } = await renewUnder({ kind: 'rotate_elsewhere' });
    expect(meaningOf(outcome)).toBe('dead');
    expect(personas.grants().find(({ id }) => id === issued.grant)).toMatchObject({ generation: 2, ended: 'reuse' });
  });

  it('grants less or more than was asked', async () => {
    expect(refreshed((await renewUnder({ kind: 'narrower_scope' })).outcome).scope).toBe('read');
    expect(refreshed((await renewUnder({ kind: 'wider_scope' })).outcome).scope).toBe('read write never.asked.for');
  });

  it('adds members nobody expects, and nothing of them is believed', async () => {
    const { outcome } = await renewUnder({ kind: 'foreign_fields' });
    const fresh = refreshed(outcome);
    expect(fresh.access).toMatch(/^access_strict-provider_/);
    expect(Object.keys(fresh.account)).toEqual(['org']);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });

  it.each([
    ['missing', 'default'],
    ['zero', 'default'],
    ['negative', 'default'],
    ['text', 'default'],
  ] as const)('says of the end of the token: %s', async (value, source) => {
    const fresh = refreshed((await renewUnder({ kind: 'expires_in', value })).outcome);
    expect(fresh.expirySource).toBe(source);
  });

  it('answers with the very token that was sent', async () => {
    const { issued, outcome } = await renewUnder({ kind: 'same_refresh_token' });
    expect(refreshed(outcome).refresh).toBe(issued.refreshToken);
    expect((await renew(strict, issued)).kind).toBe('refreshed');
  });
});

describe('the way back of a browser', () => {
  it.each<[Misbehaviour, string]>([
    [{ kind: 'wrong_issuer' }, 'issuer_wrong'],
    [{ kind: 'no_issuer' }, 'issuer_missing'],
  ])('%j is taken for a stranger', async (misbehaviour, cause) => {
    const issued = await issue();
    personas.misbehave(misbehaviour);
    expect(callbackOf(await consent(strict, issued, 'allow'), issued)).toEqual({ kind: 'foreign', cause });
  });

  it('can carry another state', async () => {
    const issued = await issue();
    personas.misbehave({ kind: 'wrong_state' });
    const { back, state } = await consent(strict, issued, 'allow');
    expect(back.searchParams.get('state')).not.toBe(state);
  });

  it('is a page for a person, who sees what is asked and decides', async () => {
    const issued = await issue();
    let page = '';
    await consent(strict, issued, 'allow', (url) => {
      url.searchParams.delete('auto');
      url.searchParams.set('scope', '<script>alert(1)</script>');
    }).catch((error: Error) => {
      page = error.message;
    });
    expect(page).toContain('A strict provider');
    expect(page).toContain('auto=allow');
    expect(page).toContain('auto=deny');
    expect(page).toContain('&lt;script&gt;');
    expect(page).not.toContain('<script>');
  });

  it('takes only what is registered, once anything is', async () => {
    const own = await startPersonas({ connectors: [strict] });
    try {
      own.registerRedirectUri('https://registered.example/callback');
      const issued = await own.issueGrant(strict.id);
      await expect(consent(strict, issued, 'allow')).rejects.toThrow('redirect_uri is not registered');
    } finally {
      await own.stop();
    }
  });

  it('brings a code that is too old after ten minutes', async () => {
    const issued = await issue();
    const consented = await consent(strict, issued, 'allow');
    personas.setClockOffset(601_000);
    expect(meaningOf(await exchange(consented, issued))).toBe('dead');
    expect(lastCall(personas)?.why).toBe('the code is too old');
  });
});

describe('grants', () => {
  it('give the same pair again while the grace lasts, and die of a reuse after it', async () => {
    const issued = await issue(graceful);
    const first = refreshed(await renew(graceful, issued));
    const again = refreshed(await renew(graceful, issued));
    expect([again.access, again.refresh]).toEqual([first.access, first.refresh]);
    expect(lastCall(personas)).toMatchObject({ outcome: 'replayed', generation: 1 });
    personas.setClockOffset(61_000);
    expect(meaningOf(await renew(graceful, issued))).toBe('dead');
    expect(personas.familyRevoked(issued.grant)).toBe(true);
    expect(meaningOf(await renew(graceful, issued, first.refresh))).toBe('dead');
  });

  it('that two refresh at once with one token end: only one of them turned it', async () => {
    const issued = await issue();
    const outcomes = await Promise.all([renew(strict, issued), renew(strict, issued)]);
    expect(outcomes.map(meaningOf).sort()).toEqual(['dead', 'refreshed']);
    expect(personas.familyRevoked(issued.grant)).toBe(true);
  });

  it('beyond the cap of an account silently end the oldest', async () => {
    const one = () => personas.issueGrant(strict.id, { account: 'acme' });
    const grants = [await one(), await one(), await one()];
    expect(grants.map(({ grant }) => personas.isAlive(grant))).toEqual([false, true, true]);
  });

  it('are the same for the same seed, and others for another', async () => {
    const first = async (seed: number) => {
      const own = await startPersonas({ connectors: [strict], seed });
      const issued = await own.issueGrant(strict.id);
      await own.stop();
      return issued.refreshToken;
    };
    const [one, same, other] = [await first(7), await first(7), await first(8)];
    expect(one).toBe(same);
    expect(one).not.toBe(other);
  });

  it('misbehave only where and when it was planned', async () => {
    const [issued, spared] = [await issue(), await issue(graceful)];
    personas.misbehave({ kind: 'server_error' }, { connector: strict.id, skip: 1, times: 2 });
    expect((await renew(graceful, spared)).kind).toBe('refreshed');
    let { refreshToken } = issued;
    const kinds: string[] = [];
    for (let call = 0; call < 4; call++) {
      const outcome = await renew(strict, issued, refreshToken);
      kinds.push(outcome.kind);
      if (outcome.kind === 'refreshed') refreshToken = refreshed(outcome).refresh;
    }
    expect(kinds).toEqual(['refreshed', 'transient', 'transient', 'refreshed']);
  });
});

describe('the token endpoint', () => {
  const post = async (change: (fields: Record<string, string>) => void, type = 'application/json') => {
    const issued = await issue();
    const fields: Record<string, string> = {
      grant_type: 'refresh_token',
      refresh_token: issued.refreshToken ?? '',
      client_id: issued.clientId,
      client_secret: issued.clientSecret,
    };
    change(fields);
    const answer = await fetch(`${personas.origin}/eu.strict.example/token`, {
      method: 'POST',
      headers: { 'content-type': type },
      body: type === 'application/json' ? JSON.stringify(fields) : new URLSearchParams(fields).toString(),
    });
    return { status: answer.status, body: await answer.text(), why: lastCall(personas)?.why };
  };

  it('answers what is right', async () => {
    expect((await post(() => {})).status).toBe(200);
  });

  const without = (name: string) => (fields: Record<string, string>) => {
    delete fields[name];
  };
  const having = (name: string, value: string) => (fields: Record<string, string>) => {
    fields[name] = value;
  };
  it.each<[string, (fields: Record<string, string>) => void, string | undefined, string]>([
    ['a form where JSON is declared', () => {}, 'application/x-www-form-urlencoded', 'the body must be json'],
    ['a grant type it has not', having('grant_type', 'password'), undefined, 'grant_type'],
    ['a client that is another’s', having('client_id', 'keyturn-sandbox.other'), undefined, 'unknown'],
    ['no secret', without('client_secret'), undefined, 'client_secret_post'],
  ])('refuses %s, and says why in its books only', async (_, change, type, why) => {
    const answer = await post(change, type);
    expect(answer.status).toBe(401);
    expect(answer.why).toContain(why);
    expect(answer.body).toBe('{"error":"invalid_client"}\n');
  });

  it('decides by the client which connector is meant where two share an address', async () => {
    const issued = await issue(graceful);
    await renew(graceful, issued);
    expect(lastCall(personas)?.connector).toBe(graceful.id);
    const other = await issue(strict);
    await renew(strict, other);
    expect(lastCall(personas)?.connector).toBe(strict.id);
  });

  it('is nobody at an address that no connector has', async () => {
    const answer = await fetch(`${personas.origin}/api.nobody.example/token`, { method: 'POST' });
    expect(answer.status).toBe(404);
  });
});

it('keeps every token it makes recognisable as none', async () => {
  const connectors = await loadGrantConnectors();
  const own = await startPersonas({ connectors });
  try {
    for (const id of own.connectors) {
      const { accessToken, refreshToken } = await own.issueGrant(id);
      const [, claims] = accessToken.split('.');
      const readable = claims === undefined ? accessToken : Buffer.from(claims, 'base64url').toString();
      expect(readable, id).toContain('not-a-real-secret');
      if (refreshToken !== undefined) expect(refreshToken).toContain('not-a-real-secret');
    }
    expect(own.clientSecret).toContain('not-a-real-secret');
  } finally {
    await own.stop();
  }
});
