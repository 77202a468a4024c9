// Authentication: a given token, or client credentials that are exchanged for access tokens when needed, once for all concurrent callers.
// It must never use an expired token, nor repeat a rejected authentication.
import type { WireTokenResponse } from '../http/v1/wire.ts';
import { KeyturnProblem } from './problem.ts';
import { type Call, type Fetch, segment, Transport } from './transport.ts';

export interface KeyturnOptions {
  readonly address: string;
  readonly tenant?: string | undefined;
  /** A user token or direct token. Without it, client credentials are exchanged for access tokens when needed. */
  readonly token?: string | undefined;
  /** The error message if there is neither a token nor client credentials. */
  readonly whyNoToken?: string | undefined;
  readonly clientId?: string | undefined;
  readonly clientSecret?: string | undefined;
  /** Signs a new client assertion for the audience (private_key_jwt). */
  readonly clientAssertion?: ((audience: string) => Promise<string>) | undefined;
  readonly workflow?: string | undefined;
  readonly workflowRun?: string | undefined;
  readonly fetch?: Fetch | undefined;
  readonly maxRetries?: number | undefined;
  readonly timeoutMs?: number | undefined;
  readonly allowPlaintext?: boolean | undefined;
  /** Maximum time a value is cached; default 0: no cache. A value is never served after its expiry. */
  readonly cacheMs?: number | undefined;
}

/** What the runtime provides. */
export interface Runtime {
  readonly fetch: Fetch;
  readonly nowMs: () => number;
  /** Aborts after this time; must not keep the process alive. */
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

  /** Calls without a token (health). */
  anonymous(call: Call): Promise<Response> {
    return this.#transport.send(call);
  }

  /** Calls with a token; a rejected access token is renewed once. */
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
        detail: whyNoToken ?? 'the token and the client credentials are missing: give one of them',
      });
    }
    if (tenant === undefined)
      throw new KeyturnProblem({
        status: 0,
        code: 'invalid_request',
        detail: 'the tenant is missing: give it with --tenant, KEYTURN_TENANT or the option tenant',
      });
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
