// Google Cloud: the key file of a service account. Keys have no name, and the list does not say whether one was used: a key whose answer was
// lost is named to a person, who deletes it. Ten may exist.
import type { KeyConnector } from '../connector.ts';

const SPEC = 'iam.googleapis.com discovery document v1, revision 20261023';
const RECORDED = 'recorded by GoogleCloudPlatform/k8s-config-connector, iamserviceaccountkey';

export const connector: KeyConnector = {
  id: 'google-service-account-key',
  title: 'Google Cloud (service account key)',
  kind: 'key',
  key: {
    credential: 'json',
    strategy: 'overlap',
    admin: 'credential',
    adminKinds: ['oauth2'],
    hosts: ['iam.googleapis.com', 'oauth2.googleapis.com'],
    keysMaxCount: 10,
    settlesWithinSeconds: 120,
    calls: {
      authentication: { by: 'headers', headers: { authorization: 'Bearer {admin.access_token}' } },
      idMember: 'private_key_id',
      idIsResourceName: true,
      list: {
        method: 'GET',
        url: 'https://iam.googleapis.com/v1/projects/{old.project_id}/serviceAccounts/{old.client_email}/keys?keyTypes=USER_MANAGED',
        items: '/keys',
        id: '/name',
        createdAt: '/validAfterTime',
      },
      mint: {
        method: 'POST',
        url: 'https://iam.googleapis.com/v1/projects/{old.project_id}/serviceAccounts/{old.client_email}/keys',
        json: { privateKeyType: 'TYPE_GOOGLE_CREDENTIALS_FILE', keyAlgorithm: 'KEY_ALG_RSA_2048' },
        takes: {},
        takesDocument: '/privateKeyData',
        endsAt: '/validBeforeTime',
      },
      test: {
        method: 'POST',
        url: 'https://oauth2.googleapis.com/token',
        authentication: {
          by: 'jwt_bearer',
          issuer: '{value.client_email}',
          audience: 'https://oauth2.googleapis.com/token',
          privateKey: '{value.private_key}',
          scope: 'https://www.googleapis.com/auth/userinfo.email',
        },
        form: {},
        rejectedBy: [
          { status: 400, text: 'Invalid JWT Signature' },
          { status: 400, text: 'account not found' },
        ],
        worksWhen: { at: '/access_token' },
      },
      revoke: {
        method: 'DELETE',
        url: 'https://iam.googleapis.com/v1/projects/{value.project_id}/serviceAccounts/{value.client_email}/keys/{value.private_key_id}',
      },
    },
  },
  manualSteps: [
    'Put the whole key file as json.',
    'The admin credential is a grant with the scope https://www.googleapis.com/auth/cloud-platform and the role roles/iam.serviceAccountKeyAdmin on the service account; the IAM API is enabled.',
  ],
  facts: {
    'key.calls.mint': { sureness: 'documented', source: `${SPEC}; 200 with privateKeyData in base64: ${RECORDED}` },
    'key.calls.inspect': { sureness: 'documented', source: `${SPEC}: rights belong to the account, so nothing is copied` },
    'key.calls.list': { sureness: 'documented', source: `${SPEC}: keys have validAfterTime, and no name` },
    'key.calls.revoke': {
      sureness: 'documented',
      source: `${SPEC}: with - instead of the project a missing key is 403, so the project of the key file is sent; 200 with {}: ${RECORDED}`,
    },
    'key.calls.test': {
      sureness: 'known',
      source:
        'https://developers.google.com/identity/protocols/oauth2/service-account: error codes; invalid_grant about the time is no refusal of the key',
    },
    'key.keysMaxCount': { sureness: 'known', source: 'https://cloud.google.com/iam/quotas: 10 keys of an account' },
    'key.settlesWithinSeconds': {
      sureness: 'known',
      source: 'https://cloud.google.com/iam/docs/keys-create-delete: a new key may take 60 seconds or more to work',
    },
    'key.rateBudget': { sureness: 'unknown', source: 'quotas depend on the project' },
  },
};
