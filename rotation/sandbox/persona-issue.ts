// Issues a grant without a browser, with the settings of a credential to use it in the sandbox.
// It must never return an address outside of the sandbox.
import type { OAuthConnector } from '../connector.ts';
import type { OAuth2Settings } from '../oauth2/settings.ts';
import { accountAnswered } from './persona-answer.ts';
import { CLIENT_ID, CLIENT_SECRET } from './persona-clients.ts';
import type { GrantWish, IssuedGrant } from './persona-contract.ts';
import type { House } from './persona-house.ts';

/** @param declared the connector's data @param played the simulated connector */
export async function issueGrant(
  house: House,
  declared: OAuthConnector,
  played: OAuthConnector,
  wish: GrantWish,
): Promise<IssuedGrant> {
  const number = house.grants.count + 1;
  const renewal = played.oauth2.renewal?.kind ?? 'refresh_token';
  const usesToken = renewal === 'refresh_token' || renewal === 'none';
  // A client without a token is identified by its id only.
  const clientId = `${CLIENT_ID}.${played.id}${usesToken ? '' : `.${number}`}`;
  const parameters = parametersOf(played, number, wish.parameters ?? {});
  const scope = (wish.scope ?? '').split(' ').filter((one) => one !== '');
  const grant = house.grants.add(played, { clientId, scope, parameters, account: wish.account }, house.now());
  const pair = await house.grants.issue(played, grant, renewal === 'refresh_token', house.now());
  const { accessExpiresAtMs } = pair;
  const key = await keyOf(house, played);
  const settings = {
    ...sandboxSettings(declared, played, house.origin),
    clientId,
    parameters,
    account: accountAnswered(played, grant),
  };
  return {
    grant: grant.id,
    connector: played.id,
    accessToken: pair.accessToken,
    refreshToken: pair.refreshToken,
    expiresIn: accessExpiresAtMs === undefined ? undefined : Math.round((accessExpiresAtMs - house.now()) / 1_000),
    scope: scope.join(' '),
    clientId,
    clientSecret: CLIENT_SECRET,
    clientPrivateKeyJwk: key?.privateJwk,
    clientPrivateKeyPem: key?.privatePem,
    settings,
    config: configOf(settings),
  };
}

/** The settings that direct a credential of this connector to the sandbox, without a client. */
function sandboxSettings(declared: OAuthConnector, played: OAuthConnector, origin: string): OAuth2Settings {
  const nameless = declared.oauth2.tokenEndpoint === '';
  const { consent, oauth2, revocation, introspection } = played;
  return {
    sandbox: origin,
    ...(nameless ? { adjust: { tokenEndpoint: oauth2.tokenEndpoint } } : {}),
    ...(declared.consent?.authorizeEndpoint === '' && consent !== undefined
      ? { authorizeEndpoint: consent.authorizeEndpoint }
      : {}),
    ...(nameless && declared.revocation === undefined && revocation !== undefined ? { revocationEndpoint: revocation.url } : {}),
    ...(nameless && declared.introspection === undefined && introspection !== undefined
      ? { introspectionEndpoint: introspection.url }
      : {}),
    ...(declared.consent?.issuer === undefined && consent?.issuer !== undefined ? { issuer: consent.issuer } : {}),
  };
}

function configOf(settings: OAuth2Settings): Readonly<Record<string, unknown>> {
  const { sandbox, clientId, parameters, adjust, authorizeEndpoint, revocationEndpoint, introspectionEndpoint, issuer } =
    settings;
  const named = {
    client_id: clientId,
    sandbox,
    parameters: parameters === undefined || Object.keys(parameters).length === 0 ? undefined : parameters,
    token_endpoint: adjust?.tokenEndpoint,
    authorization_endpoint: authorizeEndpoint,
    revocation_endpoint: revocationEndpoint,
    introspection_endpoint: introspectionEndpoint,
    issuer,
  };
  return Object.fromEntries(Object.entries(named).filter(([, value]) => value !== undefined));
}

function parametersOf(
  { parameters = [], id }: OAuthConnector,
  number: number,
  wished: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  return Object.fromEntries(
    parameters.map(({ name, default: fallback, values, shape }) => {
      const madeUp = shape === 'host' ? `${id}.sandbox.example` : `${name}-${number}`;
      return [name, wished[name] ?? fallback ?? values?.[0] ?? madeUp];
    }),
  );
}

async function keyOf({ clients }: House, { oauth2 }: OAuthConnector) {
  const { renewal, clientAuthentication } = oauth2 ?? {};
  const assertion =
    renewal === undefined
      ? undefined
      : 'assertion' in renewal
        ? renewal.assertion
        : 'recovery' in renewal
          ? renewal.recovery
          : undefined;
  if (assertion !== undefined && assertion.algorithm !== 'HS256') return clients.keyPair(assertion.algorithm);
  return clientAuthentication === 'private_key_jwt' ? clients.keyPair('RS256') : undefined;
}
