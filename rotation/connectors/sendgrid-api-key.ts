// SendGrid API keys. A key that is made without scopes has full access, so the scopes of the old one are always copied.
import type { KeyConnector } from '../connector.ts';

const SPEC = 'twilio/sendgrid-oai spec/json/tsg_api_keys_v3.json, read 2026-11';

export const connector: KeyConnector = {
  id: 'sendgrid-api-key',
  title: 'SendGrid (API key)',
  kind: 'key',
  parameters: [
    {
      name: 'host',
      title: 'The API host of your region',
      shape: 'host',
      default: 'api.sendgrid.com',
      values: ['api.sendgrid.com', 'api.eu.sendgrid.com'],
    },
  ],
  key: {
    credential: 'api_key',
    strategy: 'overlap',
    admin: 'either',
    hosts: ['{host}'],
    keysMaxCount: 100,
    settlesWithinSeconds: 60,
    calls: {
      authentication: { by: 'headers', headers: { authorization: 'Bearer {admin.key}' } },
      inspect: {
        method: 'GET',
        url: 'https://{parameters.host}/v3/api_keys/{old.key_id}',
        takes: { scopes: ['/result/0/scopes', '/scopes'] },
      },
      list: {
        method: 'GET',
        url: 'https://{parameters.host}/v3/api_keys?limit=100',
        items: '/result',
        id: '/api_key_id',
        name: '/name',
      },
      mint: {
        method: 'POST',
        url: 'https://{parameters.host}/v3/api_keys',
        json: { name: '{name}', scopes: '{copied.scopes}' },
        takes: { key: '/api_key', key_id: '/api_key_id' },
      },
      test: {
        method: 'GET',
        url: 'https://{parameters.host}/v3/scopes',
        authentication: { by: 'headers', headers: { authorization: 'Bearer {value.key}' } },
        worksWhen: { at: '/scopes' },
      },
      revoke: { method: 'DELETE', url: 'https://{parameters.host}/v3/api_keys/{value.key_id}' },
    },
  },
  manualSteps: [
    'Put the key with its id as key_id: the part between SG. and the next dot.',
    'The key, or its admin credential, needs the scopes api_keys.read, api_keys.create and api_keys.delete. The first key is made in SendGrid: Settings > API Keys.',
  ],
  facts: {
    'key.calls.mint': { sureness: 'documented', source: `${SPEC}: 201 with api_key and api_key_id` },
    'key.calls.inspect': {
      sureness: 'documented',
      source: `${SPEC}: scopes in result[0]; a bare object is accepted, too, because examples of the answer differ`,
    },
    'key.calls.list': { sureness: 'documented', source: SPEC },
    'key.calls.revoke': { sureness: 'documented', source: `${SPEC}: 204, and 404 for a key that does not exist` },
    'key.calls.test': {
      sureness: 'seen',
      source: 'trufflesecurity/trufflehog pkg/detectors/sendgrid: GET /v3/scopes, 401 for a refused key',
    },
    'key.keysMaxCount': { sureness: 'documented', source: `${SPEC}: at most 100 keys, then 403` },
    'key.settlesWithinSeconds': {
      sureness: 'inferred',
      source: `${SPEC}: revocations take effect after a small delay; a minute is assumed`,
    },
    'key.rateBudget': { sureness: 'unknown', source: 'no figure for these calls is published' },
  },
};
