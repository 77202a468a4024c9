// The keys of the sandbox on this machine (rotation/sandbox/key-account.ts): to see a rotation without an account anywhere.
// It must never be used for a real provider: its host does not exist, so that a credential needs the setting sandbox.
import type { KeyConnector } from '../connector.ts';

const SOURCE = 'rotation/sandbox/key-account.ts';

export const connector: KeyConnector = {
  id: 'local-sandbox-key',
  title: 'Sandbox on this machine (key)',
  kind: 'key',
  key: {
    credential: 'api_key',
    strategy: 'overlap',
    admin: 'self',
    hosts: ['keys.sandbox.example'],
    keysMaxCount: 10,
    calls: {
      authentication: { by: 'headers', headers: { authorization: 'Bearer {admin.key}' } },
      list: { method: 'GET', url: 'https://keys.sandbox.example/keys', items: '/keys', id: '/id', name: '/name' },
      mint: {
        method: 'POST',
        url: 'https://keys.sandbox.example/keys',
        json: { name: '{name}' },
        takes: { key: '/secret', key_id: '/id' },
      },
      test: {
        method: 'GET',
        url: 'https://keys.sandbox.example/me',
        authentication: { by: 'headers', headers: { authorization: 'Bearer {value.key}' } },
        worksWhen: { at: '/id' },
      },
      revoke: { method: 'DELETE', url: 'https://keys.sandbox.example/keys/{value.key_id}' },
    },
  },
  manualSteps: ['Start keyturn sandbox, and put the key that it prints with its id and the option --sandbox.'],
  facts: {
    'key.calls.mint': { sureness: 'documented', source: SOURCE },
    'key.calls.inspect': { sureness: 'documented', source: `${SOURCE}: a key has no rights of its own, so nothing is copied` },
    'key.calls.list': { sureness: 'documented', source: SOURCE },
    'key.calls.revoke': { sureness: 'documented', source: `${SOURCE}: 204, and 404 for a key that does not exist` },
    'key.calls.test': { sureness: 'documented', source: `${SOURCE}: 401 for a key that does not exist` },
    'key.keysMaxCount': { sureness: 'documented', source: SOURCE },
    'key.rateBudget': { sureness: 'documented', source: `${SOURCE}: none` },
  },
};
