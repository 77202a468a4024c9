// Runs the sandbox alone: `node rotation/sandbox/main.ts --port 8421 --seed 1` simulates every connector and prints the control commands.
// With `--ttl 60` it runs the strict OpenID Connect provider of the connector local-sandbox instead. All data is fictitious.
import { parseArgs } from 'node:util';
import { runSandbox } from './run-sandbox.ts';
import { runStrictProvider } from './strict-provider.ts';

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '8421' },
    seed: { type: 'string', default: '1' },
    ttl: { type: 'string' },
  },
});
const port = wholeNumber('port', values.port, 65_535);
if (values.ttl !== undefined) {
  await runStrictProvider(port, wholeNumber('ttl', values.ttl, 86_400));
} else {
  const seed = wholeNumber('seed', values.seed, Number.MAX_SAFE_INTEGER);
  const personas = await runSandbox({ port, seed, print: (text) => console.log(text) });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void personas.stop());
}

function wholeNumber(name: string, text: string, max: number): number {
  const number = Number(text);
  if (Number.isInteger(number) && number >= 0 && number <= max) return number;
  console.error(`--${name} must be a whole number from 0 to ${max}`);
  process.exit(2);
}
