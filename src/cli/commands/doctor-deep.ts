// keyturn doctor --deep: checks all stored rows, the map, the log and the pages of the data directory of a stopped service.
type ScrubbedCell = import('../../node/scrub-data-directory.ts').ScrubbedCell;

import { CliError, EXIT } from '../exit.ts';
import { bold, dim, green, red } from '../print.ts';

export interface DeepFlags {
  readonly data: string;
  readonly rootKeyFile?: string;
  readonly passphraseFile?: string;
  readonly rootCommand?: string;
  readonly rootKmsKey?: string;
  readonly rootShares?: string;
  readonly witnessDir?: string;
}

export interface DeepReport {
  readonly ok: boolean;
  readonly cells: readonly ScrubbedCell[];
}

/** @throws CliError if the directory is in use or its keys are wrong */
export async function lookDeep(flags: DeepFlags): Promise<DeepReport> {
  const { scrubDataDirectory } = await import('../../node/scrub-data-directory.ts');
  try {
    const cells: ScrubbedCell[] = [];
    const checked = scrubDataDirectory({
      dataDirectory: flags.data,
      rootKeyFile: flags.rootKeyFile,
      passphraseFile: flags.passphraseFile,
      rootCommand: flags.rootCommand,
      rootKmsKey: flags.rootKmsKey,
      rootShares: flags.rootShares,
      witnessDirectory: flags.witnessDir,
    });
    for await (const cell of checked) cells.push(cell);
    return { ok: cells.every(isSound), cells };
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    if (code === undefined) throw error;
    throw new CliError(
      message,
      EXIT.failed,
      code === 'conflict' ? 'stop the service first: only one process may open its databases' : undefined,
    );
  }
}

const isSound = ({ parts, refused }: ScrubbedCell): boolean =>
  refused === undefined && parts.every(({ failed, missing }) => failed + missing === 0);

export function deepText({ cells }: DeepReport): string {
  return cells.map(cellText).join('\n');
}

function cellText(cell: ScrubbedCell): string {
  const { name, id, parts, refused } = cell;
  const title = `${isSound(cell) ? green('ok  ') : red('fail')} ${bold(name)} ${dim(id)}`;
  if (refused !== undefined) return `${title}  ${refused}`;
  const looked = parts.filter((part) => part.looked > 0 && part.part !== 'pages').map((part) => `${part.part} ${part.looked}`);
  const wrong = parts
    .filter(({ failed, missing }) => failed + missing > 0)
    .flatMap(({ part, failed, missing, findings }) => [
      `     ${red(part)}: ${failed} failed, ${missing} missing or unexpected`,
      ...findings.map((finding) => `       ${finding}`),
    ]);
  return [title, `     ${dim(looked.join(', '))}`, ...wrong].join('\n');
}
