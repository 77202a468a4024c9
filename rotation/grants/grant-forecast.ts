// From a credential's row to its forecast: what the connector declares, what the credential says and what was learnt, put together.
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
  /** Of the grants of its account it was made first, so the cap strikes it first. */
  readonly isOldest: boolean;
}

type Figures = Pick<ForecastSubject, 'lifetimes' | 'refreshTokenRotates' | 'renews' | 'idleMs'>;

export function isLiveGrant(row: Pick<CredentialRow, 'kind' | 'state' | 'health'>): boolean {
  return row.kind === 'oauth2' && row.state === 'active' && (row.health === 'ready' || row.health === 'degraded');
}

/** Whether anything is left that could end: a live grant, or any credential that was put with an end date. */
export function mayEnd(row: Pick<CredentialRow, 'kind' | 'state' | 'health' | 'value_expires_at'>): boolean {
  return isLiveGrant(row) || (row.state === 'active' && endDateOf(row) !== undefined);
}

/** Forecasts of one pass or page: what is counted over all grants is counted once. */
export class GrantForecasts {
  readonly #view: TenantView;
  readonly #connectors: ReadonlyMap<string, Connector>;
  readonly #counts = new Map<string, ReadonlyMap<string, AccountCount>>();

  constructor(view: TenantView, connectors: ReadonlyMap<string, Connector>) {
    this.#view = view;
    this.#connectors = connectors;
  }

  /** No forecast of a grant that is dead, disconnected or deleted. */
  of(access: Lookup, row: CredentialRow, nowMs: number): GrantForecast {
    const endDate = endDateOf(row);
    if (endDate !== undefined && row.state === 'active') return { forecast: endDateForecast(endDate), isOldest: false };
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

  /** Of a connector that is gone or not resolved, what the credential itself says still counts. */
  #figures(row: CredentialRow, config: OAuth2Config, facts: Grant): Figures {
    const connector = findConnector(this.#connectors, 'oauth2', row.connector);
    try {
      if (connector !== undefined) {
        const resolved = resolveFor(connector, config, facts, true);
        const { renews, idleMs } = rulesOf(resolved, config);
        return { lifetimes: resolved.lifetimes, refreshTokenRotates: resolved.oauth2.refreshTokenRotates, renews, idleMs };
      }
    } catch {
      // What cannot be resolved cannot be refreshed either; the refresh says so.
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
    if (cap === undefined || account === undefined) return undefined;
    let counts = this.#counts.get(connector);
    if (counts === undefined) {
      const rows = this.#view.forecasts.grantsByAccount(access, connector, cap.count);
      counts = new Map(rows.map((one) => [`${one.client_id}\n${one.account}`, one]));
      this.#counts.set(connector, counts);
    }
    return counts.get(`${config.client_id}\n${JSON.stringify(account)}`);
  }
}
