// Who may touch a file that holds a secret: one rule for every such file. It must never read a file itself.

/** As fstat(2) tells it. */
export interface FileAccess {
  readonly uid: number;
  readonly mode: number;
}

const ROOT_USER = 0;
/** Write for the group; anything for everyone else. Read for the group is left: Kubernetes mounts secrets as root:fsGroup 0440. */
const MUST_NOT_HAVE = 0o027;

/** The rule in words, for every refusal. */
export const SECRET_FILE_RULE =
  'a file with a secret may be written by its owner alone and read by its owner and group: chmod 600 (0440 where Kubernetes mounts it)';

/**
 * What is wrong with the access to a file that holds a secret, as the end of a sentence; undefined when nothing is.
 * `userId`: who runs this process; undefined on a platform without users, where nothing is judged. Root may use anybody's file.
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
