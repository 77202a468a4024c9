// MongoDB Atlas: the secret of an organization's service account. A new secret shortens the life of the old one to seven days at most.
import type { KeyConnector } from '../connector.ts';

const SPEC = 'mongodb/atlas-sdk-go openapi/atlas-api-transformed.yaml, read 2026-11';
const DATED = 'application/vnd.atlas.2024-08-05+json';

export const connector: KeyConnector = {
  id: 'mongodb-atlas-service-account',
  title: 'MongoDB Atlas (secret of a service account)',
  kind: 'key',
  parameters: [
    { name: 'org_id', title: 'Organization id', shape: 'label' },
    { name: 'client_id', title: 'Client id of the service account (mdb_sa_id_...)', shape: 'label' },
  ],
  key: {
    credential: 'api_key',
    strategy: 'overlap',
    admin: 'credential',
    adminKinds: ['oauth2'],
    hosts: ['cloud.mongodb.com'],
    settlesWithinSeconds: 30,
    graceSeconds: 86_400,
    calls: {
      authentication: { by: 'headers', headers: { authorization: 'Bearer {admin.access_token}' } },
      list: {
        method: 'GET',
        url: 'https://cloud.mongodb.com/api/atlas/v2/orgs/{parameters.org_id}/serviceAccounts/{parameters.client_id}',
        headers: { accept: DATED },
        items: '/secrets',
        id: '/id',
        createdAt: '/createdAt',
        usedAt: '/lastUsedAt',
      },
      mint: {
        method: 'POST',
        url: 'https://cloud.mongodb.com/api/atlas/v2/orgs/{parameters.org_id}/serviceAccounts/{parameters.client_id}/secrets',
        headers: { accept: DATED, 'content-type': DATED },
        json: { secretExpiresAfterHours: '{ends.hours}' },
        takes: { key: '/secret', key_id: '/id' },
        endsAt: '/expiresAt',
      },
      test: {
        method: 'POST',
        url: 'https://cloud.mongodb.com/api/oauth/token',
        authentication: { by: 'basic', username: '{parameters.client_id}', password: '{value.key}' },
        form: { grant_type: 'client_credentials' },
        rejectedBy: [{ status: 401, text: 'invalid_client' }],
        worksWhen: { at: '/access_token' },
      },
      revoke: {
        method: 'DELETE',
        url: 'https://cloud.mongodb.com/api/atlas/v2/orgs/{parameters.org_id}/serviceAccounts/{parameters.client_id}/secrets/{value.key_id}',
        headers: { accept: DATED },
      },
      lifetime: { defaultDays: 90, maxDays: 365 },
    },
  },
  manualSteps: [
    'Put the secret with its id as key_id; the client id is a parameter.',
    'The admin credential is a grant of the connector generic-oauth2 with client credentials at https://cloud.mongodb.com/api/oauth/token, of a service account with the role Organization Owner.',
  ],
  facts: {
    'key.calls.mint': {
      sureness: 'documented',
      source: `${SPEC}: 201 with id, secret and expiresAt; the dated media type is required`,
    },
    'key.calls.inspect': { sureness: 'documented', source: `${SPEC}: rights belong to the account, so nothing is copied` },
    'key.calls.list': {
      sureness: 'documented',
      source: `${SPEC}: secrets of the service account with createdAt and lastUsedAt; they have no name`,
    },
    'key.calls.revoke': { sureness: 'documented', source: `${SPEC}: 204, 404` },
    'key.calls.test': {
      sureness: 'documented',
      source: 'mongodb/atlas-sdk-go auth/clientcredentials: token with Basic; 401 invalid_client is known',
    },
    'key.calls.lifetime': {
      sureness: 'documented',
      source:
        'https://www.mongodb.com/docs/atlas/tutorial/rotate-service-account-secrets: 8 hours to 365 days, limited by the organization',
    },
    'key.graceSeconds': {
      sureness: 'documented',
      source:
        'https://www.mongodb.com/docs/atlas/tutorial/rotate-service-account-secrets: the old secret ends after seven days at most',
    },
    'key.settlesWithinSeconds': { sureness: 'inferred', source: 'no delay is documented; half a minute is assumed' },
    'key.keysMaxCount': { sureness: 'unknown', source: 'the cap of secrets is not published in the pages read' },
    'key.rateBudget': { sureness: 'unknown', source: 'the token endpoint is limited, without a published figure' },
  },
};
