// One call from its address to its answer: selects the connector, applies misbehaviours, acts, and records the call.
// A misbehaviour of one connector must never affect another.
import type { OAuthConnector } from '../connector.ts';
import { type Misbehaviour, retryAfterHeader } from './misbehaviour.ts';
import { type Ask, jsonReply, type Reply } from './persona-ask.ts';
import { claimedClient } from './persona-clients.ts';
import { answerAuthorize, describeIssuer } from './persona-consent.ts';
import type { Grant } from './persona-grants.ts';
import { type House, type Played, refuse } from './persona-house.ts';
import { answerIntrospection, answerRead, answerRevocation } from './persona-resources.ts';
import type { Found } from './persona-routes.ts';
import { answerToken } from './persona-token.ts';

/** What is sent: an answer, a part of it, or nothing. */
export interface Delivery {
  readonly reply: Reply | undefined;
  readonly half: boolean;
  readonly afterMs: number;
}

const whole = (reply: Reply, afterMs = 0): Delivery => ({ reply, half: false, afterMs });
const PAGE: Reply = {
  status: 200,
  headers: { 'content-type': 'text/html' },
  body: '<!doctype html><title>Gateway</title><h1>Please stand by</h1>\n',
};
/** Maximum number of records; beyond it the older half is dropped. */
const CALLS_MAX_COUNT = 200_000;
const NOBODY = {
  error: 'nobody_is_played_here',
  hint: 'the path is /<host of the provider><path of the provider>; see GET /',
};

export async function play(house: House, ask: Ask): Promise<Delivery> {
  const found = meant(house, house.routes.find(ask.method, ask.address), ask);
  if (found === undefined) return whole(jsonReply(404, NOBODY));
  const { connector, endpoint } = found;
  const asksFirst = endpoint === 'authorize' && house.switches.decision === 'ask' && !ask.query.has('auto');
  const misbehaviour = asksFirst ? undefined : house.misbehaviours.take(connector.id, endpoint);
  const instead = await actBefore(house, found, ask, misbehaviour);
  const played = instead ?? (await act(house, found, ask, misbehaviour));
  const reply = instead === undefined ? garbled(played.reply, misbehaviour) : played.reply;
  const isSilent = misbehaviour?.kind === 'drop' || misbehaviour?.kind === 'reset';
  noteCall(house, found, ask, { played, status: isSilent ? 0 : reply.status, misbehaviour });
  return {
    reply: isSilent ? undefined : reply,
    half: misbehaviour?.kind === 'truncate',
    afterMs: misbehaviour?.kind === 'slow' ? misbehaviour.ms : 0,
  };
}

interface Left {
  readonly played: Played;
  /** 0: no answer. */
  readonly status: number;
  readonly misbehaviour: Misbehaviour | undefined;
}

function noteCall(house: House, { connector, endpoint }: Found, ask: Ask, { played, status, misbehaviour }: Left): void {
  if (house.calls.length >= CALLS_MAX_COUNT) house.calls.splice(0, CALLS_MAX_COUNT / 2);
  house.calls.push({
    number: (house.calls.at(-1)?.number ?? 0) + 1,
    atMs: house.now(),
    connector: connector.id,
    endpoint,
    grant: (played.grant ?? presentedGrant(house, ask))?.id,
    grantType: played.grantType ?? (endpoint === 'token' ? ask.fields['grant_type'] : undefined),
    generation: played.generation ?? house.grants.generationOf(ask.fields['refresh_token'] ?? ''),
    outcome: played.outcome,
    status,
    misbehaviour: misbehaviour?.kind,
    why: played.why,
  });
}

/** Of several connectors at one address: the one of the client or of the presented token, or else the first. */
function meant(house: House, candidates: readonly Found[], ask: Ask): Found | undefined {
  const named = claimedClient(ask)?.split('.')[1];
  const owner = house.codes.get(ask.fields['code'] ?? '')?.connectorId ?? presentedGrant(house, ask)?.connectorId;
  const of = (id: string | undefined): Found | undefined => candidates.find(({ connector }) => connector.id === id);
  return of(named) ?? of(owner) ?? candidates[0];
}

function presentedGrant(house: House, ask: Ask): Grant | undefined {
  for (const value of [...Object.values(ask.fields), ask.bearer ?? '', ...ask.query.values()]) {
    const grant = house.grants.ofToken(value) ?? house.codes.get(value)?.grant;
    if (grant !== undefined) return grant;
  }
  return undefined;
}

function act(house: House, found: Found, ask: Ask, twist: Misbehaviour | undefined): Promise<Played> | Played {
  const { connector, endpoint, parameters } = found;
  switch (endpoint) {
    case 'authorize':
      return answerAuthorize(house, connector, parameters, ask, twist);
    case 'token':
      return answerToken({ house, connector, parameters, ask, twist });
    case 'introspection':
      return answerIntrospection({ house, connector, ask });
    case 'revocation':
      return answerRevocation({ house, connector, ask });
    case 'probe':
    case 'choice':
      return answerRead({ house, connector, ask }, endpoint);
    case 'discovery':
      return describe(house, connector, ask);
  }
}

async function describe(house: House, connector: OAuthConnector, ask: Ask): Promise<Played> {
  if (!ask.address.endsWith('/jwks')) return { reply: jsonReply(200, describeIssuer(connector)), outcome: 'answered' };
  const { d: _private, ...publicJwk } = (await house.clients.keyPair('ES256')).privateJwk;
  return { reply: jsonReply(200, { keys: [publicJwk] }), outcome: 'answered' };
}

/** @returns the answer if the provider does not act */
async function actBefore(
  house: House,
  found: Found,
  ask: Ask,
  misbehaviour: Misbehaviour | undefined,
): Promise<Played | undefined> {
  if (misbehaviour === undefined) return undefined;
  const { connector } = found;
  const grant = presentedGrant(house, ask) ?? clientsGrant(house, found, ask);
  const instead = (reply: Reply, outcome: Played['outcome'] = 'transient'): Played => ({ reply, outcome, grant });
  switch (misbehaviour.kind) {
    case 'reset':
      return instead(PAGE, 'unanswered');
    case 'server_error':
      return misbehaviour.when === 'after' ? undefined : instead(serverError(misbehaviour.status));
    case 'throttle':
      return instead(throttled(retryAfterHeader(misbehaviour.retry_after, house.now())));
    case 'refuse':
      return refuse(connector, misbehaviour.as, 'refused on demand', { grant });
    case 'redirect':
      return instead(redirected(misbehaviour.location), 'configuration');
    default:
      if (grant !== undefined) await touchGrant(house, connector, grant, misbehaviour);
      return undefined;
  }
}

/** Changes the grant before the call is answered normally. */
async function touchGrant(house: House, connector: OAuthConnector, grant: Grant, { kind }: Misbehaviour): Promise<void> {
  if (kind === 'revoke_grant') house.grants.end(grant, 'revoked', house.now());
  else if (kind === 'withdraw_consent') house.grants.end(grant, 'withdrawn', house.now());
  else if (kind === 'rotate_elsewhere') await house.grants.rotateElsewhere(connector, grant, house.now());
}

function throttled(retryAfter: string | undefined): Reply {
  return jsonReply(429, { error: 'too_many_requests' }, retryAfter === undefined ? {} : { 'retry-after': retryAfter });
}

function redirected(location = 'https://elsewhere.example/'): Reply {
  return { status: 302, headers: { location }, body: '' };
}

function clientsGrant(house: House, { connector, parameters }: Found, ask: Ask): Grant | undefined {
  const clientId = claimedClient(ask);
  return clientId === undefined ? undefined : house.grants.ofClient(connector.id, clientId, parameters);
}

function serverError(status = 503): Reply {
  return jsonReply(status, { error: 'server_error' });
}

function garbled(reply: Reply, misbehaviour: Misbehaviour | undefined): Reply {
  if (misbehaviour?.kind === 'html') return { ...PAGE, status: misbehaviour.status ?? 200 };
  return misbehaviour?.kind === 'server_error' ? serverError(misbehaviour.status) : reply;
}
