// What the platform provides to the HTTP app.
import type { Caller, UserIdentity } from '../access/principals.ts';
import type { KeyturnError } from '../base/errors.ts';
import type { HomeContext, TenantContext } from './context.ts';
import type { EdgeInfo } from './edge.ts';
import type { HealthReport } from './health.ts';
import type { Metrics } from './metrics.ts';
import type { ConnectRenderer } from './v1/wire-connections.ts';

/** What the app needs from its platform. */
export interface AppPorts {
  /** The user of a user token; undefined if the token is invalid for any reason. */
  identify(token: string, info: EdgeInfo): UserIdentity | undefined | Promise<UserIdentity | undefined>;
  /** The tenant with this id or name; undefined if it does not exist or the caller must not know of it. */
  tenant(idOrName: string, info: EdgeInfo): TenantContext | undefined | Promise<TenantContext | undefined>;
  readonly home: HomeContext | undefined;
  /** Records a failed authentication durably, before its 401 is sent. @throws rate_limited */
  rejected(caller: Caller, route: string): Promise<void>;
  health(): HealthReport | Promise<HealthReport>;
  /** Writes to the operator's log. */
  report(error: KeyturnError, requestId: string, route: string): void;
  readonly metrics: Metrics;
  readonly nowMs: () => number;
  readonly version: string;
  /** The base URL of this service for clients. Absent: the origin of each request. */
  readonly publicUrl?: string | undefined;
  /** Renders the consent pages. Absent: the app has none. */
  readonly connectPage?: ConnectRenderer;
}
