// OpenAI project service accounts: a new account with its key replaces the old account, whose deletion ends its keys.
// Keys of a service account cannot be deleted one by one.
import type { KeyConnector } from '../connector.ts';

const SPEC = 'openai/openai-openapi openapi.yaml, read 2026-11';

export const connector: KeyConnector = {
  id: 'openai-project-service-account',
  title: 'OpenAI (key of a project service account)',
  kind: 'key',
  parameters: [{ name: 'project_id', title: 'Project id (proj_...)', shape: 'label' }],
  key: {
    credential: 'api_key',
    strategy: 'overlap',
    admin: 'credential',
    hosts: ['api.openai.com'],
    settlesWithinSeconds: 60,
    calls: {
      authentication: { by: 'headers', headers: { authorization: 'Bearer {admin.key}' } },
      list: {
        method: 'GET',
        url: 'https://api.openai.com/v1/organization/projects/{parameters.project_id}/service_accounts?limit=100',
        items: '/data',
        id: '/id',
        name: '/name',
        pages: { by: 'cursor', parameter: 'after', at: '/last_id' },
      },
      mint: {
        method: 'POST',
        url: 'https://api.openai.com/v1/organization/projects/{parameters.project_id}/service_accounts',
        json: { name: '{name}' },
        takes: { key: '/api_key/value', key_id: '/id' },
      },
      test: {
        method: 'GET',
        url: 'https://api.openai.com/v1/models',
        authentication: { by: 'headers', headers: { authorization: 'Bearer {value.key}' } },
        // An address outside of the organization's allowlist is refused with 401, too.
        rejectedBy: [{ status: 401, text: 'invalid_api_key' }],
        worksWhen: { at: '/data' },
      },
      revoke: {
        method: 'DELETE',
        url: 'https://api.openai.com/v1/organization/projects/{parameters.project_id}/service_accounts/{value.key_id}',
      },
    },
  },
  manualSteps: [
    'Put the key with the id of its service account as key_id. Give the account to nothing else: its deletion ends all its keys.',
    'The admin credential is an admin key (sk-admin-...).',
    'A new service account has the role member. If the old one is an owner, change the role in the project settings.',
  ],
  facts: {
    'key.calls.mint': {
      sureness: 'documented',
      source: `${SPEC}: api_key.value is in the answer unless create_service_account_only is set`,
    },
    'key.calls.inspect': {
      sureness: 'documented',
      source: `${SPEC}: a new account takes no role or scopes, so nothing is copied`,
    },
    'key.calls.list': { sureness: 'documented', source: `${SPEC}: limit, after, last_id` },
    'key.calls.revoke': { sureness: 'documented', source: `${SPEC}: 200; deleting one key of a service account is an error` },
    'key.calls.test': {
      sureness: 'seen',
      source:
        'trufflesecurity/trufflehog pkg/detectors/openai: GET /v1/models; a restricted key may get 403 and works. Code invalid_api_key: https://platform.openai.com/docs/guides/error-codes (known)',
    },
    'key.settlesWithinSeconds': { sureness: 'inferred', source: 'no delay is documented; a minute is assumed' },
    'key.keysMaxCount': { sureness: 'unknown', source: 'no cap of service accounts is published in the pages read' },
    'key.rateBudget': { sureness: 'unknown', source: 'no figure for these calls is published' },
  },
};
