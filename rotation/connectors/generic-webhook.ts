// Any target behind an HTTPS endpoint of the operator: Keyturn asks it for each step with a signed request.
import type { KeyConnector } from '../connector.ts';

export const connector: KeyConnector = {
  id: 'generic-webhook',
  title: 'Any target (your own webhook)',
  kind: 'key',
  key: {
    credential: 'api_key',
    alsoCredentials: ['basic', 'json', 'database'],
    strategy: 'overlap',
    admin: 'credential',
    adminKinds: ['api_key'],
    hosts: [],
    custom: 'webhook',
  },
  manualSteps: [
    'Make a signing key, whsec_ and 32 random bytes in base64. Put it as an api_key with this connector, --manages, and the setting webhook with the url alone.',
    'Put the value with --admin and the name of that credential, and with the setting webhook: url, steps, and what each step sends.',
    'An example of the endpoint is in docs/custom-rotators.md.',
  ],
  facts: { 'key.custom': { sureness: 'documented', source: 'docs/custom-rotators.md; https://www.standardwebhooks.com 1.0.0' } },
};
