// What a link is to ask for, judged before it is made: connector, settings, scopes and what proves the client.
// It must never let a link be made that could not be used.
import { fail } from '../../../src/base/errors.ts';
import type { CredentialRow } from '../../../src/cell/credentials.ts';
import { boundPart, changedSetting, type VersionSettings } from '../../../src/vault/bound-settings.ts';
import { configOf } from '../../../src/vault/credential.ts';
import type { OAuth2Config, RetainedGrant } from '../../../src/vault/credential-kinds.ts';
import { requireActive } from '../../../src/vault/targets.ts';
import { type ClientAuthentication, findConnector, type OAuthConnector } from '../../connector.ts';
import type { EnginePorts } from '../../engine/due-work.ts';
import { authorizeEndpoint } from '../../oauth2/authorization-code.ts';
import type { Discovered } from '../../oauth2/discovery.ts';
import { mayReachLoopback, refuseIgnored, resolveFor } from '../connector-settings.ts';
import { type AskedScope, askedScopes, consentingConnector, openParameters } from './request.ts';

/** A link as it is asked for. */
export interface ConnectionInput {
  readonly environment: string;
  readonly name: string;
  readonly connector: string | undefined;
  readonly config: OAuth2Config | undefined;
  /** What proves the client; of an existing credential only what changes. */
  readonly secrets: Pick<RetainedGrant, 'client_secret' | 'client_private_jwk' | 'client_private_key_pem'>;
  readonly ttlMs: number;
  readonly labels: Readonly<Record<string, string>> | undefined;
  readonly description: string | undefined;
  readonly redirectUri: string;
}

/** What was found good. */
export interface Wanted {
  readonly connector: OAuthConnector;
  readonly config: OAuth2Config;
  /** Differs from what the credential has. */
  readonly changed: boolean;
  readonly scopes: readonly AskedScope[];
  readonly clientAuthentication: ClientAuthentication;
}

/** OAuthConnector and settings as they are told, not judged yet. */
export function plainlyWanted(ports: EnginePorts, row: CredentialRow | undefined, input: ConnectionInput) {
  const id = row?.connector ?? input.connector ?? '';
  const config = input.config ?? (row?.kind === 'oauth2' ? configOf(row) : undefined);
  return { connector: findConnector(ports.connectors, 'oauth2', id), config };
}

/** @throws invalid_request naming the field | conflict | gone */
export function checkWanted(
  ports: EnginePorts,
  row: CredentialRow | undefined,
  input: ConnectionInput,
  discovered: Discovered | undefined,
): Wanted {
  const connector = consentingConnector(ports.connectors, connectorWanted(row, input));
  const told = configWanted(ports, row, input);
  const config = discovered === undefined ? told : withEndpoints(told, discovered);
  const resolved = resolveFor(connector, config, {}, true);
  if (input.config !== undefined) refuseIgnored(connector, config, resolved);
  if (connector.consent?.openid === true && resolved.consent?.issuer === undefined)
    fail('invalid_request', 'names who signs the identity', { pointer: '/config/issuer' });
  checkAuthorizeEndpoint(ports, connector, resolved.consent, config);
  return {
    connector,
    config,
    changed: input.config !== undefined || discovered !== undefined,
    scopes: askedScopes(connector, config),
    clientAuthentication: resolved.oauth2.clientAuthentication,
  };
}

/** The connector that the credential has or is to have. @throws conflict | gone | invalid_request */
function connectorWanted(row: CredentialRow | undefined, { connector }: ConnectionInput): string {
  if (row === undefined) {
    return connector ?? fail('invalid_request', 'names the connector of a new credential', { pointer: '/connector' });
  }
  requireActive(row);
  if (row.kind !== 'oauth2') fail('conflict', 'the credential exists with another kind');
  if (connector !== undefined && connector !== row.connector)
    fail('conflict', 'the credential exists with another connector', { pointer: '/connector' });
  return row.connector ?? '';
}

/** As it is told, judged only as far as it needs no connector. @throws invalid_request */
function configWanted(ports: EnginePorts, row: CredentialRow | undefined, input: ConnectionInput): OAuth2Config {
  const { config } = plainlyWanted(ports, row, input);
  if (config?.client_id === undefined) return fail('invalid_request', 'tells the client id', { pointer: '/config' });
  if (config.sandbox !== undefined && !ports.sandboxAllowed)
    fail('invalid_request', 'this installation has no sandbox', { pointer: '/config/sandbox' });
  return config;
}

function checkAuthorizeEndpoint(
  ports: EnginePorts,
  connector: OAuthConnector,
  consent: ReturnType<typeof resolveFor>['consent'],
  config: OAuth2Config,
): void {
  if (consent === undefined) fail('invalid_request', 'this connector needs it', { pointer: '/config/authorization_endpoint' });
  // A part that only the person can tell is filled in, and judged, when they begin.
  if (consent.authorizeEndpoint.includes('{')) return;
  authorizeEndpoint(consent, mayReachLoopback(ports.sandboxAllowed, connector.id, config));
}

function withEndpoints(config: OAuth2Config, found: Discovered): OAuth2Config {
  const { revocationEndpoint, introspectionEndpoint } = found;
  return {
    ...(revocationEndpoint === undefined ? {} : { revocation_endpoint: revocationEndpoint }),
    ...(introspectionEndpoint === undefined ? {} : { introspection_endpoint: introspectionEndpoint }),
    authorization_endpoint: found.authorizationEndpoint,
    token_endpoint: found.tokenEndpoint,
    ...config,
  };
}

/** Whether the link brings another proof of the client. */
export function hasSecret({ secrets }: ConnectionInput): boolean {
  return Object.values(secrets).some((secret) => secret !== undefined);
}

/**
 * What proves the client in a link of an existing credential. Secrets that lie in the vault stay with the settings they came with.
 * @param kept of the current version, with the settings they are bound to
 * @throws invalid_request naming the setting that changes, or the missing proof
 */
export function secretsFor(
  { connector, config, clientAuthentication }: Wanted,
  given: RetainedGrant,
  kept: { readonly secrets: RetainedGrant; readonly settings: VersionSettings | undefined },
): RetainedGrant {
  const { settings, secrets } = kept;
  const changed =
    settings === undefined || settings.connector !== connector.id
      ? '/connector'
      : changedSetting(boundPart(settings.config), boundPart(config), openParameters(connector));
  // SECURITY: a stored client secret went to the token endpoint of whoever could make a link with a config of their own.
  if (
    changed !== undefined &&
    PROOFS.some((proof) => secrets[proof] !== undefined) &&
    PROOFS.every((proof) => given[proof] === undefined)
  ) {
    const rule =
      'the stored secrets belong to the settings they came with: to change this one, give the client secret (or private key) anew';
    fail('invalid_request', rule, { pointer: changed });
  }
  const proven = changed === undefined ? { ...secrets, ...given } : given;
  requireProof(proven, clientAuthentication);
  return proven;
}

const PROOFS = ['client_secret', 'client_private_jwk', 'client_private_key_pem'] as const;

/** @throws invalid_request naming the missing proof */
export function requireProof(secrets: RetainedGrant, authentication: ClientAuthentication): void {
  if (authentication === 'none') return;
  if (authentication === 'private_key_jwt') {
    if (secrets.client_private_jwk === undefined && secrets.client_private_key_pem === undefined)
      fail('invalid_request', 'this client proves itself by a private key', { pointer: '/client_private_jwk' });
  } else if (secrets.client_secret === undefined) {
    fail('invalid_request', 'this client proves itself by a secret', { pointer: '/client_secret' });
  }
}
