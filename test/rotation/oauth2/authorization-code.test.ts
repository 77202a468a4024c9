// The URL a person is sent to and what their browser brings back: every parameter, every refusal, every bound.
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { ConsentSpec } from '../../../rotation/connector.ts';
import { authorizationUrl, authorizeEndpoint, readCallback } from '../../../rotation/oauth2/authorization-code.ts';
import type { ResolvedConnector } from '../../../rotation/oauth2/settings.ts';
import { GENERIC } from '../kit.ts';

/** RFC 7636 section 4.2. */
const CHALLENGE = createHash('sha256').update('v'.repeat(43)).digest('base64url');
const ENDPOINT = 'https://id.example/authorize?own=1';
const REQUEST = {
  clientId: 'client',
  redirectUri: 'https://vault.example/back',
  state: 'state',
  codeVerifier: 'v'.repeat(43),
  nonce: 'nonce',
  scopes: ['a', 'b'],
};

function resolved(consent: Partial<ConsentSpec> | undefined, scopeSeparator: ' ' | ',' = ' '): ResolvedConnector {
  return {
    id: 'made-up',
    oauth2: { ...GENERIC, scopeSeparator },
    places: [],
    movedPlaces: [],
    consent: consent === undefined ? undefined : { authorizeEndpoint: ENDPOINT, pkce: 'refused', ...consent },
    introspection: undefined,
    revocation: undefined,
    probe: undefined,
    lifetimes: {},
    hosts: [],
  };
}

async function parametersOf(
  consent: Partial<ConsentSpec>,
  scopes: readonly string[] = REQUEST.scopes,
  separator: ' ' | ',' = ' ',
) {
  const url = new URL(await authorizationUrl(resolved(consent, separator), { ...REQUEST, scopes }, false));
  expect(url.origin + url.pathname).toBe('https://id.example/authorize');
  return Object.fromEntries(url.searchParams);
}

const PLAIN = {
  own: '1',
  response_type: 'code',
  client_id: 'client',
  redirect_uri: 'https://vault.example/back',
  state: 'state',
};

describe('the URL', () => {
  it.each<[string, Partial<ConsentSpec>, readonly string[], ' ' | ',', object]>([
    ['as it is by default', {}, ['a', 'b'], ' ', { ...PLAIN, scope: 'a b' }],
    ['with the provider’s separator', {}, ['a', 'b'], ',', { ...PLAIN, scope: 'a,b' }],
    ['without scopes where none is asked for', {}, [], ' ', PLAIN],
    ['with scopes under another name', { scopeParameter: 'user_scope' }, ['a'], ' ', { ...PLAIN, user_scope: 'a' }],
    ['without scopes where the provider fixes them', { scopeParameter: 'none' }, ['a'], ' ', PLAIN],
    ['with a nonce where an identity is wanted', { openid: true }, [], ' ', { ...PLAIN, nonce: 'nonce' }],
    ['with a challenge', { pkce: 'S256' }, [], ' ', { ...PLAIN, code_challenge: CHALLENGE, code_challenge_method: 'S256' }],
    [
      'with parameters of the connector, which replace none of the protocol',
      { extraParameters: { prompt: 'consent', state: 'other' } },
      [],
      ' ',
      { ...PLAIN, prompt: 'consent' },
    ],
  ])('is %s', async (_what, consent, scopes, separator, expected) => {
    expect(await parametersOf(consent, scopes, separator)).toEqual(expected);
  });

  it('leaves out what the oldest servers do not know', async () => {
    expect(await parametersOf({ sendsResponseType: false }, [])).not.toHaveProperty('response_type');
    expect(await parametersOf({ sendsResponseType: true }, [])).toHaveProperty('response_type');
  });

  it('is none where no person can connect', async () => {
    await expect(authorizationUrl(resolved(undefined), REQUEST, false)).rejects.toMatchObject({ pointer: '/connector' });
  });
});

describe('where a browser may be sent', () => {
  const to =
    (authorizeEndpoint_: string, allowLoopback = false) =>
    () =>
      authorizeEndpoint({ authorizeEndpoint: authorizeEndpoint_, pkce: 'S256' }, allowLoopback).href;
  const refusal = expect.objectContaining({ code: 'invalid_request', pointer: '/config/authorization_endpoint' });

  it('is an https URL, and on this machine alone http where that is allowed', () => {
    expect(to('https://id.example/a')()).toBe('https://id.example/a');
    for (const host of ['127.0.0.1', '[::1]', 'localhost']) {
      expect(to(`http://${host}:8/a`, true)()).toBe(`http://${host}:8/a`);
      expect(to(`https://${host}/a`)()).toBe(`https://${host}/a`);
      expect(to(`http://${host}:8/a`)).toThrow(refusal);
      expect(to(`ftp://${host}/a`, true)).toThrow(refusal);
    }
    expect(to('http://id.example/a', true)).toThrow(refusal);
  });

  it.each(['', 'https://{slug}.example/a', 'nowhere', 'javascript:alert(1)'])('is not %s', (text) => {
    expect(to(text, true)).toThrow(refusal);
  });
});

describe('what a browser brings back', () => {
  const ISSUER = 'https://id.example';
  const read = (fields: Record<string, string>, issuer?: string, required = false) =>
    readCallback(fields, 'client', issuer, required);
  const foreign = (cause: string) => ({ kind: 'foreign', cause });

  it('is a code, from whoever must have answered', () => {
    const code = { kind: 'code', code: 'c' };
    expect(read({ code: 'c', state: 's' })).toEqual(code);
    expect(read({ code: 'c', iss: ISSUER })).toEqual(code);
    expect(read({ code: 'c' }, ISSUER)).toEqual(code);
    expect(read({ code: 'c', iss: ISSUER }, ISSUER, true)).toEqual(code);
  });

  it('is foreign where somebody else answered, or nobody says who', () => {
    expect(read({ code: 'c', iss: 'https://evil.example' }, ISSUER)).toEqual(foreign('issuer_wrong'));
    expect(read({ code: 'c', iss: 'https://evil.example' }, ISSUER, true)).toEqual(foreign('issuer_wrong'));
    expect(read({ code: 'c' }, ISSUER, true)).toEqual(foreign('issuer_missing'));
    expect(read({ error: 'access_denied' }, ISSUER, true)).toEqual(foreign('issuer_missing'));
  });

  it('is no answer without a usable code', () => {
    for (const fields of [{}, { code: '' }, { code: 'a b' }, { code: 'a\u007f' }, { response: 'jwt' }])
      expect(read(fields as Record<string, string>)).toEqual(foreign('not_an_answer'));
    expect(read({ code: 'c'.repeat(8_192) })).toMatchObject({ kind: 'code' });
    expect(read({ code: 'c'.repeat(8_193) })).toEqual(foreign('not_an_answer'));
  });

  it.each(['access_denied', 'user_denied', 'user_cancelled', 'consent_denied'])('is the person’s no: %s', (error) => {
    expect(read({ error })).toEqual({ kind: 'refused', declined: true, cause: 'declined' });
  });

  it.each([
    'invalid_request',
    'unauthorized_client',
    'unsupported_response_type',
    'invalid_scope',
    'server_error',
    'temporarily_unavailable',
    'interaction_required',
    'login_required',
    'account_selection_required',
    'consent_required',
  ])('is the provider’s no: %s', (error) => {
    expect(read({ error })).toEqual({ kind: 'refused', declined: false, cause: error });
  });

  it('is a no in words that are not repeated', () => {
    expect(read({ error: 'not-a-real-secret' })).toEqual({ kind: 'refused', declined: false, cause: 'refused_by_provider' });
  });
});
