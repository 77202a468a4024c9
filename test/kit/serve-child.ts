// Runs a whole service in a process that a test may kill. Prints one line of JSON, its URL or why it refused; the operator's log goes to stderr.
import { startKeyturn } from '../../src/node/start.ts';

interface Asked {
  readonly directory: string;
  readonly passphraseFile?: string;
  readonly rootKeyFile?: string;
  readonly nextRootKeyFile?: string;
  readonly rootCommand?: string;
  readonly nextRoot?: 'keyfile' | 'passphrase' | 'exec' | 'aws-kms' | 'shamir';
  readonly rootShares?: string;
  readonly umask?: number;
  /** The clock is so far ahead, and believed at once. */
  readonly aheadMs?: number;
}

const asked = JSON.parse(process.argv[2] ?? '{}') as Asked;
const { aheadMs } = asked;
if (asked.umask !== undefined) process.umask(asked.umask);
try {
  const keyturn = await startKeyturn({
    dataDirectory: asked.directory,
    host: '127.0.0.1',
    port: 0,
    passphraseFile: asked.passphraseFile,
    rootKeyFile: asked.rootKeyFile,
    nextRootKeyFile: asked.nextRootKeyFile,
    rootCommand: asked.rootCommand,
    rootShares: asked.rootShares,
    nextRoot: asked.nextRoot,
    ...(aheadMs === undefined
      ? {}
      : { machine: { now: () => Date.now() + aheadMs, ran: () => performance.now() }, clockSteadyMs: 0 }),
    log: (line) => console.error(line),
  });
  process.on('SIGTERM', () => {
    void keyturn.close().then(() => process.exit(0));
  });
  console.log(JSON.stringify({ url: keyturn.url }));
} catch (error) {
  console.log(
    JSON.stringify({
      refused: error instanceof Error ? `${'code' in error ? error.code : error.name}: ${error.message}` : 'unknown',
    }),
  );
  process.exit(1);
}
