// HubSpot legacy private apps: their tokens are rotated in the account only, by a super admin.
import type { KeyConnector } from '../connector.ts';

export const connector: KeyConnector = {
  id: 'hubspot-private-app',
  title: 'HubSpot (private app token)',
  kind: 'key',
  key: { credential: 'api_key', strategy: 'manual', admin: 'self', hosts: [] },
  manualSteps: [
    'In HubSpot open Development > Legacy apps, the app, Auth > Rotate.',
    'Choose that the old token expires later: it works for seven more days.',
    'Put the new token, check that it is used, then choose to expire the old one now.',
  ],
  facts: {
    'key.strategy': {
      sureness: 'seen',
      source:
        'https://developers.hubspot.com/docs/apps/legacy-apps/private-apps/overview: no call rotates a token; new legacy private apps end on 2026-10-26',
    },
  },
};
