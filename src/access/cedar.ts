// The only caller of the Cedar engine. The engine is passed in, so this module runs in Node and in workerd.
// It must never turn an error, an incomplete answer or a crash of the engine into an allow (D3, AZ-10).

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
  /** Absent: the request is not validated against a schema. */
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

/** The functions of @cedar-policy/cedar-wasm 4.13 that Keyturn uses; its `/nodejs` and its `/web` module both have this type. */
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
  /** The engine's errors, for the operator's log; empty unless `failed`. */
  readonly errors: readonly string[];
  /** The evaluation failed; then `allow` is false. */
  readonly failed: boolean;
}

/**
 * Cedar's decision; every failure is a deny. Never throws.
 *
 * SECURITY: Cedar skips a policy whose evaluation fails, so a failing `forbid` is ignored and a `permit` wins.
 * A reported error, a failure answer, a malformed answer and an exception of the engine are therefore denies (AZ-10).
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
