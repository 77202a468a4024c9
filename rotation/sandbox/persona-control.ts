// The control API of the sandbox over HTTP, under `/_control`: the methods of `Personas`, for use with curl.
// It must never accept a command from a web page: a request with an Origin header is refused.
import { z } from 'zod';
import type { Misbehaviour, MisbehaviourPlan } from './misbehaviour.ts';
import { jsonReply, type Reply } from './persona-ask.ts';
import type { Personas } from './persona-contract.ts';

const count = z.number().int().min(0).max(1_000_000);
const planned = {
  connector: z.string().optional(),
  on: z.enum(['authorize', 'token', 'introspection', 'revocation', 'choice', 'probe', 'discovery']).optional(),
  times: count.optional(),
  skip: count.optional(),
};
const kind = <K extends Misbehaviour['kind'], F extends z.ZodRawShape>(name: K, fields: F) =>
  z.strictObject({ kind: z.literal(name), ...fields, ...planned });
const status = z.number().int().min(200).max(599).optional();
const NONE = {};
const misbehaviour = z.discriminatedUnion('kind', [
  kind('slow', { ms: count }),
  kind('truncate', NONE),
  kind('html', { status }),
  kind('server_error', { status, when: z.enum(['before', 'after']).optional() }),
  kind('throttle', {
    retry_after: z
      .string()
      .max(64)
      .regex(/^[\x20-\x7e]*$/)
      .optional(),
  }),
  kind('drop', NONE),
  kind('reset', NONE),
  kind('revoke_grant', NONE),
  kind('withdraw_consent', NONE),
  kind('rotate_elsewhere', NONE),
  kind('refuse', { as: z.enum(['dead', 'configuration', 'transient']) }),
  kind('redirect', { location: z.url().optional() }),
  kind('narrower_scope', NONE),
  kind('wider_scope', NONE),
  kind('foreign_fields', NONE),
  kind('oversized', { bytes: count.max(50_000_000).optional() }),
  kind('expires_in', { value: z.enum(['missing', 'zero', 'negative', 'text']) }),
  kind('same_refresh_token', NONE),
  kind('wrong_state', NONE),
  kind('wrong_issuer', NONE),
  kind('no_issuer', NONE),
]);
const newGrant = z.strictObject({
  connector: z.string(),
  scope: z.string().optional(),
  account: z.string().optional(),
  parameters: z.record(z.string(), z.string()).optional(),
});

export interface Order {
  readonly method: string;
  /** Below `/_control`, e.g. `/grants/grant-1/revoke`. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly body: string;
}

type Answer = unknown;
type Handler = (personas: Personas, order: Order, body: unknown, id: string) => Answer | Promise<Answer>;

const DONE = { done: true };
const HANDLERS: readonly (readonly [string, RegExp, Handler])[] = [
  ['GET', /^\/?$/, (personas) => ({ ...told(personas), orders: orders() })],
  ['GET', /^\/grants$/, (personas) => personas.grants()],
  ['POST', /^\/grants$/, (personas, _order, body) => issue(personas, body)],
  ['POST', /^\/grants\/([^/]+)\/revoke$/, (personas, _order, _body, id) => after(personas.revoke(id))],
  ['POST', /^\/grants\/([^/]+)\/withdraw$/, (personas, _order, _body, id) => after(personas.withdraw(id))],
  ['POST', /^\/grants\/([^/]+)\/rotate-elsewhere$/, async (personas, _o, _b, id) => after(await personas.rotateElsewhere(id))],
  ['POST', /^\/misbehave$/, (personas, _order, body) => misbehave(personas, body)],
  ['DELETE', /^\/misbehave$/, (personas) => after(personas.calm())],
  ['GET', /^\/calls$/, (personas, { query }) => calls(personas, query.get('grant'))],
  [
    'POST',
    /^\/consent$/,
    (personas, _order, body) =>
      after(personas.decide(z.strictObject({ decision: z.enum(['ask', 'allow', 'deny']) }).parse(body).decision)),
  ],
  [
    'POST',
    /^\/sites$/,
    (personas, _order, body) => {
      const { connector, count: sites } = z.strictObject({ connector: z.string(), count: count.max(1_000) }).parse(body);
      return after(personas.offerSites(connector, sites));
    },
  ],
  [
    'POST',
    /^\/clock$/,
    (personas, _order, body) =>
      after(personas.setClockOffset(z.strictObject({ offset_seconds: z.number() }).parse(body).offset_seconds * 1_000)),
  ],
  [
    'POST',
    /^\/redirect-uris$/,
    (personas, _order, body) => after(personas.registerRedirectUri(z.strictObject({ uri: z.url() }).parse(body).uri)),
  ],
  ['POST', /^\/client-keys$/, async (personas, _order, body) => after(await personas.registerClientKey(jwkOf(body)))],
  ['GET', /^\/client-key$/, (personas, { query }) => personas.clientKey(query.get('algorithm') === 'ES256' ? 'ES256' : 'RS256')],
];

export async function takeOrder(personas: Personas, order: Order): Promise<Reply> {
  for (const [method, path, handler] of HANDLERS) {
    const match = method === order.method ? path.exec(order.path) : null;
    if (match === null) continue;
    try {
      const body: unknown = order.body === '' ? {} : JSON.parse(order.body);
      return jsonReply(200, await handler(personas, order, body, match[1] ?? ''));
    } catch (error) {
      const why =
        error instanceof z.ZodError ? error.issues.map(faultOf).join('; ') : error instanceof Error ? error.message : 'refused';
      return jsonReply(400, { error: why });
    }
  }
  return jsonReply(404, { error: 'no such command', orders: orders() });
}

/** One sentence for a field of an order. */
function faultOf(issue: z.core.$ZodIssue): string {
  const place = issue.path.join('.');
  const field = place === '' ? 'the body' : `the field ${place}`;
  if (issue.code === 'unrecognized_keys') return `the field ${issue.keys.join(', ')} is unknown`;
  if (issue.code === 'invalid_value') return `${field} must be one of ${issue.values.map(String).join(', ')}`;
  if (issue.code === 'invalid_type') return `${field} must be of type ${issue.expected}`;
  // The only union is that of the kinds of misbehaviour.
  if (issue.code === 'invalid_union')
    return `the field kind must be one of ${misbehaviour.options.map(({ shape }) => [...shape.kind.values][0]).join(', ')}`;
  return `${field} is not valid: ${issue.message}`;
}

/** @throws ZodError naming the field */
function misbehave(personas: Personas, body: unknown): Answer {
  const { connector, on, times, skip, ...wanted } = misbehaviour.parse(body);
  const plan = Object.fromEntries(Object.entries({ connector, on, times, skip }).filter(([, value]) => value !== undefined));
  personas.misbehave(wanted as Misbehaviour, plan as MisbehaviourPlan);
  return DONE;
}

function issue(personas: Personas, body: unknown): Promise<Answer> {
  const { connector, ...wanted } = newGrant.parse(body);
  return personas.issueGrant(connector, wanted);
}

function jwkOf(body: unknown): Record<string, unknown> & { kty: string } {
  return z.strictObject({ jwk: z.looseObject({ kty: z.string() }) }).parse(body).jwk;
}

function calls(personas: Personas, grant: string | null): Answer {
  return { items: grant === null ? personas.calls : personas.callsFor(grant) };
}

/** Answers when the command is done. */
function after(_nothing: unknown): Answer {
  return DONE;
}

function told({ origin, clientId, clientSecret, connectors }: Personas): Record<string, unknown> {
  return { sandbox: origin, client_id: clientId, client_secret: clientSecret, connectors };
}

function orders(): string[] {
  return HANDLERS.map(([method, path]) => {
    const readable = path.source
      .replaceAll(/\\|\^|\$|\/\?/g, '')
      .replace('([/]+)', '{grant}')
      .replace('([^/]+)', '{grant}');
    return `${method} /_control${readable}`;
  });
}
