// The service as an operator starts it, and every byte that it prints.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { eventually } from './node-process.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

export interface PrintedKeyturn {
  readonly url: string;
  /** Of stdout and stderr. */
  printed(): Buffer;
  /** SIGTERM, awaited. Idempotent. */
  stop(): Promise<void>;
}

/** With every switch on that makes a program talk. */
export async function startPrinted(directory: string): Promise<PrintedKeyturn> {
  const service = spawn(process.execPath, ['--trace-warnings', MAIN, 'serve', '--data', directory, '--port', '0'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'], DEBUG: '*', LOG_LEVEL: 'trace' },
  });
  const chunks: Buffer[] = [];
  for (const stream of [service.stdout, service.stderr]) stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  const printed = () => Buffer.concat(chunks);
  const stop = async () => {
    if (service.exitCode !== null || service.signalCode !== null) return;
    const exit = new Promise((done) => service.once('exit', done));
    service.kill('SIGTERM');
    await exit;
  };
  try {
    const url = await eventually(() => /http:\/\/127\.0\.0\.1:\d+/.exec(printed().toString())?.[0], 30_000);
    return { url, printed, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
