// Any provider that follows RFC 6749 section 6. It knows nothing by itself: every field is the credential's to set,
// and what is not set takes the value that can lose least.
import type { Connector } from '../connector.ts';

export const connector: Connector = {
  id: 'generic-oauth2',
  title: 'OAuth 2 (any provider)',
  kind: 'oauth2',
  oauth2: {
    tokenEndpoint: '',
    hosts: [],
    clientAuthentication: 'client_secret_basic',
    bodyFormat: 'form',
    refreshTokenRotates: 'sometimes',
    lostAnswer: { kind: 'unsafe' },
    scopeSeparator: ' ',
  },
  adjustable: [
    'tokenEndpoint',
    'clientAuthentication',
    'bodyFormat',
    'refreshTokenRotates',
    'lostAnswer',
    'accessTokenTtlSeconds',
    'extraParameters',
    'scopeSeparator',
    'assertionAudience',
  ],
  consent: { authorizeEndpoint: '', pkce: 'S256' },
  manualSteps: [
    'Ask the person who connected the account to connect it again at the provider.',
    'Put the new access token and refresh token into the same credential; its id and history stay.',
  ],
  facts: {
    'oauth2.clientAuthentication': {
      sureness: 'documented',
      source: 'RFC 6749 section 2.3.1: a server must support Basic for clients with a password',
    },
    'oauth2.lostAnswer': { sureness: 'unknown', source: 'differs by provider; unsafe loses least' },
  },
};
