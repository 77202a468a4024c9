// Turns a Request into a parsed RouteRequest and rejects every unknown field, once, at the edge.
// It must never echo what it rejected.
import type { z } from 'zod';
import type { Caller, UserIdentity } from '../access/principals.ts';
import { fail, KeyturnError } from '../base/errors.ts';
import { credentialNameFault, isCredentialName, isName, nameFault } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import { asPlainText, isPlainText } from '../base/text.ts';
import { sha256 } from '../crypto/primitives.ts';
import type { PathField, RouteRequest, RouteShape } from './route.ts';
import { isShownName, shownPointer } from './shown-names.ts';
import { parseStrictJson } from './strict-json.ts';

/** What differs between Node and workerd at the edge. */
export interface EdgeInfo {
  /** The caller's address, as seen by this service or by the last trusted proxy. */
  address: string;
  readonly nextRequestId: () => string;
  readonly secure: boolean;
  /** The headers by lower-case name, if the runtime has parsed them already: reading them from the Request is slower. */
  readonly headers?: Readonly<Record<string, string | readonly string[] | undefined>> | undefined;
  /** The user of the request's token, if the home cell has already looked it up; never taken from a header. */
  readonly user?: UserIdentity | undefined;
  /** The origin of the request URL, on platforms without a fixed public URL. */
  readonly origin?: string | undefined;
}

/** A request with its matched route parameters. */
export interface Incoming {
  readonly request: Request;
  /** The parameters of the path. */
  readonly params: Record<string, string>;
  readonly info: EdgeInfo;
}

/** Unreserved characters are not percent-encoded; hexadecimal digits are equal in both cases (RFC 3986 section 6.2.2). */
const PLAIN_PATH = /^(?:[A-Za-z0-9/._:~-]|%[0-9A-Fa-f]{2})*$/;
const NEEDLESS_ESCAPE = /%(?:2[DE]|3[0-9]|4[1-9A-F]|5[0-9AF]|6[1-9A-F]|7[0-9AE])/i;
const BAD_ESCAPE = /%(?![0-9A-Fa-f]{2})/;
/** A proxy may have checked the path before dot segments were resolved (AZ-06). */
export const DOT_SEGMENT_REFUSED = 'the path must not contain "." or ".." segments: no name is "." or ".."';
const HEADER_TEXT = /^[A-Za-z0-9._:@/-]{1,128}$/;
/** Matches a Keyturn token. */
const TOKEN_TEXT = /kt_[a-z]{2,4}_[0-9A-Za-z]{12}/;
/** The ETag of a credential: its revision. */
export const REVISION_TAG = /^"r([0-9]{1,15})"$/;
const KEY_TEXT = /^[\x21-\x7e]{1,128}$/;

const FIELDS: Readonly<Record<PathField, (text: string) => boolean>> = {
  name: isName,
  credential: isCredentialName,
  tenant: isIdOrName,
  workload: isIdOrName,
  user: isIdOrName,
  run: (text) => /^run_[0-9a-z]{24}$/.test(text),
  connection: (text) => /^con_[0-9a-z]{24}$/.test(text),
  token: (text) => /^[0-9A-Za-z]{12}$/.test(text),
  webhook: (text) => /^whk_[0-9a-z]{24}$/.test(text),
  feed: (text) => /^cal_[0-9a-z]{24}$/.test(text),
};

const ID_PREFIX = { run: 'run', connection: 'con', webhook: 'whk', feed: 'cal' } as const;

function isIdOrName(text: string): boolean {
  return isName(text);
}

function fieldFault(kind: PathField, text: string): string {
  if (kind === 'credential') return credentialNameFault(text);
  if (kind === 'name' || kind === 'tenant' || kind === 'workload' || kind === 'user') return nameFault(text);
  return kind === 'token'
    ? 'the token id in the path must be 12 characters of 0-9, A-Z and a-z'
    : `the ${kind} id in the path must be "${ID_PREFIX[kind]}_" followed by 24 characters of 0-9 and a-z`;
}

/** @throws invalid_request for anything but one canonical spelling (AZ-06) */
export function checkPath(path: string): void {
  const fault = pathFault(path);
  if (fault !== undefined) fail('invalid_request', `the path ${fault}`);
}

function pathFault(path: string): string | undefined {
  if (path.length > LIMITS.urlMaxBytes) return `may have at most ${LIMITS.urlMaxBytes} bytes`;
  if (path.includes('//')) return 'must not contain "//": a slash in a name is written %2F';
  if (BAD_ESCAPE.test(path)) return 'contains a "%" that two hexadecimal digits do not follow: a percent sign is written %25';
  if (!PLAIN_PATH.test(path))
    return 'contains a character that must be percent-encoded: all but A-Z, a-z, 0-9, "-", ".", "_", "~" and ":"';
  if (NEEDLESS_ESCAPE.test(path)) return 'must not percent-encode A-Z, a-z, 0-9, "-", ".", "_" and "~"';
  return undefined;
}

export function callerOf(request: Request, info: EdgeInfo): Caller {
  return {
    token: bearerOf(headerOf(request, info, 'authorization')),
    source: { address: info.address, userAgent: asPlainText((headerOf(request, info, 'user-agent') ?? '').slice(0, 256)) },
    request: info.nextRequestId(),
    clientRequest: optionalText(headerOf(request, info, 'x-request-id'), 'X-Request-Id'),
    workflow: optionalText(headerOf(request, info, 'x-keyturn-workflow'), 'X-Keyturn-Workflow'),
    workflowRun: optionalText(headerOf(request, info, 'x-keyturn-run'), 'X-Keyturn-Run'),
  };
}

function headerOf(request: Request, info: EdgeInfo, name: string): string | undefined {
  if (info.headers === undefined) return request.headers.get(name) ?? undefined;
  const value = info.headers[name];
  return typeof value === 'string' ? value : undefined;
}

function bearerOf(header: string | undefined): string | undefined {
  return header !== undefined && header.length < 512 && /^bearer /i.test(header) ? header.slice(7) : undefined;
}

function optionalText(value: string | undefined, headerName: string): string | undefined {
  if (value === undefined) return undefined;
  // SECURITY: the audit log stores these headers verbatim, so they must not contain a token (LK-16).
  if (!HEADER_TEXT.test(value) || TOKEN_TEXT.test(value))
    fail(
      'invalid_request',
      `the header ${headerName} must be 1 to 128 characters of A-Z a-z 0-9 . _ : @ / - and must not contain a token`,
    );
  return value;
}

/** Returns a promise only if the route takes a body. @throws invalid_request | malformed_json | payload_too_large | unsupported_media_type, naming the field */
export function parseRequest(
  shape: RouteShape,
  request: Request,
  params: Record<string, string>,
  caller: Caller,
  info: EdgeInfo,
): RouteRequest | Promise<RouteRequest> {
  for (const field in shape.fields) {
    const kind = shape.fields[field] as PathField;
    const text = params[field] ?? '';
    if (!FIELDS[kind](text)) fail('invalid_request', fieldFault(kind, text), { pointer: `:${field}` });
  }
  const idempotencyKey = headerOf(request, info, 'idempotency-key');
  if (idempotencyKey !== undefined && !KEY_TEXT.test(idempotencyKey)) {
    fail('invalid_request', 'the header Idempotency-Key must be 1 to 128 visible ASCII characters');
  }
  if (shape.method !== 'GET') checkConditions(request, info);
  const { url } = request;
  const mark = url.indexOf('?');
  const parsed = (bytes: Body | undefined): RouteRequest => ({
    caller,
    params,
    query: parseQuery(shape, mark < 0 ? '' : url.slice(mark + 1)),
    body: bytes === undefined ? undefined : parseBody(shape, bytes),
    accept: headerOf(request, info, 'accept'),
    ifMatch: headerOf(request, info, 'if-match'),
    ifNoneMatch: headerOf(request, info, 'if-none-match'),
    authorization: headerOf(request, info, 'authorization'),
    idempotencyKey,
    lastEventId: headerOf(request, info, 'last-event-id'),
    requestHash: () =>
      sha256(Buffer.concat([Buffer.from(`${shape.method} ${pathOf(url)}\n`), bytes?.content ?? new Uint8Array()])),
  });
  return shape.body === undefined ? parsed(undefined) : readBody(request, shape).then(parsed);
}

/** SECURITY: checked before any look-up, so that the answer to a malformed condition does not reveal what exists. @throws invalid_request */
function checkConditions(request: Request, info: EdgeInfo): void {
  const ifNoneMatch = headerOf(request, info, 'if-none-match');
  if (ifNoneMatch !== undefined && ifNoneMatch !== '*') fail('invalid_request', 'the header If-None-Match of a write must be *');
  const ifMatch = headerOf(request, info, 'if-match');
  if (ifMatch !== undefined && !REVISION_TAG.test(ifMatch))
    fail('invalid_request', 'the header If-Match must be an ETag of this credential, such as "r3"');
}

function pathOf(url: string): string {
  return new URL(url).pathname;
}

interface Body {
  readonly content: Uint8Array;
  readonly form: boolean;
}

async function readBody(request: Request, shape: RouteShape): Promise<Body> {
  const encoding = request.headers.get('content-encoding');
  if (encoding !== null && encoding !== 'identity')
    fail('unsupported_media_type', 'the body must not be compressed: omit the header Content-Encoding');
  const type = (request.headers.get('content-type') ?? '').split(';')[0]?.trim().toLowerCase();
  const form = shape.form === true && type === 'application/x-www-form-urlencoded';
  if (!form && type !== 'application/json') {
    // An action without arguments may be sent without a body.
    if (type === '' && isBodiless(request.headers)) return { content: new TextEncoder().encode('{}'), form: false };
    fail('unsupported_media_type', 'the header Content-Type must be application/json');
  }
  if (Number(request.headers.get('content-length') ?? 0) > LIMITS.bodyMaxBytes) tooLarge();
  return { content: await collect(request), form };
}

/** RFC 9112 section 6.3: a request with neither Content-Length nor Transfer-Encoding has no body. */
function isBodiless(headers: Headers): boolean {
  return (headers.get('content-length') ?? '0') === '0' && headers.get('transfer-encoding') === null;
}

async function collect(request: Request): Promise<Uint8Array> {
  if (request.headers.get('content-length') !== null) {
    // HTTP servers enforce a declared length, which readBody has checked, and reading the body at once is cheaper than a stream.
    const whole = new Uint8Array(await request.arrayBuffer());
    return whole.byteLength > LIMITS.bodyMaxBytes ? tooLarge() : whole;
  }
  if (request.body === null) return new Uint8Array();
  const parts: Uint8Array[] = [];
  let length = 0;
  const reader = request.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    length += value.byteLength;
    if (length > LIMITS.bodyMaxBytes) {
      await reader.cancel();
      tooLarge();
    }
    parts.push(value);
  }
  return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
}

function tooLarge(): never {
  return fail('payload_too_large', `the body must be at most ${LIMITS.bodyMaxBytes} bytes`);
}

const JSON_LIMITS = { maxBytes: LIMITS.bodyMaxBytes, maxDepth: LIMITS.bodyMaxDepth, maxMembers: LIMITS.bodyMaxMembers };

function parseBody(shape: RouteShape, body: Body): unknown {
  const raw = body.form ? fromForm(new TextDecoder().decode(body.content), '') : parseStrictJson(body.content, JSON_LIMITS);
  return parseWith(shape.body as z.ZodType, raw, '');
}

function parseQuery(shape: RouteShape, text: string): unknown {
  if (shape.query === undefined) {
    if (text !== '')
      fail('invalid_request', 'this route takes no query parameters: remove them', { pointer: `?${firstField(text)}` });
    return undefined;
  }
  if (text === '') return parsedEmpty(shape.query);
  const given = fromForm(text, '?');
  return parseWith(shape.query, shape.foreignText === true ? plainly(given) : given, '?');
}

const EMPTY_QUERIES = new WeakMap<z.ZodType, unknown>();

/** The defaults of a schema are constant, so an empty query is parsed once for each schema. */
function parsedEmpty(schema: z.ZodType): unknown {
  const known = EMPTY_QUERIES.get(schema);
  if (known !== undefined) return known;
  const parsed = Object.freeze(parseWith(schema, {}, '?'));
  EMPTY_QUERIES.set(schema, parsed);
  return parsed;
}

function firstField(text: string, schema?: z.ZodType): string {
  const field = text.split(/[=&]/, 1)[0] ?? '';
  return isShownName(field, schema) ? field : '';
}

function pointerOf(path: readonly PropertyKey[], { schema, prefix }: Parsing): string {
  return prefix === '?' ? `?${firstField(String(path[0] ?? ''), schema)}` : shownPointer(path, schema);
}

function fromForm(text: string, prefix: string): Record<string, string> {
  const out: Record<string, string> = Object.create(null);
  let separators = 0;
  for (let at = text.indexOf('&'); at >= 0; at = text.indexOf('&', at + 1)) {
    if (++separators > LIMITS.formMaxFields)
      fail('invalid_request', `the query or form must have at most ${LIMITS.formMaxFields} fields`);
  }
  for (const [field, value] of new URLSearchParams(text)) {
    if (field in out)
      fail('invalid_request', 'the field is given twice: give it once', { pointer: `${prefix}${firstField(field)}` });
    out[field] = value;
  }
  return { ...out };
}

/** Fields whose text is a secret or a signature and is never displayed: any characters are allowed. */
const RAW_FIELDS: ReadonlySet<string> = new Set([
  'value',
  'client_secret',
  'client_private_jwk',
  'client_private_key_pem',
  'client_assertion',
]);

/** SECURITY: every other field may be displayed in a page, a terminal or the log, so it must not contain characters that mislead a reader (AP-08, LK-11). */
function refuseMisleading(raw: unknown, parsing: Parsing, path: readonly PropertyKey[] = []): void {
  if (typeof raw === 'string') {
    if (isPlainText(raw)) return;
    const pointer = pointerOf(path, parsing);
    fail('invalid_request', 'the field must be one line of plain text: no line breaks, control or invisible characters', {
      pointer,
    });
  }
  if (typeof raw !== 'object' || raw === null) return;
  for (const [name, member] of Object.entries(raw)) {
    if (!isPlainText(name)) refuseMisleading(name, parsing, path);
    const step = Array.isArray(raw) ? Number(name) : name;
    if (path.length > 0 || !RAW_FIELDS.has(name)) refuseMisleading(member, parsing, [...path, step]);
  }
}

function plainly(given: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(given).map(([name, text]) => [asPlainText(name), asPlainText(text)]));
}

interface Parsing {
  readonly schema: z.ZodType;
  /** `?` for a query, nothing for a body. */
  readonly prefix: string;
}

function parseWith(schema: z.ZodType, raw: unknown, prefix: string): unknown {
  refuseMisleading(raw, { schema, prefix });
  const parsed = schema.safeParse(raw, { reportInput: false });
  if (parsed.success) return parsed.data;
  throw fromIssue(deepest(parsed.error.issues), { schema, prefix });
}

type Issue = z.core.$ZodIssue;

/** The first issue; in a union, the issue of the alternative that parsed furthest. */
function deepest(issues: readonly Issue[], base: readonly PropertyKey[] = []): Issue {
  const issue = issues[0] as Issue;
  if (issue.code === 'invalid_union' && issue.errors.length > 0) {
    const best = issue.errors.reduce((far, next) => (depth(next) > depth(far) ? next : far));
    if (best.length > 0) return deepest(best, [...base, ...issue.path]);
  }
  return { ...issue, path: [...base, ...issue.path] } as Issue;
}

function depth(issues: readonly Issue[]): number {
  return Math.max(0, ...issues.map((issue) => issue.path.length));
}

const EXPECTED = /^(string|number|int|boolean|array|object|record|date)$/;

// SECURITY: the message is built from the schema only: zod's own messages may quote the input (CVE-2025-4166 class, LK-03).
function fromIssue(issue: Issue, parsing: Parsing): KeyturnError {
  const unknown = issue.code === 'unrecognized_keys' ? issue.keys[0] : undefined;
  const path = unknown === undefined ? issue.path : [...issue.path, unknown];
  // SECURITY: the name of an unknown member may be a pasted secret, so the error states its place only.
  const isHidden = unknown !== undefined && !isShownName(unknown, parsing.schema);
  const rule = isHidden
    ? 'has a member with an unknown name: remove it, or check its spelling in /openapi.json'
    : describe(issue);
  return new KeyturnError('invalid_request', /^an? /.test(rule) ? rule : `the field ${rule}`, {
    pointer: pointerOf(path, parsing),
  });
}

function describe(issue: Issue): string {
  switch (issue.code) {
    case 'unrecognized_keys':
      return 'is unknown: remove it, or check its spelling in /openapi.json';
    case 'invalid_type':
      return EXPECTED.test(issue.expected) ? `must be of type ${issue.expected}` : 'has the wrong type: see /openapi.json';
    case 'too_big':
      return `must ${boundOf(issue.origin, `at most ${issue.maximum}`)}`;
    case 'too_small':
      return `must ${boundOf(issue.origin, `at least ${issue.minimum}`)}`;
    case 'invalid_value':
      return `must be one of ${issue.values.map((value) => JSON.stringify(value)).join(', ')}`;
    case 'invalid_format':
      return (
        ownRule(issue) ??
        `must be ${issue.format === 'regex' ? 'of the form given' : `a ${issue.format} as described`} in /openapi.json`
      );
    case 'custom':
      return ownRule(issue) ?? 'is not valid: see /openapi.json';
    default:
      return 'is not valid: see /openapi.json';
  }
}

function boundOf(origin: string, bound: string): string {
  if (origin === 'string') return `have ${bound} characters`;
  return origin === 'array' ? `have ${bound} elements` : `be ${bound}`;
}

/** The message of a rule in a Keyturn schema. It never contains the input. zod's default messages begin with "Invalid". */
function ownRule({ message }: Issue): string | undefined {
  return message.startsWith('Invalid') ? undefined : message;
}
