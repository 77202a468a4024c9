// The steps of a person with a link: view, start, callback, choice. Viewing a link changes nothing.
// It must never accept a state twice or from another browser, nor lose a grant because a browser disconnects (D6).
import type { Caller } from '../../../src/access/principals.ts';
import { KeyturnError } from '../../../src/base/errors.ts';
import { LIMITS } from '../../../src/base/limits.ts';
import type { Lookup } from '../../../src/cell/access.ts';
import type { Connection } from '../../../src/cell/connections.ts';
import { sha256OfText } from '../../../src/crypto/primitives.ts';
import { equalBytes } from '../../../src/crypto/token.ts';
import type { TenantView } from '../../../src/vault/tenant-job.ts';
import { findConnector, type OAuthConnector, type Parameter } from '../../connector.ts';
import type { EnginePorts, JobPorts } from '../../engine/due-work.ts';
import { authorizationUrl, authorizeEndpoint } from '../../oauth2/authorization-code.ts';
import { checkParameter, isOwnHost, type ResolvedConnector } from '../../oauth2/settings.ts';
import {
  type AskedScope,
  askedScopes,
  attemptSecrets,
  type Choice,
  type ConnectionRequest,
  type Consent,
  type ConsentPorts,
  consentOf,
  enterConsent,
  factsOf,
  isUsable,
  loopbackFor,
  recordRefusal,
  resolveConsent,
  type Visitor,
} from './request.ts';

/** The content of the page of a link. */
export type ShownConnection =
  | {
      readonly kind: 'ask';
      /** The connector's title if `host` is one of its own, or else the host. */
      readonly provider: string;
      /** The host that the browser is sent to; `*` in place of the person's parameters. */
      readonly host: string;
      readonly tenant: string;
      readonly description: string;
      readonly scopes: readonly AskedScope[];
      /** The person's parameters with their known values. */
      readonly parameters: readonly (Parameter & { readonly value: string })[];
      readonly expiresAtMs: number;
      /** The result of the last attempt, if it failed. */
      readonly last: { readonly state: 'declined' | 'failed'; readonly cause: string | null } | undefined;
    }
  | {
      readonly kind: 'choose';
      readonly provider: string;
      readonly title: string;
      readonly choices: readonly Choice[] | undefined;
    }
  | { readonly kind: 'done'; readonly provider: string; readonly tenant: string }
  /** Its settings give no valid authorization URL. */
  | { readonly kind: 'broken' };

/** The connection of a link, in any state. */
export function findByLink(view: TenantView, lookup: Lookup, link: string): Consent | undefined {
  const connection = view.connections.findByLink(lookup, sha256OfText(link));
  return connection === undefined ? undefined : consentOf(view, lookup, connection);
}

/** Whether the cookie is of the browser that started the latest attempt; compared in constant time. */
export function isSameBrowser({ connection }: Consent, browser: string | undefined): boolean {
  return browser !== undefined && connection.browser_hash !== null && equalBytes(sha256OfText(browser), connection.browser_hash);
}

/** Reads a browser's cookie for a connection. */
export type BrowserOf = (connectionId: string) => string | undefined;

/** Undefined for an invalid link. Changes nothing, because mail scanners open links, too. */
export function showConnection(ports: ConsentPorts, link: string, browserOf: BrowserOf): ShownConnection | undefined {
  const { vault } = ports;
  return vault.lookup('consent', (lookup, view) => {
    const consent = findByLink(view, lookup, link);
    const connector = findConnector(ports.connectors, 'oauth2', consent?.located.row.connector);
    if (consent === undefined || connector === undefined) return undefined;
    const { connection } = consent;
    if (isUsable(connection, view.platform.clock.now())) return asked(ports, consent, connector);
    if (!isSameBrowser(consent, browserOf(connection.id))) return undefined;
    if (connection.state === 'choosing') {
      const title = connector.consent?.choice?.title ?? '';
      return {
        kind: 'choose',
        provider: providerOf(ports, consent, connector).provider,
        title,
        choices: consent.request.choices,
      };
    }
    const justDone = (connection.attempt_expires_at ?? 0) > view.platform.clock.now();
    if (connection.state === 'connected' && justDone)
      return { kind: 'done', provider: providerOf(ports, consent, connector).provider, tenant: view.tenant.name };
    return undefined;
  });
}

/** The provider's name on the page, and the host it leads to; without a host if the settings are unusable. */
function providerOf(ports: EnginePorts, consent: Consent, connector: OAuthConnector): { provider: string; host: string } {
  const endpoint = endpointOf(ports, consent);
  const host = URL.parse(endpoint.replaceAll(/\{[^}]*\}/g, UNFILLED))?.host.replaceAll(UNFILLED, '*') ?? '';
  const isOwn = isOwnHost(connector, host.replaceAll('*', 'label'));
  return { provider: isOwn ? connector.title : host, host };
}

const UNFILLED = 'not--filled--in';

/** May still be a template; empty if the settings of the link are unusable. */
function endpointOf(ports: EnginePorts, consent: Consent): string {
  try {
    return resolveConsent(ports, consent, false).consent?.authorizeEndpoint ?? '';
  } catch (error) {
    if (error instanceof KeyturnError) return '';
    throw error;
  }
}

function asked(ports: ConsentPorts, consent: Consent, connector: OAuthConnector): ShownConnection | undefined {
  const { vault } = ports;
  const { connection, located, config } = consent;
  const { state } = connection;
  const { provider, host } = providerOf(ports, consent, connector);
  // The sender of the link must correct its settings.
  if (host === '') return { kind: 'broken' };
  try {
    return {
      kind: 'ask',
      provider,
      host,
      tenant: vault.tenant.name,
      description: located.row.description,
      scopes: askedScopes(connector, config).filter(({ scope }) => consent.request.scopes.includes(scope)),
      parameters: askedParameters(connector).map((parameter) => ({
        ...parameter,
        value: config.parameters?.[parameter.name] ?? parameter.default ?? '',
      })),
      expiresAtMs: connection.expires_at,
      last: state === 'declined' || state === 'failed' ? { state, cause: connection.cause } : undefined,
    };
  } catch (error) {
    // The workflows were removed since, so the link's request is obsolete.
    if (error instanceof KeyturnError) return undefined;
    throw error;
  }
}

function askedParameters(connector: OAuthConnector | undefined): readonly Parameter[] {
  return (connector?.parameters ?? []).filter(({ from }) => from === 'consent');
}

export type Begun =
  | {
      readonly kind: 'go';
      readonly url: string;
      readonly connectionId: string;
      /** For the cookie that binds the browser. */
      readonly browser: string;
    }
  | { readonly kind: 'nowhere' }
  /** The settings of the link are unusable: its sender must correct them. */
  | { readonly kind: 'broken' }
  /** Invalid parameters: messages by parameter name. */
  | { readonly kind: 'again'; readonly problems: Readonly<Record<string, string>> };

/** The form field with the host that the page showed; no parameter can have this name. */
const SHOWN_HOST = 'leads-to';

/** Starts an attempt with a new state and verifier, bound to this browser; earlier attempts become void. */
export async function beginConsent(
  ports: ConsentPorts,
  visitor: Visitor,
  link: string,
  filledIn: Readonly<Record<string, string>>,
): Promise<Begun> {
  const { vault } = ports;
  const begun = await vault.submit((job) => begin({ ...ports, job }, visitor.caller, link, filledIn));
  if (begun.kind === 'refused') {
    await recordRefusal(vault, visitor, begun.consent, begun.reason);
    return { kind: begun.reason === 'link_spent' ? 'nowhere' : 'broken' };
  }
  if (begun.kind !== 'begun') return begun;
  const { consent, resolved, state, browser } = begun;
  const { id, attempt } = consent.connection;
  const { redirectUri, scopes } = consent.request;
  const secrets = attemptSecrets(vault, id, attempt);
  const request = { clientId: consent.config.client_id, redirectUri, state, scopes, ...secrets };
  return {
    kind: 'go',
    url: await authorizationUrl(resolved, request, loopbackFor(ports, consent)),
    connectionId: id,
    browser,
  };
}

interface Begin {
  readonly kind: 'begun';
  readonly consent: Consent;
  readonly resolved: ResolvedConnector;
  readonly state: string;
  readonly browser: string;
}

interface Refused {
  readonly kind: 'refused';
  readonly consent: Consent;
  readonly reason: 'link_spent' | 'settings_unusable';
}

function begin(
  ports: JobPorts,
  caller: Caller,
  link: string,
  filledIn: Readonly<Record<string, string>>,
): Begin | Refused | Exclude<Begun, { kind: 'go' }> {
  const { job } = ports;
  const found = job.door.lookup('consent', (lookup) => findByLink(job, lookup, link));
  if (found === undefined) return { kind: 'nowhere' };
  const tooMany = found.connection.attempt >= LIMITS.connectAttemptsMaxCount;
  if (tooMany || !isUsable(found.connection, job.platform.clock.now()))
    return { kind: 'refused', consent: found, reason: 'link_spent' };
  const connector = findConnector(ports.connectors, 'oauth2', found.located.row.connector);
  const shownHost = filledIn[SHOWN_HOST];
  // SECURITY: if the settings changed since the page was shown, the person must not be sent to another host than the one shown.
  if (connector !== undefined && shownHost !== undefined && shownHost !== providerOf(ports, found, connector).host)
    return { kind: 'again', problems: {} };
  const checked = checkFilledIn(connector, filledIn);
  if (checked.problems !== undefined) return { kind: 'again', problems: checked.problems };
  const request: ConnectionRequest = { ...found.request, parameters: { ...found.request.parameters, ...checked.parameters } };
  const consent = { ...found, request, config: { ...found.config, ...parametersOf(found, checked.parameters) } };
  const resolved = resolvedOrNot(ports, consent);
  if (resolved === undefined) return { kind: 'refused', consent: found, reason: 'settings_unusable' };
  const random = () => Buffer.from(job.platform.entropy.bytes(32)).toString('base64url');
  const state = `${job.tenant.id}.${consent.connection.id}.${random()}`;
  const browser = random();
  return enterConsent(job, caller, consent, 'begun', (access) => {
    const next: Connection = {
      ...factsOf(consent.connection),
      state: 'open',
      state_hash: sha256OfText(state),
      browser_hash: sha256OfText(browser),
      attempt: consent.connection.attempt + 1,
      attempt_expires_at: job.platform.clock.now() + LIMITS.connectAttemptTtlMs,
      request: JSON.stringify(request),
      cause: null,
      finished_at: null,
    };
    job.connections.save(access, next);
    job.dueChanged();
    return { kind: 'begun', consent: { ...consent, connection: { ...consent.connection, ...next } }, resolved, state, browser };
  });
}

function parametersOf({ config }: Consent, filledIn: Readonly<Record<string, string>>): Pick<Consent['config'], 'parameters'> {
  const parameters = { ...config.parameters, ...filledIn };
  return Object.keys(parameters).length === 0 ? {} : { parameters };
}

/** Undefined if the link's settings give no valid authorization URL. */
function resolvedOrNot(ports: EnginePorts, consent: Consent): ResolvedConnector | undefined {
  try {
    const resolved = resolveConsent(ports, consent, false);
    if (resolved.consent === undefined) return undefined;
    authorizeEndpoint(resolved.consent, loopbackFor(ports, consent));
    return resolved;
  } catch (error) {
    if (error instanceof KeyturnError && error.code !== 'integrity') return undefined;
    throw error;
  }
}

function checkFilledIn(
  connector: OAuthConnector | undefined,
  filledIn: Readonly<Record<string, string>>,
): { parameters: Record<string, string>; problems?: Record<string, string> } {
  const parameters: Record<string, string> = {};
  const problems: Record<string, string> = {};
  for (const parameter of askedParameters(connector)) {
    const value = filledIn[parameter.name]?.trim() || parameter.default;
    try {
      parameters[parameter.name] = checkParameter(parameter, value);
    } catch (error) {
      if (!(error instanceof KeyturnError)) throw error;
      problems[parameter.name] = error.message;
    }
  }
  return Object.keys(problems).length === 0 ? { parameters } : { parameters, problems };
}
