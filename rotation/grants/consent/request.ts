// The stored request of a connection, its scopes with their purpose, and the secrets of one attempt.
// It must never request a scope that neither a workflow nor the connector declares (commitment X2).
import type { Found } from '../../../src/access/guard.ts';
import type { Caller, Principal, SystemPrincipal } from '../../../src/access/principals.ts';
import type { EventDetails } from '../../../src/audit/event.ts';
import { isInForce } from '../../../src/base/clock.ts';
import { fail } from '../../../src/base/errors.ts';
import { LIMITS } from '../../../src/base/limits.ts';
import type { Lookup, WriteAccess } from '../../../src/cell/access.ts';
import type { Connection, ConnectionRow } from '../../../src/cell/connections.ts';
import { FrameWriter } from '../../../src/crypto/framing.ts';
import { hmacSha256, sha256OfText } from '../../../src/crypto/primitives.ts';
import { boundPart, changedSetting } from '../../../src/vault/bound-settings.ts';
import { configOf } from '../../../src/vault/credential.ts';
import type { BoundConfig, OAuth2Config } from '../../../src/vault/credential-kinds.ts';
import { grantOf } from '../../../src/vault/grant.ts';
import { foundCredential, type Located } from '../../../src/vault/targets.ts';
import type { TenantJob, TenantView } from '../../../src/vault/tenant-job.ts';
import type { TenantVault } from '../../../src/vault/tenant-vault.ts';
import { type Connector, findConnector, type OAuthConnector } from '../../connector.ts';
import type { DueWorkPorts, EnginePorts } from '../../engine/due-work.ts';
import type { ResolvedConnector } from '../../oauth2/settings.ts';
import { mayReachLoopback, resolveFor } from '../connector-settings.ts';

export type ConsentPorts = DueWorkPorts;

/** One choice of an account. */
export interface Choice {
  readonly id: string;
  readonly label: string;
}

/** Stored as JSON in `connection.request`, under the row's MAC. */
export interface ConnectionRequest {
  /** The redirect URI of every attempt. */
  readonly redirectUri: string;
  readonly scopes: readonly string[];
  /** Replaces the credential's settings after the consent. Absent: those are used. */
  readonly config?: OAuth2Config;
  /** The version with the client credentials. Absent: the current one. */
  readonly secretVersion?: number;
  /** Parameters from the person and from the callback. */
  readonly parameters?: Readonly<Record<string, string>>;
  /** Whether, according to discovery, the authorization response contains `iss`. */
  readonly namesItself?: true;
  readonly choices?: readonly Choice[];
}

/** A connection with its credential. */
export interface Consent {
  readonly connection: ConnectionRow;
  readonly located: Located;
  readonly request: ConnectionRequest;
  /** The version whose secrets authenticate the client; a later put does not affect a started attempt. */
  readonly version: number;
  readonly connector: string;
  /** With the person's parameters. */
  readonly config: OAuth2Config;
  /** The bound settings of `version` according to the rows; the sealed ones are compared before a secret is sent. */
  readonly bound: BoundConfig;
}

/** The consent of a row; undefined if its credential no longer exists. */
export function consentOf(view: TenantView, lookup: Lookup, connection: ConnectionRow): Consent | undefined {
  const row = view.credentials.byId(lookup, connection.credential_id);
  if (row.state !== 'active') return undefined;
  const environment = view.credentials.environmentById(lookup, row.environment_id);
  const request = JSON.parse(connection.request) as ConnectionRequest;
  const current = configOf(row);
  const stored = request.config ?? current;
  const parameters = { ...stored.parameters, ...request.parameters };
  return {
    connection,
    located: { row, environment },
    request,
    version: request.secretVersion ?? row.current_version,
    connector: row.connector ?? '',
    config: Object.keys(parameters).length === 0 ? stored : { ...stored, parameters },
    bound: boundPart(request.secretVersion === undefined ? current : stored),
  };
}

/** Whether the link may start another attempt. */
export function isUsable(connection: Connection, nowMs: number): boolean {
  return (
    ['open', 'exchanging', 'declined', 'failed'].includes(connection.state) &&
    isInForce(connection.created_at, connection.expires_at, nowMs)
  );
}

/** The fields of a row, for changing and saving. */
export function factsOf(row: ConnectionRow): Connection {
  const { mac: _mac, mac_key_id: _key, ...facts } = row;
  return facts;
}

/** @throws invalid_request if the connector does not exist or has no consent */
export function consentingConnector(connectors: ReadonlyMap<string, Connector>, id: string): OAuthConnector {
  const connector =
    findConnector(connectors, 'oauth2', id) ??
    fail('invalid_request', 'the connector does not exist: see `keyturn connectors`', { pointer: '/connector' });
  if (connector.consent === undefined)
    fail('invalid_request', 'the connector has no consent link: put the grant instead', { pointer: '/connector' });
  return connector;
}

/** The connector with all known values filled in. @throws invalid_request naming the setting */
export function resolveConsent(ports: EnginePorts, consent: Consent, finished: boolean): ResolvedConnector {
  const connector = consentingConnector(ports.connectors, consent.connector);
  requireBound(connector, consent, consent.bound);
  const { config, located } = consent;
  return resolveFor(connector, config, finished ? grantOf(located.row) : {}, !finished);
}

/**
 * SECURITY: secrets of a put between link and visit must not be sent to the link's destinations, nor the link's secrets to those of the put.
 * @param bound the settings that the secrets are bound to
 * @throws invalid_request if the settings of this consent differ
 */
export function requireBound(connector: OAuthConnector, { config }: Consent, bound: BoundConfig): void {
  if (changedSetting(bound, boundPart(config), openParameters(connector)) !== undefined)
    fail('invalid_request', 'the settings of the link differ from those of the stored secrets: create another link');
}

/** Parameters from the person or the provider at each consent, within the connector's hosts. */
export function openParameters({ parameters = [] }: OAuthConnector): ReadonlySet<string> {
  const told = parameters.filter(({ shape, from }) => shape === 'label' && (from === 'consent' || from === 'callback'));
  return new Set(told.map(({ name }) => name));
}

export function loopbackFor(ports: EnginePorts, { connector, config }: Consent): boolean {
  return mayReachLoopback(ports.sandboxAllowed, connector, config);
}

/** The expected issuer, and whether `iss` is required (RFC 9207). */
export function issuerOf(resolved: ResolvedConnector, { request }: Consent): { issuer: string | undefined; required: boolean } {
  const { issuer, openid } = resolved.consent ?? {};
  return { issuer, required: issuer !== undefined && (openid !== true || request.namesItself === true) };
}

/** A requested scope. */
export interface AskedScope {
  readonly scope: string;
  readonly title: string;
  /** The workflows that need it; empty: the connection itself. */
  readonly workflows: readonly { readonly name: string; readonly why: string | undefined }[];
}

/** The union of the scopes of the workflows and of the connector. @throws invalid_request at /config/workflows */
export function askedScopes(connector: OAuthConnector, config: OAuth2Config): AskedScope[] {
  const { scopeParameter, alwaysScopes = [], scopeTitles = {} } = connector.consent ?? {};
  const pointer = '/config/workflows';
  if ((config.workflows ?? []).length === 0 && scopeParameter !== 'none')
    fail(
      'invalid_request',
      'the field is missing: list each workflow and the scopes it needs, e.g. [{"name": "nightly-sync", "scopes": ["contacts.read"]}]',
      { pointer },
    );
  const asked = new Map<string, { name: string; why: string | undefined }[]>(alwaysScopes.map((scope) => [scope, []]));
  for (const { name, scopes, why } of config.workflows ?? []) {
    for (const scope of new Set(scopes)) asked.set(scope, [...(asked.get(scope) ?? []), { name, why }]);
  }
  if (asked.size > LIMITS.scopesMaxCount)
    fail('invalid_request', `config.workflows must have at most ${LIMITS.scopesMaxCount} scopes in total`, { pointer });
  return [...asked].map(([scope, workflows]) => ({
    scope,
    title: Object.hasOwn(scopeTitles, scope) ? (scopeTitles[scope] ?? scope) : scope,
    workflows,
  }));
}

/** SECURITY: derived, so that no row or cookie contains the PKCE verifier, with which a stolen code could be exchanged. */
export function attemptSecrets(
  cell: Pick<TenantView, 'tenant' | 'platform'>,
  connectionId: string,
  attempt: number,
): { codeVerifier: string; nonce: string } {
  const derive = (label: string) => {
    const frame = new FrameWriter().text('keyturn-connect-v1').text(label).text(cell.tenant.id).text(connectionId).u32(attempt);
    return Buffer.from(hmacSha256(cell.platform.root.subkey('connect'), frame.peek())).toString('base64url');
  };
  return { codeVerifier: derive('verifier'), nonce: derive('nonce') };
}

/** 32 random bytes as 43 characters, and their hash. */
export function newLinkToken(job: TenantJob): { token: string; hash: Uint8Array } {
  const token = Buffer.from(job.platform.entropy.bytes(32)).toString('base64url');
  return { token, hash: sha256OfText(token) };
}

const CONSENT: SystemPrincipal = { type: 'System', id: 'consent', revision: 0, roles: [] };

/** Enters for the consent of the person in the browser `caller`; the event contains connection and step. */
export function enterConsent<T>(
  job: TenantJob,
  caller: Caller | undefined,
  consent: Consent,
  step: string,
  effect: (access: WriteAccess, details: EventDetails, principal: Principal) => T,
): T {
  const found = (): Found<true> => {
    const { environment, row } = consent.located;
    return { ...foundCredential(job, environment, row), subject: true };
  };
  return job.door.enterAs(CONSENT, caller, 'connection.complete', found, (access, _subject, details, principal) => {
    details.connection = consent.connection.id;
    details.step = step;
    return effect(access, details, principal);
  });
}

/** The visitor of a link. `refused` counts a refusal against their address before it is recorded. @throws rate_limited */
export interface Visitor {
  readonly caller: Caller;
  readonly refused: () => Promise<void>;
}

/** SECURITY: counted first, so that forged callbacks cannot fill the log of a tenant. @throws rate_limited */
export async function recordRefusal(vault: TenantVault, visitor: Visitor, consent: Consent, reason: string): Promise<void> {
  await visitor.refused();
  await vault.submit((job) => noteRefused(job, visitor.caller, consent, reason));
}

/** Records a rejected callback. */
export function noteRefused(job: TenantJob, caller: Caller, consent: Consent, reason: string): void {
  const { environment, row } = consent.located;
  job.door.note(
    {
      action: 'connection.complete',
      actor: { type: 'anonymous', id: 'unknown' },
      outcome: 'denied',
      reason,
      request: caller.request,
      target: { type: 'credential', id: row.id, environment: environment.name, name: row.name },
      details: { connection: consent.connection.id },
    },
    caller,
  );
}
