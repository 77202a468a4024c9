import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startKeyturn } from '../../src/node/start.ts';
import { conformance } from './suite.ts';

conformance('Keyturn on Node', async () => {
  const dataDirectory = mkdtempSync(join(tmpdir(), 'keyturn-conformance-'));
  const running = await startKeyturn({ dataDirectory, host: '127.0.0.1', port: 0, log: (line) => console.warn(line) });
  return {
    url: running.url,
    bootstrapSecret: readFileSync(running.bootstrapSecretFile as string, 'utf8').trim(),
    async stop() {
      await running.close();
      rmSync(dataDirectory, { recursive: true, force: true });
    },
  };
});
