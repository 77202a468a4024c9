// `keyturn sandbox`: simulates every connector on this machine and prints how to use it, until it is interrupted.
// It must never print real data.
import { connectors } from '../catalog.ts';
import { type Personas, startPersonas } from './personas.ts';

export interface SandboxRun {
  /** 0: any free one. */
  readonly port: number;
  readonly seed: number;
  readonly print: (text: string) => void;
}

/** Starts the sandbox and prints how to use it; then prints one line per call. The caller stops it. */
export async function runSandbox({ port, seed, print }: SandboxRun): Promise<Personas> {
  const personas = await startPersonas({
    connectors,
    port,
    seed,
    log: (line) => print(`  ${line}`),
  });
  print(welcome(personas, seed));
  return personas;
}

/** The kind of misbehaviour, an example of its fields, and a description. */
const MISBEHAVIOURS: readonly (readonly [string, string, string])[] = [
  ['slow', '"ms":3000', 'answers late'],
  ['truncate', '', 'half an answer, then closes the connection'],
  ['html', '', 'a page instead of an answer'],
  ['server_error', '"status":502,"when":"after"', 'a 5xx, before or after the provider acted'],
  ['throttle', '"retry_after":"date"', '429; seconds, date, past, negative, huge, garbage, none'],
  ['drop', '', 'acts, then gives no answer'],
  ['reset', '', 'gives no answer and does not act'],
  ['revoke_grant', '', 'the provider ends the grant'],
  ['withdraw_consent', '', 'the person withdraws the consent'],
  ['rotate_elsewhere', '', 'another system refreshes the grant'],
  ['refuse', '"as":"transient"', 'dead, configuration or transient, with the provider’s error'],
  ['redirect', '', 'redirects the call'],
  ['narrower_scope', '', 'grants less than requested'],
  ['wider_scope', '', 'grants more than requested'],
  ['foreign_fields', '', 'unexpected members'],
  ['oversized', '', 'two million bytes'],
  ['expires_in', '"value":"missing"', 'missing, zero, negative or text'],
  ['same_refresh_token', '', 'answers with the token that was sent'],
  ['wrong_state', '', 'the callback has another state'],
  ['wrong_issuer', '', 'the callback has another issuer'],
  ['no_issuer', '', 'the callback has no issuer'],
];

/** The start message, with a curl command for each misbehaviour. */
export function welcome({ origin, clientId, clientSecret, connectors, firstKey }: Personas, seed: number): string {
  const curl = (path: string, body: string): string => `curl --json '{${body}}' $S/${path}`;
  const lines = MISBEHAVIOURS.map(([kind, fields, meaning]) => {
    const body = [`"kind":"${kind}"`, ...(fields === '' ? [] : [fields])].join(',');
    return `  ${meaning.padEnd(56)}${curl('misbehave', body)}`;
  });
  return `
  Keyturn sandbox  ${origin}   (seed ${seed}; nothing here is real, and all of it ends with Ctrl-C)

  In your shell    S=${origin}/_control
  client id        ${clientId}   or ${clientId}.<connector>, where two share an address
  client secret    ${clientSecret}
  client key       curl "$S/client-key?algorithm=RS256"

  Point a credential at it: add to its config
      "sandbox": "${origin}", "client_id": "${clientId}.hubspot-oauth"
  A grant without a browser:
      ${curl('grants', '"connector":"hubspot-oauth","scope":"oauth crm.objects.contacts.read"')}
  Whoever is asked for consent sees a page; or answer for everybody:
      ${curl('consent', '"decision":"allow"')}
  A key that can be rotated, at the connector local-sandbox-key:
      printf '${JSON.stringify(firstKey)}' | keyturn credential put try-key --kind api_key \\
        --json-value --connector local-sandbox-key --sandbox ${origin} --grace 0s
      keyturn credential rotate try-key

  Plays ${connectors.length}: ${wrapped(connectors, 110)}

  Misbehave at the next call to a token endpoint. Add "connector":"...", "times":3, "skip":1, "on":"revocation":
${lines.join('\n')}
  ${'well-behaved again'.padEnd(56)}curl -X DELETE $S/misbehave

  Later than it is    ${curl('clock', '"offset_seconds":86400')}
  Several sites       ${curl('sites', '"connector":"atlassian-oauth","count":3')}
  What happened       curl $S/calls
`;
}

function wrapped(words: readonly string[], width: number): string {
  const lines: string[] = [''];
  for (const word of words) {
    const line = `${lines.at(-1) ?? ''}${lines.at(-1) === '' ? '' : ', '}${word}`;
    if (line.length > width) lines.push(word);
    else lines[lines.length - 1] = line;
  }
  return lines.join(',\n            ');
}
