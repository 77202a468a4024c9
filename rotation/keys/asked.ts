// The rotator that asks the operator's own code for each step, over a webhook or a program: one message, one bounded answer of a closed shape.
// It must never send a member of a value that the step does not declare, nor take a member that the settings do not name.
import { z } from 'zod';
import { LIMITS } from '../../src/base/limits.ts';
import type { AskedSteps } from '../../src/vault/custom-rotation.ts';
import type { NewValue, PlannedCall, Rotator, StepFailure, StepOutcome, StoredValue, Target, Verdict } from '../connector.ts';
import { newPassword } from './new-password.ts';
import type { Variables } from './template.ts';

export interface Asked {
  readonly strategy: 'overlap' | 'in_place' | 'single_user';
  readonly steps: NonNullable<AskedSteps['steps']>;
  readonly returns: readonly string[];
  readonly generates: string | undefined;
}

export type AskedStep = 'create' | 'set' | 'test' | 'revoke';

/** One question, with templates for what it sends. */
export interface Question {
  readonly step: AskedStep;
  /** The same for every attempt of a step that changes something; another one for each test. */
  readonly id: string;
  readonly message: Readonly<Record<string, unknown>>;
  /** The step changes the target, so an answer that is missing may hide a change. */
  readonly changes: boolean;
}

/** How the questions reach the operator's code. */
export interface Ask {
  /** For the plan, e.g. `POST https://...`. */
  readonly what: string;
  /** Text of the answer, at most `LIMITS.providerAnswerMaxBytes`. Never throws for an outcome at the target. */
  send(question: Question, target: Target, variables: Variables): Promise<{ kind: 'answered'; text: string } | StepFailure>;
}

const doneAnswer = z.strictObject({
  outcome: z.literal('done'),
  value: z.record(z.string().max(64), z.string().min(1).max(LIMITS.valueMaxBytes)).optional(),
  ends_at: z.iso.datetime({ offset: true }).optional(),
});
const refusedAnswer = z.strictObject({
  outcome: z.literal('refused'),
  means: z.enum(['transient', 'configuration']),
  cause: z.string().regex(/^[a-z0-9_]{1,64}$/),
  retry_after_seconds: z.int().min(0).max(86_400).optional(),
});
const stepAnswer = z.discriminatedUnion('outcome', [doneAnswer, refusedAnswer]);
const testAnswer = z.strictObject({ verdict: z.enum(['works', 'rejected', 'unknown']) });

export function askedRotator(asked: Asked, ask: Ask): Rotator {
  const { steps } = asked;
  return {
    mintsAtTarget: steps.create !== undefined,
    plan: () => planOf(asked, ask),
    create: (target, again) => (steps.create === undefined ? generate(asked, target) : create(asked, ask, target, again)),
    test: (target, value) => test(asked, ask, target, value),
    ...(steps.set === undefined ? {} : { set: (target: Target, fresh: StoredValue) => change(asked, ask, 'set', target, fresh) }),
    ...(steps.revoke === undefined
      ? {}
      : { revoke: (target: Target, value: StoredValue) => change(asked, ask, 'revoke', target, value) }),
  };
}

function questionOf({ steps }: Asked, step: AskedStep, target: Target, id: string, more: object = {}): Question {
  const groups: Record<string, Record<string, string>> = {};
  for (const sent of steps[step]?.sends ?? []) {
    const [group = '', member = ''] = sent.split('.');
    groups[group] = { ...groups[group], [member]: `{${sent}}` };
  }
  const parameters = Object.fromEntries(Object.keys(target.parameters).map((name) => [name, `{parameters.${name}}`]));
  return { step, id, changes: step !== 'test', message: { step, id, name: '{name}', ...more, parameters, ...groups } };
}

function variablesOf({ parameters, old, admin, name }: Target, value?: StoredValue): Variables {
  return { parameters, old, admin, name, ...(value === undefined ? {} : { value }) };
}

async function create(asked: Asked, ask: Ask, target: Target, again: boolean): Promise<StepOutcome<NewValue>> {
  const question = questionOf(asked, 'create', target, `${target.name}.create`, { again });
  const answer = readStep(await ask.send(question, target, variablesOf(target)));
  if (answer.kind !== 'done') return answer;
  const { value = {}, ends_at } = answer.given;
  const lacking = asked.returns.find((name) => !Object.hasOwn(value, name));
  if (lacking !== undefined) return { kind: 'odd', cause: `answer_lacks_${lacking.toLowerCase()}` };
  if (Object.keys(value).length > asked.returns.length) return { kind: 'odd', cause: 'answer_with_undeclared_member' };
  const endsAtMs = ends_at === undefined ? undefined : Date.parse(ends_at);
  return { kind: 'done', value: withMembers(target.old, value), ...(endsAtMs === undefined ? {} : { endsAtMs }) };
}

async function generate({ generates = '' }: Asked, target: Target): Promise<StepOutcome<NewValue>> {
  if (typeof target.old[generates] !== 'string' && target.old[`${generates}_base64`] === undefined)
    return { kind: 'refused', means: 'configuration', cause: `value_lacks_${generates.toLowerCase()}` };
  return { kind: 'done', value: withMembers(target.old, { [generates]: newPassword(target.entropy) }) };
}

/** The same secret in base64 is replaced, too. */
function withMembers(old: StoredValue, members: Readonly<Record<string, string>>): StoredValue {
  const kept = Object.entries(old).filter(([name]) => !Object.hasOwn(members, name.replace(/_base64$/, '')));
  return { ...Object.fromEntries(kept), ...members };
}

async function change(asked: Asked, ask: Ask, step: 'set' | 'revoke', target: Target, value: StoredValue): Promise<StepOutcome> {
  const question = questionOf(asked, step, target, `${target.name}.${step}`);
  const answer = readStep(await ask.send(question, target, variablesOf(target, value)));
  if (answer.kind !== 'done') return answer;
  return answer.given.value === undefined ? { kind: 'done' } : { kind: 'odd', cause: 'answer_with_undeclared_member' };
}

async function test(asked: Asked, ask: Ask, target: Target, value: StoredValue): Promise<Verdict> {
  try {
    const nonce = [...target.entropy.bytes(8)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
    const question = questionOf(asked, 'test', target, `${target.name}.test.${nonce}`);
    const answer = await ask.send(question, target, variablesOf(target, value));
    return (answer.kind === 'answered' ? testAnswer.safeParse(parsed(answer.text)).data?.verdict : undefined) ?? 'unknown';
  } catch {
    return 'unknown';
  }
}

type StepAnswer = { readonly kind: 'done'; readonly given: z.infer<typeof doneAnswer> } | StepFailure;

function readStep(answer: { kind: 'answered'; text: string } | StepFailure): StepAnswer {
  if (answer.kind !== 'answered') return answer;
  const given = stepAnswer.safeParse(parsed(answer.text)).data;
  if (given === undefined) return { kind: 'odd', cause: 'answer_of_another_shape' };
  if (given.outcome === 'done') return { kind: 'done', given };
  const { means, cause, retry_after_seconds: after } = given;
  return { kind: 'refused', means, cause, ...(after === undefined ? {} : { retryAfterSeconds: after }) };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function planOf({ strategy, steps }: Asked, { what }: Ask): readonly PlannedCall[] {
  const planned = (step: PlannedCall['step'], asks: AskedStep, undoable: boolean): PlannedCall[] =>
    steps[asks] === undefined ? [] : [{ step, what: `${what} (${asks})`, undoable }];
  const replaces = strategy !== 'overlap';
  return [
    ...planned('create', 'create', !replaces),
    ...planned('set', 'set', !replaces),
    ...planned('test', 'test', true),
    ...planned('revoke', 'revoke', false),
    ...planned('prove_dead', 'test', true),
  ];
}
