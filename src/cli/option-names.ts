// The one place that knows which option of the command line sets which field of the API, so that messages name options and not fields.
import type { Command, Option } from 'commander';

interface Fields {
  /** Pointers as in a problem: `/field` of a body, `?field` of a query. A pointer below one of these is the option's, too. */
  readonly pointers: readonly string[];
  /** The unit of the field if the option takes a time. */
  readonly unit?: 's' | 'd';
  /** The option names a file whose JSON is the field: a message keeps the place in it. */
  readonly isFile?: true;
}

/** By long option. An option that sets no field is not listed. */
export const OPTION_FIELDS: Readonly<Record<string, Fields>> = {
  '--action': { pointers: ['?action'] },
  '--actor': { pointers: ['?actor'] },
  '--admin': { pointers: ['/config/admin'] },
  '--authorization-endpoint': { pointers: ['/config/authorization_endpoint'] },
  '--blackout': { pointers: ['/schedule/blackouts'] },
  '--base-url': { pointers: ['/config/base_urls'] },
  '--catch-up': { pointers: ['/schedule/catch_up_seconds'], unit: 's' },
  '--cas': { pointers: ['/cas'] },
  '--client-authentication': { pointers: ['/config/client_authentication'] },
  '--client-id': { pointers: ['/config/client_id'] },
  '--client-key-file': {
    pointers: ['/client_private_jwk', '/client_private_key_pem', '/value/client_private_jwk', '/value/client_private_key_pem'],
  },
  '--client-secret-file': { pointers: ['/client_secret', '/value/client_secret'] },
  '--config-file': { pointers: ['/config'], isFile: true },
  '--connector': { pointers: ['/connector'] },
  '--cron': { pointers: ['/schedule/cron'] },
  '--credential': { pointers: ['?credential'] },
  '--deadline': { pointers: ['/config/deadline_seconds'], unit: 's' },
  '--deleted': { pointers: ['?deleted'] },
  '--description': { pointers: ['/description'] },
  '--discard': { pointers: ['/discard'] },
  '--env': { pointers: ['?environment', '/environment'] },
  '--environment': { pointers: ['/environments'] },
  '--every': { pointers: ['/schedule/every_seconds'], unit: 's' },
  '--expires-at': { pointers: ['/expires_at'] },
  '--expires-in': { pointers: ['/expires_in'], unit: 's' },
  '--from': { pointers: ['/import/from'] },
  '--grace': { pointers: ['/config/grace_seconds'], unit: 's' },
  '--grant': { pointers: ['/grants'] },
  '--health': { pointers: ['?health'] },
  '--if-plan': { pointers: ['/plan'] },
  '--issuer': { pointers: ['/config/issuer'] },
  '--jitter': { pointers: ['/schedule/jitter_seconds'], unit: 's' },
  '--jwks-file': { pointers: ['/jwks'], isFile: true },
  '--keep-at-provider': { pointers: ['/revoke'] },
  '--kind': { pointers: ['/kind', '?kind', '/kinds'] },
  '--label': { pointers: ['/labels', '?label'] },
  '--limit': { pointers: ['?limit'] },
  '--lines': { pointers: ['?limit'] },
  '--manages': { pointers: ['/config/manages'] },
  '--max-age': { pointers: ['/schedule/max_age_seconds'], unit: 's' },
  '--name': { pointers: ['/name', ':credential'] },
  '--network': { pointers: ['/networks'] },
  '--only-connector': { pointers: ['/connector'] },
  '--only-env': { pointers: ['/environment'] },
  '--only-label': { pointers: ['/label'] },
  '--overdue-after': { pointers: ['/schedule/overdue_after_seconds'], unit: 's' },
  '--outcome': { pointers: ['?outcome'] },
  '--param': { pointers: ['/config/parameters'] },
  '--pattern': { pointers: ['/patterns'] },
  '--permission': { pointers: ['/permissions'] },
  '--priority': { pointers: ['/priority'] },
  '--production': { pointers: ['/production'] },
  '--purpose': { pointers: ['/purposes'] },
  '--range': { pointers: ['?from', '?to'] },
  '--reader-window': { pointers: ['/config/reader_window_seconds'], unit: 's' },
  '--reason': { pointers: ['/reason'] },
  '--recovery-window': { pointers: ['?recovery_window_days'], unit: 'd' },
  '--refresh': { pointers: ['?refresh'] },
  '--replace-deleted': { pointers: ['/replace_deleted'] },
  '--request': { pointers: ['?request'] },
  '--revoke-replaced': { pointers: ['/revoke_replaced'] },
  '--sandbox': { pointers: ['/config/sandbox'] },
  '--rotate-every': { pointers: ['/config/rotate_every_seconds'], unit: 's' },
  '--search': { pointers: ['?search'] },
  '--skip-staging': { pointers: ['/skip_staging'] },
  '--since': { pointers: ['?since'] },
  '--stage': { pointers: ['?stage'] },
  '--still-used-there': { pointers: ['/import/still_used_there'] },
  '--target': { pointers: ['?target'] },
  '--tenant': { pointers: [':tenant'] },
  '--to': { pointers: ['/version'] },
  '--token-endpoint': { pointers: ['/config/token_endpoint'] },
  '--until': { pointers: ['?until'] },
  '--username': { pointers: ['/value/username'] },
  '--version': { pointers: ['?version'] },
  '--window': { pointers: ['/schedule/windows'] },
  '--within': { pointers: ['?within_days'], unit: 'd' },
  '--workflow': { pointers: ['/config/workflows', '?workflow'] },
  '--zone': { pointers: ['/schedule/zone'] },
};

interface Found {
  readonly option: Option;
  readonly fields: Fields;
  /** The pointer below the field of the option. */
  readonly below: string;
}

/** The option of `command` that sets the field, the one with the longest pointer first; undefined if none does. */
export function optionOf(command: Command, pointer: string): Found | undefined {
  const found = command.options.flatMap((option): Found[] => {
    const fields = OPTION_FIELDS[option.long ?? ''];
    const set = fields?.pointers.find((one) => pointer === one || pointer.startsWith(`${one}/`));
    return fields === undefined || set === undefined ? [] : [{ option, fields, below: pointer.slice(set.length) }];
  });
  return found.sort((a, b) => a.below.length - b.below.length)[0];
}

/** The message with the option in place of the field: "the field must be at most 30" becomes "the option --recovery-window must be at most 30d". */
export function withOption(message: string, command: Command | undefined, pointer: string | undefined): string | undefined {
  const found = command === undefined || pointer === undefined ? undefined : optionOf(command, pointer);
  if (found === undefined) return undefined;
  const { option, fields, below } = found;
  if (fields.isFile === true && below !== '') return `${message} at ${below} of ${option.long}`;
  // An example in JSON is for callers of the API.
  const rule = message.replace(/, e\.g\. [[{].*$/s, '');
  const { unit } = fields;
  const timed = unit === undefined ? rule : rule.replace(/\d+$/, (bound) => spanText(Number(bound), unit));
  return /^the field /.test(timed)
    ? timed.replace('the field', `the option ${option.long}`)
    : `the option ${option.long}: ${timed}`;
}

/** Names of fields in a message, such as `replace_deleted`, as their options. Names without `_` are ordinary words and stay. */
export function withOptionsNamed(message: string): string {
  return message.replace(/\b[a-z]+(?:_[a-z]+)+\b/g, (name) => {
    const found = Object.entries(OPTION_FIELDS).find(([, { pointers }]) => pointers.some((one) => one.slice(1) === name));
    return found?.[0] ?? name;
  });
}

const UNITS = [
  ['d', 86_400],
  ['h', 3_600],
  ['m', 60],
] as const;

/** In the largest unit without a remainder, as the option takes it. */
function spanText(count: number, unit: 's' | 'd'): string {
  if (unit === 'd') return `${count}d`;
  const [letter, seconds] = UNITS.find(([, one]) => count > 0 && count % one === 0) ?? ['s', 1];
  return `${count / seconds}${letter}`;
}
