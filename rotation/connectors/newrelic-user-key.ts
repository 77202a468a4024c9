// New Relic user keys, by GraphQL: an answer with status 200 may still be a refusal. The original keys of an account cannot be managed.
import type { KeyConnector } from '../connector.ts';

const DOCS =
  'newrelic/docs-website src/content/docs/apis/nerdgraph/examples/use-nerdgraph-manage-license-keys-user-keys.mdx, read 2026-11';

export const connector: KeyConnector = {
  id: 'newrelic-user-key',
  title: 'New Relic (user key)',
  kind: 'key',
  parameters: [
    {
      name: 'host',
      title: 'The API host of your region',
      shape: 'host',
      default: 'api.newrelic.com',
      values: ['api.newrelic.com', 'api.eu.newrelic.com'],
    },
    { name: 'account_id', title: 'Account id', shape: 'label' },
    { name: 'user_id', title: 'Id of the user whose key it is', shape: 'label' },
  ],
  key: {
    credential: 'api_key',
    strategy: 'overlap',
    admin: 'either',
    hosts: ['{host}'],
    keysMaxCount: 1_000,
    settlesWithinSeconds: 60,
    calls: {
      authentication: { by: 'headers', headers: { 'api-key': '{admin.key}' } },
      list: {
        method: 'POST',
        url: 'https://{parameters.host}/graphql',
        json: {
          query:
            'query { actor { apiAccess { keySearch(query: { types: [USER], scope: { accountIds: [{parameters.account_id}], userIds: [{parameters.user_id}] } }) { keys { id name } } } } }',
        },
        refusedWhen: [{ at: '/errors', is: 'present' }],
        items: '/data/actor/apiAccess/keySearch/keys',
        id: '/id',
        name: '/name',
      },
      mint: {
        method: 'POST',
        url: 'https://{parameters.host}/graphql',
        json: {
          query:
            'mutation { apiAccessCreateKeys(keys: { user: [ { accountId: {parameters.account_id}, userId: {parameters.user_id}, name: "{name}" } ] }) { createdKeys { id key } errors { message } } }',
        },
        refusedWhen: [
          { at: '/errors', is: 'present' },
          { at: '/data/apiAccessCreateKeys/errors', is: 'present' },
        ],
        takes: { key: '/data/apiAccessCreateKeys/createdKeys/0/key', key_id: '/data/apiAccessCreateKeys/createdKeys/0/id' },
      },
      test: {
        method: 'POST',
        url: 'https://{parameters.host}/graphql',
        authentication: { by: 'headers', headers: { 'api-key': '{value.key}' } },
        json: { query: 'query { actor { user { id } } }' },
        refusedWhen: [{ at: '/errors', is: 'present' }],
        worksWhen: { at: '/data/actor/user/id' },
      },
      revoke: {
        method: 'POST',
        url: 'https://{parameters.host}/graphql',
        json: {
          query:
            'mutation ($ids: [ID]) { apiAccessDeleteKeys(keys: { userKeyIds: $ids }) { deletedKeys { id } errors { message type } } }',
          variables: { ids: ['{value.key_id}'] },
        },
        refusedWhen: [
          { at: '/errors', is: 'present' },
          { at: '/data/apiAccessDeleteKeys/errors', is: 'present' },
        ],
        goneBy: [{ status: 200, text: 'NOT_FOUND' }],
      },
    },
  },
  manualSteps: [
    'Put the key with its id as key_id. The API keys page of New Relic shows the id.',
    'The original key of an account cannot be managed by the API: make a second key first, and put that.',
    'A user key ends with its user. Its rights are those of the user.',
  ],
  facts: {
    'key.calls.mint': { sureness: 'documented', source: `${DOCS}: createdKeys and errors are beside each other` },
    'key.calls.inspect': {
      sureness: 'documented',
      source: `${DOCS}: a user key has the rights of its user, so nothing is copied`,
    },
    'key.calls.list': {
      sureness: 'documented',
      source: `${DOCS}: keySearch; further pages are not read, and 1,000 keys of one user are not expected`,
    },
    'key.calls.revoke': { sureness: 'documented', source: `${DOCS}: by id; NOT_FOUND for a key that does not exist` },
    'key.calls.test': {
      sureness: 'known',
      source:
        'https://docs.newrelic.com/docs/apis/nerdgraph/get-started/introduction-new-relic-nerdgraph/: 401 for an unknown key',
    },
    'key.keysMaxCount': { sureness: 'documented', source: `${DOCS}: up to 1,000 keys of each type` },
    'key.settlesWithinSeconds': { sureness: 'inferred', source: 'no delay is documented; a minute is assumed' },
    'key.rateBudget': {
      sureness: 'known',
      source: 'https://docs.newrelic.com/docs/apis/nerdgraph/: 25 concurrent requests of one user',
    },
  },
};
