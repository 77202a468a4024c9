// docs/connectors.md as text, from the connectors alone: what is not declared is not claimed.
import type {
  Connector,
  KeyCall,
  KeyCalls,
  KeyConnector,
  LifetimeSpec,
  LostAnswer,
  OAuth2Spec,
  OAuthConnector,
  Parameter,
  RevocationSpec,
  RotationStrategy,
  ScopeSource,
} from '../../rotation/connector.ts';

export function connectorPage(connectors: readonly Connector[]): string {
  const oauth = connectors.filter((connector) => connector.kind === 'oauth2');
  const keys = connectors.filter((connector) => connector.kind === 'key');
  const parts = [HEAD, OAUTH, table(oauth), LEGEND, KEYS, keyTable(keys), KEY_LEGEND, SURENESS];
  return `${[...parts, ...oauth.map(section), ...keys.map(keySection)].join('\n\n')}\n`;
}

const HEAD = `<!-- Generated from rotation/connectors/ by test/rotation/connectors.test.ts: never edited by hand. -->

# Connectors

A connector describes one kind of credential at one provider. This page is generated from the connectors, so it always
matches the code. How to add one: [rotation/README.md](../rotation/README.md).`;

const OAUTH = '## OAuth grants';

const LEGEND = `**Renewal**: how an access token is renewed. **Lost answer**: what applies if a refresh was sent and no complete answer arrived:
\`safe\`: the same refresh token works again; \`window\`: it works again for this time; \`recovery\`: the provider has a recovery call; \`unsafe\`:
it may be used up, so it is tried once more, and then a person must consent. **Revocation**: what disconnecting revokes at the provider.

\`base_urls\` replaces single hosts (regions, self-hosted editions, proxies), and \`sandbox\` replaces all of them.`;

const KEYS = '## Keys and passwords';

const KEY_LEGEND = `**Rotation**: how a new value replaces the old one: \`overlap\`: a second key is made, and both work until the first is revoked;
\`in_place\`: the old value is refused as soon as there is a new one; \`manual\`: a person makes the new value. **Managed by**: what
authenticates the calls: the value itself, an admin credential, or either. **Lost answer**: whether a key whose answer was lost is found, by
its name or by its time, and removed before another one is made; \`named to a person\`: the provider does not say whether a key was used, so
an alert names the keys made since then, and a person deletes the one that nothing uses. **Keys**: how many may exist at once.`;

const SURENESS = `## Every connector

Each fact has its reliability: \`documented\`: read in the provider's documentation; \`known\`: the page is known but was not read again; \`seen\`: in
public code; \`inferred\`: derived from other facts; \`unknown\`. Unknown facts can be set with the credential, or are omitted.`;

function table(connectors: readonly OAuthConnector[]): string {
  const rows = connectors.map((connector) => {
    const { id, title, oauth2, consent, revocation } = connector;
    const cells = [
      `[${id}](#${id})`,
      title,
      consent === undefined ? 'put' : 'link',
      RENEWAL[renewalOf(oauth2)],
      lostOf(oauth2),
      revocation === undefined ? (connector.id.startsWith('generic-') ? 'if an endpoint is set' : 'manual') : revocation.ends,
    ];
    return `| ${cells.join(' | ')} |`;
  });
  const heads = ['connector', 'provider', 'connected by', 'renewal', 'lost answer', 'revocation'];
  return [`| ${heads.join(' | ')} |`, `| ${heads.map(() => '---').join(' | ')} |`, ...rows].join('\n');
}

type RenewalKind = NonNullable<OAuth2Spec['renewal']>['kind'];
const RENEWAL: Readonly<Record<RenewalKind, string>> = {
  refresh_token: 'refresh token',
  client_credentials: 'client credentials',
  jwt_bearer: 'signed assertion',
  app_jwt: 'app key',
  none: 'none: no expiry',
};

function renewalOf(oauth2: OAuth2Spec | undefined): RenewalKind {
  return oauth2?.renewal?.kind ?? 'refresh_token';
}

function lostOf(oauth2: OAuth2Spec | undefined): string {
  const { renewal } = oauth2 ?? {};
  if (renewalOf(oauth2) === 'none') return 'nothing to lose';
  if (renewal?.kind === 'refresh_token' && renewal.recovery !== undefined) return 'recovery';
  const lost: LostAnswer = oauth2?.lostAnswer ?? { kind: 'unsafe' };
  return lost.kind === 'window' ? `window, ${span(lost.seconds)}` : lost.kind;
}

function section(connector: OAuthConnector): string {
  const { id, title, oauth2, adjustable = [], manualSteps = [], facts = {} } = connector;
  return [
    `### ${id}`,
    `${title}. ${automatic(oauth2)}`,
    list([
      [
        'Token endpoint',
        `${code(oauth2.tokenEndpoint, 'set with the credential')}, ${oauth2.bodyFormat}, ${AUTHENTICATION[oauth2.clientAuthentication]}`,
      ],
      ['Hosts', oauth2.hosts.length === 0 ? 'the hosts of its endpoints' : oauth2.hosts.map((host) => code(host)).join(', ')],
      ['Consent', consentOf(connector)],
      ['Access token', ttlOf(oauth2)],
      ['Refresh token', refreshTokenOf(oauth2)],
      ['Lost answer', lostOf(oauth2)],
      ['The grant ends', endsOf(connector.lifetimes)],
      ['Scopes are read from', scopesOf(connector.scopes)],
      [
        'Served with the token',
        Object.keys(oauth2.accountFields ?? {})
          .concat(connector.consent?.choice?.accountField ?? [])
          .map((name) => code(name))
          .join(', ') || 'nothing',
      ],
      ['Disconnecting', revocationOf(connector.revocation, id)],
      ['Probe', connector.probe === undefined ? 'none' : `${connector.probe.method} ${code(connector.probe.url)}`],
      ['A credential may set', adjustable.map((field) => code(snake(field))).join(', ') || 'none of these fields'],
    ]),
    part('Parameters', (connector.parameters ?? []).map(parameterLine)),
    part(
      'Scopes with a title',
      Object.entries(connector.consent?.scopeTitles ?? {}).map(([scope, text]) => `${code(scope)}: ${text}`),
    ),
    part(
      'Error table',
      (oauth2.errorTable ?? []).map((row) => {
        const conditions = [
          row.status === undefined ? [] : [`status ${Array.isArray(row.status) ? row.status.join(' to ') : row.status}`],
          row.code === undefined ? [] : [code(row.code)],
          row.text === undefined ? [] : [`“${row.text}”`],
        ].flat();
        return `${conditions.join(' with ')}: **${row.means}** (${row.cause})`;
      }),
    ),
    part('Manual steps', manualSteps),
    ...factParts(facts),
  ]
    .filter((text) => text !== '')
    .join('\n\n');
}

function factParts(facts: NonNullable<Connector['facts']>): readonly string[] {
  const unknown = Object.entries(facts).filter(([, { sureness }]) => sureness === 'unknown');
  const sure = Object.entries(facts).filter(([, { sureness }]) => sureness !== 'unknown');
  return [
    part(
      'Facts',
      sure.map(([name, { sureness, source }]) => `${code(name)} ${sureness}: ${source}`),
    ),
    part(
      'Unknown',
      unknown.map(([name, { source }]) => `${code(name)}: ${source}`),
    ),
  ];
}

function keyTable(connectors: readonly KeyConnector[]): string {
  const rows = connectors.map((connector) => {
    const { id, title, key } = connector;
    const lost = key.calls === undefined ? '-' : foundBy(key.calls);
    return `| [${id}](#${id}) | ${title} | ${key.strategy} | ${managedBy(connector)} | ${lost} | ${key.keysMaxCount ?? 'unknown'} |`;
  });
  return [
    '| connector | provider | rotation | managed by | lost answer | keys |',
    '| --- | --- | --- | --- | --- | --- |',
    ...rows,
  ].join('\n');
}

function foundBy({ list, used }: KeyCalls): string {
  if (list?.name !== undefined) return 'found by name';
  if (list?.createdAt === undefined) return 'not found';
  return (list.usedAt ?? used) === undefined ? 'named to a person' : 'found by time';
}

function managedBy({ key }: KeyConnector): string {
  if (key.strategy === 'manual') return 'a person';
  const admin = `an admin credential (${(key.adminKinds ?? [key.credential]).join(' or ')})`;
  return { self: 'itself', credential: admin, either: `itself, or ${admin}` }[key.admin];
}

const HOW: Readonly<Record<RotationStrategy, string>> = {
  overlap: 'Keyturn makes a second key, tests it, and revokes the first after the grace period.',
  alternating_users: 'Keyturn sets a new password for the account that is not in use.',
  single_user: 'Keyturn sets a new password for the account.',
  in_place: 'Keyturn lets the provider replace the value; the old one is refused from then on.',
  manual: 'Only a person can make a new value: the steps are below.',
};

function keySection(connector: KeyConnector): string {
  const { id, title, key, manualSteps = [], facts = {} } = connector;
  const { calls } = key;
  return [
    `### ${id}`,
    `${title}. ${HOW[key.strategy]}`,
    list([
      ['Credential', `of kind ${[key.credential, ...(key.alsoCredentials ?? [])].map((kind) => code(kind)).join(' or ')}`],
      ['Managed by', managedBy(connector)],
      ...(key.hosts.length === 0 ? [] : [['Hosts', key.hosts.map((host) => code(host)).join(', ')] as const]),
      ...callRow('Copies from the old key', calls?.inspect),
      ...callRow('Lists keys', calls?.list),
      ...callRow('Asks whether a key was used', calls?.used),
      ...callRow('Makes a key', calls?.mint),
      ...callRow('Reads the new key', calls?.read),
      ...callRow('Tests a value', calls?.test),
      ...callRow('Disables a key first', calls?.disable),
      ...callRow('Revokes a key', calls?.revoke),
      ...(calls?.lifetime === undefined
        ? []
        : [['A new key ends after', `${calls.lifetime.defaultDays} days, at most ${calls.lifetime.maxDays}`] as const]),
      ...(key.settlesWithinSeconds === undefined ? [] : [['A new key works within', span(key.settlesWithinSeconds)] as const]),
      ...(key.graceSeconds === undefined ? [] : [['Grace period', span(key.graceSeconds)] as const]),
    ]),
    part('Parameters', (connector.parameters ?? []).map(parameterLine)),
    part(
      'Error table',
      (key.errorTable ?? []).map(({ status, text, means, cause }) => {
        const conditions = [...(status === undefined ? [] : [`status ${status}`]), ...(text === undefined ? [] : [code(text)])];
        return `${conditions.join(' with ')}: **${means}** (${cause})`;
      }),
    ),
    part('Manual steps', manualSteps),
    ...factParts(facts),
  ]
    .filter((text) => text !== '')
    .join('\n\n');
}

function callRow(what: string, call: KeyCall | undefined): readonly (readonly [string, string])[] {
  return call === undefined ? [] : [[what, `${call.method} ${code(call.url)}`]];
}

const AUTHENTICATION: Readonly<Record<OAuth2Spec['clientAuthentication'], string>> = {
  client_secret_basic: 'client secret in Basic',
  client_secret_post: 'client secret in the body',
  client_secret_as_user: 'secret key as the user name of Basic',
  private_key_jwt: 'signed assertion',
  none: 'no client secret',
};

function automatic(oauth2: OAuth2Spec): string {
  const how = {
    refresh_token: 'Keyturn refreshes the access token before it expires, once for all callers.',
    client_credentials: 'Keyturn obtains an access token with the client credentials, before the last one expires.',
    jwt_bearer: 'Keyturn signs an assertion and exchanges it for an access token, before the last one expires.',
    app_jwt: 'Keyturn signs as the app and requests an access token, before the last one expires.',
    none: 'The access token does not expire: Keyturn stores and serves it, without refreshes.',
  };
  return how[renewalOf(oauth2)];
}

function consentOf({ consent, id }: OAuthConnector): string {
  if (consent === undefined) return 'none: the client credentials are put directly';
  const said = [
    `by a link, at ${code(consent.authorizeEndpoint, id === 'generic-oidc' ? 'the discovered endpoint' : 'authorization_endpoint')}`,
    consent.pkce === 'S256' ? 'with PKCE' : 'without PKCE, which the provider refuses',
    ...(consent.scopeParameter === 'none' ? ['without scopes'] : []),
    ...(consent.alwaysScopes === undefined
      ? []
      : [`always requests ${consent.alwaysScopes.map((scope) => code(scope)).join(', ')}`]),
    ...(consent.choice === undefined ? [] : ['then the person chooses an account']),
  ];
  return said.join(', ');
}

function ttlOf({ accessTokenTtlSeconds: ttl, renewal }: OAuth2Spec): string {
  if (ttl === 'never') return renewal?.kind === 'none' ? 'no expiry' : 'lifetime from the answer; without one, no expiry';
  return `lifetime from the answer or the token, or else ${span(ttl ?? 3_600)}`;
}

function refreshTokenOf(oauth2: OAuth2Spec): string {
  if (renewalOf(oauth2) !== 'refresh_token') return 'none';
  return { always: 'a new one with every refresh', sometimes: 'a new one with some refreshes', never: 'stays the same' }[
    oauth2.refreshTokenRotates
  ];
}

function endsOf({ idleSeconds, absoluteSeconds, refreshTokenSeconds, cap, scheduled = [] }: LifetimeSpec = {}): string {
  const ends = [
    ...(idleSeconds === undefined ? [] : [`${span(idleSeconds)} after its last refresh`]),
    ...(absoluteSeconds === undefined ? [] : [`${span(absoluteSeconds)} after consent, regardless of use`]),
    ...(refreshTokenSeconds === undefined ? [] : [`${span(refreshTokenSeconds)} after the last refresh token was issued`]),
    ...(cap === undefined ? [] : [`beyond ${cap.count} of one account and client (${cap.note})`]),
    ...scheduled.map(({ at, ends: what, ofTokenEndpoint }) => {
      const whose =
        ofTokenEndpoint === undefined ? '' : `, for credentials whose token endpoint contains ${code(ofTokenEndpoint)}`;
      return `on ${at}: ${what}${whose}`;
    }),
  ];
  return ends.length === 0 ? 'when it is revoked; no other end is known' : ends.join('; ');
}

function scopesOf(scopes: readonly ScopeSource[] = [{ from: 'answer' }]): string {
  const names = scopes.map(sourceName);
  return names.length === 0 ? 'no source' : names.join(', then ');
}

function sourceName(source: ScopeSource): string {
  switch (source.from) {
    case 'answer':
      return 'the token answer';
    case 'introspection':
      return 'introspection';
    case 'jwt':
      return `${code(source.claim)} of the access token`;
    case 'probe_header':
      return `the header ${code(source.header)} of the probe`;
    case 'probe_body':
      return `${code(source.path)} in the answer to the probe`;
  }
}

function revocationOf(revocation: RevocationSpec | undefined, id: string): string {
  if (revocation === undefined) {
    return id.startsWith('generic-')
      ? 'revokes the grant (RFC 7009) if a revocation endpoint is known'
      : 'no revocation call: a person revokes it at the provider';
  }
  const what = revocation.ends === 'grant' ? 'this grant' : 'every grant of the same account and client';
  return `${revocation.method} ${code(revocation.url)} with the ${revocation.token} token; ends ${what}`;
}

function parameterLine({ name, title, shape, default: fallback, from = 'credential', values }: Parameter): string {
  const who = { credential: 'with the credential', consent: 'by the consenting person', callback: 'by the provider' }[from];
  const more = [
    ...(fallback === undefined ? [] : [`default ${code(fallback)}`]),
    ...(values === undefined ? [] : [`one of ${values.map((value) => code(value)).join(', ')}`]),
  ];
  return `${code(name)} (${shape}, set ${who}${more.map((text) => `, ${text}`).join('')}): ${title}`;
}

function span(seconds: number): string {
  const units = [
    [86_400, 'day'],
    [3_600, 'hour'],
    [60, 'minute'],
  ] as const;
  const [size, name] = units.find(([unit]) => seconds % unit === 0 && seconds >= unit) ?? [1, 'second'];
  const count = seconds / size;
  return `${count} ${name}${count === 1 ? '' : 's'}`;
}

const snake = (field: string) => field.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
const code = (text: string, empty = '') => (text === '' ? empty : `\`${text}\``);
const list = (rows: readonly (readonly [string, string])[]) => rows.map(([name, text]) => `- **${name}**: ${text}`).join('\n');
const part = (title: string, lines: readonly string[]) =>
  lines.length === 0 ? '' : `**${title}**\n\n${lines.map((line) => `- ${line}`).join('\n')}`;
