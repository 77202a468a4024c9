// Validates a link before it is created: connector, settings, scopes and client credentials.
// It must never accept a link that could not be used.
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

/** The requested link. */
export interface ConnectionInput {
  readonly environment: string;
  readonly name: string;
  readonly connector: string | undefined;
  readonly config: OAuth2Config | undefined;
  /** The client credentials; for an existing credential only changed ones. */
  readonly secrets: Pick<RetainedGrant, 'client_secret' | 'client_private_jwk' | 'client_private_key_pem'>;
  readonly ttlMs: number;
  readonly labels: Readonly<Record<string, string>> | undefined;
  readonly description: string | undefined;
  readonly redirectUri: string;
}

/** The validated link. */
export interface Wanted {
  readonly connector: OAuthConnector;
  readonly config: OAuth2Config;
  /** Whether it differs from the credential's. */
  readonly changed: boolean;
  readonly scopes: readonly AskedScope[];
  readonly clientAuthentication: ClientAuthentication;
}

/** Connector and settings before validation. */
export function plainlyWanted(ports: EnginePorts, row: CredentialRow | undefined, input: ConnectionInput) {
  const id = row?.connector ?? input.connector;
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
    fail('invalid_request', 'the setting issuer is required by this connector: the URL of the issuer of ID tokens', {
      pointer: '/config/issuer',
    });
  checkAuthorizeEndpoint(ports, connector, resolved.consent, config);
  return {
    connector,
    config,
    changed: input.config !== undefined || discovered !== undefined,
    scopes: askedScopes(connector, config),
    clientAuthentication: resolved.oauth2.clientAuthentication,
  };
}

/** The connector of the existing or new credential. @throws conflict | gone | invalid_request */
function connectorWanted(row: CredentialRow | undefined, { connector }: ConnectionInput): string {
  if (row === undefined) {
    return (
      connector ?? fail('invalid_request', 'the field connector is required for a new credential', { pointer: '/connector' })
    );
  }
  requireActive(row);
  if (row.kind !== 'oauth2') fail('conflict', 'a credential of this name exists with another kind: use another name');
  if (connector !== undefined && connector !== row.connector)
    fail('conflict', 'a credential of this name exists with another connector: use that connector or another name', {
      pointer: '/connector',
    });
  return row.connector ?? '';
}

/** The given settings, validated without the connector. @throws invalid_request */
function configWanted(ports: EnginePorts, row: CredentialRow | undefined, input: ConnectionInput): OAuth2Config {
  const { config } = plainlyWanted(ports, row, input);
  if (config?.client_id === undefined)
    return fail('invalid_request', 'the setting client_id is required: the id of the OAuth client at the provider', {
      pointer: '/config',
    });
  if (config.sandbox !== undefined && !ports.sandboxAllowed)
    fail('invalid_request', 'the setting sandbox is not allowed: the service was not started with --allow-local-sandbox', {
      pointer: '/config/sandbox',
    });
  return config;
}

function checkAuthorizeEndpoint(
  ports: EnginePorts,
  connector: OAuthConnector,
  consent: ReturnType<typeof resolveFor>['consent'],
  config: OAuth2Config,
): void {
  if (consent === undefined)
    fail('invalid_request', 'the setting authorization_endpoint is required by this connector', {
      pointer: '/config/authorization_endpoint',
    });
  // The person's parameters are validated when they start.
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

/** Whether the link includes new client credentials. */
export function hasSecret({ secrets }: ConnectionInput): boolean {
  return Object.values(secrets).some((secret) => secret !== undefined);
}

/**
 * The client credentials of a link for an existing credential. Stored secrets stay bound to their settings.
 * @param kept those of the current version, with the settings they are bound to
 * @throws invalid_request naming the changed setting or the missing credential
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
  // SECURITY: a user who can create links must not redirect a stored client secret to a token endpoint of their choice.
  if (
    changed !== undefined &&
    PROOFS.some((proof) => secrets[proof] !== undefined) &&
    PROOFS.every((proof) => given[proof] === undefined)
  ) {
    const rule =
      'the stored secrets are bound to their settings: to change this setting, give the client secret or private key again';
    fail('invalid_request', rule, { pointer: changed });
  }
  const proven = changed === undefined ? { ...secrets, ...given } : given;
  requireProof(proven, clientAuthentication);
  return proven;
}

const PROOFS = ['client_secret', 'client_private_jwk', 'client_private_key_pem'] as const;

/** @throws invalid_request naming the missing credential */
export function requireProof(secrets: RetainedGrant, authentication: ClientAuthentication): void {
  if (authentication === 'none') return;
  if (authentication === 'private_key_jwt') {
    if (secrets.client_private_jwk === undefined && secrets.client_private_key_pem === undefined)
      fail('invalid_request', 'the field client_private_jwk is required: this client authenticates with a private key', {
        pointer: '/client_private_jwk',
      });
  } else if (secrets.client_secret === undefined) {
    fail('invalid_request', 'the field client_secret is required: this client authenticates with a secret', {
      pointer: '/client_secret',
    });
  }
}
