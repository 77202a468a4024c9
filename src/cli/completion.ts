// keyturn completion bash|zsh|fish: generated from the command definitions, so it cannot get out of date.
import { Argument, Command } from 'commander';
import { out } from './print.ts';

interface Entry {
  readonly path: string;
  readonly words: readonly string[];
}

function entries(command: Command, path: string): Entry[] {
  const words = [
    ...command.commands.map((child) => child.name()),
    ...command.options.map((option) => option.long ?? '').filter((long) => long !== ''),
  ];
  return [{ path, words }, ...command.commands.flatMap((child) => entries(child, `${path} ${child.name()}`.trim()))];
}

function bash(all: readonly Entry[]): string {
  const cases = all.map(({ path, words }) => `    "${path}") words="${words.join(' ')}" ;;`).join('\n');
  return `_keyturn() {
  local path="" words="" word i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    [[ "$word" == -* ]] && continue
    path="\${path:+$path }$word"
  done
  while :; do
    case "$path" in
${cases}
    esac
    [[ -n "$words" || -z "$path" ]] && break
    [[ "$path" == *" "* ]] && path="\${path% *}" || path=""
  done
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -F _keyturn keyturn`;
}

function zsh(all: readonly Entry[]): string {
  return `#compdef keyturn
autoload -U +X bashcompinit && bashcompinit
${bash(all)}`;
}

function fish(all: readonly Entry[]): string {
  return all
    .flatMap(({ path, words }) => {
      const seen =
        path === ''
          ? '__fish_use_subcommand'
          : path
              .split(' ')
              .map((word) => `__fish_seen_subcommand_from ${word}`)
              .join('; and ');
      return words.map((word) =>
        word.startsWith('--')
          ? `complete -c keyturn -n '${seen}' -l ${word.slice(2)}`
          : `complete -c keyturn -f -n '${seen}' -a ${word}`,
      );
    })
    .join('\n');
}

export function completionCommand(root: () => Command): Command {
  return new Command('completion')
    .description('print a completion script for a shell')
    .addArgument(new Argument('<shell>').choices(['bash', 'zsh', 'fish']))
    .action((shell: string) => {
      const all = entries(root(), '');
      out(shell === 'bash' ? bash(all) : shell === 'zsh' ? zsh(all) : fish(all));
    });
}
