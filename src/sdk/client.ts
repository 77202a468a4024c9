// The typed client: what the HTTP interface offers, with log-in, renewal, retries and an optional cache of values.
import type {
  WireCheckpoint,
  WireCreatedUser,
  WireCreatedWorkload,
  WireCredential,
  WireCredentialValue,
  WireEnvironment,
  WireEvent,
  WireIssuedToken,
  WireKeys,
  WirePage,
  WireRun,
  WireTenant,
  WireTokenResponse,
  WireUser,
  WireVersion,
  WireWhoAmI,
  WireWorkload,
} from '../http/wire.ts';
import { KeyturnProblem } from './problem.ts';
import { Secret } from './secret.ts';
import { type Fetch, Transport } from './transport.ts';

export { KeyturnProblem } from './problem.ts';
export { Secret } from './secret.ts';

export interface KeyturnOptions {
  readonly address: string;
  readonly tenant?: string | undefined;
  /** A user or direct token. Without it, client credentials are exchanged for access tokens as needed. */
  readonly token?: string | undefined;
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

export interface ReadValue extends Omit<WireCredentialValue, 'value'> {
  readonly value: Secret<Readonly<Record<string, unknown>>>;
}

interface Cached {
  readonly read: ReadValue;
  readonly etag: string;
  untilMs: number;
}

const RENEW_BEFORE_MS = 60_000;

export class KeyturnClient {
  readonly #options: KeyturnOptions;
  readonly #runtime: Runtime;
  readonly #transport: Transport;
  readonly #cache = new Map<string, Cached>();
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

  // ---- credentials ----

  /** The current value (or a version of it); of an OAuth grant a valid access token. */
  async read(environment: string, name: string, wanted: { version?: number; stage?: string } = {}): Promise<ReadValue> {
    const path = `${this.#credentials(environment)}/${name}/value`;
    const plain = wanted.version === undefined && wanted.stage === undefined;
    const cached = plain ? this.#cache.get(path) : undefined;
    if (cached !== undefined && cached.untilMs > this.#runtime.nowMs()) return cached.read;
    const answer = await this.#authorized({
      method: 'GET',
      path,
      query: wanted,
      ...(cached === undefined ? {} : { headers: { 'if-none-match': cached.etag } }),
    });
    if (answer.status === 304 && cached !== undefined) {
      cached.untilMs = this.#cacheUntil(cached.read);
      return cached.read;
    }
    const body = (await answer.json()) as WireCredentialValue;
    const read: ReadValue = { ...body, value: new Secret(body.value) };
    if (plain && (this.#options.cacheMs ?? 0) > 0) {
      this.#cache.set(path, { read, etag: answer.headers.get('etag') ?? '', untilMs: this.#cacheUntil(read) });
    }
    return read;
  }

  /** Drops a value from the cache: call it when a provider answered 401 to the token. */
  forget(environment: string, name: string): void {
    this.#cache.delete(`${this.#credentials(environment)}/${name}/value`);
  }

  put(
    environment: string,
    name: string,
    body: Readonly<Record<string, unknown>>,
    headers: Record<string, string> = {},
  ): Promise<WireCredential> {
    this.forget(environment, name);
    return this.#json({ method: 'PUT', path: `${this.#credentials(environment)}/${name}`, body, headers });
  }

  describe(environment: string, name: string): Promise<WireCredential> {
    return this.#json({ method: 'GET', path: `${this.#credentials(environment)}/${name}` });
  }

  list(
    environment: string,
    query: Readonly<Record<string, string | number | undefined>> = {},
  ): Promise<WirePage<WireCredential>> {
    return this.#json({ method: 'GET', path: this.#credentials(environment), query });
  }

  versions(
    environment: string,
    name: string,
    query: Readonly<Record<string, string | number | undefined>> = {},
  ): Promise<WirePage<WireVersion>> {
    return this.#json({ method: 'GET', path: `${this.#credentials(environment)}/${name}/versions`, query });
  }

  label(
    environment: string,
    name: string,
    body: { labels?: Record<string, string>; description?: string },
  ): Promise<WireCredential> {
    return this.#json({ method: 'PATCH', path: `${this.#credentials(environment)}/${name}`, body });
  }

  rollBack(environment: string, name: string, version?: number): Promise<WireCredential> {
    this.forget(environment, name);
    return this.#json({
      method: 'POST',
      path: `${this.#credentials(environment)}/${name}/rollbacks`,
      body: version === undefined ? {} : { version },
    });
  }

  delete(environment: string, name: string, recoveryWindowDays?: number): Promise<WireCredential> {
    this.forget(environment, name);
    return this.#json({
      method: 'DELETE',
      path: `${this.#credentials(environment)}/${name}`,
      query: { recovery_window_days: recoveryWindowDays },
    });
  }

  restore(environment: string, name: string): Promise<WireCredential> {
    return this.#json({ method: 'POST', path: `${this.#credentials(environment)}/${name}/restorations`, body: {} });
  }

  destroy(environment: string, name: string): Promise<{ destroyed: true }> {
    return this.#json({ method: 'POST', path: `${this.#credentials(environment)}/${name}/destructions`, body: {} });
  }

  rotate(environment: string, name: string): Promise<WireRun> {
    this.forget(environment, name);
    return this.#json({ method: 'POST', path: `${this.#credentials(environment)}/${name}/rotations`, body: {} });
  }

  run(environment: string, name: string, run: string): Promise<WireRun> {
    return this.#json({ method: 'GET', path: `${this.#credentials(environment)}/${name}/rotations/${run}` });
  }

  runs(environment: string, name: string): Promise<WirePage<WireRun>> {
    return this.#json({ method: 'GET', path: `${this.#credentials(environment)}/${name}/rotations` });
  }

  // ---- the tenant ----

  environments(): Promise<WirePage<WireEnvironment>> {
    return this.#json({ method: 'GET', path: `${this.#tenant()}/environments` });
  }

  createEnvironment(name: string): Promise<WireEnvironment> {
    return this.#json({ method: 'POST', path: `${this.#tenant()}/environments`, body: { name } });
  }

  workloads(query: Readonly<Record<string, string | number | undefined>> = {}): Promise<WirePage<WireWorkload>> {
    return this.#json({ method: 'GET', path: `${this.#tenant()}/workloads`, query });
  }

  workload(idOrName: string): Promise<WireWorkload & { tokens: readonly Record<string, unknown>[] }> {
    return this.#json({ method: 'GET', path: `${this.#tenant()}/workloads/${idOrName}` });
  }

  createWorkload(body: Readonly<Record<string, unknown>>): Promise<WireCreatedWorkload> {
    return this.#json({ method: 'POST', path: `${this.#tenant()}/workloads`, body });
  }

  revokeWorkload(idOrName: string): Promise<WireWorkload> {
    return this.#json({ method: 'DELETE', path: `${this.#tenant()}/workloads/${idOrName}` });
  }

  createClientSecret(idOrName: string): Promise<WireIssuedToken> {
    return this.#json({ method: 'POST', path: `${this.#tenant()}/workloads/${idOrName}/secrets`, body: {} });
  }

  createToken(idOrName: string, body: Readonly<Record<string, unknown>> = {}): Promise<WireIssuedToken> {
    return this.#json({ method: 'POST', path: `${this.#tenant()}/workloads/${idOrName}/tokens`, body });
  }

  revokeToken(idOrName: string, tokenId: string): Promise<Record<string, unknown>> {
    return this.#json({ method: 'DELETE', path: `${this.#tenant()}/workloads/${idOrName}/tokens/${tokenId}` });
  }

  keys(): Promise<WireKeys> {
    return this.#json({ method: 'GET', path: `${this.#tenant()}/keys` });
  }

  rotateKeys(purposes?: readonly string[]): Promise<Pick<WireKeys, 'rotations'>> {
    return this.#json({
      method: 'POST',
      path: `${this.#tenant()}/keys/rotations`,
      body: purposes === undefined ? {} : { purposes },
    });
  }

  // ---- the log: of the tenant, or of the installation when there is none ----

  events(
    query: Readonly<Record<string, string | number | undefined>> = {},
  ): Promise<{ items: readonly WireEvent[]; next_before: number | null }> {
    return this.#json({ method: 'GET', path: `${this.#log()}/audit/events`, query });
  }

  checkpoint(): Promise<WireCheckpoint> {
    return this.#json({ method: 'GET', path: `${this.#log()}/audit/checkpoint` });
  }

  /** Line by line, for ExportVerifier or a file. */
  async *exportLines(): AsyncGenerator<string> {
    const answer = await this.#authorized({ method: 'GET', path: `${this.#log()}/audit/export` });
    const decoder = new TextDecoder();
    let rest = '';
    for await (const chunk of answer.body ?? []) {
      const lines = (rest + decoder.decode(chunk as Uint8Array, { stream: true })).split('\n');
      rest = lines.pop() ?? '';
      yield* lines;
    }
    if (rest !== '') yield rest;
  }

  // ---- the installation ----

  setUp(name: string): Promise<WireCreatedUser> {
    return this.#json({ method: 'POST', path: '/v1/setup', body: { name } });
  }

  whoAmI(): Promise<WireWhoAmI> {
    const workload = this.#options.token === undefined || /^kt_(wlk|acc)_/.test(this.#options.token);
    return this.#json({ method: 'GET', path: workload ? `${this.#tenant()}/whoami` : '/v1/whoami' });
  }

  tenants(query: Readonly<Record<string, string | number | undefined>> = {}): Promise<WirePage<WireTenant>> {
    return this.#json({ method: 'GET', path: '/v1/tenants', query });
  }

  createTenant(name: string, environments?: readonly string[]): Promise<WireTenant> {
    return this.#json({
      method: 'POST',
      path: '/v1/tenants',
      body: environments === undefined ? { name } : { name, environments },
    });
  }

  users(query: Readonly<Record<string, string | number | undefined>> = {}): Promise<WirePage<WireUser>> {
    return this.#json({ method: 'GET', path: '/v1/users', query });
  }

  createUser(body: Readonly<Record<string, unknown>>): Promise<WireCreatedUser> {
    return this.#json({ method: 'POST', path: '/v1/users', body });
  }

  offboardUser(idOrName: string): Promise<WireUser> {
    return this.#json({ method: 'DELETE', path: `/v1/users/${idOrName}` });
  }

  createUserToken(idOrName: string, expiresInSeconds?: number): Promise<WireIssuedToken> {
    const body = expiresInSeconds === undefined ? {} : { expires_in: expiresInSeconds };
    return this.#json({ method: 'POST', path: `/v1/users/${idOrName}/tokens`, body });
  }

  /** Status and the server's clock, without a token. */
  async health(): Promise<{ status: string; version: string; date: string | null }> {
    const answer = await this.#transport.send({ method: 'GET', path: '/health' });
    return { ...((await answer.json()) as { status: string; version: string }), date: answer.headers.get('date') };
  }

  // ---- how ----

  #tenant(): string {
    const { tenant } = this.#options;
    if (tenant === undefined) throw new KeyturnProblem({ status: 0, code: 'invalid_request', detail: 'no tenant was named' });
    return `/v1/tenants/${tenant}`;
  }

  #log(): string {
    return this.#options.tenant === undefined ? '/v1' : this.#tenant();
  }

  #credentials(environment: string): string {
    return `${this.#tenant()}/environments/${environment}/credentials`;
  }

  #cacheUntil(read: ReadValue): number {
    const bound = this.#runtime.nowMs() + (this.#options.cacheMs ?? 0);
    return read.expires_at === null ? bound : Math.min(bound, Date.parse(read.expires_at) - RENEW_BEFORE_MS / 2);
  }

  async #json<T>(call: Parameters<Transport['send']>[0]): Promise<T> {
    return (await (await this.#authorized(call)).json()) as T;
  }

  /** With a token; one that was refused although it was believed good is renewed once. */
  async #authorized(call: Parameters<Transport['send']>[0]): Promise<Response> {
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
    const { clientId, clientSecret, clientAssertion, address } = this.#options;
    if (clientId === undefined || (clientSecret === undefined && clientAssertion === undefined)) {
      throw new KeyturnProblem({
        status: 0,
        code: 'unauthenticated',
        detail: 'there is no token and there are no client credentials',
      });
    }
    const path = `${this.#tenant()}/token`;
    const proof =
      clientSecret === undefined
        ? {
            client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
            client_assertion: await clientAssertion?.(`${new URL(address).origin}${path}`),
          }
        : { client_secret: clientSecret };
    const sentAtMs = this.#runtime.nowMs();
    const body = { grant_type: 'client_credentials', client_id: clientId, ...proof };
    const issued = await this.#transport.json<WireTokenResponse>({ method: 'POST', path, body });
    this.#access = { token: issued.access_token, untilMs: sentAtMs + issued.expires_in * 1_000 - RENEW_BEFORE_MS };
    return issued.access_token;
  }
}
