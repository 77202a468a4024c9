// The few names of the Workers runtime this project uses, typed by @cloudflare/workers-types without making its globals
// everyone's (they clash with Node's). Text and wasm imports follow the [[rules]] of wrangler.toml.

declare module 'cloudflare:workers' {
  type DurableObjectState = import('@cloudflare/workers-types').DurableObjectState;

  export abstract class DurableObject<Env = unknown> {
    protected readonly ctx: DurableObjectState;
    protected readonly env: Env;
    constructor(ctx: DurableObjectState, env: Env);
    fetch?(request: Request): Response | Promise<Response>;
    alarm?(): void | Promise<void>;
  }
  /** The bindings and secrets of wrangler.toml; the composition root narrows what it uses. */
  export const env: Readonly<Record<string, unknown>>;
}

declare module '*.cedar' {
  const text: string;
  export default text;
}

declare module '*.cedarschema' {
  const text: string;
  export default text;
}

declare module '*.wasm' {
  const compiled: WebAssembly.Module;
  export default compiled;
}
