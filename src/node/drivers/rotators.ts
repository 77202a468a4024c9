// The rotators of drivers, by strategy, over what a driver does with one server: log in, set a password, end one.
// INVARIANT: each step may be repeated and interrupted anywhere (test/node/drivers/).
import type { PlannedCall, Rotator, StoredValue, Target, Verdict } from '../../../rotation/connector.ts';
import { newPassword } from '../../../rotation/keys/new-password.ts';
import type { Entropy } from '../../base/clock.ts';
import { type Engine, isSameServer, type Login, readLogin, withPassword } from './database-value.ts';
import { outcomeOf, StepFailed } from './step-failed.ts';

/** What every driver does with its server; `S` is a session of a logged-in account. */
export interface Server<S> {
  readonly engine: Engine;
  /** @throws StepFailed: `login_rejected` if and only if the server refused the password; not_sent if it was not reached */
  open(login: Login, allowLoopback: boolean): Promise<S>;
  close(session: S): Promise<void>;
  /** A harmless statement. False if the server accepts this account without its password. */
  provesPassword(session: S): Promise<boolean>;
}

export interface SettingServer<S> extends Server<S> {
  /** In words for a plan, e.g. `ALTER ROLE`. */
  readonly setting: string;
  /** Replaces the password of `account`. `isSelf`: the session belongs to the account itself. Idempotent. */
  setPassword(
    session: S,
    account: Login,
    fresh: Login,
    by: { readonly isSelf: boolean; readonly entropy: Entropy },
  ): Promise<void>;
}

export interface AlternatingServer<S> extends SettingServer<S> {
  /** Limit of a user name. */
  readonly usernameMaxBytes: number;
  /**
   * Gives `fresh.username` the password, and makes the account with the rights of `old.username` if it does not exist. Idempotent.
   * @param base the one of both accounts from which the other was made
   */
  setOther(session: S, old: Login, fresh: Login, by: { readonly base: string; readonly entropy: Entropy }): Promise<void>;
  /** After this no password of the account is accepted. */
  lock(session: S, account: Login, entropy: Entropy): Promise<void>;
}

export interface AddedBy {
  readonly isSelf: boolean;
  /** Whether the server accepts a login. @throws StepFailed unless it says so clearly */
  isAccepted(login: Login): Promise<boolean>;
}

/** A server whose accounts may have two passwords. */
export interface OverlappingServer<S> extends Server<S> {
  readonly adding: string;
  readonly removing: string;
  /** Adds the password; `old` stays. Idempotent. */
  addPassword(session: S, old: Login, fresh: Login, by: AddedBy): Promise<void>;
  /** Removes the password of `account`; the other one stays. Idempotent. */
  removePassword(session: S, account: Login, by: { readonly isSelf: boolean }): Promise<void>;
}

export function singleUser<S>(server: SettingServer<S>): Rotator {
  return {
    mintsAtTarget: false,
    plan: () => planOf([['set', server.setting]]),
    create: (target) => createFor(server, target),
    set: (target, fresh) => outcomeOf(() => setSingle(server, target, fresh)),
    test: (target, value) => testOf(server, target, value),
  };
}

async function setSingle<S>(server: SettingServer<S>, target: Target, value: StoredValue): Promise<object> {
  const { old, fresh, admin, isSelf } = sameAccount(server, target, value);
  const { entropy } = target;
  const work = (session: S) => server.setPassword(session, old, fresh, { isSelf, entropy });
  if (!isSelf) return withSession(server, admin, target, work);
  try {
    return await withSession(server, old, target, work);
  } catch (error) {
    // An interrupted step may have replaced the password already: then the server accepts the new one.
    if (!isRejected(error)) throw error;
    return withSession(server, fresh, target, async () => {});
  }
}

export function alternatingUsers<S>(server: AlternatingServer<S>): Rotator {
  return {
    mintsAtTarget: false,
    plan: () =>
      planOf([
        ['set', `${server.setting}, for the account that is not in use`],
        ['revoke', `${server.setting}, so that the account has no password`],
      ]),
    create: (target) => createFor(server, target, (name) => otherUser(name, server.usernameMaxBytes)),
    set: (target, fresh) => outcomeOf(() => setAlternating(server, target, fresh)),
    test: (target, value) => testOf(server, target, value),
    revoke: (target, value) => outcomeOf(() => lockIdle(server, target, value)),
  };
}

async function setAlternating<S>(server: AlternatingServer<S>, target: Target, value: StoredValue): Promise<object> {
  const { old, fresh, admin } = loginsOf(server, target, value);
  // SECURITY: otherwise a value with another user name would let the admin change the password of any account (confused deputy).
  if (fresh.username !== otherUser(old.username, server.usernameMaxBytes))
    throw StepFailed.refused('configuration', 'user_name_changed');
  requireAdmin(admin, [old, fresh]);
  const base = baseUser(old.username);
  return withSession(server, admin, target, (session) => server.setOther(session, old, fresh, { base, entropy: target.entropy }));
}

/** Only while the server accepts `value`: the account may have a newer password by now. */
async function lockIdle<S>(server: AlternatingServer<S>, target: Target, value: StoredValue): Promise<object> {
  const { fresh: account, admin } = loginsOf(server, target, value);
  requireAdmin(admin, [account]);
  if (await isGone(server, target, account)) return {};
  return withSession(server, admin, target, (session) => server.lock(session, account, target.entropy));
}

export function overlap<S>(server: OverlappingServer<S>): Rotator {
  return {
    mintsAtTarget: false,
    plan: () =>
      planOf([
        ['set', server.adding],
        ['revoke', server.removing],
      ]),
    create: (target) => createFor(server, target),
    set: (target, fresh) => outcomeOf(() => addSecond(server, target, fresh)),
    test: (target, value) => testOf(server, target, value),
    revoke: (target, value) => outcomeOf(() => removeOne(server, target, value)),
  };
}

async function addSecond<S>(server: OverlappingServer<S>, target: Target, value: StoredValue): Promise<object> {
  const { old, fresh, admin, isSelf } = sameAccount(server, target, value);
  const isAccepted = async (login: Login) => !(await isGone(server, target, login));
  return withSession(server, admin, target, (session) => server.addPassword(session, old, fresh, { isSelf, isAccepted }));
}

async function removeOne<S>(server: OverlappingServer<S>, target: Target, value: StoredValue): Promise<object> {
  const { old, fresh: account, admin, isSelf } = loginsOf(server, target, value);
  if (account.username !== old.username) throw StepFailed.refused('configuration', 'user_name_changed');
  if (await isGone(server, target, account)) return {};
  return withSession(server, admin, target, (session) => server.removePassword(session, account, { isSelf }));
}

async function createFor<S>(
  { engine }: Server<S>,
  { old, entropy }: Pick<Target, 'old' | 'entropy'>,
  renamed: (username: string) => string | undefined = () => undefined,
) {
  return outcomeOf(async () => {
    const { username } = readLogin(old, engine);
    return { value: withPassword(old, newPassword(entropy), renamed(username)) };
  });
}

async function testOf<S>(server: Server<S>, target: Target, value: StoredValue): Promise<Verdict> {
  try {
    const login = readLogin(value, server.engine);
    const session = await server.open(login, target.allowLoopback);
    try {
      return (await server.provesPassword(session)) ? 'works' : 'unknown';
    } finally {
      await server.close(session);
    }
  } catch (error) {
    return isRejected(error) ? 'rejected' : 'unknown';
  }
}

/** @throws StepFailed unless the server gives a clear answer */
async function isGone<S>(server: Server<S>, target: Target, account: Login): Promise<boolean> {
  try {
    await server.close(await server.open(account, target.allowLoopback));
    return false;
  } catch (error) {
    if (isRejected(error)) return true;
    throw error;
  }
}

function isRejected(error: unknown): boolean {
  return error instanceof StepFailed && error.failure.cause === 'login_rejected';
}

async function withSession<S>(
  server: Server<S>,
  login: Login,
  { allowLoopback }: Target,
  work: (session: S) => Promise<void>,
): Promise<object> {
  const session = await server.open(login, allowLoopback);
  try {
    await work(session);
    return {};
  } finally {
    await server.close(session);
  }
}

/**
 * SECURITY: an admin's password is sent only to the server that its own value names, and changes accounts there only (confused deputy):
 * whoever may write the managed value must not choose where the admin logs in.
 * @throws StepFailed configuration
 */
function loginsOf<S>({ engine }: Server<S>, target: Target, value: StoredValue) {
  const old = readLogin(target.old, engine);
  const fresh = readLogin(value, engine);
  const admin = readLogin(target.admin, engine);
  if (!isSameServer(old, fresh) || old.database !== fresh.database) throw StepFailed.refused('configuration', 'target_changed');
  if (!isSameServer(old, admin)) throw StepFailed.refused('configuration', 'admin_of_another_server');
  return { old, fresh, admin, isSelf: admin.username === old.username };
}

/** Of a new value: it must be for the same account, and an admin credential for the account itself would be replaced with it. */
function sameAccount<S>(server: Server<S>, target: Target, value: StoredValue) {
  const logins = loginsOf(server, target, value);
  const { old, fresh, admin, isSelf } = logins;
  if (fresh.username !== old.username) throw StepFailed.refused('configuration', 'user_name_changed');
  if (isSelf && admin.password !== old.password) throw StepFailed.refused('configuration', 'admin_is_the_account');
  return logins;
}

function requireAdmin(admin: Login, accounts: readonly Login[]): void {
  if (accounts.some(({ username }) => username === admin.username))
    throw StepFailed.refused('configuration', 'admin_credential_required');
}

const OTHER = '_clone';

function baseUser(username: string): string {
  return username.endsWith(OTHER) ? username.slice(0, -OTHER.length) : username;
}

function otherUser(username: string, maxBytes: number): string {
  const other = username.endsWith(OTHER) ? baseUser(username) : `${username}${OTHER}`;
  if (baseUser(username) === '' || Buffer.byteLength(other) > maxBytes)
    throw StepFailed.refused('configuration', 'user_name_too_long');
  return other;
}

function planOf(changes: readonly (readonly ['set' | 'revoke', string])[]): readonly PlannedCall[] {
  const [set, revoke] = changes.map(
    ([step, what]): PlannedCall => ({ step, what: `${what}, at the host in the value`, undoable: false }),
  );
  const login = 'log in at the host in the value';
  return [
    ...(set === undefined ? [] : [set]),
    { step: 'test', what: login, undoable: true },
    ...(revoke === undefined ? [] : [revoke]),
    { step: 'prove_dead', what: `${login}, with the old value`, undoable: true },
  ];
}
