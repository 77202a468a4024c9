// Sentry: the client key (DSN) of a project. A DSN has no call that only tests it, so Sentry is asked whether the key is active.
import type { KeyConnector } from '../connector.ts';

const SPEC = 'getsentry/sentry-api-schema openapi-derefed.json, read 2026-11';

export const connector: KeyConnector = {
  id: 'sentry-dsn-key',
  title: 'Sentry (client key of a project)',
  kind: 'key',
  parameters: [
    { name: 'region', title: 'Where the organization stores its data', shape: 'label', default: 'us', values: ['us', 'de'] },
    { name: 'organization', title: 'Slug of the organization', shape: 'label' },
    { name: 'project', title: 'Slug of the project', shape: 'label' },
  ],
  key: {
    credential: 'api_key',
    strategy: 'overlap',
    admin: 'credential',
    hosts: ['{region}.sentry.io'],
    settlesWithinSeconds: 30,
    graceSeconds: 7 * 86_400,
    calls: {
      authentication: { by: 'headers', headers: { authorization: 'Bearer {admin.key}' } },
      inspect: {
        method: 'GET',
        url: 'https://{parameters.region}.sentry.io/api/0/projects/{parameters.organization}/{parameters.project}/keys/{old.key_id}/',
        takes: { 'rate_limit?': '/rateLimit' },
      },
      list: {
        method: 'GET',
        url: 'https://{parameters.region}.sentry.io/api/0/projects/{parameters.organization}/{parameters.project}/keys/',
        items: '',
        id: '/id',
        name: '/name',
      },
      mint: {
        method: 'POST',
        url: 'https://{parameters.region}.sentry.io/api/0/projects/{parameters.organization}/{parameters.project}/keys/',
        json: { name: '{name}', rateLimit: '{copied.rate_limit}' },
        takes: { key: '/dsn/public', key_id: '/id' },
      },
      test: {
        method: 'GET',
        url: 'https://{parameters.region}.sentry.io/api/0/projects/{parameters.organization}/{parameters.project}/keys/{value.key_id}/',
        authentication: { by: 'headers', headers: { authorization: 'Bearer {admin.key}' } },
        rejectedBy: [{ status: 404 }],
        worksWhen: { at: '/isActive', is: 'true' },
      },
      revoke: {
        method: 'DELETE',
        url: 'https://{parameters.region}.sentry.io/api/0/projects/{parameters.organization}/{parameters.project}/keys/{value.key_id}/',
      },
    },
  },
  manualSteps: [
    'Put the DSN as key with the id of the client key as key_id: Project Settings > Client Keys (DSN).',
    'The admin credential is of kind api_key: a token with the scope project:write or project:admin.',
    'DSNs are built into clients. Choose a grace period that is longer than a release of yours takes.',
  ],
  facts: {
    'key.calls.mint': { sureness: 'documented', source: `${SPEC}: 201 with id and dsn.public` },
    'key.calls.inspect': { sureness: 'documented', source: `${SPEC}: rateLimit, or null` },
    'key.calls.list': {
      sureness: 'documented',
      source: `${SPEC}: a page; following pages are in a header that is not read, so only its first keys are found`,
    },
    'key.calls.revoke': { sureness: 'documented', source: `${SPEC}: 204, 404` },
    'key.calls.test': { sureness: 'documented', source: `${SPEC}: isActive; 404 for a key that no longer exists` },
    'key.graceSeconds': { sureness: 'inferred', source: 'clients contain the DSN; a week is assumed' },
    'key.settlesWithinSeconds': { sureness: 'inferred', source: 'no delay is documented; half a minute is assumed' },
    'key.keysMaxCount': { sureness: 'unknown', source: 'no cap of client keys is published in the pages read' },
    'key.rateBudget': { sureness: 'unknown', source: 'limits are in the answer headers only' },
  },
};
