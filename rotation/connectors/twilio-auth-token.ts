// The Auth Token of a Twilio account. A secondary token works beside the primary one until it is promoted, and promotion ends the primary one
// at once; no call shows which token is which, so a promotion that cannot be repeated safely is left to a person.
import type { KeyConnector } from '../connector.ts';

export const connector: KeyConnector = {
  id: 'twilio-auth-token',
  title: 'Twilio (Auth Token of an account)',
  kind: 'key',
  key: { credential: 'api_key', strategy: 'manual', admin: 'self', hosts: [] },
  manualSteps: [
    'In the Twilio console open Account > API keys & tokens > Auth Tokens, and create a secondary token.',
    'Put the secondary token as the new value; both tokens work.',
    'When nothing uses the old token any more, choose Promote: the secondary token becomes the primary one, and the old one ends at once.',
    'Signatures of incoming webhooks are made with the primary token: accept both tokens until the promotion.',
  ],
  facts: {
    'key.strategy': {
      sureness: 'documented',
      source:
        'twilio/twilio-oai spec/json/twilio_accounts_v1.json, read 2026-11: POST AuthTokens/Secondary and AuthTokens/Promote; neither is idempotent, and no call tells the two tokens apart',
    },
  },
};
