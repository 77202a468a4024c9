// Stripe secret keys: rolled in the Dashboard. A key API exists as a private preview only, so it is not used.
import type { KeyConnector } from '../connector.ts';

export const connector: KeyConnector = {
  id: 'stripe-secret-key',
  title: 'Stripe (secret or restricted key)',
  kind: 'key',
  key: { credential: 'api_key', strategy: 'manual', admin: 'self', hosts: [] },
  manualSteps: [
    'In the Dashboard open Developers > API keys, the menu of the key, Roll key.',
    'Choose when the old key ends: up to seven days later.',
    'Put the new key at once: a live key is shown once.',
    'Check in the logs of the Dashboard that nothing uses the old key before it ends.',
  ],
  facts: {
    'key.strategy': {
      sureness: 'seen',
      source:
        'https://docs.stripe.com/keys: Roll key with a chosen end of the old one; stripe/stripe-go branch private-preview: the key API',
    },
  },
};
