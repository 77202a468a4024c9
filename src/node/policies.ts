// Reads the policy files on Node; the Worker bundles the same files as text.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { PolicySource } from '../access/authorizer.ts';

const POLICIES = fileURLToPath(new URL('../../policies/', import.meta.url));

export function readPolicies(): PolicySource {
  const policies: Record<string, string> = {};
  for (const folder of ['roles', 'guardrails']) {
    for (const file of readdirSync(join(POLICIES, folder))) {
      if (file.endsWith('.cedar'))
        policies[`${folder}/${file.slice(0, -6)}`] = readFileSync(join(POLICIES, folder, file), 'utf8');
    }
  }
  return { schema: readFileSync(join(POLICIES, 'schema.cedarschema'), 'utf8'), policies };
}
