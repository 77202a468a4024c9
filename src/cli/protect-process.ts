// Protects the memory of this process from other processes; main.ts imports it first. It repeats what the launcher does
// (launch-product.mjs), for starts without the launcher, and must never weaken it.
import { writeFileSync } from 'node:fs';
import inspector from 'node:inspector';
import { CliError, EXIT } from './exit.ts';
import { hold } from './unsaid.ts';

/** Linux: the bit mask of memory types that go into a core file. */
const CORE_FILTER = '/proc/self/coredump_filter';

// SECURITY: without a listener this signal makes Node open a debugger port for every user of the machine.
process.on('SIGUSR1', () => {});
for (const name of ['KEYTURN_TOKEN', 'KEYTURN_CLIENT_SECRET']) hold(process.env[name]);

/** Runs before every command. @throws CliError if certificate checks are disabled */
export function refuseOpenChannels(): void {
  if (process.env['NODE_TLS_REJECT_UNAUTHORIZED'] !== '0') return;
  throw new CliError(
    'NODE_TLS_REJECT_UNAUTHORIZED=0 is set, which disables certificate checks: keyturn does not send secrets without them',
    EXIT.usage,
    'unset it; for your own certificate authority set KEYTURN_CACERT (command line) or NODE_EXTRA_CA_CERTS (service)',
  );
}

/** Runs before the service opens a key: refuses a debugger and excludes memory from core files. @throws CliError */
export function closeMemory(): void {
  if (inspector.url() !== undefined) {
    inspector.close();
    throw new CliError(
      'a debugger port is open (--inspect), through which every key of the service can be read',
      EXIT.usage,
      'start without --inspect, and remove it from NODE_OPTIONS',
    );
  }
  try {
    writeFileSync(CORE_FILTER, '0');
  } catch {
    // Not Linux: only the launcher's `ulimit -c 0` prevents core files.
  }
}
