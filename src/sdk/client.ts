// The typed client of the HTTP API, with authentication, token renewal, retries and an optional cache of values.

import { LIMITS } from '../base/limits.ts';
import type {
  WireCheckpoint,
  WireCreatedUser,
  WireCreatedWorkload,
  WireCredential,
  WireCredentialValue,
  WireEnrolledUser,
  WireEnvironment,
  WireEvents,
  WireHealth,
  WireHealthDetail,
  WireIssuedToken,
  WireKeys,
  WirePage,
  WireReader,
  WireRootKey,
  WireRotationPlan,
  WireRun,
  WireTenant,
  WireUser,
  WireVersion,
  WireWhoAmI,
  WireWorkload,
} from '../http/v1/wire.ts';
import { eventsIn, type FollowedRun } from './event-stream.ts';
import { Grants } from './grants.ts';
import { type KeyturnOptions, LoggedIn, type Runtime } from './logged-in.ts';
import { KeyturnProblem } from './problem.ts';
import { Schedules } from './schedules.ts';
import { type ReadValue, Secret } from './secret.ts';
import { type Call, type Query, segment } from './transport.ts';
import { bodyText } from './value-bytes.ts';

export type { FollowedRun } from './event-stream.ts';
export type { KeyturnOptions, Runtime } from './logged-in.ts';
export { KeyturnProblem } from './problem.ts';
export { type ReadValue, Secret } from './secret.ts';
export type { Query } from './transport.ts';
export { bytesOf, JsonText, mainMember, memberOf } from './value-bytes.ts';

interface Cached {
  readonly read: ReadValue;
  readonly etag: string;
  untilMs: number;
}

/** A cached value is not used in its last seconds. */
const EXPIRY_MARGIN_MS = 30_000;

export class KeyturnClient {
  readonly #options: KeyturnOptions;
  readonly #runtime: Runtime;
  readonly #vault: LoggedIn;
  readonly #cache = new Map<string, Cached>();
  /** Connectors, links, disconnections, forecast, alerts, webhooks. */
  readonly grants: Grants;
  readonly schedules: Schedules;

  constructor(options: KeyturnOptions, runtime: Runtime) {
    this.#options = options;
    this.#runtime = runtime;
    this.#vault = new LoggedIn(options, runtime);
    this.grants = new Grants(
      (call) => this.#json(call),
      () => this.#tenant(),
    );
    this.schedules = new Schedules(
      (call) => this.#json(call),
      () => this.#tenant(),
    );
  }

  /** The same client for another tenant. */
  inTenant(tenant: string): KeyturnClient {
    return new KeyturnClient({ ...this.#options, tenant }, this.#runtime);
  }

  // ---- credentials ----

  /**
   * The current value or the value of a version; for an OAuth grant a valid access token. `refresh`: the newest that can be had, past every
   * cache; needs the right to rotate.
   */
  async read(
    environment: string,
    name: string,
    wanted: { version?: number; stage?: string; refresh?: true } = {},
  ): Promise<ReadValue> {
    const path = `${this.#credential(environment, name)}/value`;
    const plain = wanted.version === undefined && wanted.stage === undefined;
    const cached = plain && wanted.refresh !== true ? this.#cache.get(path) : undefined;
    if (cached !== undefined && cached.untilMs > this.#runtime.nowMs()) return cached.read;
    const answer = await this.#vault.send({
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
    if (plain) this.#keep(path, read, answer.headers.get('etag') ?? '');
    return read;
  }

  #keep(path: string, read: ReadValue, etag: string): void {
    if ((this.#options.cacheMs ?? 0) > 0) this.#cache.set(path, { read, etag, untilMs: this.#cacheUntil(read) });
  }

  /** Removes a value from the cache; call it if a provider answered 401 to the token. */
  forget(environment: string, name: string): void {
    this.#cache.delete(`${this.#credential(environment, name)}/value`);
  }

  /** A `value` of type JsonText is sent unchanged. For bytes use `value: memberOf('key', bytes)`. */
  put(
    environment: string,
    name: string,
    body: Readonly<Record<string, unknown>>,
    headers: Record<string, string> = {},
  ): Promise<WireCredential> {
    this.forget(environment, name);
    return this.#json({ method: 'PUT', path: this.#credential(environment, name), text: bodyText(body), headers });
  }

  describe(environment: string, name: string): Promise<WireCredential> {
    return this.#json({ method: 'GET', path: this.#credential(environment, name) });
  }

  list(environment: string, query: Query = {}): Promise<WirePage<WireCredential>> {
    return this.#json({ method: 'GET', path: this.#credentials(environment), query });
  }

  versions(environment: string, name: string, query: Query = {}): Promise<WirePage<WireVersion>> {
    return this.#json({ method: 'GET', path: `${this.#credential(environment, name)}/versions`, query });
  }

  label(
    environment: string,
    name: string,
    body: { labels?: Record<string, string>; description?: string },
  ): Promise<WireCredential> {
    return this.#json({ method: 'PATCH', path: this.#credential(environment, name), body });
  }

  readers(environment: string, name: string): Promise<WirePage<WireReader>> {
    return this.#json({ method: 'GET', path: `${this.#credential(environment, name)}/readers` });
  }

  /** The target is asked first, where a connector can. @throws KeyturnProblem conflict if it refuses the version */
  rollBack(environment: string, name: string, version?: number, revokesReplaced?: true): Promise<WireCredential> {
    this.forget(environment, name);
    return this.#json({
      method: 'POST',
      path: `${this.#credential(environment, name)}/rollbacks`,
      body: { ...(version === undefined ? {} : { version }), ...(revokesReplaced === true ? { revoke_replaced: true } : {}) },
    });
  }

  delete(environment: string, name: string, recoveryWindowDays?: number): Promise<WireCredential> {
    this.forget(environment, name);
    return this.#json({
      method: 'DELETE',
      path: this.#credential(environment, name),
      query: { recovery_window_days: recoveryWindowDays },
    });
  }

  restore(environment: string, name: string): Promise<WireCredential> {
    return this.#json({ method: 'POST', path: `${this.#credential(environment, name)}/restorations`, body: {} });
  }

  destroy(environment: string, name: string): Promise<{ destroyed: true }> {
    return this.#json({ method: 'POST', path: `${this.#credential(environment, name)}/destructions`, body: {} });
  }

  /** What a rotation or refresh would do; nothing outside is called. */
  plan(environment: string, name: string): Promise<WireRotationPlan> {
    return this.#json({ method: 'GET', path: `${this.#credential(environment, name)}/plan` });
  }

  /** Requests a rotation or refresh, or returns the open run. @param plan the hash of a plan; refused if the plan has changed since */
  rotate(
    environment: string,
    name: string,
    request: { reason?: string; plan?: string; skip_staging?: true } = {},
  ): Promise<WireRun> {
    this.forget(environment, name);
    return this.#json({ method: 'POST', path: this.#runs(environment, name), body: request });
  }

  run(environment: string, name: string, run: string): Promise<WireRun> {
    return this.#json({ method: 'GET', path: `${this.#runs(environment, name)}/${segment(run)}` });
  }

  runs(environment: string, name: string, query: Query = {}): Promise<WirePage<WireRun>> {
    return this.#json({ method: 'GET', path: this.#runs(environment, name), query });
  }

  /**
   * The steps of a run as they happen, then its end. Uses the stream of events, and polls where the stream breaks; yields each step once.
   * @param signal ends the following, not the run
   */
  async *followRun(environment: string, name: string, run: string, signal?: AbortSignal): AsyncGenerator<FollowedRun> {
    const path = `${this.#runs(environment, name)}/${segment(run)}/events`;
    let seen = 0;
    for (let broken = 0; ; broken++) {
      if (broken < LIMITS.runStreamsBrokenMax) {
        const headers = { accept: 'text/event-stream', 'last-event-id': String(seen) };
        try {
          const answer = await this.#vault.send({
            method: 'GET',
            path,
            headers,
            timeoutMs: LIMITS.runEventsMaxMs + LIMITS.runEventsBeatMs,
            signal,
          });
          for await (const { id, followed } of eventsIn(answer)) {
            broken = 0;
            seen = Math.max(seen, id);
            yield followed;
            if (followed.kind === 'end') return;
          }
        } catch {
          // The poll below says why, if the run cannot be read.
        }
      }
      if (signal?.aborted === true) return;
      const polled = await this.run(environment, name, run);
      for (const step of (polled.steps ?? []).slice(seen)) {
        seen += 1;
        yield { kind: 'step', step };
      }
      if (polled.state !== 'open') return yield { kind: 'end', run: polled };
      await this.#runtime.sleep(LIMITS.progressPollMs);
    }
  }

  /** `cancel`: a run whose new value is not current; `resume`: a waiting run now; `retry`: a new run after one that failed or was cancelled. */
  changeRun(environment: string, name: string, run: string, change: 'cancel' | 'resume' | 'retry'): Promise<WireRun> {
    return this.#json({ method: 'POST', path: `${this.#runs(environment, name)}/${segment(run)}/${change}`, body: {} });
  }

  /** The receipt of a finished rotation as it was signed: parsing and serializing may change its bytes. */
  async receipt(environment: string, name: string, run: string): Promise<string> {
    const path = `${this.#credential(environment, name)}/runs/${segment(run)}/receipt`;
    return (await this.#vault.send({ method: 'GET', path })).text();
  }

  // ---- the tenant ----

  environments(): Promise<WirePage<WireEnvironment>> {
    return this.#json({ method: 'GET', path: `${this.#tenant()}/environments` });
  }

  /** @param production whether rotations must have completed elsewhere first; default: by the name */
  createEnvironment(name: string, production?: boolean): Promise<WireEnvironment> {
    const body = production === undefined ? { name } : { name, production };
    return this.#json({ method: 'POST', path: `${this.#tenant()}/environments`, body });
  }

  workloads(query: Query = {}): Promise<WirePage<WireWorkload>> {
    return this.#json({ method: 'GET', path: `${this.#tenant()}/workloads`, query });
  }

  workload(idOrName: string): Promise<WireWorkload & { tokens: readonly Record<string, unknown>[] }> {
    return this.#json({ method: 'GET', path: `${this.#tenant()}/workloads/${segment(idOrName)}` });
  }

  createWorkload(body: Readonly<Record<string, unknown>>): Promise<WireCreatedWorkload> {
    return this.#json({ method: 'POST', path: `${this.#tenant()}/workloads`, body });
  }

  revokeWorkload(idOrName: string): Promise<WireWorkload> {
    return this.#json({ method: 'DELETE', path: `${this.#tenant()}/workloads/${segment(idOrName)}` });
  }

  createClientSecret(idOrName: string): Promise<WireIssuedToken> {
    return this.#json({ method: 'POST', path: `${this.#tenant()}/workloads/${segment(idOrName)}/secrets`, body: {} });
  }

  createToken(idOrName: string, body: Readonly<Record<string, unknown>> = {}): Promise<WireIssuedToken> {
    return this.#json({ method: 'POST', path: `${this.#tenant()}/workloads/${segment(idOrName)}/tokens`, body });
  }

  revokeToken(idOrName: string, tokenId: string): Promise<Record<string, unknown>> {
    return this.#json({ method: 'DELETE', path: `${this.#tenant()}/workloads/${segment(idOrName)}/tokens/${segment(tokenId)}` });
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

  /** The keys of the home cell. */
  homeKeys(): Promise<WireKeys> {
    return this.#json({ method: 'GET', path: '/v1/installation/keys' });
  }

  rotateHomeKeys(purposes?: readonly string[]): Promise<Pick<WireKeys, 'rotations'>> {
    const body = purposes === undefined ? {} : { purposes };
    return this.#json({ method: 'POST', path: '/v1/installation/keys/rotations', body });
  }

  /** The source of the root key and the progress of its rotation. */
  rootKey(): Promise<WireRootKey> {
    return this.#json({ method: 'GET', path: '/v1/installation/root' });
  }

  /** Starts a rotation of the root key, which continues in the background. */
  rotateRootKey(): Promise<WireRootKey> {
    return this.#json({ method: 'POST', path: '/v1/installation/root/rotations' });
  }

  // ---- the log of the tenant, or of the installation if the client has no tenant ----

  events(query: Query = {}): Promise<WireEvents> {
    return this.#json({ method: 'GET', path: `${this.#log()}/audit/events`, query });
  }

  checkpoint(): Promise<WireCheckpoint> {
    return this.#json({ method: 'GET', path: `${this.#log()}/audit/checkpoint` });
  }

  /** The export as received bytes, in chunks of any size, for ExportVerifier or a file. */
  async *exportBytes(range?: { readonly from: number; readonly to: number }): AsyncGenerator<Uint8Array> {
    const query = range === undefined ? {} : { from: range.from, to: range.to };
    const answer = await this.#vault.send({ method: 'GET', path: `${this.#log()}/audit/export`, query });
    yield* (answer.body ?? []) as AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
  }

  // ---- the installation ----

  setUp(name: string): Promise<WireEnrolledUser> {
    return this.#json({ method: 'POST', path: '/v1/setup', body: { name } });
  }

  whoAmI(): Promise<WireWhoAmI> {
    const { token, clientId } = this.#options;
    const workload = token === undefined ? clientId !== undefined : /^kt_(wlk|acc)_/.test(token);
    return this.#json({ method: 'GET', path: workload ? `${this.#tenant()}/whoami` : '/v1/whoami' });
  }

  tenants(query: Query = {}): Promise<WirePage<WireTenant>> {
    return this.#json({ method: 'GET', path: '/v1/tenants', query });
  }

  createTenant(name: string, environments?: readonly string[]): Promise<WireTenant> {
    return this.#json({
      method: 'POST',
      path: '/v1/tenants',
      body: environments === undefined ? { name } : { name, environments },
    });
  }

  users(query: Query = {}): Promise<WirePage<WireUser>> {
    return this.#json({ method: 'GET', path: '/v1/users', query });
  }

  createUser(body: Readonly<Record<string, unknown>>): Promise<WireCreatedUser> {
    return this.#json({ method: 'POST', path: '/v1/users', body });
  }

  /** Exchanges the enrolment token of this client for a personal token. */
  enrol(expiresInSeconds?: number): Promise<WireEnrolledUser> {
    const body = expiresInSeconds === undefined ? {} : { expires_in: expiresInSeconds };
    return this.#json({ method: 'POST', path: '/v1/enrolments', body });
  }

  offboardUser(idOrName: string): Promise<WireUser> {
    return this.#json({ method: 'DELETE', path: `/v1/users/${segment(idOrName)}` });
  }

  /** Creates a further token for the caller. */
  createUserToken(idOrName: string, expiresInSeconds?: number): Promise<WireIssuedToken> {
    const body = expiresInSeconds === undefined ? {} : { expires_in: expiresInSeconds };
    return this.#json({ method: 'POST', path: `/v1/users/${segment(idOrName)}/tokens`, body });
  }

  /** Health and the server's Date header; needs no token. */
  async health(): Promise<WireHealth & { date: string | null }> {
    const answer = await this.#vault.anonymous({ method: 'GET', path: '/health', accepts: [501, 503, 507] });
    const health = (await answer.json()) as WireHealth;
    // A proxy may answer 503 with a body of its own.
    if (typeof health.status !== 'string' || typeof health.version !== 'string')
      throw new KeyturnProblem({
        status: answer.status,
        code: 'unavailable',
        detail: 'the answer is not from a Keyturn service: check the address',
      });
    return { ...health, date: answer.headers.get('date') };
  }

  /** Health in detail, with the tenants that cannot be served; needs a token that may read metrics. */
  healthDetail(): Promise<WireHealthDetail> {
    return this.#json({ method: 'GET', path: '/v1/health/parts' });
  }

  #tenant(): string {
    const { tenant } = this.#options;
    if (tenant === undefined)
      throw new KeyturnProblem({
        status: 0,
        code: 'invalid_request',
        detail: 'the tenant is missing: give it with --tenant, KEYTURN_TENANT or the option tenant',
      });
    return `/v1/tenants/${segment(tenant)}`;
  }

  #log(): string {
    return this.#options.tenant === undefined ? '/v1' : this.#tenant();
  }

  #credentials(environment: string): string {
    return `${this.#tenant()}/environments/${segment(environment)}/credentials`;
  }

  #credential(environment: string, name: string): string {
    return `${this.#credentials(environment)}/${segment(name)}`;
  }

  #runs(environment: string, name: string): string {
    return `${this.#credential(environment, name)}/runs`;
  }

  #cacheUntil(read: ReadValue): number {
    // The server waits this long before it ends a value, so a copy that is older may be refused by the provider.
    const forMs = Math.min(this.#options.cacheMs ?? 0, read.good_for_seconds * 1_000);
    const bound = this.#runtime.nowMs() + forMs;
    return read.expires_at === null ? bound : Math.min(bound, Date.parse(read.expires_at) - EXPIRY_MARGIN_MS);
  }

  async #json<T>(call: Call): Promise<T> {
    return (await (await this.#vault.send(call)).json()) as T;
  }
}
