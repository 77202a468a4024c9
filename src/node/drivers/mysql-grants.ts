// The rights of a MariaDB account, from the lines of SHOW GRANTS, to compare two accounts and to give one what it lacks.
// It must never turn a line that it does not understand into a right.
import { StepFailed } from './step-failed.ts';

/** Rights by object, e.g. `ON db.*` -> `SELECT`, `INSERT`; a granted role has the object `''`. */
export type Grants = ReadonlyMap<string, ReadonlySet<string>>;

const NAME = '`(?:[^`]|``)*`';
const ACCOUNT = `${NAME}@${NAME}`;
const LINE = new RegExp(`^GRANT ((?:${NAME}|[^\`])*?)(?: (ON (?:${NAME}|[^\`])*?))? TO ${ACCOUNT}(.*)$`, 's');
/** One right, with its columns. */
const RIGHT = new RegExp(`((?:${NAME}|[^,(\`])+)(?:\\(((?:${NAME}|[^)\`])*)\\))?`, 'g');
const COLUMN = new RegExp(`${NAME}|[^\\s,]+`, 'g');

/** @throws StepFailed configuration for a line of another form */
export function grantsOf(lines: readonly string[]): Grants {
  const grants = new Map<string, Set<string>>();
  for (const line of lines) {
    if (line.startsWith('SET DEFAULT ROLE')) continue;
    const match = LINE.exec(line);
    if (match === null) throw StepFailed.refused('configuration', 'grant_not_understood');
    const [, rights = '', object = '', after = ''] = match;
    const known = grants.get(object) ?? new Set<string>();
    for (const right of splitRights(rights)) if (right !== 'USAGE') known.add(right);
    if (/ WITH (GRANT|ADMIN) OPTION/.test(after)) known.add(object === '' ? 'ADMIN OPTION' : 'GRANT OPTION');
    grants.set(object, known);
  }
  return grants;
}

/** Statements that give the rights of `wanted` that `present` lacks, with `{account}` for the account. */
export function missingGrants(wanted: Grants, present: Grants): readonly string[] {
  return [...wanted].flatMap(([object, rights]) => {
    const has = present.get(object) ?? new Set<string>();
    const lacking = [...rights].filter((right) => !has.has(right) && !(isPlain(right) && has.has('ALL PRIVILEGES')));
    const plain = lacking.filter(isPlain);
    const option = lacking.find((right) => !isPlain(right));
    if (lacking.length === 0) return [];
    const given = plain.length > 0 ? plain : object === '' ? [...rights].filter(isPlain) : ['USAGE'];
    return [
      `GRANT ${given.join(', ')}${object === '' ? '' : ` ${object}`} TO {account}${option === undefined ? '' : ` WITH ${option}`}`,
    ];
  });
}

const isPlain = (right: string) => !right.endsWith(' OPTION');

/** A right on columns is one for each column: the server writes them in any order. */
function splitRights(rights: string): readonly string[] {
  return [...rights.matchAll(RIGHT)].flatMap(([, name = '', columns]) => {
    if (columns === undefined) return [name.trim()];
    return [...columns.matchAll(COLUMN)].map(([column]) => `${name.trim()} (${column})`);
  });
}

/** What a line of SHOW CREATE USER demands of a connection and the limits it sets, to append to CREATE USER. */
export function limitsOf(line: string): string {
  const after = new RegExp(`^CREATE USER ${ACCOUNT}(.*)$`, 's').exec(line)?.[1];
  if (after === undefined) throw StepFailed.refused('configuration', 'grant_not_understood');
  return / (?:REQUIRE|WITH) .*?(?= ACCOUNT (?:UN)?LOCK| PASSWORD EXPIRE|$)/s.exec(after)?.[0] ?? '';
}
