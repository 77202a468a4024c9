// A real Redis from the Debian package redis-server.
import { chownSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { asNobody, freePort, programPath, type RealServer, serverFolder, startServer } from './real-server.ts';

export const redisProgram = programPath('redis-server');

/** @param acl lines of the ACL file; undefined: users are in the configuration file */
export async function startRedis(acl: readonly string[] | undefined, settings: readonly string[] = []): Promise<RealServer> {
  const folder = serverFolder('redis');
  const port = await freePort();
  const paths = { config: join(folder, 'redis.conf'), acl: join(folder, 'users.acl') };
  const lines = [`port ${port}`, 'bind 127.0.0.1', `dir ${folder}`, 'save ""', 'loglevel debug', ...settings];
  if (acl !== undefined) {
    writeFileSync(paths.acl, `${acl.join('\n')}\n`);
    lines.push(`aclfile ${paths.acl}`);
  }
  writeFileSync(paths.config, `${lines.join('\n')}\n`);
  if (asNobody.uid !== undefined)
    for (const path of acl === undefined ? [paths.config] : [paths.config, paths.acl])
      chownSync(path, asNobody.uid, asNobody.gid);
  const command = redisProgram ?? 'redis-server';
  return startServer({ command, args: [paths.config], folder, port, readyLine: /[Rr]eady to accept connections/ });
}
