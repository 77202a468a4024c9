// The connectors whose steps an operator describes in the settings of a credential: generic-http, generic-webhook and generic-program.
// It must never let such a description reach a private network, another tenant's program, or a host that the settings do not name (D14).
import { fail } from '../../src/base/errors.ts';
import type { AskedSteps, HttpSteps } from '../../src/vault/custom-rotation.ts';
import type { KeyConfig } from '../../src/vault/rotation-state.ts';
import type { KeyCalls, KeyConnector, KeyErrorRow, KeyKind, KeySpec, Program, Rotator } from '../connector.ts';
import { isReachable } from '../engine/egress-rules.ts';
import { type Asked, askedRotator } from './asked.ts';
import { checkCalls, MEMBERS } from './calls-check.ts';
import { declaredRotator } from './declared.ts';
import { programAsk } from './program-ask.ts';
import { webhookAsk } from './webhook-ask.ts';

export interface Customised {
  /** The connector as if it had declared what the settings describe. */
  readonly connector: KeyConnector;
  /** Undefined for a credential that manages others. */
  readonly rotator: Rotator | undefined;
}

type Custom = NonNullable<KeySpec['custom']>;
const CUSTOM: readonly Custom[] = ['http', 'webhook', 'program'];

/** Undefined: an ordinary connector. @throws invalid_request naming the field and the rule */
export function customise(
  programs: ((name: string) => Program | undefined) | undefined,
  connector: KeyConnector,
  kind: string,
  config: KeyConfig,
): Customised | undefined {
  const { custom } = connector.key;
  const foreign = CUSTOM.find((name) => name !== custom && config[name] !== undefined);
  if (foreign !== undefined)
    fail('invalid_request', `the setting ${foreign} has no effect with this connector: remove it`, {
      pointer: `/config/${foreign}`,
    });
  if (custom === undefined) return undefined;
  const credential = kindOf(connector, kind);
  const parameters = Object.keys(config.parameters ?? {}).map((name) => ({ name, title: name, shape: 'label' as const }));
  const general: KeyConnector = { ...connector, parameters, key: { ...connector.key, credential } };
  const customised =
    custom === 'http'
      ? byHttp(general, required(config.http, custom))
      : custom === 'webhook'
        ? byWebhook(general, required(config.webhook, custom))
        : byProgram(general, required(config.program, custom), config, programs);
  const steps = custom === 'http' ? 'calls' : 'steps';
  if (config.manages !== true && customised.rotator === undefined)
    fail(
      'invalid_request',
      'is missing: describe how the value is rotated, or set manages for a credential that manages others',
      {
        pointer: `/config/${custom}/${steps}`,
      },
    );
  if (config.manages === true && customised.rotator !== undefined)
    fail('invalid_request', 'a credential that manages others is not rotated: remove it, or the setting manages', {
      pointer: `/config/${custom}/${steps}`,
    });
  return customised;
}

function required<T>(settings: T | undefined, name: Custom): T {
  return (
    settings ??
    fail('invalid_request', `the connector needs the setting ${name}: see docs/custom-rotators.md`, {
      pointer: `/config/${name}`,
    })
  );
}

/** An admin credential of a kind that is not rotated keeps the connector's own kind. */
function kindOf({ key }: KeyConnector, kind: string): KeyKind {
  return [key.credential, ...(key.alsoCredentials ?? [])].find((one) => one === kind) ?? key.credential;
}

function byHttp(connector: KeyConnector, steps: HttpSteps): Customised {
  const at = '/config/http';
  for (const [index, host] of steps.hosts.entries()) refuseInternal(`https://${host}/`, `${at}/hosts/${index}`);
  const { calls: declared, strategy = 'overlap' } = steps;
  const key: KeySpec = {
    ...connector.key,
    strategy,
    hosts: steps.hosts,
    ...(steps.keys_max_count === undefined ? {} : { keysMaxCount: steps.keys_max_count }),
    ...(steps.settles_within_seconds === undefined ? {} : { settlesWithinSeconds: steps.settles_within_seconds }),
    ...(steps.error_table === undefined ? {} : { errorTable: steps.error_table as readonly KeyErrorRow[] }),
  };
  if (declared === undefined) return { connector: { ...connector, key }, rotator: undefined };
  const calls = camelCase(declared) as KeyCalls;
  const names = (connector.parameters ?? []).map(({ name }) => name);
  checkCalls(key, calls, names, at);
  const whole = { ...connector, key: { ...key, calls } };
  return { connector: whole, rotator: declaredRotator(whole) };
}

/** SECURITY: what a name resolves to is judged by the egress at every request; this refuses what the text shows. */
function refuseInternal(url: string, pointer: string): void {
  if (!isReachable(new URL(url), false))
    fail('invalid_request', 'must be a public host, not a loopback, private, link-local or metadata address', { pointer });
}

/** Members of these are the provider's or the value's, so their names stay as they are. */
const VERBATIM = new Set(['json', 'form', 'headers', 'takes']);

function camelCase(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(camelCase);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [
      name.replaceAll(/_(.)/g, (_, letter: string) => letter.toUpperCase()),
      VERBATIM.has(name) ? member : camelCase(member),
    ]),
  );
}

function byWebhook(connector: KeyConnector, steps: NonNullable<KeyConfig['webhook']>): Customised {
  const at = '/config/webhook';
  if (!steps.url.startsWith('https://')) fail('invalid_request', 'must begin with https://', { pointer: `${at}/url` });
  refuseInternal(steps.url, `${at}/url`);
  const asked = askedOf(connector.key.credential, steps, at, false);
  return withAsked(connector, asked, [new URL(steps.url).host], (the) => askedRotator(the, webhookAsk(steps.url)));
}

function byProgram(
  connector: KeyConnector,
  steps: NonNullable<KeyConfig['program']>,
  config: KeyConfig,
  programs: ((name: string) => Program | undefined) | undefined,
): Customised {
  const at = '/config/program';
  for (const name of ['base_urls', 'sandbox'] as const)
    if (config[name] !== undefined)
      fail('invalid_request', `the setting ${name} has no effect with this connector: remove it`, { pointer: `/config/${name}` });
  const program =
    programs?.(steps.name) ??
    fail(
      'invalid_request',
      'no program of this name is allowed for this tenant: the operator lists it in the file of --rotation-programs',
      {
        pointer: `${at}/name`,
      },
    );
  const asked = askedOf(connector.key.credential, steps, at, true);
  // A program takes the place of a host: another one is another destination (D14).
  return withAsked(connector, asked, [`program:${steps.name}`], (the) => askedRotator(the, programAsk(steps.name, program)));
}

function withAsked(
  connector: KeyConnector,
  asked: Asked | undefined,
  hosts: readonly string[],
  rotatorOf: (asked: Asked) => Rotator,
): Customised {
  const strategy = asked?.strategy ?? connector.key.strategy;
  const custom = { ...connector, key: { ...connector.key, strategy, hosts } };
  return { connector: custom, rotator: asked === undefined ? undefined : rotatorOf(asked) };
}

/** The member that Keyturn makes if the target does not. */
const GENERATED: Readonly<Record<KeyKind, string | undefined>> = {
  api_key: 'key',
  basic: 'password',
  database: 'password',
  json: undefined,
};

type Refuse = (place: string, rule: string) => never;

/** @throws invalid_request naming the field and the rule */
function askedOf(kind: KeyKind, steps: AskedSteps, at: string, hasAdmin: boolean): Asked | undefined {
  const refuse: Refuse = (place, rule) => fail('invalid_request', rule, { pointer: `${at}${place}` });
  if (steps.steps === undefined) {
    const extra = (['strategy', 'returns', 'generates'] as const).find((name) => steps[name] !== undefined);
    return extra === undefined ? undefined : refuse('/steps', `is missing: the setting ${extra} belongs to steps`);
  }
  const { strategy = 'overlap', returns = [], generates = GENERATED[kind] } = steps;
  checkStrategy(strategy, steps.steps, refuse);
  checkNewValue(steps, steps.steps.create !== undefined, kind, refuse);
  checkSent(steps.steps, hasAdmin, refuse);
  return { strategy, steps: steps.steps, returns, generates };
}

type Steps = NonNullable<AskedSteps['steps']>;
type Part = 'create' | 'set' | 'revoke';

/** Which steps a strategy must have and must not have. */
const PARTS: Readonly<Record<NonNullable<AskedSteps['strategy']>, readonly [readonly Part[], readonly Part[]]>> = {
  overlap: [['revoke'], []],
  in_place: [['create'], ['set', 'revoke']],
  single_user: [['set'], ['create', 'revoke']],
};

function checkStrategy(strategy: NonNullable<AskedSteps['strategy']>, steps: Steps, refuse: Refuse): void {
  const [needed, forbidden] = PARTS[strategy];
  for (const part of needed)
    if (steps[part] === undefined) refuse(`/steps/${part}`, `is missing: the strategy ${strategy} needs it`);
  for (const part of forbidden)
    if (steps[part] !== undefined) refuse(`/steps/${part}`, `must be absent with the strategy ${strategy}`);
  if ((steps.create ?? steps.set) === undefined) refuse('/steps', 'must have create, or set, or both');
}

/** Where the new value comes from: the answer of `create`, or a password that Keyturn makes. */
function checkNewValue({ returns, generates }: AskedSteps, isReturned: boolean, kind: KeyKind, refuse: Refuse): void {
  if (isReturned) {
    if (returns === undefined) refuse('/returns', 'is missing: list the members of the value that create returns');
    if (generates !== undefined) refuse('/generates', 'must be absent with the step create');
    checkMembers(kind, returns, '/returns', refuse);
    return;
  }
  if (returns !== undefined) refuse('/returns', 'needs the step create: remove it, or add the step');
  if ((generates ?? GENERATED[kind]) === undefined)
    refuse('/generates', 'is missing: name the member that gets the new password');
  checkMembers(kind, generates === undefined ? [] : [generates], '/generates', refuse);
}

function checkMembers(kind: KeyKind, names: readonly string[] = [], place: string, refuse: Refuse): void {
  const members = MEMBERS[kind];
  if (names.some((name) => members?.includes(name) === false))
    refuse(place, `must name members of a value of kind ${kind}: ${members?.join(', ')}`);
}

function checkSent(steps: Steps, hasAdmin: boolean, refuse: Refuse): void {
  for (const [name, step] of Object.entries(steps)) {
    step?.sends.forEach((sent, index) => {
      const place = `/steps/${name}/sends/${index}`;
      if (name === 'create' && sent.startsWith('value.'))
        refuse(place, 'must begin with old. or admin.: create has no new value yet');
      // The admin credential of a webhook is the key that signs: it never leaves the vault.
      if (!hasAdmin && sent.startsWith('admin.')) refuse(place, 'must begin with old. or value.: the signing key is never sent');
    });
  }
}
