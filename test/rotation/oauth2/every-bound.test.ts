// Each figure and form by which an answer of a provider is believed or not, on both sides of its bound.
import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  type EgressAnswer,
  EgressFailure,
  type EgressRequest,
  type OAuth2Spec,
  type ProbeSpec,
} from '../../../rotation/connector.ts';
import { readTokenAnswer, retryAfterSeconds } from '../../../rotation/oauth2/answer.ts';
import { readScopes } from '../../../rotation/oauth2/answer-body.ts';
import { exchangeCode } from '../../../rotation/oauth2/authorization-code.ts';
import { discover } from '../../../rotation/oauth2/discovery.ts';
import { canTell, readGrantedScopes } from '../../../rotation/oauth2/granted-scope.ts';
import { introspectExpiry, introspectToken } from '../../../rotation/oauth2/introspection.ts';
import { renewGrant, spendsNothing } from '../../../rotation/oauth2/mint-token.ts';
import { askProbe, probeToken } from '../../../rotation/oauth2/probe.ts';
import { providerWords, secretsReceived, secretsSent } from '../../../rotation/oauth2/provider-words.ts';
import { revokeGrant } from '../../../rotation/oauth2/revocation.ts';
import type { ResolvedConnector } from '../../../rotation/oauth2/settings.ts';
import { tokenExpiry } from '../../../rotation/oauth2/token-expiry.ts';
import { SecretValue } from '../../../src/base/secret-value.ts';
import { answerOf, GENERIC, requestTo, textOf } from '../kit.ts';

const SENT = 1_700_000_000_000;
const DAY_S = 86_400;
const HOUR_MS = 3_600_000;
const secret = (text: string) => SecretValue.fromText(text);
const jwt = (payload: unknown) => `e30.${Buffer.from(JSON.stringify(payload)).toString('base64url')}.x`;

describe('a life', () => {
  const lives = (expiresIn: unknown, renewable?: boolean) => {
    const told = renewable === undefined ? { expiresIn } : { expiresIn, renewable };
    const { expiresAtMs, expirySource } = tokenExpiry({}, 'opaque', told, SENT);
    return expirySource === 'default' && expiresAtMs !== undefined
      ? 'default'
      : expiresAtMs === undefined
        ? 'none'
        : expiresAtMs - SENT;
  };

  it.each<[string, unknown, unknown]>([
    ['of less than a second is none', 0.999, 'default'],
    ['of a second is one', 1, 1_000],
    ['of 366 days is the longest', 366 * DAY_S, 366 * DAY_S * 1_000],
    ['of more is none', 366 * DAY_S + 1, 'default'],
    ['below 300000 is in seconds', 240_000, 240_000_000],
    ['from 300000 on in whole minutes is in milliseconds', 300_000, 300_000],
    ['from 300000 on beside whole minutes is in seconds', 300_001, 300_001_000],
    ['of 100 whole days is in seconds', 100 * DAY_S, 100 * DAY_S * 1_000],
    ['of 105 whole days and whole minutes is in milliseconds', 105 * DAY_S * 5, 105 * DAY_S * 5],
    ['of 365 whole days is in seconds', 365 * DAY_S, 365 * DAY_S * 1_000],
    ['that is no whole number of days, but of minutes, is in milliseconds', DAY_S * 25 + 60_000, DAY_S * 25 + 60_000],
    ['below a thousand million is one', 999_999_999, 'default'],
    ['of an instant in seconds a year away is believed', SENT / 1_000 + 366 * DAY_S, 366 * DAY_S * 1_000],
    ['of an instant further away is not', SENT / 1_000 + 366 * DAY_S + 1, 'default'],
    ['of an instant at the sending is over', SENT / 1_000, 0],
    ['of an instant in milliseconds is read as that', SENT + 5_000, 5_000],
  ])('%s', (_what, expiresIn, expected) => {
    expect(lives(expiresIn)).toBe(expected);
  });

  it('that means no end is one only where nothing could bring another token', () => {
    for (const endless of [0, '0', 366 * DAY_S + 1]) {
      expect(lives(endless, false)).toBe('none');
      expect(lives(endless, true)).toBe('default');
      expect(lives(endless)).toBe('default');
    }
    for (const other of [-1, 0.5, undefined, 'soon']) expect(lives(other, false)).toBe('default');
    expect(lives(366 * DAY_S, false)).toBe(366 * DAY_S * 1_000);
    const declared = tokenExpiry({ accessTokenTtlSeconds: 5 }, 'opaque', { expiresIn: 0, renewable: false }, SENT);
    expect(declared).toEqual({ expiresAtMs: SENT + 5_000, expirySource: 'default' });
  });
});

describe('an instant', () => {
  const ends = (expiresAt: unknown, sentAtMs = SENT) => {
    const { expiresAtMs, expirySource } = tokenExpiry({}, 'opaque', { expiresAt }, sentAtMs);
    return expirySource === 'default' ? 'default' : expiresAtMs;
  };

  it.each<[string, unknown, unknown, number?]>([
    ['is a life where it is below a thousand million and no time to come', 3_600, SENT + HOUR_MS],
    ['is one in seconds from a thousand million on', 1_000_000_000, SENT],
    ['is one in seconds where it is to come, on an early clock', 6_000, 6_000_000, 5_000_000],
    ['is a life where it is not to come, on an early clock', 5_000, 10_000_000, 5_000_000],
    ['is in seconds below a hundred thousand million', 99_999_999_999, SENT + 3_650 * DAY_S * 1_000],
    ['is in milliseconds from there on', 100_000_000_000, SENT],
    ['is at most ten years away', SENT + 3_650 * DAY_S * 1_000 + 1, SENT + 3_650 * DAY_S * 1_000],
    ['is none after the year 9999', 253_402_300_800_000, 'default'],
    ['is the last of the year 9999', 253_402_300_799_999, SENT + 3_650 * DAY_S * 1_000],
    ['is rounded down', SENT + 5_000.7, SENT + 5_000],
    ['is text with parts of a second', '2023-11-14T22:13:25.5Z', SENT + 5_500],
    ['is text without seconds', '2023-11-14 22:14', SENT + 40_000],
    ['is text with an offset before UTC', '2023-11-14T20:13:25-0200', SENT + 5_000],
    ['is text around which there are blanks', ' 2023-11-14T22:13:25 gmt ', SENT + 5_000],
    ['is none in words', 'tomorrow', 'default'],
    ['is none that no calendar has', '2023-13-40T22:13:25Z', 'default'],
    ['is none as a date alone', '2023-11-14', 'default'],
  ])('%s', (_what, expiresAt, expected, sentAtMs) => {
    expect(ends(expiresAt, sentAtMs)).toBe(expected);
  });

  it('of the token itself is in seconds or milliseconds, and none of text without three parts', () => {
    const source = (token: string) => tokenExpiry({}, token, {}, SENT);
    const exp = SENT / 1_000 + 60;
    expect(source(jwt({ exp }))).toEqual({ expiresAtMs: SENT + 60_000, expirySource: 'jwt' });
    expect(source(jwt({ exp: exp * 1_000 }))).toEqual({ expiresAtMs: SENT + 60_000, expirySource: 'jwt' });
    expect(source(`${jwt({ exp })}.more`).expirySource).toBe('default');
  });

  it('that the credential set counts only where there is a figure', () => {
    expect(tokenExpiry({ accessTokenTtlIsSet: true }, 'opaque', { expiresIn: 60 }, SENT)).toEqual({
      expiresAtMs: SENT + 60_000,
      expirySource: 'expires_in',
    });
  });
});

describe('of an answer with tokens', () => {
  const read = (members: object, spec: Partial<OAuth2Spec> = {}, asked = {}) => {
    const outcome = readTokenAnswer({ ...GENERIC, ...spec }, answerOf(200, { access_token: 'at', ...members }), 2_000_000, asked);
    if (outcome.kind !== 'refreshed') throw new Error(outcome.kind);
    return outcome;
  };

  it('nothing is made up: without more it is a bearer token for an hour', () => {
    const { accessToken, ...rest } = read({});
    expect(textOf(accessToken)).toBe('at');
    expect(rest).toStrictEqual({
      kind: 'refreshed',
      refreshToken: undefined,
      tokenType: 'Bearer',
      expiresAtMs: 1_000_000 + HOUR_MS,
      expirySource: 'default',
      scope: undefined,
      refreshTokenExpiresAtMs: undefined,
      account: {},
    });
  });

  it('the type is kept where it can stand in a header', () => {
    expect(read({ token_type: 'bot' }).tokenType).toBe('bot');
    for (const odd of ['a b', '', 5, 'x'.repeat(65)]) expect(read({ token_type: odd }).tokenType).toBe('Bearer');
  });

  it('an empty refresh token is none, and no oddity', () => {
    expect(read({ refresh_token: '' })).not.toHaveProperty('oddity');
    expect(read({ refresh_token: 5 }).oddity).toBe('refresh_token_unusable');
  });

  it('a life that means no end is one only where nothing renews the grant', () => {
    expect(read({ expires_in: 0 }, {}, { renewable: false }).expiresAtMs).toBeUndefined();
    expect(read({ expires_in: 0, refresh_token: 'rt' }, {}, { renewable: false }).expiresAtMs).toBe(1_000_000 + HOUR_MS);
    for (const asked of [{}, { renewable: true }])
      expect(read({ expires_in: 0 }, {}, asked).expiresAtMs).toBe(1_000_000 + HOUR_MS);
  });

  it('the refresh token ends no more than ten years later, in whole seconds', () => {
    const ends = (refresh_token_expires_in: unknown) => read({ refresh_token_expires_in }).refreshTokenExpiresAtMs;
    expect(ends(1.9)).toBe(1_001_000);
    expect(ends(0.5)).toBe(1_000_000);
    expect(ends(1e12)).toBe(1_000_000 + 10 * 365 * DAY_S * 1_000);
    expect(ends('999999999999')).toBe(1_000_000 + 10 * 365 * DAY_S * 1_000);
    for (const none of ['1e3', '1234567890123', Number.POSITIVE_INFINITY, 0, -1]) expect(ends(none)).toBeUndefined();
  });

  it('a fact of the account is plain text of at most 512 characters, a number or a yes or no', () => {
    const account = (value: unknown) => read({ fact: value }, { accountFields: { fact: 'fact' } }).account;
    expect(account('x'.repeat(512))).toEqual({ fact: 'x'.repeat(512) });
    expect(account(0)).toEqual({ fact: '0' });
    expect(account(true)).toEqual({ fact: 'true' });
    for (const none of ['x'.repeat(513), '', null, {}, [], 'a\u0000', 'a\u202e', '\ue000', '\u2028'])
      expect(account(none)).toEqual({});
  });

  it('a token is at most 64 KiB, and longer than that it cannot be stored', () => {
    const kind = (length: number) =>
      readTokenAnswer(GENERIC, answerOf(200, { access_token: 'x'.repeat(length) }), 2_000_000).kind;
    expect([65_536, 65_537].map(kind)).toEqual(['refreshed', 'answered_oddly']);
  });

  it.each([
    [199, 'answered_oddly'],
    [200, 'refreshed'],
    [299, 'refreshed'],
    [300, 'answered_oddly'],
  ])('the status %i makes it %s', (status, kind) => {
    expect(readTokenAnswer(GENERIC, answerOf(status, { access_token: 'at' }), 2_000_000).kind).toBe(kind);
  });

  it('an empty scope, or one of more than 4096 characters, tells nothing', () => {
    expect(readScopes('a  b a', ' ')).toBe('a b');
    expect(readScopes(['a', 5, 'b c'], ' ')).toBe('a b c');
    expect(readScopes('a, b', ',')).toBe('a b');
    expect(readScopes('a"', ' ')).toBeUndefined();
    const long = (parts: number) => Array.from({ length: parts }, (_, i) => `${i}`.padStart(63, 's')).join(' ');
    expect(readScopes(long(64), ' ')).toHaveLength(64 * 64 - 1);
    expect(readScopes(`${long(64)} x`, ' ')).toBeUndefined();
    expect(readScopes('s'.repeat(256), ' ')).toHaveLength(256);
    expect(readScopes('s'.repeat(257), ' ')).toBeUndefined();
  });
});

describe('of a refusal', () => {
  const read = (status: number, body: unknown = '') => readTokenAnswer(GENERIC, answerOf(status, body), 2_000_000);
  it.each([
    [408, true],
    [425, false],
    [499, undefined],
    [500, true],
    [521, false],
    [522, true],
    [523, false],
    [524, true],
    [525, false],
    [526, false],
    [527, true],
    [530, false],
  ])('%i: the token may be spent: %s', (status, mayBeSpent) => {
    const outcome = read(status);
    expect(outcome.kind === 'transient' ? outcome.mayBeSpent : undefined).toBe(mayBeSpent);
  });

  it.each([
    ['30', 30],
    ['86400', 86_400],
    ['86401', 86_400],
    ['0', 0],
    ['1234567890', undefined],
    [new Date(NOW() + 1).toUTCString(), 0],
    [new Date(NOW() + 1_001).toUTCString(), 1],
    ['Mon nonsense', undefined],
  ])('a wait of %s is one of %s seconds', (header, seconds) => {
    expect(retryAfterSeconds(header, NOW())).toBe(seconds);
  });

  function NOW() {
    return 1_700_000_000_000;
  }
});

function network(...answers: (EgressAnswer | Error)[]) {
  const sent: EgressRequest[] = [];
  const send = async (request: EgressRequest) => {
    sent.push(request);
    const next = answers.shift() ?? answerOf(200, {});
    if (next instanceof Error) throw next;
    return next;
  };
  return { sent, egress: { send } };
}
const clock = { now: () => 1_000_000 };
const CLIENT = { clientId: 'client', clientSecret: secret('client-not-a-real-secret'), allowLoopback: false };

describe('a call without an answer', () => {
  const spec = { ...GENERIC, clientAuthentication: 'none' } as const;
  const ask = (error: Error) => {
    const grant = { clientId: 'c', refreshToken: secret('r'), allowLoopback: false };
    return renewGrant(spec, grant, network(error).egress, clock, false);
  };

  it.each([
    ['request_refused', 'configuration'],
    ['host_not_allowed', 'configuration'],
    ['address_blocked', 'configuration'],
    ['dns_failed', 'transient'],
    ['connect_failed', 'transient'],
    ['connect_timeout', 'transient'],
    ['tls_failed', 'transient'],
    ['withdrawn', 'withdrawn'],
  ] as const)('that never left since %s is %s', async (reason, means) => {
    expect(await ask(new EgressFailure(reason))).toStrictEqual({ kind: 'not_sent', means, cause: reason });
    const said = { systemCode: 'ECONNREFUSED' };
    expect(await ask(new EgressFailure(reason, 'ECONNREFUSED'))).toStrictEqual({ kind: 'not_sent', means, cause: reason, said });
  });

  it.each(['timeout', 'connection_lost', 'answer_too_large', 'answer_undecodable', 'fetch_failed', 'egress_failed'] as const)(
    'that may have arrived (%s) is lost, for certain or not',
    async (cause) => {
      expect(await ask(new EgressFailure(cause))).toStrictEqual({ kind: 'sent_and_lost', cause, certain: true });
      const said = { systemCode: 'ECONNRESET' };
      expect(await ask(new EgressFailure(cause, 'ECONNRESET', true))).toStrictEqual({
        kind: 'sent_and_lost',
        cause,
        certain: false,
        said,
      });
    },
  );

  it('that a defect of our own kept from being built was not sent', async () => {
    const stopped = {
      now: () => {
        throw new TypeError('made up');
      },
    };
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const privateKeyPem = SecretValue.fromText(privateKey.export({ type: 'pkcs8', format: 'pem' }) as string);
    const grant = { clientId: 'c', refreshToken: secret('r'), allowLoopback: false, privateKeyPem };
    const { egress, sent } = network();
    const refreshed = await renewGrant({ ...spec, clientAuthentication: 'private_key_jwt' }, grant, egress, stopped, false);
    expect(refreshed).toEqual({ kind: 'not_sent', means: 'configuration', cause: 'request_unbuildable' });
    const revocation = {
      url: 'https://api.example/r',
      method: 'POST',
      authentication: 'private_key_jwt',
      bodyFormat: 'form',
      token: 'refresh',
      ends: 'grant',
    } as const;
    const tokens = { refreshToken: secret('r'), accessToken: undefined };
    const revoked = await revokeGrant(revocation, [], tokens, { client: grant, egress, clock: stopped });
    expect(revoked).toEqual({ kind: 'failed', cause: 'request_unbuildable', retryAfterSeconds: undefined });
    expect(sent).toEqual([]);
  });

  it('for a defect of our own is lost for certain', async () => {
    expect(await ask(new TypeError('made up'))).toStrictEqual({ kind: 'sent_and_lost', cause: 'egress_failed', certain: true });
  });
});

describe('the answer to a code', () => {
  const GRANT = {
    clientId: 'c',
    allowLoopback: false,
    code: 'x',
    redirectUri: 'https://vault.example',
    codeVerifier: 'v',
    nonce: 'n',
  };
  const exchange = async (changes: Partial<OAuth2Spec>, body: object) => {
    const oauth2 = { ...GENERIC, clientAuthentication: 'none', ...changes } as const;
    const outcome = await exchangeCode(resolved({ oauth2 }), GRANT, network(answerOf(200, body)).egress, clock);
    return outcome.kind === 'refreshed' ? { token: textOf(outcome.accessToken), endsAt: outcome.expiresAtMs } : outcome.kind;
  };

  it('is read where the connector says, its own place before that of a refresh', async () => {
    const body = { a: { token: 'one' }, b: { token: 'two' }, access_token: 'three', expires_in: 5 };
    const endsAt = 1_005_000;
    expect(await exchange({}, body)).toEqual({ token: 'three', endsAt });
    expect(await exchange({ answerFields: { accessToken: 'a.token' } }, body)).toEqual({ token: 'one', endsAt });
    const both = { answerFields: { accessToken: 'a.token' }, exchangeAnswerFields: { accessToken: 'b.token' } };
    expect(await exchange(both, body)).toEqual({ token: 'two', endsAt });
  });

  it('without the identity that was asked for is refused, and so is one that nobody can have signed', async () => {
    const oauth2 = { ...GENERIC, clientAuthentication: 'none' } as const;
    const body = { access_token: 'a', token_type: 'bearer' };
    for (const issuer of ['https://id.example', undefined]) {
      const consent = { authorizeEndpoint: '', pkce: 'S256', openid: true, ...(issuer === undefined ? {} : { issuer }) } as const;
      const outcome = await exchangeCode(resolved({ oauth2, consent }), GRANT, network(answerOf(200, body)).egress, clock);
      expect(outcome).toStrictEqual({
        kind: 'refused',
        means: 'configuration',
        recognised: true,
        cause: 'id_token_refused',
        status: 200,
        retryAfterSeconds: undefined,
      });
    }
  });

  it.each([
    [undefined, false],
    [{ kind: 'refresh_token' }, false],
    [{ kind: 'none' }, false],
    [{ kind: 'client_credentials' }, true],
  ] as const)(
    'without a refresh token, renewed by %j, has an end where it says that it has none: %s',
    async (renewal, hasEnd) => {
      const found = await exchange(renewal === undefined ? {} : { renewal }, { access_token: 'a', expires_in: 0 });
      expect(found).toEqual({ token: 'a', endsAt: hasEnd ? 1_000_000 + HOUR_MS : undefined });
    },
  );
});

describe('a probe', () => {
  const PROBE: ProbeSpec = { url: 'https://api.example/me', method: 'GET' };
  const ask = (probe: ProbeSpec, answer: EgressAnswer) => askProbe(probe, [], secret('t'), network(answer).egress, false);

  it.each([
    [199, undefined, 'unknown'],
    [200, undefined, 'works'],
    [299, undefined, 'works'],
    [300, undefined, 'unknown'],
    [401, undefined, 'rejected'],
    [401, [403], 'unknown'],
    [403, [403], 'rejected'],
  ])('answered %i, where %s rejects, says %s', async (status, rejectedBy, verdict) => {
    const probe = rejectedBy === undefined ? PROBE : { ...PROBE, rejectedBy };
    expect((await ask(probe, answerOf(status, {}))).verdict).toBe(verdict);
  });

  it.each<['present' | 'false', unknown, string]>([
    ['present', { m: [] }, 'rejected'],
    ['present', { m: false }, 'rejected'],
    ['present', { m: null }, 'works'],
    ['present', {}, 'works'],
    ['present', [], 'works'],
    ['present', null, 'works'],
    ['present', 'm', 'works'],
    ['false', { m: false }, 'rejected'],
    ['false', { m: 0 }, 'works'],
    ['false', { m: null }, 'works'],
  ])('whose member is a refusal when %s: %j says %s', async (is, body, verdict) => {
    const probe: ProbeSpec = { ...PROBE, refusedWhen: { member: 'm', is } };
    expect((await ask(probe, answerOf(200, body))).verdict).toBe(verdict);
  });

  it('says what else it answered, and nothing where it did not', async () => {
    expect(await ask(PROBE, answerOf(200, { a: 1 }, { x: 'y' }))).toEqual({
      verdict: 'works',
      headers: { x: 'y' },
      body: { a: 1 },
    });
    expect(await ask(PROBE, answerOf(401, { a: 1 }, { x: 'y' }))).toEqual({
      verdict: 'rejected',
      headers: { x: 'y' },
      body: undefined,
    });
    const none = { verdict: 'unknown', headers: {}, body: undefined };
    const { egress, sent } = network(new EgressFailure('timeout'));
    expect(await askProbe(PROBE, [], secret('t'), egress, false)).toEqual(none);
    expect(await askProbe({ ...PROBE, url: 'nowhere' }, [], secret('t'), egress, false)).toEqual(none);
    expect(await askProbe({ ...PROBE, url: 'nowhere' }, ['api.example'], secret('t'), egress, false)).toEqual(none);
    expect(sent).toHaveLength(1);
    expect(await probeToken(PROBE, secret('t'), network(answerOf(401, '')).egress, false)).toBe('rejected');
  });
});

const resolved = (changes: Partial<ResolvedConnector>): ResolvedConnector => ({
  id: 'made-up',
  oauth2: GENERIC,
  places: [],
  movedPlaces: [],
  consent: undefined,
  introspection: undefined,
  revocation: undefined,
  probe: undefined,
  lifetimes: {},
  hosts: [],
  ...changes,
});
const INTROSPECTION = {
  url: 'https://api.example/i',
  method: 'POST',
  authentication: 'client_secret_basic',
  bodyFormat: 'form',
  tokenParameter: 'token',
  fields: { active: 'active', scope: 'scope', expiresAt: 'exp', expiresIn: 'in' },
} as const;

describe('an introspection', () => {
  const ask = (
    answer: EgressAnswer | Error,
    fields: NonNullable<ResolvedConnector['introspection']>['fields'] = INTROSPECTION.fields,
  ) =>
    introspectToken(resolved({ introspection: { ...INTROSPECTION, fields } }), secret('t'), {
      client: CLIENT,
      egress: network(answer).egress,
      clock,
    });

  it.each([
    [199, undefined],
    [200, true],
    [299, true],
    [300, undefined],
  ])('answered %i is read: %s', async (status, active) => {
    expect((await ask(answerOf(status, { active: true })))?.active).toBe(active);
  });

  it.each<[object, object | undefined]>([
    [
      { active: true, scope: 'a', exp: 2_000 },
      { active: true, scope: 'a', expiresAtMs: 2_000_000 },
    ],
    [
      { active: true, in: 60 },
      { active: true, scope: undefined, expiresAtMs: 1_060_000 },
    ],
    [
      { active: 'true', scope: 'a', exp: 2_000 },
      { active: false, scope: undefined, expiresAtMs: undefined },
    ],
    [
      { scope: 'a', exp: 2_000 },
      { active: false, scope: undefined, expiresAtMs: undefined },
    ],
  ])('that says %j tells that', async (body, told) => {
    expect(await ask(answerOf(200, body))).toEqual(told);
  });

  it('of a provider that says nothing of being active is active, and tells only what it is said to tell', async () => {
    expect(await ask(answerOf(200, { scope: 'a', exp: 2_000, in: 60 }), {})).toEqual({
      active: true,
      scope: undefined,
      expiresAtMs: undefined,
    });
    expect(await ask(answerOf(200, null))).toBeUndefined();
    expect(await ask(answerOf(200, '"x"'))).toBeUndefined();
  });

  it('is not made where there is none', async () => {
    const { egress, sent } = network();
    expect(await introspectToken(resolved({}), secret('t'), { client: CLIENT, egress, clock })).toBeUndefined();
    expect(await introspectExpiry(resolved({}), secret('t'), { client: CLIENT, egress, clock })).toBeUndefined();
    expect(sent).toEqual([]);
  });

  it.each([
    [{ expiresAt: 'exp' }, 2_000_000],
    [{ expiresIn: 'in' }, 1_060_000],
    [{ scope: 'scope' }, undefined],
  ])('for the end by %j alone gives it', async (fields, atMs) => {
    const introspection = { ...INTROSPECTION, fields };
    const { egress } = network(answerOf(200, { exp: 2_000, in: 60 }));
    expect(await introspectExpiry(resolved({ introspection }), secret('t'), { client: CLIENT, egress, clock })).toBe(atMs);
  });
});

describe('a source of scopes', () => {
  const probe = { url: 'https://api.example/me', method: 'GET' } as const;
  it.each([
    ['answer', [false, false, false]],
    ['introspection', [false, true, false]],
    ['jwt', [true, true, true]],
    ['probe_header', [false, false, true]],
    ['probe_body', [false, false, true]],
  ] as const)('%s can tell without anything, with an introspection, with a probe: %j', (from, expected) => {
    const all = [resolved({}), resolved({ introspection: INTROSPECTION }), resolved({ probe })];
    expect(all.map((one) => canTell(one, { from } as never))).toEqual(expected);
  });

  it('is asked once for all that it may tell, and only where it is declared', async () => {
    const header = { from: 'probe_header', header: 'X-S', separator: ' ' } as const;
    const body = { from: 'probe_body', path: 's' } as const;
    const ask = (changes: Partial<ResolvedConnector>, ...answers: EgressAnswer[]) => {
      const { sent, egress } = network(...answers);
      const sources = [{ from: 'answer' }, header, body] as const;
      return readGrantedScopes(resolved(changes), sources, secret('t'), { client: CLIENT, egress, clock }).then((found) => ({
        ...found,
        calls: sent.length,
      }));
    };
    expect(await ask({ probe }, answerOf(200, { s: 'a b' }))).toEqual({
      granted: { scope: 'a b', source: 'probe' },
      verdict: 'works',
      calls: 1,
    });
    expect(await ask({ probe }, answerOf(200, {}, { 'x-s': 'c' }))).toEqual({
      granted: { scope: 'c', source: 'probe' },
      verdict: 'works',
      calls: 1,
    });
    expect(await ask({ probe }, answerOf(401, { s: 'a' }, { 'x-s': 'c' }))).toEqual({
      granted: undefined,
      verdict: 'rejected',
      calls: 1,
    });
    expect(await ask({})).toEqual({ granted: undefined, verdict: undefined, calls: 0 });
  });

  it('that is a claim is read of text with three parts alone', async () => {
    const sources = [{ from: 'jwt', claim: 'scp' }] as const;
    const ask = (token: string) =>
      readGrantedScopes(resolved({}), sources, secret(token), { client: CLIENT, egress: network().egress, clock });
    expect((await ask(jwt({ scp: 'a' }))).granted).toEqual({ scope: 'a', source: 'jwt' });
    for (const token of [`${jwt({ scp: 'a' })}.x`, 'a.b.c', 'opaque']) expect((await ask(token)).granted).toBeUndefined();
    const introspection = [{ from: 'introspection' }] as const;
    const { egress } = network(answerOf(200, { active: true, scope: 'b' }));
    expect(
      (
        await readGrantedScopes(resolved({ introspection: INTROSPECTION }), introspection, secret('t'), {
          client: CLIENT,
          egress,
          clock,
        })
      ).granted,
    ).toEqual({
      scope: 'b',
      source: 'introspection',
    });
  });
});

describe('a revocation', () => {
  const revoke = (answer: EgressAnswer, alreadyGone?: { code: string }[]) => {
    const spec = {
      url: 'https://api.example/r',
      method: 'POST',
      authentication: 'none',
      bodyFormat: 'form',
      token: 'refresh',
      tokenParameter: 't',
      ends: 'grant',
    } as const;
    const tokens = { refreshToken: secret('r'), accessToken: undefined };
    return revokeGrant(alreadyGone === undefined ? spec : { ...spec, alreadyGone }, [], tokens, {
      client: CLIENT,
      egress: network(answer).egress,
      clock,
    });
  };
  const revoked = { kind: 'revoked', alreadyGone: false };
  const failed = (cause: string) => ({ kind: 'failed', cause, retryAfterSeconds: undefined });

  it.each<[number, unknown, object]>([
    [199, '', failed('no_token_answer')],
    [200, '', revoked],
    [200, 'true', revoked],
    [200, [{ error: 'x' }], revoked],
    [200, {}, revoked],
    [299, '<html>', revoked],
    [200, { ok: false }, failed('unrecognised_error')],
    [200, { error: 'invalid_client' }, failed('invalid_client')],
    [300, '', failed('redirect_refused')],
    [400, { error: 'gone' }, failed('unrecognised_error')],
  ])('answered %i %j', async (status, body, outcome) => {
    expect(await revoke(answerOf(status, body))).toEqual(outcome);
  });

  it('that came too late is told by the rows of the provider', async () => {
    expect(await revoke(answerOf(400, { error: 'gone' }), [{ code: 'gone' }])).toEqual({ kind: 'revoked', alreadyGone: true });
    expect(await revoke(answerOf(400, { error: 'other' }), [{ code: 'gone' }])).toEqual(failed('unrecognised_error'));
  });
});

describe('what is sent', () => {
  it.each([
    [undefined, false],
    [{ kind: 'refresh_token' }, false],
    [{ kind: 'refresh_token', recovery: { algorithm: 'RS256', lifetimeSeconds: 1, sentAs: 'bearer' } }, true],
    [{ kind: 'client_credentials' }, true],
    [{ kind: 'none' }, true],
  ] as const)('by %j is not used up by it: %s', (renewal, expected) => {
    expect(spendsNothing(renewal === undefined ? GENERIC : { ...GENERIC, renewal })).toBe(expected);
  });

  it('is open where it only says what is asked, and a secret else, wherever it stands', () => {
    const open = [
      'grant_type',
      'client_id',
      'client_assertion_type',
      'redirect_uri',
      'scope',
      'token_type_hint',
      'audience',
      'resource',
    ];
    const form = new URLSearchParams([
      ...open.map((name): [string, string] => [name, `open-${name}`]),
      ['code', 'one'],
      ['empty', ''],
    ]).toString();
    const url = `https://api.example/?scope=open&token=two`;
    const headers = { accept: 'open', 'x-key': secret('three'), authorization: secret('Bearer four') };
    expect(secretsSent({ url, headers, body: secret(form) })).toEqual(['three', 'four', 'one', 'two']);
    expect(secretsSent({ url: 'nowhere', headers: {}, body: new TextEncoder().encode('{"code":1,"scope":"x"}') })).toEqual(['1']);
    expect(secretsSent({ url: 'nowhere', headers: {}, body: secret('{broken') })).toEqual(['{broken']);
    expect(
      secretsSent(
        requestTo('https://api.example/', {
          headers: { authorization: secret(`Basic ${btoa('id:a+b%20c')}`) },
          body: secret(''),
        }),
      ),
    ).toEqual([btoa('id:a+b%20c'), 'a+b%20c', 'a b c']);
    const asUser = secretsSent({ url: 'nowhere', headers: { authorization: secret(`Basic ${btoa('key:')}`) } });
    expect(asUser).toEqual([btoa('key:'), 'key', 'key']);
    expect(secretsSent({ url: 'nowhere', headers: { authorization: secret('Basic %%%') } })).toEqual(['%%%']);
  });

  it('and comes back is a secret by its name, as deep as six objects', () => {
    const names = [
      'access_token',
      'clientSecret',
      'PASSWORD',
      'assertion',
      'credential',
      'session_id',
      'cookie',
      'id_jwt',
      'key',
    ];
    for (const name of names) expect(secretsReceived({ [name]: 'x' })).toEqual(['x']);
    for (const name of ['error', 'error_token', 'scope']) expect(secretsReceived({ [name]: 'x' })).toEqual([]);
    expect(secretsReceived({ token: 5, list: [{ token: 'y' }] })).toEqual(['y']);
    const nested = (depth: number): unknown => (depth === 0 ? { token: 'deep' } : { a: nested(depth - 1) });
    expect([6, 7].map((depth) => secretsReceived(nested(depth)))).toEqual([['deep'], []]);
    expect(secretsReceived(null)).toEqual([]);
  });

  it('of an answer is kept as status, type, words and excerpt, each only where there is one', () => {
    const words = (contentType: string | undefined, text: string, codes: string[] = []) =>
      providerWords({ status: 400, contentType, text }, codes, []);
    expect(words(undefined, '')).toStrictEqual({ status: 400 });
    expect(words('Text/HTML ; charset=utf-8', 'no', ['made_up'])).toStrictEqual({
      status: 400,
      contentType: 'text/html',
      words: ['made_up'],
      excerpt: 'no',
    });
    expect(words('nonsense', '')).toStrictEqual({ status: 400 });
  });
});

describe('a description of an issuer', () => {
  const ISSUER = 'https://id.example/a';
  const document = (changes: object = {}) => ({
    issuer: ISSUER,
    authorization_endpoint: 'https://id.example/auth',
    token_endpoint: 'https://id.example/token',
    ...changes,
  });
  const ask = async (given: { issuer?: string; allowLoopback?: boolean }, ...answers: (EgressAnswer | Error)[]) => {
    const { sent, egress } = network(...answers);
    const request = { issuer: ISSUER, sandbox: undefined, allowLoopback: false, ...given };
    const found = await discover(request, egress).catch((error: { code: string; pointer?: string }) => [
      error.code,
      error.pointer,
    ]);
    return { found, asked: sent.map(({ url }) => url) };
  };
  const none = ['invalid_request', '/config/issuer'];
  const later = ['provider_unavailable', undefined];
  const PLACES = [
    'https://id.example/a/.well-known/openid-configuration',
    'https://id.example/.well-known/oauth-authorization-server/a',
  ];

  it('is looked for at both places, and read whole', async () => {
    const full = document({
      revocation_endpoint: 'https://id.example/r',
      introspection_endpoint: 'https://id.example/i',
      authorization_response_iss_parameter_supported: true,
    });
    expect(await ask({}, answerOf(404, ''), answerOf(200, full))).toEqual({
      found: {
        authorizationEndpoint: 'https://id.example/auth',
        tokenEndpoint: 'https://id.example/token',
        revocationEndpoint: 'https://id.example/r',
        introspectionEndpoint: 'https://id.example/i',
        namesItself: true,
      },
      asked: PLACES,
    });
    expect((await ask({}, answerOf(200, document()))).found).toMatchObject({
      revocationEndpoint: undefined,
      introspectionEndpoint: undefined,
      namesItself: false,
    });
  });

  it.each<[string, (EgressAnswer | Error)[], unknown, number]>([
    ['is nowhere', [answerOf(404, ''), answerOf(404, '')], none, 2],
    ['cannot be told now: 429', [answerOf(429, '')], later, 1],
    ['cannot be told now: 500', [answerOf(500, '')], later, 1],
    ['is not at 499', [answerOf(499, ''), answerOf(404, '')], none, 2],
    ['is not at 201', [answerOf(201, document()), answerOf(404, '')], none, 2],
    ['cannot be reached', [new EgressFailure('dns_failed')], later, 1],
    ['may not be reached by its address', [new EgressFailure('address_blocked')], none, 1],
    ['may not be reached by its host', [new EgressFailure('host_not_allowed')], none, 1],
    ['may not be asked', [new EgressFailure('request_refused')], none, 1],
    ['cannot be reached for want of a network', [new Error('made up')], later, 1],
    ['is of another issuer', [answerOf(200, document({ issuer: 'https://evil.example' }))], none, 1],
    ['is none', [answerOf(200, 'x')], none, 1],
    ['names no place for people', [answerOf(200, document({ authorization_endpoint: 5 }))], none, 1],
    ['names no place for tokens', [answerOf(200, document({ token_endpoint: undefined }))], none, 1],
  ])('%s', async (_what, answers, found, asked) => {
    expect(await ask({}, ...answers)).toEqual({ found, asked: PLACES.slice(0, asked) });
  });

  it.each(['nonsense', 'https://id.example/?a=b', 'https://id.example/#a'])('is none of %s', async (issuer) => {
    expect(await ask({ issuer })).toEqual({ found: none, asked: [] });
  });

  it.each<[string, boolean, boolean]>([
    ['https://id.example/t', false, true],
    ['http://id.example/t', true, false],
    ['http://127.0.0.1:9/t', true, true],
    ['http://[::1]/t', true, true],
    ['http://localhost/t', true, true],
    ['http://127.0.0.1:9/t', false, false],
    ['ftp://127.0.0.1/t', true, false],
    ['https://u@id.example/t', false, false],
    ['https://:p@id.example/t', false, false],
    ['https://id.example/t#x', false, false],
    ['https://id.example/{t}', false, false],
    ['nowhere', false, false],
    [`https://id.example/${'t'.repeat(1_024 - 19)}`, false, true],
    [`https://id.example/${'t'.repeat(1_025 - 19)}`, false, false],
  ])('may name %s where this machine may be reached (%s): %s', async (endpoint, allowLoopback, isUsable) => {
    const { found } = await ask({ allowLoopback }, answerOf(200, document({ revocation_endpoint: endpoint })));
    expect((found as { revocationEndpoint: string }).revocationEndpoint).toBe(isUsable ? endpoint : undefined);
  });
});
