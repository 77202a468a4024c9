// `keyturn sandbox`: every connector played on this machine, with a page of what to do with it. Ends when it is interrupted.
// It must never print anything that is real.
import { connectors } from '../catalog.ts';
import { type Personas, startPersonas } from './personas.ts';

export interface SandboxRun {
  /** 0: any free one. */
  readonly port: number;
  readonly seed: number;
  readonly print: (text: string) => void;
}

/** Starts it and prints how to use it; every call is a line afterwards. Whoever starts it stops it. */
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

/** Its kind, an example of its fields, and what it is. */
const MISBEHAVIOURS: readonly (readonly [string, string, string])[] = [
  ['slow', '"ms":3000', 'answers late'],
  ['truncate', '', 'half an answer, then nothing'],
  ['html', '', 'a page instead of an answer'],
  ['server_error', '"status":502,"when":"after"', 'a 5xx, before or after it acted'],
  ['throttle', '"retry_after":"date"', '429; seconds, date, past, negative, huge, garbage, none'],
  ['drop', '', 'acts, then no answer'],
  ['reset', '', 'no answer, did not act'],
  ['revoke_grant', '', 'the provider ends the grant'],
  ['withdraw_consent', '', 'the person takes it back'],
  ['rotate_elsewhere', '', 'somebody else refreshed it'],
  ['refuse', '"as":"transient"', 'dead, configuration or transient, in its words'],
  ['redirect', '', 'sends the call elsewhere'],
  ['narrower_scope', '', 'grants less than asked'],
  ['wider_scope', '', 'grants more than asked'],
  ['foreign_fields', '', 'members nobody expects'],
  ['oversized', '', 'two million bytes'],
  ['expires_in', '"value":"missing"', 'missing, zero, negative or text'],
  ['same_refresh_token', '', 'answers with the token it got'],
  ['wrong_state', '', 'comes back with another state'],
  ['wrong_issuer', '', 'comes back as somebody else'],
  ['no_issuer', '', 'comes back without a name'],
];

/** What is printed first; one curl line for everything it can do wrong. */
export function welcome({ origin, clientId, clientSecret, connectors }: Personas, seed: number): string {
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
