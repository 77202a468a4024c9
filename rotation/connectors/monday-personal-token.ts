// monday.com personal API tokens: a user has one, and a new one replaces it at once.
import type { KeyConnector } from '../connector.ts';

export const connector: KeyConnector = {
  id: 'monday-personal-token',
  title: 'monday.com (personal API token)',
  kind: 'key',
  key: { credential: 'api_key', strategy: 'manual', admin: 'self', hosts: [] },
  manualSteps: [
    'Choose a moment at which nothing runs: the old token stops working at once, for every use of this user.',
    'In monday.com open your avatar > Developers > API token > Regenerate, and put the new token in the same minute.',
  ],
  facts: {
    'key.strategy': {
      sureness: 'known',
      source:
        'https://developer.monday.com/api-reference/docs/authentication: one token for each user; regenerating refuses the old one',
    },
  },
};
