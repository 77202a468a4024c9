// Cloudflare (account API token): a second token is made with the policies of the old one, so that both work until the old one is revoked.
import type { KeyConnector } from '../connector.ts';

const DOCS = 'https://developers.cloudflare.com/fundamentals/api/how-to/create-via-api, read 2026-11';
const SDK = 'cloudflare/cloudflare-go accounts/token.go';

export const connector: KeyConnector = {
  id: 'cloudflare-account-token',
  title: 'Cloudflare (account API token)',
  kind: 'key',
  parameters: [{ name: 'account_id', title: 'Account id', shape: 'label' }],
  key: {
    credential: 'api_key',
    strategy: 'overlap',
    admin: 'either',
    hosts: ['api.cloudflare.com'],
    settlesWithinSeconds: 30,
    calls: {
      authentication: { by: 'headers', headers: { authorization: 'Bearer {admin.key}' } },
      inspect: {
        method: 'GET',
        url: 'https://api.cloudflare.com/client/v4/accounts/{parameters.account_id}/tokens/{old.key_id}',
        refusedWhen: [{ at: '/success', is: 'false' }],
        takes: { policies: '/result/policies', 'condition?': '/result/condition' },
      },
      list: {
        method: 'GET',
        url: 'https://api.cloudflare.com/client/v4/accounts/{parameters.account_id}/tokens?per_page=50',
        refusedWhen: [{ at: '/success', is: 'false' }],
        items: '/result',
        id: '/id',
        name: '/name',
        pages: { by: 'number', parameter: 'page', first: 1, size: 50 },
      },
      mint: {
        method: 'POST',
        url: 'https://api.cloudflare.com/client/v4/accounts/{parameters.account_id}/tokens',
        json: { name: '{name}', policies: '{copied.policies}', condition: '{copied.condition}' },
        refusedWhen: [{ at: '/success', is: 'false' }],
        takes: { key: '/result/value', key_id: '/result/id' },
        endsAt: '/result/expires_on',
      },
      test: {
        method: 'GET',
        url: 'https://api.cloudflare.com/client/v4/accounts/{parameters.account_id}/tokens/verify',
        authentication: { by: 'headers', headers: { authorization: 'Bearer {value.key}' } },
        worksWhen: { at: '/result/status', is: 'active' },
      },
      revoke: {
        method: 'DELETE',
        url: 'https://api.cloudflare.com/client/v4/accounts/{parameters.account_id}/tokens/{value.key_id}',
        refusedWhen: [{ at: '/success', is: 'false' }],
      },
    },
  },
  manualSteps: [
    'Put the token with its id as key_id. The call tokens/verify shows the id.',
    'The admin credential is a token that may edit API tokens of the account; it is made in the dashboard. Limit it by client addresses.',
    'A new token has the policies and address limits of the old one, and no end date.',
  ],
  facts: {
    'key.calls.mint': {
      sureness: 'documented',
      source: `${DOCS}: name, policies and condition; the example sends policies with their ids, as they are read`,
    },
    'key.calls.inspect': { sureness: 'seen', source: SDK },
    'key.calls.list': { sureness: 'seen', source: `${SDK}: page and per_page` },
    'key.calls.revoke': { sureness: 'seen', source: SDK },
    'key.calls.test': {
      sureness: 'seen',
      source:
        'trufflesecurity/trufflehog pkg/detectors/cloudflareapitoken: tokens/verify, result.status is active, disabled or expired',
    },
    'key.settlesWithinSeconds': {
      sureness: 'inferred',
      source: 'tokens are distributed to an edge network; half a minute is assumed',
    },
    'key.keysMaxCount': { sureness: 'unknown', source: 'the cap of tokens is not published in the pages read' },
    'key.rateBudget': {
      sureness: 'known',
      source:
        'https://developers.cloudflare.com/fundamentals/api/reference/limits/: 1200 in 5 minutes per user, shared with all other calls',
    },
  },
};
