// Google Cloud and Firebase: an API key of a project. Making one is a long operation, so the key is found by its display name and then read.
// A deleted key can be restored for thirty days; the test asks whether the key exists and is not deleted.
import type { KeyConnector } from '../connector.ts';

const SPEC = 'apikeys.googleapis.com discovery document v2, revision 20260818';
const KEYS = 'https://apikeys.googleapis.com/v2/projects/{parameters.project}/locations/global/keys';
const BEARER = { by: 'headers', headers: { authorization: 'Bearer {admin.access_token}' } } as const;

export const connector: KeyConnector = {
  id: 'google-api-key',
  title: 'Google Cloud (API key)',
  kind: 'key',
  parameters: [{ name: 'project', title: 'Project id or number', shape: 'label' }],
  key: {
    credential: 'api_key',
    strategy: 'overlap',
    admin: 'credential',
    adminKinds: ['oauth2'],
    hosts: ['apikeys.googleapis.com'],
    settlesWithinSeconds: 300,
    calls: {
      authentication: BEARER,
      inspect: { method: 'GET', url: `${KEYS}/{old.key_id}`, takes: { 'restrictions?': '/restrictions' } },
      list: {
        method: 'GET',
        url: `${KEYS}?pageSize=100`,
        items: '/keys',
        id: '/uid',
        name: '/displayName',
        pages: { by: 'cursor', parameter: 'pageToken', at: '/nextPageToken' },
      },
      mint: {
        method: 'POST',
        url: KEYS,
        json: { displayName: '{name}', restrictions: '{copied.restrictions}' },
        takes: {},
      },
      read: { method: 'GET', url: `${KEYS}/{value.key_id}/keyString`, takes: { key: '/keyString' } },
      test: {
        method: 'GET',
        url: `${KEYS}/{value.key_id}`,
        authentication: BEARER,
        rejectedBy: [{ status: 404 }],
        rejectedWhen: '/deleteTime',
        worksWhen: { at: '/uid' },
      },
      revoke: { method: 'DELETE', url: `${KEYS}/{value.key_id}` },
    },
  },
  manualSteps: [
    'Put the key with its unique id as key_id: gcloud services api-keys list shows it as UID.',
    'The admin credential is a grant of the connector google-oauth with the scope https://www.googleapis.com/auth/cloud-platform, of an account with the role API Keys Admin.',
    'A new key has the restrictions of the old one. Keys that are built into an app need a grace period that is longer than a release takes.',
  ],
  facts: {
    'key.calls.mint': { sureness: 'documented', source: `${SPEC}: create answers with an operation; displayName, restrictions` },
    'key.calls.inspect': { sureness: 'documented', source: `${SPEC}: restrictions` },
    'key.calls.list': { sureness: 'documented', source: `${SPEC}: uid, displayName, pageToken; deleted keys are left out` },
    'key.calls.read': { sureness: 'documented', source: `${SPEC}: getKeyString answers with keyString` },
    'key.calls.revoke': { sureness: 'documented', source: `${SPEC}: delete begins an operation; 404 for an absent key is known` },
    'key.calls.test': { sureness: 'documented', source: `${SPEC}: get answers with uid, and with deleteTime for a deleted key` },
    'key.settlesWithinSeconds': {
      sureness: 'known',
      source: 'https://cloud.google.com/docs/authentication/api-keys: changes may take up to five minutes',
    },
    'key.keysMaxCount': { sureness: 'known', source: '300 keys of a project are known; it is no limit of one rotation' },
    'key.rateBudget': { sureness: 'unknown', source: 'quotas of the API are per project and minute; no figure for these calls' },
  },
};
