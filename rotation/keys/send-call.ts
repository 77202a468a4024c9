// One declared call: the request with its authentication, and what the answer means for the step.
// It must never let a secret reach an outcome, nor call an answer a refusal that the provider may not have given.
import { signMessage } from '../../src/alerts/sign-message.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { excerptOf } from '../../src/base/scrub.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import { secretKey } from '../../src/crypto/primitives.ts';
import {
  type AnswerMatch,
  type CallAuthentication,
  type EgressAnswer,
  EgressFailure,
  type EgressRequest,
  type KeyCall,
  type KeyErrorRow,
  type Said,
  type StepFailure,
  type Target,
} from '../connector.ts';
import { retryAfterSeconds } from '../oauth2/answer.ts';
import { signAssertion } from '../oauth2/assertion.ts';
import { secretsReceived } from '../oauth2/provider-words.ts';
import { answerChallenge, readChallenge } from './http-digest.ts';
import { valueAt } from './pointer.ts';
import { amzDate, signV4 } from './sigv4.ts';
import { fillForm, fillJson, fillText, fillUrl, mayContainSecret, Unfillable, type Variables } from './template.ts';
import { readXml } from './xml.ts';

export interface CallContext {
  readonly target: Target;
  readonly variables: Variables;
  /** Of calls that declare none. */
  readonly authentication: CallAuthentication;
  readonly errorTable: readonly KeyErrorRow[];
}

export interface Answered {
  readonly kind: 'answered';
  readonly status: number;
  /** The parsed body; undefined if it is empty or in another format. */
  readonly body: unknown;
  readonly text: string;
  readonly said: Said;
  readonly retryAfterSeconds: number | undefined;
}

type Headers = Record<string, string | SecretValue>;
type Unsent = Omit<EgressRequest, 'headers' | 'body'> & { readonly headers: Headers; readonly text: string | undefined };

/** Sends the call and reads the answer, whatever its status. Never throws for an outcome at the provider or in transit. */
export async function askProvider(call: KeyCall, context: CallContext): Promise<Answered | StepFailure> {
  try {
    return readAnswer(call, context, await sendAuthenticated(call, context));
  } catch (error) {
    if (error instanceof EgressFailure) return { kind: error.sent === 'not_sent' ? 'not_sent' : 'lost', cause: error.reason };
    if (error instanceof Unfillable) return { kind: 'refused', means: 'configuration', cause: error.word };
    throw error;
  }
}

async function sendAuthenticated(call: KeyCall, context: CallContext): Promise<EgressAnswer> {
  const { target, variables } = context;
  const authentication = call.authentication ?? context.authentication;
  const form = call.form === undefined ? undefined : fillForm(call.form, variables);
  if (authentication.by === 'jwt_bearer') await addAssertion(form, authentication, context);
  const text = call.json === undefined ? form?.toString() : JSON.stringify(fillJson(call.json, variables));
  const request: Unsent = {
    url: fillUrl(call.url, variables),
    method: call.method,
    headers: { ...plainHeaders(call), ...filledHeaders(call.headers ?? {}, variables) },
    text,
    allowedHosts: target.allowedHosts,
    timeoutMs: LIMITS.providerTimeoutMs,
    maxBytes: LIMITS.providerAnswerMaxBytes,
    allowLoopback: target.allowLoopback,
  };
  if (authentication.by !== 'digest') return send(request, authenticate(request, authentication, context), target);
  const challenged = await send(request, {}, target);
  if (challenged.status !== 401) return challenged;
  // Without a challenge the refusal is not about the secret, which was not sent.
  const challenge = readChallenge(challenged.headers['www-authenticate']);
  if (challenge === undefined) throw new Unfillable('digest_not_offered');
  challenged.body.wipe();
  const [username, password] = [fillText(authentication.username, variables), fillText(authentication.password, variables)];
  const answer = answerChallenge(challenge, { ...request, username, password }, target.entropy);
  return send(request, { authorization: SecretValue.fromText(answer) }, target);
}

function plainHeaders({ json, form, answer }: KeyCall): Headers {
  const type = json !== undefined ? 'application/json' : form !== undefined ? 'application/x-www-form-urlencoded' : undefined;
  return {
    accept: answer === 'xml' ? 'application/xml, text/xml' : 'application/json',
    ...(type === undefined ? {} : { 'content-type': type }),
  };
}

function filledHeaders(headers: Readonly<Record<string, string>>, variables: Variables): Headers {
  return Object.fromEntries(
    Object.entries(headers).map(([name, template]) => {
      const text = fillText(template, variables);
      return [name, mayContainSecret(template) ? SecretValue.fromText(text) : text];
    }),
  );
}

function authenticate(request: Unsent, by: CallAuthentication, { target, variables }: CallContext): Headers {
  switch (by.by) {
    case 'headers':
      return filledHeaders(by.headers, variables);
    case 'basic':
      return {
        authorization: SecretValue.fromText(`Basic ${basic(fillText(by.username, variables), fillText(by.password, variables))}`),
      };
    case 'sigv4': {
      const date = amzDate(target.clock.now());
      const type = request.headers['content-type'];
      const headers = { 'x-amz-date': date, ...(typeof type === 'string' ? { 'content-type': type } : {}) };
      const body = new TextEncoder().encode(request.text ?? '');
      const key = {
        keyId: fillText(by.keyId, variables),
        key: fillText(by.key, variables),
        region: fillText(by.region, variables),
        service: by.service,
      };
      const signature = signV4({ method: request.method, url: request.url, headers, body }, key, date);
      return { 'x-amz-date': date, authorization: SecretValue.fromText(signature) };
    }
    case 'standard_webhook': {
      const seconds = Math.floor(target.clock.now() / 1_000);
      const body = new TextEncoder().encode(request.text ?? '');
      return {
        'webhook-id': by.id,
        'webhook-timestamp': String(seconds),
        'webhook-signature': SecretValue.fromText(signMessage(signingKey(fillText(by.key, variables)), by.id, seconds, body)),
      };
    }
    default:
      return {};
  }
}

/** @throws Unfillable signing_key_unusable */
function signingKey(text: string) {
  const [, encoded = ''] = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(text) ?? [];
  const bytes = bytesOfBase64(encoded);
  if (bytes.byteLength < LIMITS.signingKeyMinBytes || bytes.byteLength > LIMITS.signingKeyMaxBytes)
    throw new Unfillable('signing_key_unusable');
  return secretKey(bytes);
}

function bytesOfBase64(text: string): Uint8Array {
  try {
    return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  } catch {
    return new Uint8Array();
  }
}

function basic(username: string, password: string): string {
  return btoa(String.fromCharCode(...new TextEncoder().encode(`${username}:${password}`)));
}

/** @throws Unfillable if the key is unusable */
async function addAssertion(
  form: URLSearchParams | undefined,
  by: CallAuthentication & { by: 'jwt_bearer' },
  { target, variables }: CallContext,
): Promise<void> {
  const privateKeyPem = SecretValue.fromText(fillText(by.privateKey, variables));
  const audience = fillText(by.audience, variables);
  try {
    const signed = await signAssertion(
      { algorithm: 'RS256', audience, lifetimeSeconds: 300, sentAs: 'parameter', scopeIn: 'claim' },
      { clientId: fillText(by.issuer, variables), privateKeyPem, allowLoopback: target.allowLoopback },
      audience,
      by.scope,
      target.clock,
    );
    form?.set('grant_type', 'urn:ietf:params:oauth:grant-type:jwt-bearer');
    form?.set('assertion', textOf(signed));
  } catch {
    throw new Unfillable('private_key_unusable');
  } finally {
    privateKeyPem.wipe();
  }
}

async function send({ text, ...request }: Unsent, proof: Headers, { egress }: Target): Promise<EgressAnswer> {
  const body = text === undefined ? undefined : SecretValue.fromText(text);
  const headers = { ...request.headers, ...proof };
  try {
    return await egress.send({ ...request, headers, ...(body === undefined ? {} : { body }) });
  } finally {
    body?.wipe();
    for (const value of Object.values(headers)) if (value instanceof SecretValue) value.wipe();
  }
}

const textOf = (secret: SecretValue) => secret.reveal((bytes) => new TextDecoder().decode(bytes));

function readAnswer(call: KeyCall, { target, variables }: CallContext, answer: EgressAnswer): Answered {
  const { status, headers } = answer;
  const text = textOf(answer.body);
  answer.body.wipe();
  const body = call.answer === 'xml' ? readXml(text) : readJson(text);
  const { old, admin, value, copied } = variables;
  const secrets = [old, admin, value, copied].flatMap((members) => textsIn(members)).concat(secretsReceived(body));
  const words = excerptOf(text, secrets, LIMITS.excerptMaxChars);
  return {
    kind: 'answered',
    status,
    body,
    text,
    said: { status, ...(words === '' ? {} : { words }) },
    retryAfterSeconds: retryAfterSeconds(headers['retry-after'], target.clock.now()),
  };
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

export function textsIn(value: unknown, depth = 0): string[] {
  if (typeof value === 'string') return [value];
  if (typeof value !== 'object' || value === null || depth > LIMITS.answerDepthMax) return [];
  return Object.values(value).flatMap((member) => textsIn(member, depth + 1));
}

function matches({ status, text }: { status?: number; text?: string }, answered: Answered): boolean {
  if (status !== undefined && status !== answered.status) return false;
  const seen = answered.text.slice(0, LIMITS.excerptReadMaxChars).toLowerCase();
  return text === undefined || seen.includes(text.toLowerCase());
}

export function matchesAny(rows: readonly AnswerMatch[], answered: Answered): boolean {
  return rows.some((row) => matches(row, answered));
}

export function isSuccess({ succeeds }: KeyCall, { status }: Answered): boolean {
  return succeeds === undefined ? status >= 200 && status < 300 : succeeds.includes(status);
}

/** Undefined: the answer is no refusal by its content. */
export function refusalInside({ refusedWhen = [] }: KeyCall, { body }: Answered): string | undefined {
  const found = refusedWhen.find(({ at, is }) => {
    const value = valueAt(body, at);
    return is === 'false' ? value === false : value !== undefined && !(Array.isArray(value) && value.length === 0);
  });
  return found === undefined ? undefined : (found.cause ?? 'refused_in_answer');
}

/** Statuses of an edge network that could not reach the provider's own server, as in oauth2/answer.ts. */
const NEVER_REACHED: readonly number[] = [521, 523, 525, 526, 530];

/**
 * A management call: a success, or why not.
 * @param changes whether the call changes the provider and must not be repeated, so that an answer of a failing server counts as lost
 */
export async function manage(call: KeyCall, context: CallContext, changes: boolean): Promise<Answered | StepFailure> {
  const answered = await askProvider(call, context);
  return answered.kind === 'answered' ? judge(call, context, answered, changes) : answered;
}

export function judge(call: KeyCall, context: CallContext, answered: Answered, changes: boolean): Answered | StepFailure {
  const inside = isSuccess(call, answered) ? refusalInside(call, answered) : undefined;
  if (isSuccess(call, answered) && inside === undefined) return answered;
  return failureOf(answered, context, changes, inside);
}

function failureOf(answered: Answered, { errorTable }: CallContext, changes: boolean, inside: string | undefined): StepFailure {
  const { status, said, retryAfterSeconds: after } = answered;
  const again = after === undefined ? {} : { retryAfterSeconds: after };
  const row = errorTable.find((entry) => matches(entry, answered));
  if (row !== undefined) return { kind: 'refused', means: row.means, cause: row.cause, said, ...again };
  if (inside !== undefined) return { kind: 'refused', means: 'configuration', cause: inside, said };
  if (status < 400) return { kind: 'odd', cause: status >= 300 ? 'redirect_refused' : `http_${status}`, said };
  if (changes && mayHaveActed(status)) return { kind: 'lost', cause: `http_${status}`, said };
  return { kind: 'refused', means: meaningOf(status), cause: `http_${status}`, said, ...again };
}

function mayHaveActed(status: number): boolean {
  return status === 408 || (status >= 500 && !NEVER_REACHED.includes(status));
}

function meaningOf(status: number): 'transient' | 'configuration' {
  return status >= 500 || [408, 425, 429].includes(status) ? 'transient' : 'configuration';
}
