// The forecast of a credential's row, from the connector's declarations, the credential's settings and the known facts.
import type { Lookup } from '../../src/cell/access.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import type { AccountCount } from '../../src/cell/forecasts.ts';
import { configOf } from '../../src/vault/credential.ts';
import type { OAuth2Config } from '../../src/vault/credential-kinds.ts';
import { endDateOf } from '../../src/vault/end-date.ts';
import { type Grant, grantOf } from '../../src/vault/grant.ts';
import type { TenantView } from '../../src/vault/tenant-job.ts';
import { type Connector, findConnector, type LifetimeSpec, type OAuth2Spec } from '../connector.ts';
import { resolveFor, rulesOf } from './connector-settings.ts';
import { endDateForecast, type Forecast, type ForecastSubject, forecastOf } from './forecast.ts';

export interface GrantForecast {
  readonly forecast: Forecast | undefined;
  /** Whether it is the oldest grant of its account, which the provider's cap ends first. */
  readonly isOldest: boolean;
}

type Figures = Pick<ForecastSubject, 'lifetimes' | 'refreshTokenRotates' | 'renews' | 'idleMs'>;

export function isLiveGrant(row: Pick<CredentialRow, 'kind' | 'state' | 'health'>): boolean {
  return row.kind === 'oauth2' && row.state === 'active' && (row.health === 'ready' || row.health === 'degraded');
}

/** Whether the credential can end: a valid grant, or a credential with an end date. */
export function mayEnd(row: Pick<CredentialRow, 'kind' | 'state' | 'health' | 'value_expires_at'>): boolean {
  return isLiveGrant(row) || (row.state === 'active' && endDateOf(row) !== undefined);
}

/** Forecasts of one pass or page: totals over all grants are counted once. */
export class GrantForecasts {
  readonly #view: TenantView;
  readonly #connectors: ReadonlyMap<string, Connector>;
  readonly #counts = new Map<string, ReadonlyMap<string, AccountCount>>();

  constructor(view: TenantView, connectors: ReadonlyMap<string, Connector>) {
    this.#view = view;
    this.#connectors = connectors;
  }

  /** Undefined for a grant that is dead, disconnected or deleted. */
  of(access: Lookup, row: CredentialRow, nowMs: number): GrantForecast {
    const endDate = endDateOf(row);
    if (endDate !== undefined && row.state === 'active') return { forecast: endDateForecast(endDate, nowMs), isOldest: false };
    if (!isLiveGrant(row)) return { forecast: undefined, isOldest: false };
    const config = configOf(row);
    const facts = grantOf(row);
    const figures = this.#figures(row, config, facts);
    const account = this.#account(access, row, config, facts, figures.lifetimes);
    const subject: ForecastSubject = {
      ...figures,
      consentedAt: facts.consentedAt,
      refreshedAt: facts.refreshedAt,
      refreshTokenExpiresAt: facts.refreshTokenExpiresAt,
      absoluteLimitDays: config.absolute_limit_days,
      clientSecretExpiresAt: config.client_secret_expires_at,
      valueExpiresAt: row.value_expires_at,
      isRenewed: row.refresh_due_at !== null,
      grantsOfAccount: account?.count,
    };
    return { forecast: forecastOf(subject, nowMs), isOldest: account?.oldest === row.id };
  }

  /** Without a resolved connector, the credential's own settings still count. */
  #figures(row: CredentialRow, config: OAuth2Config, facts: Grant): Figures {
    const connector = findConnector(this.#connectors, 'oauth2', row.connector);
    try {
      if (connector !== undefined) {
        const resolved = resolveFor(connector, config, facts, true);
        const { renews, idleMs } = rulesOf(resolved, config);
        return { lifetimes: resolved.lifetimes, refreshTokenRotates: resolved.oauth2.refreshTokenRotates, renews, idleMs };
      }
    } catch {
      // An unresolvable credential cannot be refreshed either, and the refresh reports it.
    }
    const rotates: OAuth2Spec['refreshTokenRotates'] = config.refresh_token_rotates ?? 'sometimes';
    const idleMs = config.idle_limit_days === undefined ? undefined : config.idle_limit_days * 86_400_000;
    return { lifetimes: {}, refreshTokenRotates: rotates, renews: 'refresh_token', idleMs };
  }

  #account(
    access: Lookup,
    row: CredentialRow,
    config: OAuth2Config,
    { account }: Grant,
    { cap }: LifetimeSpec,
  ): AccountCount | undefined {
    const connector = row.connector ?? '';
    if (cap === undefined) return undefined;
    let counts = this.#counts.get(connector);
    if (counts === undefined) {
      const rows = this.#view.forecasts.grantsByAccount(access, connector, cap.count);
      counts = new Map(rows.map((one) => [`${one.client_id}\n${one.account}`, one]));
      this.#counts.set(connector, counts);
    }
    return counts.get(`${config.client_id}\n${JSON.stringify(account)}`);
  }
}
