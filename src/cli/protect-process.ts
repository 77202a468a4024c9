// What this process does against being looked into from outside; imported before everything else by main.ts.
// It must never weaken what the launcher did already (launch-product.mjs): it is for starts without the launcher.
import { writeFileSync } from 'node:fs';
import inspector from 'node:inspector';
import { CliError, EXIT } from './exit.ts';
import { hold } from './unsaid.ts';

/** Linux: which kinds of memory go into a core file; none. */
const CORE_FILTER = '/proc/self/coredump_filter';

// SECURITY: without a listener this signal makes Node open a debugger port to every user of the machine.
process.on('SIGUSR1', () => {});
for (const name of ['KEYTURN_TOKEN', 'KEYTURN_CLIENT_SECRET']) hold(process.env[name]);

/** Before a command acts. @throws CliError */
export function refuseOpenChannels(): void {
  if (process.env['NODE_TLS_REJECT_UNAUTHORIZED'] !== '0') return;
  throw new CliError(
    'NODE_TLS_REJECT_UNAUTHORIZED=0 is set: it turns off the check of certificates, and keyturn does not send secrets without it',
    EXIT.usage,
    'unset it; name an authority of your own in KEYTURN_CACERT (the command line) or NODE_EXTRA_CA_CERTS (the service)',
  );
}

/** Before the service opens a key: no debugger, and no memory in a core file. @throws CliError */
export function closeMemory(): void {
  if (inspector.url() !== undefined) {
    inspector.close();
    throw new CliError(
      'a debugger port is open (--inspect): whoever reaches it reads every key of the service',
      EXIT.usage,
      'start without --inspect, also in NODE_OPTIONS',
    );
  }
  try {
    writeFileSync(CORE_FILTER, '0');
  } catch {
    // Not Linux: the launcher's `ulimit -c 0` is what there is.
  }
}
