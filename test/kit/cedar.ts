// The real Cedar engine and the shipped policies, for tests.
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as cedar from '@cedar-policy/cedar-wasm/nodejs';
import { Authorizer, type CedarEngine, type PolicySource } from '../../src/access/authorizer.ts';

export const cedarEngine: CedarEngine = cedar;

export const POLICIES = fileURLToPath(new URL('../../policies/', import.meta.url));

/** Schema and policies as they are in policies/. */
export function shippedPolicies(): PolicySource {
  const policies: Record<string, string> = {};
  for (const folder of ['roles', 'guardrails']) {
    for (const file of readdirSync(`${POLICIES}${folder}`)) {
      policies[`${folder}/${file.replace(/\.cedar$/, '')}`] = readFileSync(`${POLICIES}${folder}/${file}`, 'utf8');
    }
  }
  return { schema: readFileSync(`${POLICIES}schema.cedarschema`, 'utf8'), policies };
}

/** An authorizer over the shipped policies, with `extra` files added or replaced. */
export function testAuthorizer(extra: Readonly<Record<string, string>> = {}): Authorizer {
  const source = shippedPolicies();
  return new Authorizer(cedarEngine, { schema: source.schema, policies: { ...source.policies, ...extra } });
}
