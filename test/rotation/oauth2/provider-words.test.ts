import { describe, expect, it } from 'vitest';
import { clientRequest } from '../../../rotation/oauth2/client-request.ts';
import { secretsReceived, secretsSent } from '../../../rotation/oauth2/provider-words.ts';
import { refreshGrant } from '../../../rotation/oauth2/refresh.ts';
import { SecretValue } from '../../../src/base/secret-value.ts';
import { answerOf, GENERIC, realClock } from '../kit.ts';

const client = {
  clientId: 'client-one',
  clientSecret: SecretValue.fromText('s:e/c+r et-not-a-real-secret'),
  allowLoopback: false,
};
const call = {
  url: 'https://idp.example/token',
  method: 'POST',
  hosts: [],
  bodyFormat: 'form',
  fields: {
    grant_type: 'refresh_token',
    refresh_token: 'rt-not-a-real-secret',
    scope: 'a b',
    anything_new: 'n-not-a-real-secret',
  },
} as const;

describe('the secrets of a request', () => {
  it.each(['client_secret_basic', 'client_secret_post', 'client_secret_as_user'] as const)(
    'are every value that is not known to be open, by whatever way the client proves itself: %s',
    async (authentication) => {
      for (const bodyFormat of ['form', 'json'] as const) {
        const secrets = secretsSent(await clientRequest({ ...call, bodyFormat, authentication }, client, realClock));
        expect(secrets).toEqual(
          expect.arrayContaining(['rt-not-a-real-secret', 'n-not-a-real-secret', 's:e/c+r et-not-a-real-secret']),
        );
        for (const open of ['refresh_token', 'a b', 'client-one']) expect(secrets).not.toContain(open);
      }
    },
  );

  it('are bearer tokens, and values in the URL', () => {
    const headers = { authorization: SecretValue.fromText('Bearer at-not-a-real-secret'), accept: 'application/json' };
    expect(secretsSent({ url: 'https://idp.example/x?token=url-not-a-real-secret&client_id=c', headers })).toEqual([
      'at-not-a-real-secret',
      'url-not-a-real-secret',
    ]);
  });

  it('are in an answer what stands under a name of secrets, however deep', () => {
    const answer = {
      data: { accessToken: 'one', list: [{ session_id: 'two' }] },
      error: 'three',
      error_key: 'four',
      message: 'five',
    };
    expect(secretsReceived(answer)).toEqual(['one', 'two']);
  });
});

describe('what a provider said', () => {
  const grant = { ...client, refreshToken: SecretValue.fromText('rtnotarealsecretatall') };
  const answered = (status: number, body: unknown, headers = {}) =>
    refreshGrant(GENERIC, grant, { send: async () => answerOf(status, body, headers) }, realClock);

  it('goes with a failure: status, type, words and an excerpt, and nothing that was sent or came', async () => {
    const outcome = await answered(
      400,
      {
        error: 'licence_expired',
        error_description: 'Token rtnotarealsecretatall is not licensed',
        new_token: 'freshtokenofletters',
      },
      { 'content-type': 'application/json; charset=utf-8' },
    );
    expect(outcome).toMatchObject({
      kind: 'refused',
      said: {
        status: 400,
        contentType: 'application/json',
        words: ['licence_expired'],
        excerpt: 'error licence_expired error_description Token … is not licensed new_token …',
      },
    });
  });

  it('of an answer with tokens is kept nowhere', async () => {
    expect(await answered(200, { access_token: 'at' })).not.toHaveProperty('said');
  });

  it('of a page that came in its place is its text', async () => {
    expect(await answered(200, '<h1>Down for maintenance</h1>', { 'content-type': 'text/html' })).toMatchObject({
      kind: 'answered_oddly',
      said: { status: 200, contentType: 'text/html', excerpt: 'Down for maintenance' },
    });
  });
});
