// OpenAI admin keys, which manage an organization. A key can make its successor.
import type { KeyConnector } from '../connector.ts';

const SPEC = 'openai/openai-openapi openapi.yaml, read 2026-11';

export const connector: KeyConnector = {
  id: 'openai-admin-key',
  title: 'OpenAI (admin key)',
  kind: 'key',
  key: {
    credential: 'api_key',
    strategy: 'overlap',
    admin: 'either',
    hosts: ['api.openai.com'],
    settlesWithinSeconds: 60,
    calls: {
      authentication: { by: 'headers', headers: { authorization: 'Bearer {admin.key}' } },
      list: {
        method: 'GET',
        url: 'https://api.openai.com/v1/organization/admin_api_keys?limit=100',
        items: '/data',
        id: '/id',
        name: '/name',
        pages: { by: 'cursor', parameter: 'after', at: '/last_id' },
      },
      mint: {
        method: 'POST',
        url: 'https://api.openai.com/v1/organization/admin_api_keys',
        json: { name: '{name}' },
        takes: { key: '/value', key_id: '/id' },
        endsAt: '/expires_at',
      },
      test: {
        method: 'GET',
        url: 'https://api.openai.com/v1/organization/admin_api_keys?limit=1',
        authentication: { by: 'headers', headers: { authorization: 'Bearer {value.key}' } },
        // An address outside of the organization's allowlist is refused with 401, too.
        rejectedBy: [{ status: 401, text: 'invalid_api_key' }],
        worksWhen: { at: '/data' },
      },
      revoke: { method: 'DELETE', url: 'https://api.openai.com/v1/organization/admin_api_keys/{value.key_id}' },
    },
  },
  manualSteps: ['Put the key with its id as key_id. The list of admin keys shows the id.'],
  facts: {
    'key.calls.mint': { sureness: 'documented', source: `${SPEC}: value is in the answer once; expires_at in seconds, or null` },
    'key.calls.inspect': { sureness: 'documented', source: `${SPEC}: an admin key has no scopes, so nothing is copied` },
    'key.calls.list': { sureness: 'documented', source: `${SPEC}: limit, after, last_id` },
    'key.calls.revoke': { sureness: 'documented', source: `${SPEC}: 200` },
    'key.calls.test': {
      sureness: 'seen',
      source:
        'trufflesecurity/trufflehog pkg/detectors/openaiadmin. Code invalid_api_key: https://platform.openai.com/docs/guides/error-codes (known)',
    },
    'key.settlesWithinSeconds': { sureness: 'inferred', source: 'no delay is documented; a minute is assumed' },
    'key.keysMaxCount': { sureness: 'unknown', source: 'no cap of admin keys is published in the pages read' },
    'key.rateBudget': { sureness: 'unknown', source: 'no figure for these calls is published' },
  },
};
