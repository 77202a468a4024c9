// Anthropic API keys: no call makes one. The Admin API lists keys and sets them inactive, which a person does here.
import type { KeyConnector } from '../connector.ts';

export const connector: KeyConnector = {
  id: 'anthropic-api-key',
  title: 'Anthropic (API key)',
  kind: 'key',
  key: { credential: 'api_key', strategy: 'manual', admin: 'self', hosts: [] },
  manualSteps: [
    'Make a key in the Console (Settings > API keys), in the same workspace and with the same end date rule.',
    'Put the new key, and wait until nothing uses the old one.',
    'Disable the old key in the Console; this can be undone. Delete it when nothing misses it.',
  ],
  facts: {
    'key.strategy': {
      sureness: 'seen',
      source: 'https://docs.rs/claude-api/0.5.3/claude_api/admin/api_keys/: list, get and update; no call makes a key',
    },
  },
};
