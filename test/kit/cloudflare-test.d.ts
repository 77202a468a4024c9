// What tests use of @cloudflare/vitest-plugin's virtual module; its own typings need the Workers globals.

declare module 'cloudflare:test' {
  type Stub = import('@cloudflare/workers-types').DurableObjectStub;
  type State = import('@cloudflare/workers-types').DurableObjectState;

  /** Runs `callback` in the object's own context and returns what it returns. */
  export function runInDurableObject<O, R>(stub: Stub, callback: (instance: O, state: State) => R | Promise<R>): Promise<R>;
  /** Tears the running object down; its storage stays. */
  export function evictDurableObject(stub: Stub): Promise<void>;
  /** True when an alarm was due and ran. */
  export function runDurableObjectAlarm(stub: Stub): Promise<boolean>;
}
