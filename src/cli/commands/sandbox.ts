// keyturn sandbox: local simulated providers with failures on demand, for tests before production.
import { Command } from 'commander';
import { CliError, EXIT } from '../exit.ts';
import { out } from '../print.ts';

export function sandboxCommand(): Command {
  return new Command('sandbox')
    .description('run simulated providers with failures on demand')
    .option('--port <number>', 'port; 0: any free port', '8421')
    .option('--seed <number>', 'random seed: the same seed gives the same tokens and failures', '1')
    .action(async (options: { port: string; seed: string }) => {
      const port = wholeNumber('--port', options.port, 65_535);
      const seed = wholeNumber('--seed', options.seed, 2 ** 31);
      const { runSandbox } = await import('../../../rotation/sandbox/run-sandbox.ts');
      // Before the ready message: a caller may send a signal as soon as it reads it.
      const interrupted = new Promise<void>((done) => {
        for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => done());
      });
      const personas = await runSandbox({ port, seed, print: out });
      await interrupted;
      await personas.stop();
    });
}

function wholeNumber(flag: string, text: string, max: number): number {
  if (/^\d{1,10}$/.test(text) && Number(text) <= max) return Number(text);
  throw new CliError(`the option ${flag} must be a whole number from 0 to ${max}`, EXIT.usage);
}
