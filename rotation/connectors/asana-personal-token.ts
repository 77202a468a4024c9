// Asana personal access tokens: several may exist, and each is made by its user.
import type { KeyConnector } from '../connector.ts';

export const connector: KeyConnector = {
  id: 'asana-personal-token',
  title: 'Asana (personal access token)',
  kind: 'key',
  key: { credential: 'api_key', strategy: 'manual', admin: 'self', hosts: [] },
  manualSteps: [
    'Open app.asana.com/0/my-apps as the user of the token, and create a new token.',
    'Put the new token, and wait until nothing uses the old one.',
    'Remove the old token on the same page.',
  ],
  facts: {
    'key.strategy': {
      sureness: 'known',
      source: 'https://developers.asana.com/docs/personal-access-token: no call makes a token',
    },
  },
};
