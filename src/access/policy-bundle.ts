// Checks policy files and loads them into the engine as one set. A bundle is accepted whole or refused whole: it must never leave a
// part in the engine, nor disturb the set in use (AZ-11).
import { fail } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { sha256 } from '../crypto/primitives.ts';
import type { CedarEngine } from './cedar.ts';
import { OPERATIONS, ROLES } from './operations.ts';

export interface PolicySource {
  readonly schema: string;
  /** Texts by file name without extension: `roles/owner`, `guardrails/token`. */
  readonly policies: Readonly<Record<string, string>>;
}

export interface PolicyBundle {
  /** SHA-256 over schema and policies, 64 hex characters; also the name of both in the engine. */
  readonly hash: string;
  /** `roles/owner#everything`: file and `@id`, sorted. */
  readonly policyIds: readonly string[];
}

/**
 * SECURITY: a bundle without a guardrail still parses and validates, so these files are required: a deployment that lost one is refused.
 * Further files may be added in both folders.
 */
export const REQUIRED_POLICIES: readonly string[] = [
  ...ROLES.map((role) => `roles/${role}`),
  'roles/system',
  'roles/team',
  'guardrails/assignment',
  'guardrails/auditor',
  'guardrails/containment',
  'guardrails/erasure',
  'guardrails/kind-of-principal',
  'guardrails/second-factor',
  'guardrails/token',
];

const POLICY_NAME = /^(roles|guardrails)\/[a-z0-9][a-z0-9-]{0,63}$/;
const POLICY_ID = /^[a-z0-9][a-z0-9-]{0,63}$/;

/**
 * Checks `source` strictly and loads it into the engine under its hash. Idempotent.
 * @throws internal naming the file; the engine's message is in `evidence`
 */
export function loadBundle(engine: CedarEngine, source: PolicySource): PolicyBundle {
  const files = Object.entries(source.policies).sort();
  requireShape(source.schema, files);
  requireOperations(engine, source.schema);
  const policies: Record<string, string> = {};
  for (const [name, text] of files) Object.assign(policies, splitFile(engine, name, text));
  requireValid(engine, source.schema, policies);
  const hash = Buffer.from(sha256(Buffer.from(JSON.stringify([source.schema, files])))).toString('hex');
  requireSuccess(engine.preparseSchema(hash, source.schema), 'the policy schema');
  requireSuccess(engine.preparsePolicySet(hash, { staticPolicies: policies }), 'the policies');
  return { hash, policyIds: Object.keys(policies).sort() };
}

function requireShape(schema: string, files: readonly (readonly [string, string])[]): void {
  const names = new Set(files.map(([name]) => name));
  for (const name of REQUIRED_POLICIES) if (!names.has(name)) refuse(`policy file ${name} is missing`);
  const bytes = files.reduce((sum, [, text]) => sum + Buffer.byteLength(text), Buffer.byteLength(schema));
  if (bytes > LIMITS.bodyMaxBytes)
    refuse(`the policy files and the schema must have at most ${LIMITS.bodyMaxBytes} bytes together`);
  requireFlat('the policy schema', schema);
  for (const [name, text] of files) {
    if (!POLICY_NAME.test(name)) refuse('the name of a policy file must be roles/<name> or guardrails/<name>');
    requireFlat(`policy file ${name}`, text);
  }
}

/**
 * SECURITY: cedar-wasm 4.13 parses by recursion. 200 nested parentheses or 1,000 chained `+` overflow its stack, and the engine then
 * fails every later decision: one bad bundle would deny every request. So the depth is checked before the engine parses the text.
 */
function requireFlat(what: string, text: string): void {
  if (text.includes('\uFFFD') || text.includes('\0')) refuse(`${what} is not valid UTF-8`);
  const code = text.replace(/"(?:[^"\\]|\\.)*"|\/\/[^\n\r]*/gs, '');
  let depth = 0;
  for (const character of code) {
    if ('([{'.includes(character)) depth++;
    else if (')]}'.includes(character)) depth--;
    if (depth > LIMITS.bodyMaxDepth) refuse(`${what} must nest at most ${LIMITS.bodyMaxDepth} brackets`);
  }
  const operators = (code.match(/[[.+\-*<&|!]|\b(?:if|when|unless)\b/g) ?? []).length;
  if (operators > LIMITS.policyOperatorsMaxCount) refuse(`${what} must have at most ${LIMITS.policyOperatorsMaxCount} operators`);
}

/** An operation without an action is never allowed; an action without an operation is never checked. */
function requireOperations(engine: CedarEngine, schema: string): void {
  const parsed = requireSuccess(engine.schemaToJson(schema), 'the policy schema');
  // An action that applies to no resource type is a group of actions.
  const declared = Object.values(parsed.json).flatMap(({ actions }) =>
    Object.keys(actions).filter((name) => actions[name]?.appliesTo?.resourceTypes.length !== 0),
  );
  const expected = Object.keys(OPERATIONS);
  const differing = [
    ...expected.filter((name) => !declared.includes(name)),
    ...declared.filter((name) => !expected.includes(name)),
  ];
  if (differing.length > 0) refuse('the actions of the policy schema must be the operations of Keyturn', differing.join(', '));
}

function splitFile(engine: CedarEngine, name: string, text: string): Record<string, string> {
  const what = `policy file ${name}`;
  const parts = requireSuccess(engine.policySetTextToParts(text), what);
  if (parts.policy_templates.length > 0) refuse(`${what} must not contain a policy template`);
  if (parts.policies.length === 0) refuse(`${what} is empty`);
  const policies: Record<string, string> = {};
  for (const policy of parts.policies) {
    const { effect, annotations } = requireSuccess(engine.policyToJson(policy), what).json;
    // SECURITY: a reviewer who reads one folder would miss a `permit` among the guardrails or a `forbid` among the roles.
    const expected = name.startsWith('guardrails/') ? 'forbid' : 'permit';
    if (effect !== expected) refuse(`${what} must contain ${expected} policies only, but contains a ${effect}`);
    const id = annotations?.['id'] ?? '';
    if (!POLICY_ID.test(id)) refuse(`each policy of ${what} must have an @id of lower case letters, digits and dashes`);
    if (Object.hasOwn(policies, `${name}#${id}`)) refuse(`each policy of ${what} must have an @id of its own: two are equal`);
    policies[`${name}#${id}`] = policy;
  }
  return policies;
}

/** Warnings count as errors: Cedar warns about a policy that can never apply. */
function requireValid(engine: CedarEngine, schema: string, policies: Record<string, string>): void {
  const answer = requireSuccess(
    engine.validate({ schema, policies: { staticPolicies: policies }, validationSettings: { mode: 'strict' } }),
    'the policies',
  );
  const found = [...answer.validationErrors, ...answer.validationWarnings];
  if (found.length === 0 && answer.otherWarnings.length === 0) return;
  const where = [...new Set(found.map((finding) => finding.policyId))].join(', ');
  const evidence = [...found.map((finding) => finding.error), ...answer.otherWarnings].map((error) => error.message).join('; ');
  refuse(`the policies do not match the schema${where === '' ? '' : `: ${where}`}`, evidence);
}

type Answer = { type: 'success' } | { type: 'failure'; errors: { readonly message: string }[] };

function requireSuccess<A extends Answer>(answer: A, what: string): Extract<A, { type: 'success' }> {
  if (answer.type !== 'success') {
    refuse(`${what} does not parse`, (answer as Answer & { type: 'failure' }).errors.map((error) => error.message).join('; '));
  }
  return answer as Extract<A, { type: 'success' }>;
}

function refuse(detail: string, evidence?: string): never {
  return fail('internal', detail, { evidence });
}
