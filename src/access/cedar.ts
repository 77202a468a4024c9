// The one place that asks Cedar. The engine is passed in, so this runs in Node and in workerd alike.
// It must never turn an error, a half answer or a crash of the engine into a yes (D3, AZ-10).

interface EngineError {
  readonly message: string;
}

interface PolicySet {
  readonly staticPolicies: Record<string, string>;
}

export interface EntityUid {
  readonly type: string;
  readonly id: string;
}

export interface Entity {
  uid: EntityUid;
  attrs: Record<string, string>;
  parents: EntityUid[];
}

export interface CedarRequest {
  principal: EntityUid;
  action: EntityUid;
  resource: EntityUid;
  context: Record<string, boolean>;
  /** Absent: nothing is checked against a schema. */
  preparsedSchemaName?: string;
  validateRequest: boolean;
  preparsedPolicySetId: string;
  entities: Entity[];
}

type ParseAnswer = { type: 'success' } | { type: 'failure'; errors: EngineError[] };

type AuthorizationAnswer =
  | {
      type: 'success';
      response: { decision: 'allow' | 'deny'; diagnostics: { reason: string[]; errors: { policyId: string }[] } };
    }
  | { type: 'failure'; errors: EngineError[] };

/** What Keyturn uses of @cedar-policy/cedar-wasm 4.13; both its `/nodejs` and its `/web` module fit. */
export interface CedarEngine {
  policySetTextToParts(
    text: string,
  ): { type: 'success'; policies: string[]; policy_templates: string[] } | { type: 'failure'; errors: EngineError[] };
  policyToJson(
    policy: string,
  ):
    | { type: 'success'; json: { effect: 'permit' | 'forbid'; annotations?: Record<string, string> } }
    | { type: 'failure'; errors: EngineError[] };
  schemaToJson(
    schema: string,
  ):
    | { type: 'success'; json: Record<string, { actions: Record<string, { appliesTo?: { resourceTypes: string[] } }> }> }
    | { type: 'failure'; errors: EngineError[] };
  validate(call: { schema: string; policies: PolicySet; validationSettings: { mode: 'strict' } }):
    | {
        type: 'success';
        validationErrors: { policyId: string; error: EngineError }[];
        validationWarnings: { policyId: string; error: EngineError }[];
        otherWarnings: EngineError[];
      }
    | { type: 'failure'; errors: EngineError[] };
  preparseSchema(name: string, schema: string): ParseAnswer;
  preparsePolicySet(id: string, policies: PolicySet): ParseAnswer;
  statefulIsAuthorized(request: CedarRequest): AuthorizationAnswer;
}

export interface Evaluation {
  readonly allow: boolean;
  /** Ids of the policies that decided: the permits of an allow, the forbids of a deny; none when no policy permits. */
  readonly policies: readonly string[];
  /** Why the engine could not decide, for the operator's log; empty unless `failed`. */
  readonly errors: readonly string[];
  /** True when anything went wrong; then `allow` is false. */
  readonly failed: boolean;
}

/**
 * Cedar's answer, with every doubt read as a no. Never throws.
 *
 * SECURITY: Cedar skips a policy that errs as if it were absent, so an erring `forbid` disappears and its `permit` wins.
 * Any reported error, a failure answer, a malformed answer or a throw of the engine is therefore a deny (AZ-10).
 */
export function evaluate(engine: Pick<CedarEngine, 'statefulIsAuthorized'>, request: CedarRequest): Evaluation {
  try {
    const answer = engine.statefulIsAuthorized(request);
    if (answer.type !== 'success') return failed(answer.errors.map((error) => error.message));
    const { decision, diagnostics } = answer.response;
    if (diagnostics.errors.length > 0) return failed(diagnostics.errors.map((error) => `policy ${error.policyId} erred`));
    return { allow: decision === 'allow', policies: [...diagnostics.reason].sort(), errors: [], failed: false };
  } catch (error) {
    return failed([error instanceof Error ? error.message : 'the engine threw']);
  }
}

function failed(errors: readonly string[]): Evaluation {
  return { allow: false, policies: [], errors, failed: true };
}
