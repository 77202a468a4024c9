// PropelAuth: an API key that your product issued to one of its users or organizations. A backend integration key manages them and
// answers whether a key is valid. Keys have no name that a list returns for certain, so a key whose answer was lost cannot be found.
import type { KeyConnector } from '../connector.ts';

const SDK = 'PropelAuth/node-apis src/api/endUserApiKeys.ts and src/http.ts, read 2026-11';
const ORIGIN = { 'x-propelauth-url': '{parameters.auth_host}' };

export const connector: KeyConnector = {
  id: 'propelauth-end-user-key',
  title: 'PropelAuth (end-user API key)',
  kind: 'key',
  parameters: [{ name: 'auth_host', title: 'The host of your auth URL', shape: 'host' }],
  key: {
    credential: 'api_key',
    strategy: 'overlap',
    admin: 'credential',
    hosts: ['propelauth-api.com'],
    calls: {
      authentication: { by: 'headers', headers: { authorization: 'Bearer {admin.key}' } },
      inspect: {
        method: 'GET',
        url: 'https://propelauth-api.com/api/backend/v1/end_user_api_keys/{old.key_id}',
        headers: ORIGIN,
        takes: { 'user_id?': '/user_id', 'org_id?': '/org_id', 'metadata?': '/metadata' },
      },
      mint: {
        method: 'POST',
        url: 'https://propelauth-api.com/api/backend/v1/end_user_api_keys',
        headers: ORIGIN,
        json: { user_id: '{copied.user_id}', org_id: '{copied.org_id}', metadata: '{copied.metadata}' },
        takes: { key: '/api_key_token', key_id: '/api_key_id' },
      },
      test: {
        method: 'POST',
        url: 'https://propelauth-api.com/api/backend/v1/end_user_api_keys/validate',
        headers: ORIGIN,
        authentication: { by: 'headers', headers: { authorization: 'Bearer {admin.key}' } },
        json: { api_key_token: '{value.key}' },
        rejectedBy: [{ status: 400 }],
        worksWhen: { at: ['/user', '/org', '/user_in_org'] },
      },
      revoke: {
        method: 'DELETE',
        url: 'https://propelauth-api.com/api/backend/v1/end_user_api_keys/{value.key_id}',
        headers: ORIGIN,
      },
    },
  },
  manualSteps: [
    'Put the key with its id as key_id. The admin credential is of kind api_key: a backend integration key.',
    'A new key has the owner and the metadata of the old one, and no end date.',
    'After a rotation that was interrupted, look in PropelAuth for a key of the same owner that nothing uses, and delete it.',
  ],
  facts: {
    'key.calls.mint': { sureness: 'seen', source: `${SDK}: api_key_id and api_key_token` },
    'key.calls.inspect': { sureness: 'seen', source: `${SDK}: user_id, org_id and metadata` },
    'key.calls.list': { sureness: 'unknown', source: 'whether a list returns the display name of a key is not known' },
    'key.calls.revoke': { sureness: 'seen', source: `${SDK}: 404 for a key that does not exist` },
    'key.calls.test': { sureness: 'seen', source: `${SDK}: 400 for an invalid key, 401 for the integration key` },
    'key.keysMaxCount': { sureness: 'unknown', source: 'no cap of keys is published in the pages read' },
    'key.rateBudget': { sureness: 'unknown', source: 'no figure for these calls is published' },
  },
};
