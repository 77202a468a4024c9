// A real MariaDB from the Debian packages mariadb-server-core and mariadb-client-core.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort, programPath, type RealServer, runProgram, serverFolder, startServer } from './real-server.ts';

export const mariadbProgram = programPath('my_print_defaults') === undefined ? undefined : programPath('mariadbd');
export const OWNER = { username: 'owner', password: 'Password-of-the-owner' } as const;

export async function startMariadb(settings: readonly string[] = []): Promise<RealServer> {
  const folder = serverFolder('mariadb');
  const port = await freePort();
  const data = join(folder, 'data');
  const log = join(folder, 'general.log');
  const install = programPath('mariadb-install-db') ?? 'mariadb-install-db';
  const quick = ['--innodb-flush-log-at-trx-commit=0', '--innodb-buffer-pool-size=16M', '--innodb-log-file-size=8M'];
  const setUp = ['--auth-root-authentication-method=normal', '--skip-test-db', '--skip-name-resolve'];
  await runProgram(install, ['--no-defaults', `--datadir=${data}`, ...setUp, ...quick]);
  const first = join(folder, 'first.sql');
  const grant = `GRANT ALL PRIVILEGES ON *.* TO '${OWNER.username}'@'%' IDENTIFIED BY '${OWNER.password}' WITH GRANT OPTION;`;
  writeFileSync(first, `DELETE FROM mysql.global_priv WHERE User = '';\nFLUSH PRIVILEGES;\n${grant}\nCREATE DATABASE app;\n`);
  return startServer({
    command: mariadbProgram ?? 'mariadbd',
    args: [
      ...[
        '--no-defaults',
        `--datadir=${data}`,
        `--port=${port}`,
        '--bind-address=127.0.0.1',
        `--socket=${join(folder, 'socket')}`,
      ],
      ...['--skip-name-resolve', `--init-file=${first}`, '--general-log', `--general-log-file=${log}`, ...quick, ...settings],
    ],
    folder,
    port,
    logFiles: [log],
    readyLine: /ready for connections/,
  });
}
