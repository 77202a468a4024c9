// Which permissions a file with a secret may have: one rule for every such file. It must never read a file itself.

/** The fields of fstat(2) that the rule needs. */
export interface FileAccess {
  readonly uid: number;
  readonly mode: number;
}

const ROOT_USER = 0;
/** Write for the group, any access for others. Read for the group is allowed: Kubernetes mounts secrets as root:fsGroup 0440. */
const MUST_NOT_HAVE = 0o027;

/** The rule in words, for error messages. */
export const SECRET_FILE_RULE =
  'only its owner may write a file with a secret, only its owner and group may read it: chmod 600 (0440 where Kubernetes mounts it)';

/**
 * The fault in the permissions of a file with a secret, as the predicate of a sentence; undefined when there is none.
 * `userId`: the user of this process; undefined on a platform without users, where no fault is reported. Root may use any user's file.
 */
export function exposureOf(file: FileAccess, userId: number | undefined): string | undefined {
  if (userId === undefined) return undefined;
  if (userId !== ROOT_USER && file.uid !== userId && file.uid !== ROOT_USER) return 'belongs to another user';
  return (file.mode & MUST_NOT_HAVE) === 0 ? undefined : `has mode ${modeText(file.mode)}`;
}

/** e.g. `0640`. */
export function modeText(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0');
}
