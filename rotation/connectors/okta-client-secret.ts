// Okta: the client secret of an OpenID Connect app. Two may exist, and only an inactive one can be deleted. They have no name, and the list
// does not say whether one was used: a secret whose answer was lost is named to a person, who deletes it.
// The test asks about a made-up token: the answer shows whether the client was authenticated, and changes nothing.
import type { KeyConnector } from '../connector.ts';

const SPEC = 'okta/okta-management-openapi-spec dist/current, read 2026-11';

export const connector: KeyConnector = {
  id: 'okta-client-secret',
  title: 'Okta (client secret of an app)',
  kind: 'key',
  parameters: [
    { name: 'domain', title: 'Your Okta domain, e.g. example.okta.com', shape: 'host' },
    { name: 'app_id', title: 'Client id of the app', shape: 'label' },
  ],
  key: {
    credential: 'api_key',
    strategy: 'overlap',
    admin: 'credential',
    hosts: ['{domain}'],
    keysMaxCount: 2,
    settlesWithinSeconds: 60,
    calls: {
      authentication: { by: 'headers', headers: { authorization: 'SSWS {admin.key}' } },
      list: {
        method: 'GET',
        url: 'https://{parameters.domain}/api/v1/apps/{parameters.app_id}/credentials/secrets',
        items: '',
        id: '/id',
        createdAt: '/created',
      },
      mint: {
        method: 'POST',
        url: 'https://{parameters.domain}/api/v1/apps/{parameters.app_id}/credentials/secrets',
        json: { status: 'ACTIVE' },
        takes: { key: '/client_secret', key_id: '/id' },
      },
      test: {
        method: 'POST',
        url: 'https://{parameters.domain}/oauth2/v1/introspect',
        authentication: { by: 'basic', username: '{parameters.app_id}', password: '{value.key}' },
        form: { token: 'keyturn-asks-whether-the-secret-works', token_type_hint: 'access_token' },
        rejectedBy: [{ status: 401, text: 'client secret supplied' }],
        worksWhen: { at: '/active', is: 'false' },
      },
      disable: {
        method: 'POST',
        url: 'https://{parameters.domain}/api/v1/apps/{parameters.app_id}/credentials/secrets/{value.key_id}/lifecycle/deactivate',
        // An inactive secret is refused here, and the deletion that follows shows whether it was.
        succeeds: [200, 400],
      },
      revoke: {
        method: 'DELETE',
        url: 'https://{parameters.domain}/api/v1/apps/{parameters.app_id}/credentials/secrets/{value.key_id}',
      },
    },
  },
  manualSteps: [
    'Put the secret with its id as key_id. The list of secrets of the app shows the id.',
    'The admin credential is of kind api_key: an API token (SSWS) of an administrator of the app.',
    'The app uses client_secret_basic or client_secret_post. If it has two secrets, deactivate and delete the one that nothing uses.',
  ],
  facts: {
    'key.calls.mint': { sureness: 'documented', source: `${SPEC}: 201 with id and client_secret` },
    'key.calls.inspect': { sureness: 'documented', source: `${SPEC}: a secret has no rights of its own, so nothing is copied` },
    'key.calls.list': { sureness: 'documented', source: `${SPEC}: secrets have created, and no name` },
    'key.calls.disable': { sureness: 'documented', source: `${SPEC}: 200, 400` },
    'key.calls.revoke': { sureness: 'documented', source: `${SPEC}: 204; 400 for an active secret, 404` },
    'key.calls.test': {
      sureness: 'known',
      source:
        'https://developer.okta.com/docs/reference/api/oidc/#introspect; the text of a refused secret is from memory, and another text is not a refusal',
    },
    'key.keysMaxCount': { sureness: 'documented', source: `${SPEC}: up to two secrets` },
    'key.settlesWithinSeconds': { sureness: 'inferred', source: 'no delay is documented; a minute is assumed' },
    'key.rateBudget': { sureness: 'unknown', source: 'limits depend on the organization; answers have x-rate-limit headers' },
  },
};
