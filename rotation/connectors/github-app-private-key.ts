// GitHub App private keys: an app may have several, and only its owner can make and delete them on its settings page; no API does.
import type { KeyConnector } from '../connector.ts';

export const connector: KeyConnector = {
  id: 'github-app-private-key',
  title: 'GitHub (private key of an App)',
  kind: 'key',
  key: { credential: 'api_key', strategy: 'manual', admin: 'self', hosts: [] },
  manualSteps: [
    'Open Settings > Developer settings > GitHub Apps > the App > Private keys, and choose Generate a private key.',
    'Put the downloaded PEM text as the new value at once; the old key still works.',
    'When no log shows the fingerprint of the old key any more, delete the old key on the same page.',
  ],
  facts: {
    'key.strategy': {
      sureness: 'known',
      source:
        'https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/managing-private-keys-for-github-apps: keys are made and deleted on the settings page',
    },
  },
};
