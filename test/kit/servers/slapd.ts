// A real OpenLDAP server from the Debian package slapd, with TLS and a tree of its own.
import { chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Certificate } from '../certificate.ts';
import { asNobody, freePort, programPath, type RealServer, runProgram, serverFolder, startServer } from './real-server.ts';

export const slapdProgram = programPath('slapd');
export const ROOT = { username: 'cn=root,dc=test', password: 'Password-of-the-root' } as const;

export interface Slapd extends RealServer {
  /** For ldap:// with StartTLS; `port` is for ldaps://. */
  readonly plainPort: number;
}

export async function startSlapd({ key, cert }: Certificate): Promise<Slapd> {
  const folder = serverFolder('slapd');
  const [port, plainPort] = [await freePort(), await freePort()];
  const write = (name: string, text: string) => {
    const path = join(folder, name);
    writeFileSync(path, text, { mode: 0o600 });
    if (asNobody.uid !== undefined) chownSync(path, asNobody.uid, asNobody.gid);
    return path;
  };
  const database = join(folder, 'database');
  mkdirSync(database);
  if (asNobody.uid !== undefined) chownSync(database, asNobody.uid, asNobody.gid);
  const configuration = write(
    'slapd.conf',
    [
      'include /etc/ldap/schema/core.schema',
      ...['modulepath /usr/lib/ldap', 'moduleload back_mdb'],
      ...[`TLSCertificateFile ${write('tls.crt', cert)}`, `TLSCertificateKeyFile ${write('tls.key', key)}`],
      ...['database mdb', 'suffix dc=test', `directory ${database}`, `rootdn ${ROOT.username}`, `rootpw ${ROOT.password}`],
      'access to attrs=userPassword by dn.regex="^cn=admin-[0-9]+,dc=test$" write by self write by anonymous auth by * none',
      'access to * by users read',
    ].join('\n'),
  );
  const tree = write('tree.ldif', 'dn: dc=test\nobjectClass: dcObject\nobjectClass: organization\no: test\ndc: test\n');
  await runProgram(programPath('slapadd') ?? 'slapadd', ['-f', configuration, '-l', tree]);
  const started = await startServer({
    command: slapdProgram ?? 'slapd',
    args: ['-f', configuration, '-d', 'stats', '-h', `ldaps://127.0.0.1:${port} ldap://127.0.0.1:${plainPort}`],
    folder,
    port,
    readyLine: /slapd starting/,
  });
  return { ...started, plainPort };
}
