// Intercom private apps: their access token is regenerated in the Developer Hub only.
import type { KeyConnector } from '../connector.ts';

export const connector: KeyConnector = {
  id: 'intercom-access-token',
  title: 'Intercom (access token of a private app)',
  kind: 'key',
  key: { credential: 'api_key', strategy: 'manual', admin: 'self', hosts: [] },
  manualSteps: [
    'Choose a moment at which nothing runs: expect that the old token stops working at once.',
    'In the Developer Hub open the app, Configure > Authentication, and regenerate the token.',
    'Put the new token in the same minute.',
  ],
  facts: {
    'key.strategy': {
      sureness: 'known',
      source:
        'https://developers.intercom.com/docs/build-an-integration/learn-more/authentication/: no call; whether both tokens work for a time is unknown',
    },
  },
};
