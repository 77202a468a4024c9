// The client of OAuth grants: connectors, links, disconnections, forecast, alerts and webhooks.
import type {
  WireAlert,
  WireConnection,
  WireConnector,
  WireCreatedConnection,
  WireCreatedWebhook,
  WireDelivery,
  WireDisconnected,
  WireForecastEntry,
  WirePage,
  WireWebhook,
} from '../http/v1/wire.ts';
import { type Call, type Query, segment } from './transport.ts';

/** A call with a JSON answer. @throws KeyturnProblem */
export type Ask = <T>(call: Call) => Promise<T>;

export class Grants {
  readonly #ask: Ask;
  readonly #tenant: () => string;

  constructor(ask: Ask, tenant: () => string) {
    this.#ask = ask;
    this.#tenant = tenant;
  }

  connectors(): Promise<{ items: readonly WireConnector[] }> {
    return this.#ask({ method: 'GET', path: '/v1/connectors' });
  }

  /** Creates a link by which a person connects an account, and the credential if it does not exist. The link is returned once. */
  connect(environment: string, name: string, body: Readonly<Record<string, unknown>>): Promise<WireCreatedConnection> {
    return this.#ask({ method: 'POST', path: `${this.#credential(environment, name)}/connections`, body });
  }

  connections(environment: string, name: string, query: Query = {}): Promise<WirePage<WireConnection>> {
    return this.#ask({ method: 'GET', path: `${this.#credential(environment, name)}/connections`, query });
  }

  cancelConnection(environment: string, name: string, connection: string): Promise<WireConnection> {
    return this.#ask({ method: 'DELETE', path: `${this.#credential(environment, name)}/connections/${segment(connection)}` });
  }

  /** `revoke` false: the grant stays valid at the provider. */
  disconnect(environment: string, name: string, revoke = true): Promise<WireDisconnected> {
    return this.#ask({ method: 'POST', path: `${this.#credential(environment, name)}/disconnections`, body: { revoke } });
  }

  /** Ended credentials first, then by end date. */
  forecast(query: Query = {}): Promise<WirePage<WireForecastEntry>> {
    return this.#ask({ method: 'GET', path: `${this.#tenant()}/forecast`, query });
  }

  /** Newest first. */
  alerts(query: Query = {}): Promise<WirePage<WireAlert>> {
    return this.#ask({ method: 'GET', path: `${this.#tenant()}/alerts`, query });
  }

  webhooks(): Promise<WirePage<WireWebhook>> {
    return this.#ask({ method: 'GET', path: `${this.#tenant()}/webhooks` });
  }

  /** The secret is returned once. Without kinds: all kinds, including future ones. */
  createWebhook(url: string, kinds: readonly string[] = []): Promise<WireCreatedWebhook> {
    return this.#ask({ method: 'POST', path: `${this.#tenant()}/webhooks`, body: { url, kinds } });
  }

  deleteWebhook(webhook: string): Promise<WireWebhook> {
    return this.#ask({ method: 'DELETE', path: `${this.#tenant()}/webhooks/${segment(webhook)}` });
  }

  deliveries(webhook: string, query: Query = {}): Promise<WirePage<WireDelivery>> {
    return this.#ask({ method: 'GET', path: `${this.#tenant()}/webhooks/${segment(webhook)}/deliveries`, query });
  }

  #credential(environment: string, name: string): string {
    return `${this.#tenant()}/environments/${segment(environment)}/credentials/${segment(name)}`;
  }
}
