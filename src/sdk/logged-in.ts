// Log-in: a given token, or client credentials exchanged for access tokens as needed, once for all callers.
// It must never keep a token past its end, nor repeat a log-in that was refused.
import type { WireTokenResponse } from '../http/v1/wire.ts';
import { KeyturnProblem } from './problem.ts';
import { type Call, type Fetch, segment, Transport } from './transport.ts';

export interface KeyturnOptions {
  readonly address: string;
  readonly tenant?: string | undefined;
  /** A user or direct token. Without it, client credentials are exchanged for access tokens as needed. */
  readonly token?: string | undefined;
  /** Said when there is neither token nor client credentials. */
  readonly whyNoToken?: string | undefined;
  readonly clientId?: string | undefined;
  readonly clientSecret?: string | undefined;
  /** Signs a fresh client assertion for the given audience (private_key_jwt). */
  readonly clientAssertion?: ((audience: string) => Promise<string>) | undefined;
  readonly workflow?: string | undefined;
  readonly workflowRun?: string | undefined;
  readonly fetch?: Fetch | undefined;
  readonly maxRetries?: number | undefined;
  readonly timeoutMs?: number | undefined;
  readonly allowPlaintext?: boolean | undefined;
  /** Longest time a value is served from memory; default 0: every read asks the vault. Never past its expiry. */
  readonly cacheMs?: number | undefined;
}

/** What the runtime lends. */
export interface Runtime {
  readonly fetch: Fetch;
  readonly nowMs: () => number;
  /** Aborts after so long; must not keep a process alive. */
  readonly deadline: (ms: number) => AbortSignal;
  readonly sleep: (ms: number) => Promise<void>;
  readonly fraction: () => number;
  readonly newKey: () => string;
}

const RENEW_BEFORE_MS = 60_000;

export class LoggedIn {
  readonly #options: KeyturnOptions;
  readonly #runtime: Runtime;
  readonly #transport: Transport;
  #access: { readonly token: string; readonly untilMs: number } | undefined;
  #login: Promise<string> | undefined;

  constructor(options: KeyturnOptions, runtime: Runtime) {
    this.#options = options;
    this.#runtime = runtime;
    this.#transport = new Transport({
      address: options.address,
      fetch: options.fetch ?? runtime.fetch,
      deadline: runtime.deadline,
      sleep: runtime.sleep,
      fraction: runtime.fraction,
      newKey: runtime.newKey,
      maxRetries: options.maxRetries ?? 3,
      timeoutMs: options.timeoutMs ?? 30_000,
      allowPlaintext: options.allowPlaintext ?? false,
      workflow: options.workflow,
      workflowRun: options.workflowRun,
    });
  }

  /** Without a token: health only. */
  anonymous(call: Call): Promise<Response> {
    return this.#transport.send(call);
  }

  /** With a token; one that was refused although it was believed good is renewed once. */
  async send(call: Call): Promise<Response> {
    try {
      return await this.#transport.send({ ...call, token: await this.#token() });
    } catch (error) {
      const renewable = error instanceof KeyturnProblem && error.code === 'unauthenticated' && this.#access !== undefined;
      if (!renewable) throw error;
      this.#access = undefined;
      return this.#transport.send({ ...call, token: await this.#token() });
    }
  }

  async #token(): Promise<string> {
    if (this.#options.token !== undefined) return this.#options.token;
    if (this.#access !== undefined && this.#access.untilMs > this.#runtime.nowMs()) return this.#access.token;
    this.#login ??= this.#exchange().finally(() => {
      this.#login = undefined;
    });
    return this.#login;
  }

  async #exchange(): Promise<string> {
    const { clientId, clientSecret, clientAssertion, tenant, whyNoToken } = this.#options;
    if (clientId === undefined || (clientSecret === undefined && clientAssertion === undefined)) {
      throw new KeyturnProblem({
        status: 0,
        code: 'unauthenticated',
        detail: whyNoToken ?? 'there is no token and there are no client credentials',
      });
    }
    if (tenant === undefined) throw new KeyturnProblem({ status: 0, code: 'invalid_request', detail: 'no tenant was named' });
    const path = `/v1/tenants/${segment(tenant)}/token`;
    const proof =
      clientSecret === undefined
        ? {
            client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
            client_assertion: await clientAssertion?.(this.#transport.urlOf(path)),
          }
        : { client_secret: clientSecret };
    const sentAtMs = this.#runtime.nowMs();
    const body = { grant_type: 'client_credentials', client_id: clientId, ...proof };
    const issued = await this.#transport.json<WireTokenResponse>({ method: 'POST', path, body });
    this.#access = { token: issued.access_token, untilMs: sentAtMs + issued.expires_in * 1_000 - RENEW_BEFORE_MS };
    return issued.access_token;
  }
}
