// The text of connectors, links and the forecast on a terminal, and the parser of their options.
import type { WireConnector, WireCreatedConnection, WireForecastEntry } from '../../http/v1/wire.ts';
import { CliError, EXIT } from '../exit.ts';
import { bold, cyan, dim, green, plain, red, table, yellow } from '../print.ts';

/** Splits `name=value`. @throws CliError */
export function assignment(text: string, flag: string): readonly [string, string] {
  const at = text.indexOf('=');
  if (at < 1 || at === text.length - 1) throw new CliError(`the option ${flag} must have the form name=value`, EXIT.usage);
  return [text.slice(0, at), text.slice(at + 1)];
}

/** The connector with this id, or `<id>-oauth`, or the only one with this prefix. @throws CliError with the choices */
export function chosenConnector(connectors: readonly WireConnector[], wanted: string): WireConnector {
  const exact = connectors.find(({ id }) => id === wanted) ?? connectors.find(({ id }) => id === `${wanted}-oauth`);
  if (exact !== undefined) return exact;
  const near = connectors.filter(({ id }) => id.startsWith(wanted));
  const [only] = near;
  if (only !== undefined && near.length === 1) return only;
  const ids = (near.length > 0 ? near : connectors).map(({ id }) => id).join(', ');
  throw new CliError(
    near.length > 0 ? `${near.length} connectors have ids that begin with this text` : 'no connector has this id',
    near.length > 0 ? EXIT.usage : EXIT.notFound,
    `choose one of ${ids}`,
  );
}

export function describeLink(made: WireCreatedConnection, provider: string): string {
  const requested = made.scopes.map(({ scope, title, workflows }) => [
    title === scope ? scope : `${title} (${scope})`,
    workflows.length === 0 ? 'the connection itself' : workflows.join(', '),
  ]);
  return [
    `${green('created')} a link for ${bold(plain(made.credential.name))} in ${plain(made.credential.environment)}`,
    '',
    `Send it to the person who may connect the ${plain(provider)} account (shown once):`,
    '',
    `  ${cyan(bold(made.link))}`,
    '',
    `It works once, until ${instant(made.expires_at)}.`,
    '',
    requested.length === 0 ? `${plain(provider)} shows the requested access.` : table(['requested access', 'for'], requested),
    '',
    `Register exactly this redirect URI with the OAuth client at ${plain(provider)}:`,
    `  ${made.redirect_uri}`,
  ].join('\n');
}

type Rotation = NonNullable<WireConnector['rotation']>;

const STRATEGIES: Readonly<Record<Rotation['strategy'], string>> = {
  overlap: 'a second value beside the first, which is ended later',
  alternating_users: 'two accounts in turn',
  single_user: 'a new password of the same account; the old one is refused at once',
  in_place: 'a new value from the provider; the old one is refused at once',
  manual: 'a person; put the new value',
};

const ADMINS: Readonly<Record<Rotation['admin'], string>> = {
  self: 'itself',
  credential: 'another credential: --admin <name>',
  either: 'itself, or another credential: --admin <name>',
};

export function describeConnector(connector: WireConnector): string {
  const { id, title, renewal, rotation, lost_answer: lost, parameters, scopes, manual_steps: steps } = connector;
  const parts = [
    `${bold(plain(title))}  ${dim(id)}`,
    '',
    connector.consent
      ? `keyturn connect ${id} --env staging --client-id ...`
      : rotation === null
        ? 'This connector has no consent link: use `keyturn credential put`.'
        : `keyturn credential put <name> --kind ${connector.kind} --connector ${id} --env staging`,
    ...(rotation === null
      ? []
      : ['', `rotated by     ${STRATEGIES[rotation.strategy]}`, `managed by     ${ADMINS[rotation.admin]}`]),
    ...(renewal === null ? [] : ['', `renewed by     ${RENEWALS[renewal] ?? renewal}`, `lost answer    ${lostAnswer(lost)}`]),
  ];
  if (parameters.length > 0)
    parts.push(
      '',
      table(
        ['--param', 'meaning', 'given by', 'default'],
        parameters.map(({ name, title: what, from, default: fallback, values }) => [
          name,
          values === null ? what : `${what} (${values.join(', ')})`,
          FROM[from],
          fallback,
        ]),
      ),
    );
  if (scopes.length > 0)
    parts.push(
      '',
      table(
        ['scope', 'allows'],
        scopes.map(({ scope, title: what }) => [scope, what]),
      ),
    );
  if (steps.length > 0) parts.push('', ...steps.map((step, i) => `${i + 1}. ${plain(step)}`));
  return parts.join('\n');
}

const FROM = { credential: 'you', consent: 'the consenting person', callback: 'the provider' } as const;
const RENEWALS: Readonly<Record<string, string>> = {
  refresh_token: 'its refresh token',
  client_credentials: 'the client credentials',
  jwt_bearer: 'an assertion signed with its key',
  app_jwt: 'the app’s signed assertion',
  none: 'nothing: the token does not expire, or a person must replace it',
};

function lostAnswer(lost: WireConnector['lost_answer']): string {
  if (lost === null) return '-';
  if (lost === 'safe') return 'safe: the call is repeated';
  if (lost === 'unsafe') return 'unsafe: repeated once; if that fails, the account must be connected again';
  return `repeated within ${lost.window_seconds} s`;
}

export function describeForecast(entries: readonly WireForecastEntry[], days: number | undefined): string {
  if (entries.length === 0) return `${green('no end dates')} ${days === undefined ? 'are known' : `within ${days} days`}`;
  const near = (left: number) => (left <= 1 ? red : left <= 7 ? yellow : (text: string) => text);
  return entries
    .map((entry) => {
      const hasEnded = entry.cause === 'ended' || entry.health === 'expired';
      const left = hasEnded ? 'ended' : inDays(entry.days_left);
      const doubt = entry.certain ? '' : dim(' (not certain)');
      const typed = `keyturn connect --name ${plain(entry.name)} --env ${plain(entry.environment)}`;
      return [
        `${near(entry.days_left)(left.padEnd(12))} ${entry.ends_at.slice(0, 10)}  ${bold(plain(entry.name))} ${dim(`${plain(entry.environment)}, ${plain(entry.connector ?? entry.kind)}`)}`,
        `${' '.repeat(13)}${CAUSES[entry.cause] ?? plain(entry.cause)}${doubt}`,
        `${' '.repeat(13)}${dim(plain(entry.remedy))}`,
        ...(entry.cause === 'ended' ? [`${' '.repeat(13)}${dim(typed)}`] : []),
      ].join('\n');
    })
    .join('\n\n');
}

function inDays(days: number): string {
  return days === 0 ? 'today' : days === 1 ? 'in 1 day' : `in ${days} days`;
}

const CAUSES: Readonly<Record<string, string>> = {
  ended: 'it has ended: a person must connect it again',
  idle_limit: 'the provider ends grants that are not used',
  absolute_limit: 'the provider ends grants at this age',
  refresh_token_expiry: 'its refresh token expires',
  access_token_expiry: 'its access token expires and cannot be renewed',
  client_secret_expiry: 'the client secret expires',
  token_cap: 'the provider limits the number of grants of one account',
  provider_change: 'the provider announced a change',
  end_date: 'its expires_at is reached',
};

/** `2026-11-25 10:00 UTC`. */
export function instant(at: string): string {
  return `${at.slice(0, 10)} ${at.slice(11, 16)} UTC`;
}
