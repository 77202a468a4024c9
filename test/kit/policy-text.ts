// Policies imported as text in tests on Node, as the Text rule of wrangler.toml does it for Workers.
import { readFileSync } from 'node:fs';
import type { Plugin } from 'vitest/config';

export const policyText: Plugin = {
  name: 'policy-text',
  load(id) {
    if (!/\.cedar(schema)?$/.test(id)) return undefined;
    return `export default ${JSON.stringify(readFileSync(id, 'utf8'))};`;
  },
};
