// Datadog application keys of the person or service account that the admin credential belongs to. The test asks whether the key exists:
// a call with the key itself is refused for a missing scope, too.
import type { KeyConnector } from '../connector.ts';

const RECORDED = 'recorded by DataDog/datadog-api-client-typescript';

export const connector: KeyConnector = {
  id: 'datadog-application-key',
  title: 'Datadog (application key)',
  kind: 'key',
  parameters: [
    {
      name: 'site',
      title: 'Your Datadog site',
      shape: 'host',
      default: 'datadoghq.com',
      values: [
        'datadoghq.com',
        'us3.datadoghq.com',
        'us5.datadoghq.com',
        'datadoghq.eu',
        'ap1.datadoghq.com',
        'ap2.datadoghq.com',
        'ddog-gov.com',
      ],
    },
  ],
  key: {
    credential: 'api_key',
    strategy: 'overlap',
    admin: 'credential',
    adminKinds: ['json'],
    hosts: ['api.{site}'],
    settlesWithinSeconds: 60,
    calls: {
      authentication: {
        by: 'headers',
        headers: { 'dd-api-key': '{admin.api_key}', 'dd-application-key': '{admin.application_key}' },
      },
      inspect: {
        method: 'GET',
        url: 'https://api.{parameters.site}/api/v2/current_user/application_keys/{old.key_id}',
        takes: { 'scopes?': '/data/attributes/scopes' },
      },
      list: {
        method: 'GET',
        url: 'https://api.{parameters.site}/api/v2/current_user/application_keys?page[size]=100',
        items: '/data',
        id: '/id',
        name: '/attributes/name',
        pages: { by: 'number', parameter: 'page[number]', first: 0, size: 100 },
      },
      mint: {
        method: 'POST',
        url: 'https://api.{parameters.site}/api/v2/current_user/application_keys',
        json: { data: { type: 'application_keys', attributes: { name: '{name}', scopes: '{copied.scopes}' } } },
        takes: { key: '/data/attributes/key', key_id: '/data/id' },
      },
      test: {
        method: 'GET',
        url: 'https://api.{parameters.site}/api/v2/application_keys/{value.key_id}',
        authentication: {
          by: 'headers',
          headers: { 'dd-api-key': '{admin.api_key}', 'dd-application-key': '{admin.application_key}' },
        },
        rejectedBy: [{ status: 404, text: 'Application key not found' }],
        worksWhen: { at: '/data/id' },
      },
      revoke: { method: 'DELETE', url: 'https://api.{parameters.site}/api/v2/current_user/application_keys/{value.key_id}' },
    },
  },
  manualSteps: [
    'Put the key with its id as key_id. Personal Settings > Application Keys shows the id.',
    'The admin credential is of kind json with the members api_key and application_key: another application key of the same person or service account, with the permissions user_app_keys and org_app_keys_read.',
    'A new key has the scopes of the old one.',
  ],
  facts: {
    'key.calls.mint': { sureness: 'seen', source: `${RECORDED}: 201 with data.id and data.attributes.key` },
    'key.calls.inspect': { sureness: 'seen', source: `${RECORDED}: scopes, or null for a key with all rights of its owner` },
    'key.calls.list': {
      sureness: 'seen',
      source: `${RECORDED}; page[size] and page[number] are known: https://docs.datadoghq.com/api/latest/key-management/`,
    },
    'key.calls.revoke': { sureness: 'seen', source: `${RECORDED}: 204, and 404 the second time` },
    'key.calls.test': { sureness: 'seen', source: `${RECORDED}: 404 Application key not found` },
    'key.settlesWithinSeconds': { sureness: 'inferred', source: 'no delay is documented; a minute is assumed' },
    'key.keysMaxCount': { sureness: 'unknown', source: 'the cap of application keys differs by organization' },
    'key.rateBudget': { sureness: 'unknown', source: 'limits are in the answer headers only' },
  },
};
