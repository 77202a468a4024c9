// Policies and the Cedar engine in workerd: bundled as texts and a compiled module, because there is no file system.
// policy-bundle.ts (REQUIRED_POLICIES) refuses a list with a missing policy.
import * as cedar from '@cedar-policy/cedar-wasm/web';
import engine from '../../node_modules/@cedar-policy/cedar-wasm/web/cedar_wasm_bg.wasm';
import assignment from '../../policies/guardrails/assignment.cedar';
import guardrailAuditor from '../../policies/guardrails/auditor.cedar';
import containment from '../../policies/guardrails/containment.cedar';
import erasure from '../../policies/guardrails/erasure.cedar';
import kindOfPrincipal from '../../policies/guardrails/kind-of-principal.cedar';
import secondFactor from '../../policies/guardrails/second-factor.cedar';
import token from '../../policies/guardrails/token.cedar';
import admin from '../../policies/roles/admin.cedar';
import auditor from '../../policies/roles/auditor.cedar';
import engineer from '../../policies/roles/engineer.cedar';
import owner from '../../policies/roles/owner.cedar';
import rotationOperator from '../../policies/roles/rotation-operator.cedar';
import system from '../../policies/roles/system.cedar';
import team from '../../policies/roles/team.cedar';
import workload from '../../policies/roles/workload.cedar';
import schema from '../../policies/schema.cedarschema';
import { Authorizer, type PolicySource } from '../access/authorizer.ts';

export const BUNDLED_POLICIES: PolicySource = {
  schema,
  policies: {
    'guardrails/assignment': assignment,
    'guardrails/auditor': guardrailAuditor,
    'guardrails/containment': containment,
    'guardrails/erasure': erasure,
    'guardrails/kind-of-principal': kindOfPrincipal,
    'guardrails/second-factor': secondFactor,
    'guardrails/token': token,
    'roles/admin': admin,
    'roles/auditor': auditor,
    'roles/engineer': engineer,
    'roles/owner': owner,
    'roles/rotation-operator': rotationOperator,
    'roles/system': system,
    'roles/team': team,
    'roles/workload': workload,
  },
};

let shared: Authorizer | undefined;

/** One authorizer for all objects of an isolate, created at first use, because the front Worker does not need it. */
export function workerAuthorizer(): Authorizer {
  if (shared === undefined) {
    cedar.initSync({ module: engine });
    shared = new Authorizer(cedar, BUNDLED_POLICIES);
  }
  return shared;
}
