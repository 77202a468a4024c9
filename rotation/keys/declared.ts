// Runs the calls that a connector declares for its provider: the rotator of every key with a management API.
// It must never make a second key for one run without removing the first, where the provider can name keys.
import { fail } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type {
  JsonPointer,
  KeyCall,
  KeyCalls,
  KeyConnector,
  KeySpec,
  ListCall,
  MintCall,
  NewValue,
  PlannedCall,
  RevokeCall,
  Rotator,
  StepFailure,
  StepOutcome,
  StoredValue,
  Takes,
  Target,
  TestCall,
  Verdict,
} from '../connector.ts';
import { REPLACES_AT_ONCE } from '../key-spec.ts';
import { valueAt, withoutEmpty } from './pointer.ts';
import {
  type Answered,
  askProvider,
  type CallContext,
  isSuccess,
  judge,
  manage,
  matchesAny,
  refusalInside,
} from './send-call.ts';
import { VARIABLE, type Variables } from './template.ts';

/** @throws internal if the connector declares no calls: it is manual, or its target is reached by a driver */
export function declaredRotator(connector: KeyConnector): Rotator {
  const { key } = connector;
  const calls = key.calls ?? fail('internal', 'a connector without declared calls has no rotator of its own');
  const rotator = new Declared(key, calls);
  return {
    mintsAtTarget: true,
    plan: ({ parameters }) => planOf(key, calls, parameters),
    checkLocally: (target) => rotator.checkLocally(target),
    check: (target) => rotator.check(target),
    create: (target, again) => rotator.create(target, again),
    test: (target, value) => rotator.test(target, value),
    ...((calls.list?.name ?? calls.list?.createdAt) === undefined || calls.revoke === undefined
      ? {}
      : { removeMade: (target: Target) => rotator.removeMade(target) }),
    ...(calls.revoke === undefined ? {} : { revoke: (target: Target, value: StoredValue) => rotator.revoke(target, value) }),
  };
}

interface ListedKey {
  readonly id: string;
  readonly name: unknown;
  readonly createdAtMs: number;
  readonly isUsed: boolean;
}

class Declared {
  readonly #key: KeySpec;
  readonly #calls: KeyCalls;
  readonly #id: string;

  constructor(key: KeySpec, calls: KeyCalls) {
    this.#key = key;
    this.#calls = calls;
    this.#id = calls.idMember ?? 'key_id';
  }

  checkLocally(target: Target): string | undefined {
    const { inspect, revoke } = this.#calls;
    const isMissing = (inspect ?? revoke) !== undefined && textOrNot(target.old[this.#id]) === undefined;
    return isMissing ? `value_lacks_${this.#id.toLowerCase()}` : undefined;
  }

  #idOf(id: string): string {
    return this.#calls.idIsResourceName === true ? lastSegment(id) : id;
  }

  async check(target: Target): Promise<StepOutcome> {
    const { list } = this.#calls;
    const cause = this.checkLocally(target);
    if (cause !== undefined) return { kind: 'refused', means: 'configuration', cause };
    const max = this.#key.keysMaxCount;
    if (list === undefined || max === undefined) return { kind: 'done' };
    const listed = await this.#list(list, target);
    if (listed.kind !== 'listed') return listed;
    if (listed.keys.length < max) return { kind: 'done' };
    return { kind: 'refused', means: 'configuration', cause: 'key_cap_reached' };
  }

  async create(target: Target, again: boolean): Promise<StepOutcome<NewValue>> {
    const adopted = again ? await this.#readMade(target) : undefined;
    if (adopted !== undefined) return adopted;
    const ready = again ? await this.#prepareAgain(target) : DONE;
    return ready.kind === 'done' ? this.#make(target) : ready;
  }

  async #make(target: Target): Promise<StepOutcome<NewValue>> {
    const { inspect, mint, read } = this.#calls;
    let copied: Readonly<Record<string, unknown>> = {};
    if (inspect !== undefined) {
      const answered = await manage(inspect, this.#context(target, {}), false);
      if (answered.kind !== 'answered') return answered;
      const taken = take(inspect.takes, answered.body);
      if (typeof taken === 'string') return { kind: 'odd', cause: taken, said: answered.said };
      copied = taken;
    }
    const answered = await manage(mint, this.#context(target, { copied, ends: this.#ends(target) }), true);
    if (answered.kind !== 'answered') return answered;
    if (read !== undefined) return asMade(await this.#readMade(target));
    const made = readNewValue(mint, answered, target);
    const id = made.kind === 'done' ? textOrNot(made.value[this.#id]) : undefined;
    return made.kind === 'done' && id !== undefined ? { ...made, value: { ...made.value, [this.#id]: this.#idOf(id) } } : made;
  }

  /** The key of this run, where it is read after it was made. Undefined: there is none, or none yet. */
  async #readMade(target: Target): Promise<StepOutcome<NewValue> | undefined> {
    const { list, read } = this.#calls;
    if (list === undefined || read === undefined) return undefined;
    const listed = await this.#list(list, target);
    if (listed.kind !== 'listed') return listed;
    const id = listed.keys.find(({ name }) => name === target.name)?.id;
    if (id === undefined) return undefined;
    const answered = await manage(read, this.#context(target, { value: { [this.#id]: id } }), false);
    if (answered.kind !== 'answered') return answered;
    const value = takenValue(read.takes, answered.body, target.old);
    if (typeof value === 'string') return { kind: 'odd', cause: value, said: answered.said };
    return { kind: 'done', value: { ...value, [this.#id]: id } };
  }

  async test(target: Target, value: StoredValue): Promise<Verdict> {
    try {
      const { test } = this.#calls;
      const answered = await askProvider(test, this.#context(target, { value }));
      return answered.kind === 'answered' ? verdictOf(test, answered) : 'unknown';
    } catch {
      return 'unknown';
    }
  }

  async revoke(target: Target, value: StoredValue): Promise<StepOutcome> {
    const { disable, revoke } = this.#calls;
    for (const call of [disable, revoke]) {
      if (call === undefined) continue;
      const ended = await this.#end(call, target, value);
      if (ended === 'gone') return DONE;
      if (ended !== 'ended') return ended;
    }
    return DONE;
  }

  async #end(call: RevokeCall, target: Target, value: StoredValue): Promise<'ended' | 'gone' | StepFailure> {
    const { goneBy = [{ status: 404 }] } = call;
    const context = this.#context(target, { value });
    const answered = await askProvider(call, context);
    if (answered.kind !== 'answered') return answered;
    if (matchesAny(goneBy, answered)) return 'gone';
    const outcome = judge(call, context, answered, false);
    if (outcome.kind === 'answered') return 'ended';
    // A value that authenticates its own end cannot do so twice: whether it is dead is then a question for the test.
    const isOwn = target.admin[this.#id] === value[this.#id] && target.admin[this.#id] !== undefined;
    const isRefused = outcome.kind === 'refused' && outcome.means === 'configuration';
    return isOwn && isRefused && (await this.test(target, value)) === 'rejected' ? 'gone' : outcome;
  }

  async #prepareAgain(target: Target): Promise<StepOutcome> {
    if (!REPLACES_AT_ONCE.has(this.#key.strategy)) return this.removeMade(target);
    // A replaced value must not be used to replace it again: GitLab ends the whole family of a token that is used twice.
    const verdict = await this.test(target, target.old);
    if (verdict === 'works') return DONE;
    return verdict === 'rejected'
      ? { kind: 'refused', means: 'configuration', cause: 'new_value_lost' }
      : { kind: 'refused', means: 'transient', cause: 'test_unknown' };
  }

  /** Removes every key that has the name of this run, or that certainly is of this run (`#madeSince`). */
  async removeMade(target: Target): Promise<StepOutcome> {
    const { list, revoke } = this.#calls;
    if (list === undefined || revoke === undefined || (list.name ?? list.createdAt) === undefined) return DONE;
    const listed = await this.#list(list, target);
    if (listed.kind !== 'listed') return listed;
    // INVARIANT: the value in use is never removed here (test/rotation/key-connectors.test.ts).
    const others = listed.keys.filter(({ id }) => id !== target.old[this.#id]);
    const found =
      list.name === undefined ? await this.#madeSince(target, others) : others.filter(({ name }) => name === target.name);
    if ('kind' in found) return found;
    for (const { id } of found) {
      const removed = await this.revoke(target, { ...target.old, [this.#id]: id });
      if (removed.kind !== 'done') return removed;
    }
    return DONE;
  }

  /**
   * Keys without a name that the interrupted attempts must have made: there are no more than attempts, the provider says that nobody has used
   * them, and no other credential can have got them. Where the provider does not say whether a key was used, none is certain.
   */
  async #madeSince({ interrupted, ...rest }: Target, others: readonly ListedKey[]): Promise<readonly ListedKey[] | StepFailure> {
    if (interrupted === undefined) return [];
    const { fromMs, untilMs, attempts, known, isShared } = interrupted;
    const vaults = [rest.admin, ...known].map((value) => value[this.#id]);
    const made = others.filter(({ id, createdAtMs }) => createdAtMs >= fromMs && createdAtMs <= untilMs && !vaults.includes(id));
    const isUseShown = (this.#calls.list?.usedAt ?? this.#calls.used) !== undefined;
    let isAnothers = !isUseShown || isShared || made.length > attempts || made.some(({ isUsed }) => isUsed);
    for (const { id } of isAnothers ? [] : made) {
      const asked = await this.#wasUsed(rest, id);
      if (typeof asked !== 'boolean') return asked;
      isAnothers ||= asked;
    }
    if (made.length === 0 || !isAnothers) return made;
    return { kind: 'refused', means: 'configuration', cause: 'unknown_keys_found', keys: made.map(({ id }) => id) };
  }

  async #wasUsed(target: Target, id: string): Promise<boolean | StepFailure> {
    const { used } = this.#calls;
    if (used === undefined) return false;
    const answered = await manage(used, this.#context(target, { value: { ...target.old, [this.#id]: id } }), false);
    return answered.kind === 'answered' ? valueAt(answered.body, used.at) !== undefined : answered;
  }

  async #list(list: ListCall, target: Target): Promise<{ kind: 'listed'; keys: readonly ListedKey[] } | StepFailure> {
    const keys: ListedKey[] = [];
    let call: KeyCall | undefined = firstPage(list);
    for (let pages = 0; call !== undefined; pages++) {
      if (pages >= LIMITS.keyListPagesMax) return { kind: 'refused', means: 'configuration', cause: 'key_list_too_long' };
      const answered = await manage(call, this.#context(target, {}), false);
      if (answered.kind !== 'answered') return answered;
      const items = itemsIn(list, answered);
      if (items === undefined) return { kind: 'odd', cause: 'answer_lacks_list', said: answered.said };
      for (const item of items) {
        const id = textOrNot(valueAt(item, list.id));
        if (id !== undefined) keys.push({ id: this.#idOf(id), ...factsOf(list, item) });
      }
      call = nextPage(list, call, answered, items.length, pages);
    }
    return { kind: 'listed', keys };
  }

  #context(target: Target, more: Partial<Variables>): CallContext {
    const { parameters, old, admin, name } = target;
    return {
      target,
      variables: { parameters, old, admin, name, ...more },
      authentication: this.#calls.authentication,
      errorTable: this.#key.errorTable ?? [],
    };
  }

  #ends({ clock }: Target): Readonly<Record<string, string | number>> {
    const days = this.#calls.lifetime?.defaultDays ?? 0;
    const at = new Date(clock.now() + days * 86_400_000).toISOString();
    return {
      date_time: `${at.slice(0, 19)}Z`,
      date: at.slice(0, 10),
      hours: days * 24,
      days,
      seconds: days * 86_400,
    };
  }
}

const DONE = { kind: 'done' } as const;

/** After a call that made a key, every other outcome leaves one: the next attempt looks for it. */
function asMade(outcome: StepOutcome<NewValue> | undefined): StepOutcome<NewValue> {
  if (outcome === undefined) return { kind: 'lost', cause: 'key_not_listed_yet' };
  return outcome.kind === 'done' || outcome.kind === 'odd' ? outcome : { kind: 'lost', cause: outcome.cause };
}

function factsOf({ name, createdAt, usedAt }: ListCall, item: unknown): Omit<ListedKey, 'id'> {
  return {
    name: name === undefined ? undefined : valueAt(item, name),
    // Without an instant it is no key of an interrupted attempt.
    createdAtMs: createdAt === undefined ? Number.NaN : Date.parse(String(valueAt(item, createdAt) ?? '')),
    isUsed: usedAt !== undefined && valueAt(item, usedAt) !== undefined,
  };
}

const lastSegment = (name: string): string => name.slice(name.lastIndexOf('/') + 1);

const textOrNot = (value: unknown): string | undefined =>
  (typeof value === 'string' && value !== '') || typeof value === 'number' ? String(value) : undefined;

function firstOf(pointers: JsonPointer | readonly JsonPointer[], body: unknown): unknown {
  return [pointers]
    .flat()
    .map((pointer) => valueAt(body, pointer))
    .find((value) => value !== undefined);
}

/** The members, or the cause for which the answer has the wrong shape. */
function take(takes: Takes, body: unknown): Readonly<Record<string, unknown>> | string {
  const taken: Record<string, unknown> = {};
  for (const [name, pointers] of Object.entries(takes)) {
    const isOptional = name.endsWith('?');
    const member = isOptional ? name.slice(0, -1) : name;
    const found = firstOf(pointers, body);
    const value = isOptional ? withoutEmpty(found) : found;
    if (value === undefined && !isOptional) return `answer_lacks_${member.toLowerCase()}`;
    if (value !== undefined) taken[member] = value;
  }
  return taken;
}

/** The same secret in another form, which a new one replaces, too. */
const OTHER_FORM: Readonly<Record<string, string>> = { key: 'key_base64', password: 'password_base64' };

function readNewValue(mint: MintCall, answered: Answered, { old, clock }: Target): StepOutcome<NewValue> {
  const { body, said } = answered;
  const value = mint.takesDocument === undefined ? takenValue(mint.takes, body, old) : documentAt(body, mint.takesDocument);
  if (typeof value === 'string') return { kind: 'odd', cause: value, said };
  if (new TextEncoder().encode(JSON.stringify(value)).byteLength > LIMITS.valueMaxBytes)
    return { kind: 'odd', cause: 'value_too_large', said };
  const endsAtMs = mint.endsAt === undefined ? undefined : instantOf(valueAt(body, mint.endsAt), clock.now());
  return { kind: 'done', value, ...(endsAtMs === undefined ? {} : { endsAtMs }) };
}

function takenValue(takes: Takes, body: unknown, old: StoredValue): StoredValue | string {
  const taken = take(takes, body);
  if (typeof taken === 'string') return taken;
  const value: Record<string, unknown> = { ...old };
  for (const [name, member] of Object.entries(taken)) {
    const text = textOrNot(member);
    if (text === undefined) return `answer_lacks_${name.toLowerCase()}`;
    value[name] = text;
    delete value[OTHER_FORM[name] ?? ''];
  }
  return value;
}

function documentAt(body: unknown, pointer: string): StoredValue | string {
  const encoded = valueAt(body, pointer);
  try {
    const bytes = Uint8Array.from(atob(String(encoded ?? '')), (char) => char.charCodeAt(0));
    const parsed: unknown = JSON.parse(new TextDecoder().decode(bytes));
    bytes.fill(0);
    if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) return parsed as StoredValue;
  } catch {
    // Reported below.
  }
  return 'answer_lacks_document';
}

/** Numbers below this are seconds since 1970, others milliseconds. */
const MILLISECONDS_FROM = 100_000_000_000;

/** An end that is further away than a believable one means that there is none (Google says the year 9999). */
function instantOf(value: unknown, nowMs: number): number | undefined {
  const ms = typeof value === 'number' ? value * (value < MILLISECONDS_FROM ? 1_000 : 1) : Date.parse(String(value ?? ''));
  return Number.isFinite(ms) && ms > nowMs && ms <= nowMs + LIMITS.tokenEndMaxMs ? Math.floor(ms) : undefined;
}

function verdictOf(test: TestCall, answered: Answered): Verdict {
  if (matchesAny(test.rejectedBy ?? [{ status: 401 }], answered)) return 'rejected';
  if (!isSuccess(test, answered) || refusalInside(test, answered) !== undefined) return 'unknown';
  if (test.rejectedWhen !== undefined && valueAt(answered.body, test.rejectedWhen) !== undefined) return 'rejected';
  const { at, is } = test.worksWhen;
  const found = firstOf(at, answered.body);
  if (found === undefined) return 'unknown';
  if (is === undefined) return 'works';
  if (typeof found === 'object') return 'unknown';
  return String(found) === is ? 'works' : 'rejected';
}

/** An XML list with one element is no list, and an empty one is a text or absent. */
function itemsIn({ items, answer }: ListCall, { body }: Answered): readonly unknown[] | undefined {
  const found = valueAt(body, items);
  if (Array.isArray(found)) return found;
  if (answer !== 'xml' || body === undefined) return undefined;
  return typeof found === 'object' ? [found] : [];
}

function firstPage(list: ListCall): KeyCall {
  const { pages } = list;
  return pages?.by === 'number' ? withQuery(list, pages.parameter, String(pages.first)) : list;
}

function nextPage(list: ListCall, call: KeyCall, answered: Answered, count: number, asked: number): KeyCall | undefined {
  const { pages } = list;
  if (pages === undefined || count === 0) return undefined;
  if (pages.by === 'number')
    return count < pages.size ? undefined : withQuery(list, pages.parameter, String(pages.first + asked + 1));
  const next = textOrNot(valueAt(answered.body, pages.at));
  if (next === undefined) return undefined;
  if (pages.by === 'cursor') {
    const following = withQuery(list, pages.parameter, next);
    return following.url === call.url ? undefined : following;
  }
  // SECURITY: only the query is taken, so that an answer cannot send the management credential elsewhere.
  const query = URL.parse(next)?.search ?? '';
  return query === '' ? undefined : { ...list, url: `${list.url.split('?')[0]}${query.replaceAll('{', '%7B')}` };
}

function withQuery(list: ListCall, parameter: string, value: string): KeyCall {
  const assignment = `${parameter}=${encodeURIComponent(value)}`;
  return { ...list, url: `${list.url}${list.url.includes('?') ? '&' : '?'}${assignment}` };
}

function planOf(key: KeySpec, calls: KeyCalls, parameters: Readonly<Record<string, string>>): readonly PlannedCall[] {
  const { inspect, list, mint, test, disable, revoke } = calls;
  const planned = (step: PlannedCall['step'], call: KeyCall | undefined, undoable: boolean): PlannedCall[] =>
    call === undefined ? [] : [{ step, what: `${call.method} ${shown(call.url, parameters)}`, undoable }];
  return [
    ...planned('check', list, true),
    ...planned('create', inspect, true),
    ...planned('create', mint, key.strategy !== 'in_place'),
    ...planned('test', test, true),
    ...planned('revoke', disable, true),
    ...planned('revoke', revoke, false),
    ...planned('prove_dead', test, true),
  ];
}

/** Parameters are filled in; other variables stay names. */
function shown(url: string, parameters: Readonly<Record<string, string>>): string {
  return url.replaceAll(VARIABLE, (variable, path: string) => {
    const [group, member = ''] = path.split('.');
    return group === 'parameters' && Object.hasOwn(parameters, member) ? (parameters[member] as string) : variable;
  });
}
