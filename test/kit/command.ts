// Runs the command line as a person would: another process, its own config folder, standard input and output.
import { spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  /** Standard output as it came. */
  readonly bytes: Buffer;
  readonly stderr: string;
}

export class CommandLine {
  readonly config = mkdtempSync(join(tmpdir(), 'keyturn-cli-'));
  readonly #environment: Record<string, string>;

  constructor(environment: Record<string, string> = {}) {
    this.#environment = environment;
  }

  run(args: readonly string[], input: string | Uint8Array = '', environment: Record<string, string> = {}): Promise<Finished> {
    return new Promise((resolve) => {
      const child = spawn(process.execPath, [MAIN, ...args], {
        env: {
          PATH: process.env['PATH'] ?? '',
          HOME: this.config,
          XDG_CONFIG_HOME: this.config,
          NO_COLOR: '1',
          ...this.#environment,
          ...environment,
        },
      });
      const parts: Buffer[] = [];
      let stderr = '';
      child.stdout.on('data', (part: Buffer) => {
        parts.push(part);
      });
      child.stderr.on('data', (part: Buffer) => {
        stderr += part.toString();
      });
      child.stdin.on('error', () => {});
      child.stdin.end(input);
      child.on('close', (code) => {
        const bytes = Buffer.concat(parts);
        resolve({ code, stdout: bytes.toString(), bytes, stderr });
      });
    });
  }
}
