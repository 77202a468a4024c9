// Google Analytics: a secret of the Measurement Protocol of one data stream. The protocol accepts any secret without an error, so the test
// asks whether the secret exists.
import type { KeyConnector } from '../connector.ts';

const SPEC = 'analyticsadmin.googleapis.com discovery document v1beta, revision 20261102';
const SECRETS =
  'https://analyticsadmin.googleapis.com/v1beta/properties/{parameters.property_id}/dataStreams/{parameters.stream_id}/measurementProtocolSecrets';
const BEARER = { by: 'headers', headers: { authorization: 'Bearer {admin.access_token}' } } as const;

export const connector: KeyConnector = {
  id: 'google-analytics-secret',
  title: 'Google Analytics (Measurement Protocol secret)',
  kind: 'key',
  parameters: [
    { name: 'property_id', title: 'Property id (a number)', shape: 'label' },
    { name: 'stream_id', title: 'Data stream id (a number)', shape: 'label' },
  ],
  key: {
    credential: 'api_key',
    strategy: 'overlap',
    admin: 'credential',
    adminKinds: ['oauth2'],
    hosts: ['analyticsadmin.googleapis.com'],
    settlesWithinSeconds: 60,
    calls: {
      authentication: BEARER,
      idIsResourceName: true,
      list: {
        method: 'GET',
        url: SECRETS,
        items: '/measurementProtocolSecrets',
        id: '/name',
        name: '/displayName',
        pages: { by: 'cursor', parameter: 'pageToken', at: '/nextPageToken' },
      },
      mint: {
        method: 'POST',
        url: SECRETS,
        json: { displayName: '{name}' },
        takes: { key: '/secretValue', key_id: '/name' },
      },
      test: {
        method: 'GET',
        url: `${SECRETS}/{value.key_id}`,
        authentication: BEARER,
        rejectedBy: [{ status: 404 }],
        worksWhen: { at: '/secretValue' },
      },
      revoke: { method: 'DELETE', url: `${SECRETS}/{value.key_id}` },
    },
  },
  manualSteps: [
    'Put the secret with the last part of its resource name as key_id: the list of secrets in the Admin API shows it.',
    'The admin credential is a grant of the connector google-oauth with the scope https://www.googleapis.com/auth/analytics.edit.',
    'Accept the acknowledgement of user data once, in Admin > Data streams > Measurement Protocol API secrets.',
  ],
  facts: {
    'key.calls.mint': { sureness: 'documented', source: `${SPEC}: displayName in, name and secretValue out` },
    'key.calls.inspect': { sureness: 'documented', source: `${SPEC}: a secret has no rights of its own, so nothing is copied` },
    'key.calls.list': { sureness: 'documented', source: `${SPEC}: displayName, pageToken, nextPageToken` },
    'key.calls.revoke': {
      sureness: 'documented',
      source: `${SPEC}: an empty answer; 404 for a secret that does not exist is known`,
    },
    'key.calls.test': { sureness: 'documented', source: `${SPEC}: get answers with secretValue` },
    'key.settlesWithinSeconds': { sureness: 'inferred', source: 'no delay is documented; a minute is assumed' },
    'key.keysMaxCount': { sureness: 'unknown', source: 'no cap of secrets is published in the pages read' },
    'key.rateBudget': {
      sureness: 'unknown',
      source: 'quotas of the Admin API are per project and minute; no figure for these calls',
    },
  },
};
