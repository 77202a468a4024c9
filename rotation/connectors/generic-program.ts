// Any target that a program on the machine of Keyturn can reach: the operator lists the program when the service starts.
import type { KeyConnector } from '../connector.ts';

export const connector: KeyConnector = {
  id: 'generic-program',
  title: 'Any target (a program of the operator)',
  kind: 'key',
  key: {
    credential: 'api_key',
    alsoCredentials: ['basic', 'json', 'database'],
    strategy: 'overlap',
    admin: 'either',
    adminKinds: ['api_key', 'basic', 'json', 'database'],
    hosts: [],
    custom: 'program',
  },
  manualSteps: [
    'The operator lists the program in the file of keyturn serve --rotation-programs, with the tenants that may use it.',
    'Put the value with the setting program: name, steps, and what each step sends. docs/custom-rotators.md has an example.',
  ],
  facts: { 'key.custom': { sureness: 'documented', source: 'docs/custom-rotators.md' } },
};
