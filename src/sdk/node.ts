// The client for programs on Node 24 or newer, with the network, the clock and the randomness of the machine.
// It must never read settings itself: the program passes address, tenant and credentials.
import { KeyturnClient, type KeyturnOptions, type Runtime } from './client.ts';

export { KeyturnProblem } from './client.ts';

const NODE_RUNTIME: Runtime = {
  fetch: (url, init) => fetch(url, init),
  nowMs: () => Date.now(),
  deadline: (ms) => AbortSignal.timeout(ms),
  sleep: (ms) => new Promise((resume) => setTimeout(resume, ms)),
  fraction: () => Math.random(),
  newKey: () => crypto.randomUUID(),
};

/** A client on this machine. @throws KeyturnProblem refused_address */
export function keyturnClient(options: KeyturnOptions): KeyturnClient {
  return new KeyturnClient(options, NODE_RUNTIME);
}
