// The sandbox provider of rotation/sandbox/ on this machine: the only connector whose credentials may reach a loopback address,
// and only where the operator allows it. It must never be used for a real provider.
import type { OAuthConnector } from '../connector.ts';

export const connector: OAuthConnector = {
  id: 'local-sandbox',
  title: 'Sandbox on this machine',
  kind: 'oauth2',
  oauth2: {
    tokenEndpoint: 'http://127.0.0.1:8421/token',
    hosts: ['127.0.0.1:8421'],
    clientAuthentication: 'client_secret_basic',
    bodyFormat: 'form',
    refreshTokenRotates: 'always',
    lostAnswer: { kind: 'unsafe' },
    scopeSeparator: ' ',
  },
  adjustable: ['tokenEndpoint', 'clientAuthentication', 'bodyFormat', 'refreshTokenRotates', 'lostAnswer'],
  consent: { authorizeEndpoint: 'http://127.0.0.1:8421/auth', pkce: 'S256' },
  manualSteps: ['Start the sandbox again and put the grant that it prints into the same credential.'],
  facts: {
    oauth2: { sureness: 'documented', source: 'rotation/sandbox/provider-configuration.ts' },
    consent: { sureness: 'documented', source: 'rotation/sandbox/provider-configuration.ts: a challenge is required' },
    lifetimes: {
      sureness: 'documented',
      source: 'rotation/sandbox/provider-configuration.ts: fourteen days, or as the caller says',
    },
    revocation: { sureness: 'documented', source: 'RFC 7009 at /token/revocation: set revocation_endpoint to use it' },
    probe: { sureness: 'documented', source: 'none is declared: the port is the caller’s' },
  },
};
