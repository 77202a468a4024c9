// Any provider with an API for its keys: the requests are in the settings of the credential, in the language of key connectors.
// Everything that a shipped connector is checked for is checked when the settings are put (keys/calls-check.ts).
import type { KeyConnector } from '../connector.ts';

export const connector: KeyConnector = {
  id: 'generic-http',
  title: 'Any API (your own requests)',
  kind: 'key',
  key: {
    credential: 'api_key',
    alsoCredentials: ['basic', 'json'],
    strategy: 'overlap',
    admin: 'either',
    adminKinds: ['api_key', 'basic', 'json'],
    hosts: [],
    custom: 'http',
  },
  manualSteps: [
    'Describe the requests in the setting http, in a file for --config-file: docs/custom-rotators.md has an example and the rules.',
    'An admin credential has the same connector, --manages, and the setting http with the same hosts, without calls.',
  ],
  facts: { 'key.custom': { sureness: 'documented', source: 'docs/custom-rotators.md: the facts are yours' } },
};
