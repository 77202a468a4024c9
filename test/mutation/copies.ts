// Copies of the tree in which sources may be changed, and the tests started there.
// It must never write into the work tree itself, nor leave a copy or a process behind.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';

export interface TestRun {
  readonly outcome: 'passed' | 'failed' | 'timeout' | 'broken';
  /** The first test that failed, or what the runner said where none did. */
  readonly first: string;
  /** From the root of the copy. */
  readonly failedFiles: readonly string[];
}

interface JsonReport {
  readonly numPassedTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly fullName: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

const CONFIG = join('test', 'mutation', 'vitest.config.ts');

export class Copies {
  readonly folders: readonly string[];
  readonly #top = mkdtempSync(join(tmpdir(), 'keyturn-mutation-'));
  readonly #running = new Set<ChildProcess>();

  constructor(root: string, count: number) {
    const names = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '-z'], { cwd: root, encoding: 'utf8' })
      .split('\0')
      .filter((name) => name !== '' && existsSync(join(root, name)));
    this.folders = Array.from({ length: count }, (_, index) => {
      const folder = join(this.#top, `copy-${index}`);
      for (const name of names) {
        mkdirSync(dirname(join(folder, name)), { recursive: true });
        copyFileSync(join(root, name), join(folder, name));
      }
      symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
      return folder;
    });
  }

  /** Runs `use` while `file` of one copy reads `text`. */
  async changed<T>(folder: string, file: string, text: string, use: () => Promise<T>): Promise<T> {
    const path = join(folder, file);
    const before = readFileSync(path, 'utf8');
    writeFileSync(path, text);
    try {
      return await use();
    } finally {
      writeFileSync(path, before);
    }
  }

  /** Ends with the first failure. */
  async test(folder: string, tests: readonly string[], maxMs: number, environment: NodeJS.ProcessEnv = {}): Promise<TestRun> {
    const report = join(folder, '.report.json');
    rmSync(report, { force: true });
    const output = ['--reporter=json', `--outputFile.json=${report}`];
    const bail = environment['KEYTURN_REACH'] === undefined ? ['--bail=1'] : [];
    const { code, text } = await this.#spawn(
      [join('node_modules', 'vitest', 'vitest.mjs'), 'run', '-c', CONFIG, ...output, ...bail, ...tests],
      folder,
      maxMs,
      environment,
    );
    if (code === 'timeout') return { outcome: 'timeout', first: `no end after ${Math.round(maxMs / 1000)} s`, failedFiles: [] };
    if (!existsSync(report)) return { outcome: 'broken', first: `no report: ${text.trim().slice(-300)}`, failedFiles: [] };
    const found = JSON.parse(readFileSync(report, 'utf8')) as JsonReport;
    const failedFiles = found.testResults.filter((file) => file.status === 'failed').map((file) => relative(folder, file.name));
    return { ...judged(found, code, text), failedFiles };
  }

  /** Idempotent. */
  remove(): void {
    for (const child of this.#running) kill(child);
    rmSync(this.#top, { recursive: true, force: true, maxRetries: 3 });
  }

  async #spawn(
    args: readonly string[],
    cwd: string,
    maxMs: number,
    environment: NodeJS.ProcessEnv,
  ): Promise<{ code: number | 'timeout'; text: string }> {
    const env = { ...process.env, NO_COLOR: '1', ...environment };
    const child = spawn(process.execPath, args, { cwd, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#running.add(child);
    let text = '';
    let isLate = false;
    const keep = (chunk: Buffer) => {
      text = (text + chunk.toString()).slice(-10_000);
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    const timer = setTimeout(() => {
      isLate = true;
      kill(child);
    }, maxMs);
    const code = await new Promise<number>((resolve) => child.once('close', (ended) => resolve(ended ?? 1)));
    clearTimeout(timer);
    this.#running.delete(child);
    return { code: isLate ? 'timeout' : code, text };
  }
}

/** With all that it started: it leads a process group of its own. */
function kill(child: ChildProcess): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  } catch {
    // It ended by itself.
  }
}

function judged(report: JsonReport, code: number, text: string): Omit<TestRun, 'failedFiles'> {
  const broken = report.testResults.find((file) => file.status === 'failed' && file.assertionResults.length === 0);
  const failed = report.testResults.flatMap((file) => file.assertionResults).find((test) => test.status === 'failed');
  if (failed !== undefined) {
    const message = failed.failureMessages.join(' ');
    return { outcome: /\btimed out in \d+ms/.test(message) ? 'timeout' : 'failed', first: failed.fullName };
  }
  if (broken !== undefined) return { outcome: 'failed', first: `${broken.name}: ${broken.message.slice(0, 200)}` };
  if (code !== 0) return { outcome: 'failed', first: `outside any test: ${text.trim().slice(-200)}` };
  return { outcome: report.numPassedTests > 0 ? 'passed' : 'broken', first: 'no test ran' };
}
