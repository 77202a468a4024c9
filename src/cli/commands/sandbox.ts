// keyturn sandbox: providers that misbehave on demand, on this machine, to try failures before production.
import { Command } from 'commander';
import { CliError, EXIT } from '../exit.ts';
import { out } from '../print.ts';

export function sandboxCommand(): Command {
  return new Command('sandbox')
    .description('play the providers, and their failures')
    .option('--port <number>', '0: any free one', '8421')
    .option('--seed <number>', 'the same one gives the same tokens and the same luck', '1')
    .action(async (options: { port: string; seed: string }) => {
      const port = wholeNumber('--port', options.port, 65_535);
      const seed = wholeNumber('--seed', options.seed, 2 ** 31);
      const { runSandbox } = await import('../../../rotation/sandbox/run-sandbox.ts');
      // Before it says that it is there: whoever reads that may interrupt it at once.
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
  throw new CliError(`${flag} takes a whole number from 0 to ${max}`, EXIT.usage);
}
