// Microsoft Entra ID: the client secret of an app registration. Several may exist at once; the admin credential is an app with rights in
// Microsoft Graph. The test asks for a token with the secret, and only the numbers for a wrong or ended secret are a refusal.
import type { KeyConnector } from '../connector.ts';

const DOCS = 'microsoftgraph/microsoft-graph-docs-contrib api-reference/v1.0/api/application-addpassword.md';
const RECORDED = 'recorded by Azure/azure-cli, role/tests/latest/recordings/test_app_credential.yaml';

export const connector: KeyConnector = {
  id: 'microsoft-app-secret',
  title: 'Microsoft Entra ID (client secret of an app)',
  kind: 'key',
  parameters: [
    { name: 'tenant', title: 'Directory (tenant) id', shape: 'label' },
    { name: 'client_id', title: 'Application (client) id', shape: 'label' },
    { name: 'object_id', title: 'Object id of the app registration', shape: 'label' },
  ],
  key: {
    credential: 'api_key',
    strategy: 'overlap',
    admin: 'credential',
    adminKinds: ['oauth2'],
    hosts: ['graph.microsoft.com', 'login.microsoftonline.com'],
    settlesWithinSeconds: 300,
    calls: {
      authentication: { by: 'headers', headers: { authorization: 'Bearer {admin.access_token}' } },
      list: {
        method: 'GET',
        url: 'https://graph.microsoft.com/v1.0/applications/{parameters.object_id}?$select=passwordCredentials',
        items: '/passwordCredentials',
        id: '/keyId',
        name: '/displayName',
      },
      mint: {
        method: 'POST',
        url: 'https://graph.microsoft.com/v1.0/applications/{parameters.object_id}/addPassword',
        json: { passwordCredential: { displayName: '{name}', endDateTime: '{ends.date_time}' } },
        takes: { key: '/secretText', key_id: '/keyId' },
        endsAt: '/endDateTime',
      },
      test: {
        method: 'POST',
        url: 'https://login.microsoftonline.com/{parameters.tenant}/oauth2/v2.0/token',
        authentication: { by: 'none' },
        form: {
          grant_type: 'client_credentials',
          client_id: '{parameters.client_id}',
          client_secret: '{value.key}',
          scope: 'https://graph.microsoft.com/.default',
        },
        rejectedBy: [
          { status: 401, text: '7000215' },
          { status: 401, text: '7000222' },
        ],
        worksWhen: { at: '/access_token' },
      },
      revoke: {
        method: 'POST',
        url: 'https://graph.microsoft.com/v1.0/applications/{parameters.object_id}/removePassword',
        json: { keyId: '{value.key_id}' },
        goneBy: [{ status: 400, text: 'No password credential found with keyId' }],
      },
      lifetime: { defaultDays: 180, maxDays: 730 },
    },
  },
  manualSteps: [
    'Put the secret with its secret id as key_id. Entra shows the id beside the secret.',
    'The admin credential is a grant of the connector microsoft-app with the scope https://graph.microsoft.com/.default and the permission Application.ReadWrite.OwnedBy, and it owns the app.',
  ],
  facts: {
    'key.calls.mint': { sureness: 'documented', source: `${DOCS}; 200 with secretText and keyId: ${RECORDED}` },
    'key.calls.inspect': { sureness: 'documented', source: `${DOCS}: a secret has no rights of its own, so nothing is copied` },
    'key.calls.list': {
      sureness: 'documented',
      source: `passwordCredentials of the application, newest first: ${RECORDED}; reads may lag behind writes for seconds`,
    },
    'key.calls.revoke': {
      sureness: 'known',
      source:
        'https://learn.microsoft.com/en-us/graph/api/application-removepassword: 204; the text for a missing key is seen in hashicorp/vault-plugin-secrets-azure client.go',
    },
    'key.calls.test': {
      sureness: 'seen',
      source:
        'AADSTS7000215 (wrong secret) and AADSTS7000222 (ended secret) in several public projects; other numbers are not about the secret',
    },
    'key.calls.lifetime': { sureness: 'documented', source: `${DOCS}: without endDateTime a secret ends after two years` },
    'key.settlesWithinSeconds': {
      sureness: 'seen',
      source: 'hashicorp/vault-plugin-secrets-azure client.go retries a new secret while it is distributed',
    },
    'key.keysMaxCount': {
      sureness: 'unknown',
      source: 'the cap of secrets of an application is not published in the pages read',
    },
    'key.rateBudget': { sureness: 'unknown', source: 'throttling of these calls has no published figure' },
  },
};
