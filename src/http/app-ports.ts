// What the HTTP app is lent by the platform it runs on.
import type { Caller, UserIdentity } from '../access/principals.ts';
import type { KeyturnError } from '../base/errors.ts';
import type { HomeContext, TenantContext } from './context.ts';
import type { EdgeInfo } from './edge.ts';
import type { HealthReport } from './health.ts';
import type { Metrics } from './metrics.ts';
import type { ConnectRenderer } from './v1/wire-connections.ts';

/** What the app needs of the place it runs in. */
export interface AppPorts {
  /** The user behind a user token; undefined for every kind of bad one. */
  identify(token: string, info: EdgeInfo): UserIdentity | undefined | Promise<UserIdentity | undefined>;
  /** The tenant a path means; undefined when there is none to the caller's knowledge. */
  tenant(idOrName: string, info: EdgeInfo): TenantContext | undefined | Promise<TenantContext | undefined>;
  readonly home: HomeContext | undefined;
  /** Makes a refused authentication durable before its 401 leaves. @throws rate_limited */
  rejected(caller: Caller, route: string): Promise<void>;
  health(): HealthReport | Promise<HealthReport>;
  /** The operator's log. */
  report(error: KeyturnError, requestId: string, route: string): void;
  readonly metrics: Metrics;
  readonly nowMs: () => number;
  readonly version: string;
  /** How the pages of a link look. Absent: there are none. */
  readonly connectPage?: ConnectRenderer;
}
