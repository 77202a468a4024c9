// A network for tests of where secrets go: providers that grant everything, and one receiver that nobody gave a secret to. It keeps what
// reaches the receiver and judges whether a secret of the vault is in it, as text, encoded, or as what signed an assertion.
import { createHmac, createPublicKey, generateKeyPairSync, verify } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Egress, EgressAnswer, EgressRequest, OAuthConnector } from '../../rotation/connector.ts';
import { checkTarget } from '../../rotation/engine/egress-rules.ts';
import type { Clock } from '../../src/base/clock.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import { createNodeEgress } from '../../src/node/egress.ts';
import { personaAnswer } from '../rotation/persona-answer.ts';

/** Part of every secret that the vault keeps; what the attacker brings has none. */
export const CANARY = 'canary-not-a-real-secret';
export const EVIL_HOST = 'evil.example';

/** Signs for the vault; the receiver knows its public half. */
const KEY = generateKeyPairSync('rsa', { modulusLength: 2048 });
export const CANARY_PEM = KEY.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
export const CANARY_JWK = { ...KEY.privateKey.export({ format: 'jwk' }), alg: 'RS256', kty: 'RSA' as const };

export interface EvilNetwork {
  readonly egress: Egress;
  /** On loopback, for what may reach it. */
  readonly origin: string;
  /** What reached the receiver, whole. */
  readonly received: readonly string[];
  /** What reached anybody else, whole. */
  readonly elsewhere: readonly string[];
  /** Those of `received` with a secret of the vault in them. */
  stolen(): string[];
  clear(): void;
  stop(): Promise<void>;
}

/** @param secretOf the client secret whose keyed hash would betray it, by what a message names */
export async function evilNetwork(clock: Clock, connectorOf: () => OAuthConnector): Promise<EvilNetwork> {
  const received: string[] = [];
  const elsewhere: string[] = [];
  const server: Server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      received.push(`${request.method} ${request.url}\n${JSON.stringify(request.headers)}\n${Buffer.concat(chunks)}`);
      const { status, body } = answerTo(connectorOf(), Buffer.concat(chunks).toString(), 'evil');
      response.writeHead(status, { 'content-type': 'application/json' }).end(body);
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const network = createNodeEgress({ clock });
  const send = async (request: EgressRequest): Promise<EgressAnswer> => {
    const url = checkTarget(request);
    if (url.host === host) return network.send(request);
    const whole = wholeOf(request);
    const isEvil = url.hostname === EVIL_HOST || url.hostname.endsWith(`.${EVIL_HOST}`) || url.hostname === 'evil';
    (isEvil ? received : elsewhere).push(whole);
    const { status, body } = answerTo(connectorOf(), whole, isEvil ? 'evil' : CANARY);
    return { status, headers: {}, body: SecretValue.fromText(body), sentAtMs: clock.now() };
  };
  return {
    egress: { send },
    origin: `http://${host}`,
    received,
    elsewhere,
    stolen: () => received.filter(isStolen),
    clear: () => {
      received.length = 0;
      elsewhere.length = 0;
    },
    stop: async () => {
      const closed = new Promise((done) => server.close(done));
      server.closeAllConnections();
      await closed;
    },
  };
}

function wholeOf({ url, method, headers, body }: EgressRequest): string {
  const plain = (value: string | SecretValue | Uint8Array | undefined) =>
    value instanceof SecretValue
      ? value.reveal((bytes) => new TextDecoder().decode(bytes))
      : value instanceof Uint8Array
        ? new TextDecoder().decode(value)
        : (value ?? '');
  const told = Object.entries(headers).map(([name, value]) => `${name}: ${plain(value)}`);
  return `${method} ${url}\n${told.join('\n')}\n${plain(body)}`;
}

let issued = 0;

/** Tokens for whoever asks for tokens, and a yes to everything else. */
function answerTo({ oauth2, ...connector }: OAuthConnector, whole: string, mark: string): { status: number; body: string } {
  const isExchange = whole.includes('authorization_code');
  const asksForTokens = isExchange || whole.includes('grant_type') || oauth2.renewal?.kind === 'app_jwt';
  if (!asksForTokens) {
    const list = [{ id: 'place', name: 'Place', url: 'https://place.example' }];
    return { status: 200, body: JSON.stringify({ active: true, ok: true, scope: 'a b', items: list, data: list }) };
  }
  const fields = { ...oauth2.answerFields, ...(isExchange ? oauth2.exchangeAnswerFields : {}) };
  issued += 1;
  const { status, body } = personaAnswer({ ...connector, oauth2 }, fields);
  const text = JSON.stringify(body).replaceAll(/(access|refresh)-not-a-real-secret/g, `$1-${issued}-${mark}`);
  return { status, body: text };
}

function isStolen(whole: string): boolean {
  const forms = [
    whole,
    decoded(whole),
    ...[...whole.matchAll(/[Bb]asic ([A-Za-z0-9+/=]+)/g)].map(([, text = '']) => Buffer.from(text, 'base64').toString()),
  ];
  return forms.some((form) => decoded(form).includes(CANARY)) || isSigned(whole);
}

/** Percent-encoding undone, where there is any. */
export function decoded(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return text;
  }
}

/** Whether a JWT in it was signed with the vault's key, or with a client secret of the vault. */
function isSigned(whole: string): boolean {
  return [...decoded(whole).matchAll(/(eyJ[\w-]+\.eyJ[\w-]+)\.([\w-]+)/g)].some(([, signed = '', signature = '']) => {
    const bytes = Buffer.from(signature, 'base64url');
    const publicKey = createPublicKey(KEY.publicKey.export({ type: 'spki', format: 'pem' }));
    if (bytes.byteLength === 256 && verify('sha256', Buffer.from(signed), publicKey, bytes)) return true;
    return createHmac('sha256', `client-${CANARY}`).update(signed).digest('base64url') === signature;
  });
}
