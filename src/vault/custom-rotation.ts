// How an operator describes a target that no connector knows: as HTTP requests, by a webhook of their own, or by a program on the machine.
// Shapes only: what the parts must be to each other is checked by rotation/keys/custom.ts. It must never accept a secret.
import { z } from 'zod';
import { LIMITS } from '../base/limits.ts';
import { endpoint } from './credential-kinds.ts';

const plain = (maxChars: number) =>
  z
    .string()
    .min(1)
    .max(maxChars)
    .regex(/^[^\p{Cc}]*$/u, 'must not contain control characters');
const template = plain(2_048);
const member = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,63}$/, 'must be the name of a member of the value');
const word = z.string().regex(/^[a-z0-9_]{1,64}$/, 'must be 1 to 64 of the characters a-z, 0-9 and _');
/** RFC 6901. */
const pointer = z
  .string()
  .max(512)
  .regex(/^(\/[^\p{Cc}]*)?$/u, 'must be a JSON pointer: empty, or beginning with /');
const pointers = z.union([pointer, z.array(pointer).min(1).max(8)]);
const status = z.int().min(100).max(599);
/** A record whose message about a name names the rule. */
const named = <T extends z.ZodType>(isName: (name: string) => boolean, rule: string, member: T) =>
  z.record(z.string().min(1).max(128), member).superRefine((given, context) => {
    for (const name of Object.keys(given)) if (!isName(name)) context.addIssue({ code: 'custom', path: [name], message: rule });
  });
const NOT_SET = new Set(['host', 'content-length', 'transfer-encoding', 'connection', 'cookie', 'expect']);
const headers = named(
  (name) => /^[a-z0-9][a-z0-9-]{0,63}$/.test(name) && !NOT_SET.has(name),
  `must be a header name in lower case, and none of ${[...NOT_SET].join(', ')}`,
  template,
);
const answerMatch = z.strictObject({ status, text: plain(256).optional() });
const matches = z.array(answerMatch).max(16);

const authentication = z.discriminatedUnion('by', [
  z.strictObject({ by: z.literal('headers'), headers }),
  z.strictObject({ by: z.literal('basic'), username: template, password: template }),
  z.strictObject({ by: z.literal('digest'), username: template, password: template }),
  z.strictObject({
    by: z.literal('sigv4'),
    service: z.string().regex(/^[a-z0-9-]{1,64}$/, 'must be the name of a service of AWS'),
    region: template,
    key_id: template,
    key: template,
  }),
  z.strictObject({ by: z.literal('none') }),
]);

const call = {
  method: z.enum(['GET', 'POST', 'PUT', 'PATCH', 'DELETE']),
  url: template,
  headers: headers.optional(),
  json: z.unknown().optional(),
  form: z.record(plain(128), template).optional(),
  authentication: authentication.optional(),
  succeeds: z.array(status).min(1).max(16).optional(),
  answer: z.enum(['json', 'xml']).optional(),
  refused_when: z
    .array(z.strictObject({ at: pointer, is: z.enum(['present', 'false']), cause: word.optional() }))
    .max(8)
    .optional(),
};
const takes = named((name) => /^[A-Za-z_][A-Za-z0-9_]{0,63}\??$/.test(name), 'must be the name of a member', pointers);
const pages = z.discriminatedUnion('by', [
  z.strictObject({
    by: z.literal('number'),
    parameter: plain(64),
    first: z.union([z.literal(0), z.literal(1)]),
    size: z.int().min(1).max(1_000),
  }),
  z.strictObject({ by: z.literal('cursor'), parameter: plain(64), at: pointer }),
  z.strictObject({ by: z.literal('url'), at: pointer }),
]);
const ending = z.strictObject({ ...call, gone_by: matches.optional() });

/** As `KeyCalls` of rotation/key-spec.ts, with the names of its members in snake_case. */
const calls = z.strictObject({
  authentication,
  id_member: member.optional(),
  inspect: z.strictObject({ ...call, takes }).optional(),
  list: z.strictObject({ ...call, items: pointer, id: pointer, name: pointer.optional(), pages: pages.optional() }).optional(),
  mint: z.strictObject({ ...call, takes, ends_at: pointer.optional() }),
  test: z.strictObject({
    ...call,
    authentication,
    rejected_by: matches.optional(),
    works_when: z.strictObject({ at: pointers, is: plain(256).optional() }),
  }),
  disable: ending.optional(),
  revoke: ending.optional(),
  lifetime: z.strictObject({ default_days: z.int().min(1).max(3_650), max_days: z.int().min(1).max(3_650) }).optional(),
});

const host = z
  .string()
  .regex(
    /^(?=.{1,253}(?::|$))[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)+(?::[1-9][0-9]{0,4})?$/,
    'must be a host name in lower case with at least one dot, optionally with a port',
  );

/** Requests to a provider (generic-http). Without `calls` the value is an admin credential, bound to the hosts. */
export const httpSteps = z.strictObject({
  /** Every host that a request goes to. */
  hosts: z.array(host).min(1).max(LIMITS.customHostsMaxCount),
  strategy: z.enum(['overlap', 'in_place']).optional(),
  calls: calls.optional(),
  keys_max_count: z.int().min(1).max(10_000).optional(),
  settles_within_seconds: z.int().min(0).max(LIMITS.customSettlesMaxSeconds).optional(),
  error_table: z
    .array(
      z
        .strictObject({
          status: status.optional(),
          text: plain(256).optional(),
          means: z.enum(['transient', 'configuration']),
          cause: word,
        })
        .refine((row) => row.status !== undefined || row.text !== undefined, 'must have a status or a text'),
    )
    .max(32)
    .optional(),
});
export type HttpSteps = z.infer<typeof httpSteps>;

const sent = z
  .string()
  .regex(/^(old|value|admin)\.[A-Za-z_][A-Za-z0-9_]{0,63}$/, 'must be old.<member>, value.<member> or admin.<member>');
const askedStep = z.strictObject({
  /** The members that the step gets; nothing else of a value is sent. */
  sends: z.array(sent).max(LIMITS.customMembersMaxCount),
});
const asked = {
  strategy: z.enum(['overlap', 'in_place', 'single_user']).optional(),
  steps: z
    .strictObject({ create: askedStep.optional(), set: askedStep.optional(), test: askedStep, revoke: askedStep.optional() })
    .optional(),
  /** The members of a new value in the answer of `create`: these and no others. */
  returns: z.array(member).min(1).max(LIMITS.customMembersMaxCount).optional(),
  /** Without `create`: the member that gets a password made by Keyturn. Default: key or password. */
  generates: member.optional(),
};

/** An HTTPS endpoint of the operator (generic-webhook). Without `steps` the value is the key that signs its requests. */
export const webhookSteps = z.strictObject({ url: endpoint, ...asked });

/** A program of the operator (generic-program). Without `steps` the value is an admin credential for the same program. */
export const programSteps = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,63}$/, 'must be the name of a program in the list of --rotation-programs'),
  ...asked,
});
export type AskedSteps = Omit<z.infer<typeof webhookSteps>, 'url'>;
