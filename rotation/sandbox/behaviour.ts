// The misbehaviours of the sandbox's token endpoint, and the middleware that applies them.
// Those marked "after" happen after the refresh token was rotated, which is the case that can lose grants.
import type { ServerResponse } from 'node:http';
import type { Provider } from 'oidc-provider';

type Middleware = Parameters<Provider['use']>[0];
type Context = Parameters<Middleware>[0];

export type TokenBehaviour =
  | { readonly kind: 'normal' }
  /** After: the answer is delayed by this time. */
  | { readonly kind: 'delay'; readonly ms: number }
  /** After: the connection is closed without an answer. */
  | { readonly kind: 'drop' }
  /** After: half of the answer is sent, then the connection is closed. */
  | { readonly kind: 'truncate' }
  /** After: a proxy answers 200 with a page. */
  | { readonly kind: 'garble' }
  /** Instead: the provider does nothing and sends this answer. */
  | {
      readonly kind: 'answer';
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string;
    };

export interface Counters {
  /** Requests that reached the token endpoint, with any result. */
  tokenCalls: number;
  /** Refreshes that took effect. */
  refreshes: number;
  /** Token requests that were refused. */
  refusals: number;
}

export interface Behaviours {
  readonly counters: Counters;
  /** The behaviour of the next calls, one each, in this order; then `always` applies again. */
  next(...behaviours: readonly TokenBehaviour[]): void;
  always(behaviour: TokenBehaviour): void;
  readonly middleware: Middleware;
  /** Ends all delays. */
  stop(): void;
}

const PAGE = '<!doctype html><title>Gateway</title><h1>Please stand by</h1>';

/** @param exempt true for the sandbox's own requests, which are neither counted nor affected */
export function createBehaviours(tokenPath: string, exempt: (ctx: Context) => boolean): Behaviours {
  const counters: Counters = { tokenCalls: 0, refreshes: 0, refusals: 0 };
  const queue: TokenBehaviour[] = [];
  const stopped = new AbortController();
  let standing: TokenBehaviour = { kind: 'normal' };

  const middleware: Middleware = async (ctx, next) => {
    if (ctx.path !== tokenPath || ctx.method !== 'POST' || exempt(ctx)) return next();
    counters.tokenCalls += 1;
    const behaviour = queue.shift() ?? standing;
    if (behaviour.kind === 'answer') {
      ctx.status = behaviour.status;
      ctx.set({ ...behaviour.headers });
      ctx.body = behaviour.body ?? '';
      return;
    }
    await next();
    const answer = ctx.body as { refresh_token?: unknown } | undefined;
    if (ctx.status !== 200) counters.refusals += 1;
    else counters.refreshes += answer?.refresh_token === undefined ? 0 : 1;
    await misbehave(ctx, behaviour, answer, stopped.signal);
  };
  return {
    counters,
    middleware,
    next: (...behaviours) => void queue.push(...behaviours),
    always: (behaviour) => {
      standing = behaviour;
    },
    stop: () => stopped.abort(),
  };
}

async function misbehave(ctx: Context, behaviour: TokenBehaviour, answer: unknown, stopped: AbortSignal): Promise<void> {
  switch (behaviour.kind) {
    case 'delay':
      await pause(behaviour.ms, stopped);
      return;
    case 'garble':
      ctx.type = 'html';
      ctx.body = PAGE;
      return;
    case 'drop':
      ctx.respond = false;
      ctx.req.socket.destroy();
      return;
    case 'truncate':
      ctx.respond = false;
      cutInHalf(ctx.res, JSON.stringify(answer));
  }
}

function cutInHalf(res: ServerResponse, body: string): void {
  res.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
  res.write(body.slice(0, Math.floor(body.length / 2)), () => res.destroy());
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    const end = () => {
      clearTimeout(timer);
      done();
    };
    signal.addEventListener('abort', end, { once: true });
  });
}
