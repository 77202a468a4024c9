// ClickUp personal tokens: a user has one, and a new one replaces it at once.
import type { KeyConnector } from '../connector.ts';

export const connector: KeyConnector = {
  id: 'clickup-personal-token',
  title: 'ClickUp (personal token)',
  kind: 'key',
  key: { credential: 'api_key', strategy: 'manual', admin: 'self', hosts: [] },
  manualSteps: [
    'Choose a moment at which nothing runs: the old token stops working at once.',
    'In ClickUp open Settings > Apps > API Token > Regenerate, and put the new token in the same minute.',
  ],
  facts: {
    'key.strategy': {
      sureness: 'inferred',
      source:
        'https://developer.clickup.com/docs/authentication: one token, without end; that regenerating refuses the old one is inferred',
    },
  },
};
