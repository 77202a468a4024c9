// The sandbox's answers other than tokens: introspection, revocation, the probe and the list of accounts.
// It must never reveal facts about a token to a caller that is neither its client nor its holder.
import type { ClientAuthentication, IntrospectionSpec, OAuthConnector, RevocationSpec } from '../connector.ts';
import { accountAnswered } from './persona-answer.ts';
import { type Ask, jsonReply, putAt, type Reply } from './persona-ask.ts';
import type { Grant } from './persona-grants.ts';
import { type House, type Played, refuse } from './persona-house.ts';

interface ResourceCall {
  readonly house: House;
  readonly connector: OAuthConnector;
  readonly ask: Ask;
}

export async function answerIntrospection(call: ResourceCall): Promise<Played> {
  const { house, connector, ask } = call;
  const spec = connector.introspection;
  if (spec === undefined) return refuse(connector, 'configuration', 'there is none');
  const why = await unproven(call, spec.authentication);
  if (why !== undefined) return refuse(connector, 'configuration', why);
  const token = ask.fields[spec.tokenParameter] ?? ask.query.get(spec.tokenParameter) ?? ask.bearer ?? '';
  const grant = house.grants.ofToken(token);
  const ends = house.grants.accessEnds(connector, token, house.now());
  const { active } = spec.fields;
  if (grant === undefined || ends === undefined)
    return active === undefined
      ? refuse(connector, 'dead', 'the token does not work', { grant })
      : { reply: jsonReply(200, nest([[active, false]])), outcome: 'dead', grant };
  return { reply: jsonReply(200, introspected(call, spec.fields, grant, ends)), outcome: 'answered', grant };
}

function introspected(
  { house, connector }: ResourceCall,
  { active, scope, expiresAt, expiresIn }: IntrospectionSpec['fields'],
  { scope: scopes }: Grant,
  ends: number | null,
): Record<string, unknown> {
  return nest([
    [active, true],
    [scope, connector.persona?.scopeAs === 'list' ? scopes : scopes.join(connector.oauth2.scopeSeparator ?? ' ')],
    [expiresAt, ends === null ? undefined : Math.floor(ends / 1_000)],
    [expiresIn, ends === null ? undefined : Math.floor((ends - house.now()) / 1_000)],
  ]);
}

function nest(members: readonly (readonly [string | undefined, unknown])[]): Record<string, unknown> {
  const body: Record<string, unknown> = {};
  for (const [path, value] of members) if (path !== undefined && value !== undefined) putAt(body, path, value);
  return body;
}

/** Undefined if the caller is authorized. */
async function unproven(
  { house, connector, ask }: ResourceCall,
  authentication: ClientAuthentication | 'bearer',
): Promise<string | undefined> {
  if (authentication === 'bearer') {
    const known = house.grants.accessEnds(connector, ask.bearer ?? '', house.now()) !== undefined;
    return known ? undefined : 'the bearer token does not work';
  }
  if (authentication === 'none') return undefined;
  const client = await house.clients.authenticate(connector, authentication, ask, [ask.url], house.now());
  return client.ok ? undefined : client.why;
}

export async function answerRevocation(call: ResourceCall): Promise<Played> {
  const { house, connector } = call;
  const spec = connector.revocation;
  if (spec === undefined) return refuse(connector, 'configuration', 'there is none');
  const why = await unproven(call, spec.authentication);
  // Some providers answer the revocation of an ended grant with an invalid bearer token.
  if (why !== undefined) return spec.authentication === 'bearer' ? gone(spec, why) : refuse(connector, 'configuration', why);
  const grant = revoked(call, spec);
  if (grant === undefined) return gone(spec, 'the token or account is unknown');
  const ended = spec.ends === 'grant' ? [grant] : [...house.grants.all()].filter((other) => sharesAccount(grant, other));
  for (const one of ended) house.grants.end(one, 'revoked', house.now());
  return { reply: jsonReply(spec.method === 'DELETE' ? 204 : 200, {}), outcome: 'revoked', grant };
}

function sharesAccount(grant: Grant, other: Grant): boolean {
  return other.account === grant.account && other.connectorId === grant.connectorId && other.clientId === grant.clientId;
}

function revoked({ house, connector, ask }: ResourceCall, spec: RevocationSpec): Grant | undefined {
  const sent = (name: string): string | undefined => ask.fields[name] ?? ask.query.get(name) ?? undefined;
  const { tokenParameter } = spec;
  const token = tokenParameter === undefined ? ask.bearer : sent(tokenParameter);
  const named = token === undefined ? ofAccount(house, connector, spec, sent) : house.grants.ofToken(token);
  const isLive = named !== undefined && named.connectorId === connector.id && named.ended === undefined;
  return isLive ? named : undefined;
}

/** For providers that identify the account instead of the token (`stripe_user_id`). */
function ofAccount(
  house: House,
  connector: OAuthConnector,
  spec: RevocationSpec,
  sent: (name: string) => string | undefined,
): Grant | undefined {
  const asked = Object.entries(spec.extraParameters ?? {}).flatMap(([name, template]) => {
    const field = /^\{account\.([a-z0-9_]+)\}$/.exec(template)?.[1];
    return field === undefined ? [] : [[field, sent(name)] as const];
  });
  if (asked.length === 0) return undefined;
  return [...house.grants.all()].findLast((grant) => {
    const account = grant.connectorId === connector.id && grant.ended === undefined ? accountAnswered(connector, grant) : {};
    return asked.every(([field, value]) => value !== undefined && account[field] === value);
  });
}

function gone({ alreadyGone }: RevocationSpec, why: string): Played {
  const [row] = alreadyGone ?? [];
  // RFC 7009 section 2.2: an unknown token is not an error.
  if (row === undefined) return { reply: jsonReply(200, {}), outcome: 'dead', why };
  const status = typeof row.status === 'number' ? row.status : (row.status?.[0] ?? 400);
  return { reply: jsonReply(status, { error: row.code ?? 'gone', message: row.text ?? '' }), outcome: 'dead', why };
}

/** The probe, and the list of accounts. */
export function answerRead(call: ResourceCall, endpoint: 'probe' | 'choice'): Played {
  const { house, connector, ask } = call;
  const token = ask.bearer ?? '';
  const grant = house.grants.ofToken(token);
  if (grant === undefined || house.grants.accessEnds(connector, token, house.now()) === undefined)
    return { reply: rejection(connector), outcome: 'dead', grant };
  if (endpoint === 'choice') return { reply: jsonReply(200, choices(house, connector)), outcome: 'answered', grant };
  const { oauth2, probe, scopes = [] } = connector;
  const body: Record<string, unknown> = { sandbox: true, account: grant.account };
  if (probe?.refusedWhen?.is === 'false') body[probe.refusedWhen.member] = true;
  const headers: Record<string, string> = {};
  for (const source of scopes) {
    if (source.from === 'probe_header') headers[source.header.toLowerCase()] = grant.scope.join(source.separator);
    if (source.from === 'probe_body') putAt(body, source.path, grant.scope.join(oauth2.scopeSeparator ?? ' '));
  }
  return { reply: jsonReply(200, body, headers), outcome: 'answered', grant };
}

function rejection({ probe }: OAuthConnector): Reply {
  const { refusedWhen, rejectedBy } = probe ?? {};
  if (refusedWhen === undefined || rejectedBy !== undefined)
    return jsonReply(rejectedBy?.[0] ?? 401, { error: 'invalid_token' }, { 'www-authenticate': 'Bearer error="invalid_token"' });
  const { member, is } = refusedWhen;
  return jsonReply(200, { error: 'invalid_auth', [member]: is === 'false' ? false : [{ message: 'not authenticated' }] });
}

function choices(house: House, connector: OAuthConnector): unknown {
  const choice = connector.consent?.choice;
  if (choice === undefined) return [];
  const count = house.switches.sites.get(connector.id) ?? 1;
  const items = Array.from({ length: count }, (_, at) =>
    nest([
      [choice.idField, `site-${at + 1}`],
      [choice.labelField, `Made-up site ${at + 1}`],
    ]),
  );
  return choice.items === '' ? items : nest([[choice.items, items]]);
}
