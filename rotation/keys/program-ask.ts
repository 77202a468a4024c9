// Asks a program of the operator for a step: the message on its standard input, the answer on its standard output.
// It must never put a secret into an outcome: what the program wrote to its standard error is scrubbed of every text in play.
import { LIMITS } from '../../src/base/limits.ts';
import { excerptOf } from '../../src/base/scrub.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import type { Program, Said, StepFailure } from '../connector.ts';
import type { Ask } from './asked.ts';
import { textsIn } from './send-call.ts';
import { fillJson, Unfillable, type Variables } from './template.ts';

export function programAsk(name: string, program: Program): Ask {
  return {
    what: `program ${name}`,
    send: async ({ message, changes }, _target, variables) => {
      const input = inputOf(message, variables);
      if (!(input instanceof SecretValue)) return input;
      const answer = await program.ask(input);
      input.wipe();
      if (answer.kind === 'answered') {
        const text = textOf(answer.output);
        return { kind: 'answered', text };
      }
      const { cause, errors } = answer;
      const said: { said?: Said } = errors === undefined ? {} : saidOf(textOf(errors), variables);
      const kind = answer.kind === 'lost' && !changes ? 'not_sent' : answer.kind;
      return { kind, cause, ...said };
    },
  };
}

function inputOf(message: unknown, variables: Variables): SecretValue | StepFailure {
  try {
    return SecretValue.fromText(`${JSON.stringify(fillJson(message, variables))}\n`);
  } catch (error) {
    if (error instanceof Unfillable) return { kind: 'refused', means: 'configuration', cause: error.word };
    throw error;
  }
}

/** The text, and the bytes are wiped. */
function textOf(secret: SecretValue): string {
  const text = secret.reveal((bytes) => new TextDecoder().decode(bytes));
  secret.wipe();
  return text;
}

function saidOf(text: string, { old, admin, value }: Variables): { said?: Said } {
  const secrets = [old, admin, value].flatMap((members) => textsIn(members));
  const words = excerptOf(text, secrets, LIMITS.excerptMaxChars);
  return words === '' ? {} : { said: { words } };
}
