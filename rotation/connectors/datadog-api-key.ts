// Datadog API keys. The admin credential is a pair: an API key and an application key.
import type { KeyConnector } from '../connector.ts';

const RECORDED = 'recorded by DataDog/datadog-api-client-typescript';

export const connector: KeyConnector = {
  id: 'datadog-api-key',
  title: 'Datadog (API key)',
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
      list: {
        method: 'GET',
        url: 'https://api.{parameters.site}/api/v2/api_keys?page[size]=100',
        items: '/data',
        id: '/id',
        name: '/attributes/name',
        pages: { by: 'number', parameter: 'page[number]', first: 0, size: 100 },
      },
      mint: {
        method: 'POST',
        url: 'https://api.{parameters.site}/api/v2/api_keys',
        json: { data: { type: 'api_keys', attributes: { name: '{name}' } } },
        takes: { key: '/data/attributes/key', key_id: '/data/id' },
      },
      test: {
        method: 'GET',
        url: 'https://api.{parameters.site}/api/v1/validate',
        authentication: { by: 'headers', headers: { 'dd-api-key': '{value.key}' } },
        rejectedBy: [{ status: 403, text: 'Forbidden' }],
        worksWhen: { at: '/valid', is: 'true' },
      },
      revoke: { method: 'DELETE', url: 'https://api.{parameters.site}/api/v2/api_keys/{value.key_id}' },
    },
  },
  manualSteps: [
    'Put the key with its id as key_id. Organization Settings > API Keys shows the id.',
    'The admin credential is of kind json with the members api_key and application_key; it needs the permissions api_keys_write and api_keys_delete. It must not contain the key that is rotated.',
  ],
  facts: {
    'key.calls.mint': { sureness: 'seen', source: `${RECORDED}: 201 with data.id and data.attributes.key` },
    'key.calls.inspect': { sureness: 'seen', source: `${RECORDED}: an API key has no scopes, so nothing is copied` },
    'key.calls.list': {
      sureness: 'seen',
      source: `${RECORDED}; page[size] and page[number] are known: https://docs.datadoghq.com/api/latest/key-management/`,
    },
    'key.calls.revoke': { sureness: 'seen', source: `${RECORDED}: 204, and 404 the second time` },
    'key.calls.test': {
      sureness: 'documented',
      source: 'DataDog/datadog-api-client-python docs/v1/AuthenticationApi.md: 403 for an invalid key, read 2026-11',
    },
    'key.settlesWithinSeconds': { sureness: 'inferred', source: 'no delay is documented; a minute is assumed' },
    'key.keysMaxCount': {
      sureness: 'seen',
      source: `${RECORDED}: meta.max_allowed differs by organization, so no figure is set`,
    },
    'key.rateBudget': { sureness: 'unknown', source: 'limits are in the answer headers only' },
  },
};
