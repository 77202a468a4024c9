// TLS of all drivers, by the options `sslmode` and `sslrootcert` of a value, with the meaning that libpq documents for them.
// It must never read a file that a value names.
import { isIP } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import type { Login } from './database-value.ts';
import { StepFailed } from './step-failed.ts';

/** What to try, in this order; `false`: without TLS. */
type TlsModes = readonly [ConnectionOptions | false, (ConnectionOptions | false)?];

/** As libpq documents `sslmode`. A file named in a value is never read. */
export function tlsModes({ host, options }: Login, preset: 'disable' | 'prefer' | 'verify-full'): TlsModes {
  const roots = options['sslrootcert'] === 'system' ? undefined : options['sslrootcert'];
  if (roots !== undefined && !roots.startsWith('-----BEGIN')) throw StepFailed.refused('configuration', 'sslrootcert_not_pem');
  const named = isIP(host) === 0 ? { servername: host } : {};
  const verified = { ...named, ...(roots === undefined ? {} : { ca: roots }), rejectUnauthorized: true };
  const unverified = { ...named, rejectUnauthorized: false };
  const byChain = { ...verified, checkServerIdentity: () => undefined };
  const modes: Readonly<Record<string, TlsModes>> = {
    disable: [false],
    allow: [unverified, false],
    prefer: [unverified, false],
    require: [roots === undefined ? unverified : byChain],
    'verify-ca': [byChain],
    'verify-full': [verified],
  };
  const mode = options['sslmode'] ?? preset;
  if (!Object.hasOwn(modes, mode)) throw StepFailed.refused('configuration', 'sslmode_not_supported');
  return modes[mode] as TlsModes;
}

/** The cause of a failure to open that lets `withTls` go on without TLS. */
export const SERVER_WITHOUT_TLS = 'server_without_tls';

/** Opens with the first mode, and without TLS only if the server says that it has none. */
export async function withTls<T>([first, second]: TlsModes, open: (tls: ConnectionOptions | false) => Promise<T>): Promise<T> {
  try {
    return await open(first);
  } catch (error) {
    const hasNone = error instanceof StepFailed && error.failure.cause === SERVER_WITHOUT_TLS;
    if (second === undefined || !hasNone) throw error;
    return open(second);
  }
}
