// Converts a credential's stored settings (snake_case) to the settings for resolving a connector.
import { LRUCache } from 'lru-cache';
import { fail, KeyturnError } from '../../src/base/errors.ts';
import { growingTo } from '../../src/base/growing-to.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import { configOf } from '../../src/vault/credential.ts';
import type { OAuth2Config } from '../../src/vault/credential-kinds.ts';
import { type GrantAccount, grantOf } from '../../src/vault/grant.ts';
import type { RenewalRules } from '../../src/vault/refresh-schedule.ts';
import { type Connector, findConnector, type LostAnswer, type OAuth2Spec, type OAuthConnector } from '../connector.ts';
import { type OAuth2Settings, type ResolvedConnector, resolveConnector } from '../oauth2/settings.ts';

/** @throws invalid_request naming the setting | not_rotatable */
export function resolveFor(
  connector: OAuthConnector,
  config: OAuth2Config,
  { account }: GrantAccount,
  unfinished = false,
): ResolvedConnector {
  return resolveConnector(connector, settingsOf(config, account, unfinished));
}

/** As `resolveFor`; undefined if the settings are unusable. */
export function resolvedOrNot(
  connector: OAuthConnector,
  config: OAuth2Config,
  account: GrantAccount,
): ResolvedConnector | undefined {
  try {
    return resolveFor(connector, config, account);
  } catch (error) {
    if (error instanceof KeyturnError) return undefined;
    throw error;
  }
}

/** The resolved connector of a stored grant; undefined also if the connector no longer exists. */
export function resolvedOf(
  connectors: ReadonlyMap<string, Connector>,
  row: Pick<CredentialRow, 'connector' | 'config' | 'grant_facts'>,
): ResolvedConnector | undefined {
  const connector = findConnector(connectors, 'oauth2', row.connector);
  return connector === undefined ? undefined : resolvedOrNot(connector, configOf(row), grantOf(row));
}

/**
 * Refuses a setting without an effect for this connector. Applied to new settings only, so that an existing grant keeps working.
 * @throws invalid_request naming the setting
 */
export function refuseIgnored(connector: OAuthConnector, config: OAuth2Config, { oauth2, consent }: ResolvedConnector): void {
  const refuse = (fields: readonly (keyof OAuth2Config)[], why: string): void => {
    const field = fields.find((one) => config[one] !== undefined);
    if (field !== undefined) fail('invalid_request', why, { pointer: `/config/${field}` });
  };
  const kind = oauth2.renewal?.kind ?? 'refresh_token';
  if (config.sandbox !== undefined)
    refuse(
      ['base_urls'],
      'the setting base_urls has no effect together with sandbox, which replaces all hosts: remove one of them',
    );
  const unknown = Object.keys(config.base_urls ?? {}).some((host) => !callsHost(connector, config, host));
  if (unknown)
    refuse(
      ['base_urls'],
      "the setting base_urls contains a host that is neither the connector's nor of an endpoint of this credential: remove it",
    );
  if (consent === undefined)
    refuse(
      ['authorization_endpoint', 'issuer'],
      'the setting has no effect, because the connector has no consent link: remove it',
    );
  if (kind === 'none')
    refuse(
      ['scope', 'refresh', 'client_secret_expires_at'],
      'the setting has no effect, because tokens of this connector are not refreshed: remove it',
    );
  if (kind === 'app_jwt')
    refuse(['scope'], 'the setting has no effect, because this connector requests its token without a scope: remove it');
}

/** Whether the host is one that the connector declares or one of the credential's endpoints. */
function callsHost(connector: OAuthConnector, config: OAuth2Config, host: string): boolean {
  const own = [
    config.token_endpoint,
    config.authorization_endpoint,
    config.revocation_endpoint,
    config.introspection_endpoint,
    config.issuer,
  ];
  if (own.some((url) => url !== undefined && URL.parse(url)?.host === host)) return true;
  const known = new Map(
    (connector.parameters ?? []).map(({ name, default: value }) => [name, config.parameters?.[name] ?? value]),
  );
  const filled = (declared: string) =>
    declared.replaceAll(/\{([a-z0-9_]+)\}/g, (whole, name: string) => known.get(name) ?? whole);
  return connector.oauth2.hosts.some((declared) => hostShape(filled(declared)).test(host));
}

/** `*.example.com` and `{my_domain}.example.com` match any labels. */
function hostShape(declared: string): RegExp {
  const parts = declared.split(/\*|\{[a-z0-9_.]+\}/).map((text) => text.replaceAll(/[.:]/g, '\\$&'));
  return new RegExp(`^${parts.join('[A-Za-z0-9.:-]+')}$`);
}

const KEPT_MAX = 500;

/** A cache of resolved settings: many grants of one app at one provider have the same settings. */
export class ResolvedConnectors {
  readonly #connectors: ReadonlyMap<string, Connector>;
  readonly #kept = new LRUCache<string, { readonly resolved: ResolvedConnector | undefined }>(growingTo(KEPT_MAX));

  constructor(connectors: ReadonlyMap<string, Connector>) {
    this.#connectors = connectors;
  }

  /** Undefined if the connector no longer exists or cannot be used with the credential's settings. */
  of(row: CredentialRow): ResolvedConnector | undefined {
    const { account } = grantOf(row);
    const key = JSON.stringify([row.connector, row.config, account]);
    const kept = this.#kept.get(key);
    if (kept !== undefined) return kept.resolved;
    const resolved = this.#resolve(row);
    this.#kept.set(key, { resolved });
    return resolved;
  }

  #resolve(row: CredentialRow): ResolvedConnector | undefined {
    const connector = findConnector(this.#connectors, 'oauth2', row.connector);
    if (connector === undefined) return undefined;
    try {
      return resolveFor(connector, configOf(row), grantOf(row));
    } catch {
      return undefined;
    }
  }
}

const DAY_MS = 24 * 60 * 60 * 1_000;

/** How a grant with these settings is renewed; of two idle limits the shorter one counts. */
export function rulesOf(resolved: ResolvedConnector, config: OAuth2Config): RenewalRules {
  const kind = resolved.oauth2.renewal?.kind ?? 'refresh_token';
  const { idleSeconds } = resolved.lifetimes;
  const told = [
    idleSeconds === undefined ? undefined : idleSeconds * 1_000,
    config.idle_limit_days === undefined ? undefined : config.idle_limit_days * DAY_MS,
  ].filter((limit) => limit !== undefined);
  return {
    renews: kind === 'refresh_token' ? 'refresh_token' : kind === 'none' ? 'never' : 'key',
    idleMs: told.length === 0 ? undefined : Math.min(...told),
    ...(resolved.consent?.alwaysScopes === undefined ? {} : { alwaysScopes: resolved.consent.alwaysScopes }),
  };
}

/** Only a credential with a sandbox setting may reach loopback, and only if the operator allows it. */
export function mayReachLoopback(sandboxAllowed: boolean, connector: string | null, config: OAuth2Config): boolean {
  return sandboxAllowed && (connector === 'local-sandbox' || config.sandbox !== undefined);
}

function settingsOf(config: OAuth2Config, account: GrantAccount['account'], unfinished: boolean): OAuth2Settings {
  return defined({
    clientId: config.client_id,
    parameters: config.parameters,
    adjust: adjustmentsOf(config),
    authorizeEndpoint: config.authorization_endpoint,
    revocationEndpoint: config.revocation_endpoint,
    introspectionEndpoint: config.introspection_endpoint,
    issuer: config.issuer,
    baseUrls: config.base_urls,
    sandbox: config.sandbox,
    account,
    unfinished,
  });
}

/** The credential's own settings; all others are the connector's. */
function adjustmentsOf(config: OAuth2Config): Partial<OAuth2Spec> {
  return defined({
    tokenEndpoint: config.token_endpoint,
    clientAuthentication: config.client_authentication,
    bodyFormat: config.body_format,
    refreshTokenRotates: config.refresh_token_rotates,
    lostAnswer: config.lost_answer === undefined ? undefined : lostAnswerOf(config.lost_answer),
    accessTokenTtlSeconds: config.access_token_ttl_seconds,
    extraParameters: config.extra_parameters,
    scopeSeparator: config.scope_separator,
    assertionAudience: config.assertion_audience,
  });
}

function lostAnswerOf(told: NonNullable<OAuth2Config['lost_answer']>): LostAnswer {
  return typeof told === 'string' ? { kind: told } : { kind: 'window', seconds: told.window_seconds };
}

type Defined<T> = { [K in keyof T]: Exclude<T[K], undefined> };

/** Omits undefined members, so that they do not override the connector's. */
function defined<T extends object>(object: T): Partial<Defined<T>> {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as Partial<Defined<T>>;
}
