// keyturn serve: starts the service, prints notes and next steps, and stops the service in order.
import { Command, Option } from 'commander';
import { LIMITS } from '../../base/limits.ts';
import { CliError, EXIT } from '../exit.ts';
import { bold, cyan, dim, note, yellow } from '../print.ts';
import { closeMemory } from '../protect-process.ts';
import { span } from '../times.ts';

type RunningKeyturn = import('../../node/start.ts').RunningKeyturn;
type ServeOptions = import('../../node/start.ts').ServeOptions;

interface Flags {
  data: string;
  host: string;
  port: string;
  tlsCert?: string;
  tlsKey?: string;
  tlsMin: string;
  behindProxy?: boolean;
  trustedProxy?: string[];
  publicUrl?: string;
  rootKeyFile?: string;
  passphraseFile?: string;
  nextRootKeyFile?: string;
  rootCommand?: string;
  rootKmsKey?: string;
  rootShares?: string;
  rootSharePlan?: string;
  nextRoot?: NonNullable<ServeOptions['nextRoot']>;
  keyPeriod?: number;
  witnessDir?: string;
  acceptMissingWitness?: string[];
  acceptClock?: boolean;
  allowLocalSandbox?: boolean;
  databaseNetwork?: string[];
  rotationPrograms?: string;
  tour?: boolean;
}

/** Named here, so that the help loads no module of the service; the type holds it to the list. */
const ROOT_SOURCES: readonly NonNullable<ServeOptions['nextRoot']>[] = ['keyfile', 'passphrase', 'exec', 'aws-kms', 'shamir'];

export function serveCommand(): Command {
  return new Command('serve')
    .description('run the service')
    .option('--data <directory>', 'directory of databases, keys and witness', './data')
    .option('--host <address>', 'listen address; other than loopback only with TLS or --behind-proxy', '127.0.0.1')
    .option('--port <number>', 'listen port', '8420')
    .option('--tls-cert <file>', 'certificate chain, PEM; reloaded on SIGHUP')
    .option('--tls-key <file>', 'private key, PEM')
    .addOption(new Option('--tls-min <version>', 'minimum TLS version').choices(['1.3', '1.2']).default('1.3'))
    .option('--behind-proxy', 'a proxy terminates TLS')
    .option('--trusted-proxy <cidr...>', 'proxies whose X-Forwarded-For and Forwarded are trusted')
    .option('--public-url <url>', 'base URL of this service for clients, with the path that the proxy removes')
    .option('--root-key-file <path>', 'root key; for production on another volume than the data')
    .option('--passphrase-file <path>', 'derive the root key from this passphrase instead')
    .option('--root-command <command>', 'a program that wraps the root key: an absolute path, or a JSON array with its arguments')
    .option('--root-kms-key <id>', 'a key of AWS KMS that wraps the root key: its id, ARN or alias')
    .option('--root-shares <directory>', 'Shamir shares of the root key (SLIP-0039), one in each file *.share')
    .option('--root-share-plan <needed/shares>', 'how many of how many shares a new root key has; default: 3/5')
    .option('--next-root-key-file <path>', 'the keyfile after the next rotation, if it is not to replace the present one')
    .addOption(new Option('--next-root <source>', 'the source of the root key after the next rotation').choices(ROOT_SOURCES))
    .option('--key-period <duration>', 'rotate the keys of cells before they are this old; default: 90d', span('d'))
    .option('--witness-dir <path>', 'directory of signed heads; for production on another volume')
    .option(
      '--accept-missing-witness <cell...>',
      'open these cells (ids) without their witness: confirms that this copy is the newest',
    )
    .option('--accept-clock', 'accept a clock behind the committed time: confirms that it is correct')
    .option('--allow-local-sandbox', 'allow sandbox providers on loopback addresses')
    .option('--database-network <cidr...>', 'the only networks in which passwords of databases are rotated; default: all')
    .option('--rotation-programs <file>', 'the programs that may rotate credentials, and for which tenants; default: none')
    .option('--tour', 'show a tour in a demo tenant at the first start')
    .action(serve);
}

async function serve(flags: Flags, self: Command): Promise<void> {
  check(flags, self.getOptionValueSource('tlsMin') !== 'default');
  closeMemory();
  const { startKeyturn } = await import('../../node/start.ts');
  const running = await startKeyturn(optionsOf(flags));
  stopOnSignals(running);
  banner(running, flags);
  if (flags.tour === true && running.tourIsDue) {
    const { showTour } = await import('../tour.ts');
    if (await showTour(running)) running.markShown('tour');
  }
  nextSteps(running, flags);
}

/** Runs before any file is created. @throws CliError */
function check(flags: Flags, tlsMinIsGiven: boolean): void {
  // SECURITY: one of the two alone must not start the service without TLS.
  if ((flags.tlsCert === undefined) !== (flags.tlsKey === undefined))
    throw new CliError('TLS needs both --tls-cert and --tls-key', EXIT.usage);
  if (tlsMinIsGiven && flags.tlsCert === undefined)
    throw new CliError('the option --tls-min needs --tls-cert and --tls-key: give all three or none', EXIT.usage);
  if (flags.trustedProxy !== undefined && flags.behindProxy !== true)
    throw new CliError('the option --trusted-proxy needs --behind-proxy: give both or neither', EXIT.usage);
  const { keyPeriod } = flags;
  if (keyPeriod !== undefined && (keyPeriod * 1_000 < LIMITS.keyPeriodMinMs || keyPeriod * 1_000 > LIMITS.keyPeriodMaxMs))
    throw new CliError('the option --key-period must be from 1 day to 3650 days', EXIT.usage);
  if (!/^\d{1,5}$/.test(flags.port) || Number(flags.port) > 65_535)
    throw new CliError('the option --port must be a whole number from 0 to 65535', EXIT.usage);
}

function optionsOf(flags: Flags): ServeOptions {
  return {
    dataDirectory: flags.data,
    host: flags.host,
    port: Number(flags.port),
    tls:
      flags.tlsCert === undefined || flags.tlsKey === undefined
        ? undefined
        : { certPath: flags.tlsCert, keyPath: flags.tlsKey, minVersion: flags.tlsMin === '1.2' ? 'TLSv1.2' : 'TLSv1.3' },
    behindProxy: flags.behindProxy,
    trustedProxies: flags.trustedProxy,
    publicUrl: flags.publicUrl,
    rootKeyFile: flags.rootKeyFile,
    passphraseFile: flags.passphraseFile,
    nextRootKeyFile: flags.nextRootKeyFile,
    rootCommand: flags.rootCommand,
    rootKmsKey: flags.rootKmsKey,
    rootShares: flags.rootShares,
    rootSharePlan: flags.rootSharePlan,
    nextRoot: flags.nextRoot,
    keyPeriodMs: flags.keyPeriod === undefined ? undefined : flags.keyPeriod * 1_000,
    witnessDirectory: flags.witnessDir,
    acceptMissingWitness: flags.acceptMissingWitness,
    acceptClock: flags.acceptClock,
    allowLocalSandbox: flags.allowLocalSandbox,
    databaseNetworks: flags.databaseNetwork,
    rotationPrograms: flags.rotationPrograms,
    log: (line) => note(`${dim(new Date().toISOString())} ${line}`),
  };
}

function banner(running: RunningKeyturn, flags: Flags): void {
  note('');
  note(`  ${bold('Keyturn')}  ${cyan(running.url)}   ${dim(`data in ${running.dataDirectory}`)}`);
  if (flags.behindProxy === true && flags.publicUrl === undefined)
    note(
      `  ${yellow('!')} Links, redirect URIs and token audiences say ${running.url}: give --public-url, the address at the proxy.`,
    );
  for (const text of running.notes) note(`  ${yellow('!')} ${text}`);
  if (running.notes.length > 0) running.markShown('root_key_note');
  note('');
}

function nextSteps(running: RunningKeyturn, flags: Flags): void {
  if (running.bootstrapSecretFile === undefined) {
    note(`  ${dim('stop with Ctrl-C')}\n`);
    return;
  }
  const data = flags.data === './data' ? '' : ` --data ${flags.data}`;
  const at = running.url === 'http://127.0.0.1:8420' ? '' : ` --address ${running.url}`;
  note(`  ${bold('Next steps')}, in another terminal:`);
  note(`    alias keyturn="node $PWD/src/cli/launch.mjs"`);
  note(`    keyturn init --name ada${data}${at}${' '.repeat(6)}${dim('# uses the bootstrap secret, stores your token')}`);
  note(`    keyturn tenant create acme`);
  note(`    printf %s "$API_KEY" | keyturn credential put stripe --kind api_key --tenant acme --env staging`);
  note(`    keyturn workload create nightly-sync --pattern 'stripe' --tenant acme --env staging`);
  note(`    keyturn audit verify --tenant acme\n`);
  note(`  ${dim('stop with Ctrl-C')}\n`);
}

/** The first signal stops the service in order, a second one at once. Two signals within 500 ms count as one: npm may forward it, too. */
function stopOnSignals(running: RunningKeyturn): void {
  let firstAtMs: number | undefined;
  const stop = () => {
    if (firstAtMs !== undefined) {
      if (Date.now() - firstAtMs > 500) process.exit(1);
      return;
    }
    firstAtMs = Date.now();
    note(dim('stopping: finishing requests in progress'));
    running.close().then(
      () => process.exit(0),
      () => process.exit(1),
    );
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
}
