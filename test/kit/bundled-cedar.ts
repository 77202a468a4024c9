// In workerd this stands for cedar.ts (vitest.config.ts says so): the engine and the policies of the bundle of a Worker.
import * as cedar from '@cedar-policy/cedar-wasm/web';
import { Authorizer, type CedarEngine, type PolicySource } from '../../src/access/authorizer.ts';
import { BUNDLED_POLICIES, workerAuthorizer } from '../../src/worker/policies.ts';

workerAuthorizer(); // prepares the engine

export const cedarEngine: CedarEngine = cedar;

export const shippedPolicies = (): PolicySource => BUNDLED_POLICIES;

export function testAuthorizer(extra: Readonly<Record<string, string>> = {}): Authorizer {
  return new Authorizer(cedarEngine, { schema: BUNDLED_POLICIES.schema, policies: { ...BUNDLED_POLICIES.policies, ...extra } });
}
