// The way from the engine to the simulated provider, and everything that can go wrong on it, one fault a call.
import {
  type Connector,
  type Egress,
  type EgressAnswer,
  EgressFailure,
  type EgressReason,
  type EgressRequest,
  type LostAnswer,
} from '../../rotation/connector.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import type { Sql } from '../../src/cell/sql.ts';
import { PROVIDER_KINDS, type ProviderKind, REUSE_SECONDS, type SimulatedProvider } from '../kit/simulated-provider.ts';
import type { Call, Intent, Ledger } from './simulated-ledger.ts';
import type { Life } from './simulated-life.ts';
import type { Actor, Agenda, Chance } from './simulated-time.ts';

export const NETWORK_FAULTS = [
  'unsent',
  'dropped_before',
  'dropped_after',
  'failing_before', // 503, nothing happened
  'failing_after', // 502, the token was turned
  'throttled',
  'unknown_words', // refused in words that no table knows, nothing happened
  'moved', // 404, nothing happened
  'page_before', // 200 with a page, nothing happened
  'page_after', // 200 with a page, the token was turned
  'too_large', // the access token is longer than any that is taken; the refresh token beside it is good
  'truncated',
  'slow', // done, and answered too late
  'overtaken', // reaches the provider after the caller gave it up
] as const;
/** `stopped_*`: the engine is stopped with its lease in hand, before its request leaves or while its answer waits. */
export type NetworkFault = (typeof NETWORK_FAULTS)[number] | 'stopped_before' | 'stopped_after';

/** One connector for each way a provider treats a lost answer. */
export const SIMULATED_CONNECTORS: ReadonlyMap<string, Connector> = new Map(
  PROVIDER_KINDS.map((kind) => [connectorId(kind), connectorOf(kind)]),
);

export function connectorId(kind: ProviderKind): string {
  return `simulated-${kind}`;
}

function connectorOf(kind: ProviderKind): Connector {
  return {
    id: connectorId(kind),
    title: `Simulated provider, ${kind}`,
    kind: 'oauth2',
    oauth2: {
      tokenEndpoint: `https://${kind}.provider.example/token`,
      hosts: [`${kind}.provider.example`],
      clientAuthentication: 'client_secret_post',
      bodyFormat: 'form',
      refreshTokenRotates: kind === 'fixed' ? 'never' : 'always',
      lostAnswer: lostAnswerOf(REUSE_SECONDS[kind]),
      scopeSeparator: ' ',
    },
  };
}

function lostAnswerOf(reuseSeconds: number | undefined): LostAnswer {
  if (reuseSeconds === undefined) return { kind: 'safe' };
  return reuseSeconds === 0 ? { kind: 'unsafe' } : { kind: 'window', seconds: reuseSeconds };
}

export interface NetworkPorts {
  readonly agenda: Agenda;
  readonly chance: Chance;
  readonly provider: SimulatedProvider;
  readonly ledger: Ledger;
  /** The database as it is on disk. */
  readonly sql: () => Sql;
  /** The credential that holds a grant of this family. */
  readonly holderOf: (familyId: number) => string;
  /** An engine was stopped; somebody else may go on. */
  readonly onStopped: (life: Life) => void;
  /** A whole answer is about to be handed to the engine. */
  readonly onAnswer: () => void;
}

const LEASE_SURELY_LAPSED_MS = 50_000;
const PAGE = '<!doctype html><h1>Down for maintenance</h1>';

export class Network {
  /** What the next calls meet, one each; afterwards all goes well. */
  readonly faults: NetworkFault[] = [];
  readonly #ports: NetworkPorts;

  constructor(ports: NetworkPorts) {
    this.#ports = ports;
  }

  egressFor(life: Life, actor: Actor): Egress {
    return {
      send: (request) =>
        new Promise((resolve, reject) => {
          new Journey(this.#ports, life, actor, request, this.faults.shift(), { resolve, reject }).begin();
        }),
    };
  }
}

interface Waiting {
  resolve(answer: EgressAnswer): void;
  reject(error: EgressFailure): void;
}

/** One request on its way and back. What has left happens whether its sender lives or not. */
class Journey {
  readonly #p: NetworkPorts;
  readonly #life: Life;
  readonly #actor: Actor;
  readonly #request: EgressRequest;
  readonly #fault: NetworkFault | undefined;
  readonly #waiting: Waiting;
  readonly #refreshToken: string;
  readonly #name: string;
  readonly #seen: Intent | undefined;
  #call: Call | undefined;
  #sentAtMs = 0;
  #over = false;

  constructor(
    ports: NetworkPorts,
    life: Life,
    actor: Actor,
    request: EgressRequest,
    fault: NetworkFault | undefined,
    waiting: Waiting,
  ) {
    this.#p = ports;
    this.#life = life;
    this.#actor = actor;
    this.#request = request;
    this.#fault = fault;
    this.#waiting = waiting;
    this.#refreshToken = refreshTokenOf(request);
    this.#name = ports.holderOf(familyIdOf(this.#refreshToken));
    this.#seen = ports.ledger.intentOf(ports.sql(), this.#name);
  }

  begin(): void {
    if (this.#fault === 'unsent') {
      this.#fail('connect_failed');
      return;
    }
    if (this.#fault === 'stopped_before') this.#stop();
    this.#toSender(this.#p.chance.between(1, 50), () => this.#leave());
  }

  #leave(): void {
    const { agenda, ledger, provider, chance } = this.#p;
    if (this.#request.mayLeave?.() === false) {
      ledger.counts.withdrawn += 1;
      this.#fail('withdrawn');
      return;
    }
    this.#sentAtMs = agenda.now();
    this.#call = ledger.leaves(this.#p.sql(), {
      name: this.#name,
      family: provider.familyNumbered(familyIdOf(this.#refreshToken)),
      refreshToken: this.#refreshToken,
      seen: this.#seen,
      actor: this.#actor,
      atMs: this.#sentAtMs,
    });
    const { timeoutMs } = this.#request;
    const isLate = this.#fault === 'overtaken';
    this.#call.overtaken = isLate;
    agenda.add(isLate ? timeoutMs + chance.between(1_000, 20_000) : chance.between(1, 100), () => this.#arrive());
    if (isLate || this.#fault === 'slow') this.#fail('timeout', timeoutMs);
  }

  #arrive(): void {
    switch (this.#fault) {
      case 'dropped_before':
        this.#fail('connection_lost');
        break;
      case 'failing_before':
        this.#answer(503, '{"error":"temporarily_unavailable"}', 'failed');
        break;
      case 'throttled':
        this.#answer(429, '{"error":"slow_down"}', 'refused');
        break;
      case 'unknown_words':
        this.#answer(400, '{"error":"somebody_invented_this"}', 'refused');
        break;
      case 'moved':
        this.#answer(404, 'no such page', 'failed');
        break;
      case 'page_before':
        this.#answer(200, PAGE, 'failed');
        break;
      default:
        this.#takeEffect();
    }
  }

  #takeEffect(): void {
    const { status, body } = this.#p.provider.refresh(this.#refreshToken);
    const text = JSON.stringify(body);
    const call = this.#call as Call;
    call.spent = status === 200;
    switch (this.#fault) {
      case 'slow':
      case 'overtaken':
        break;
      case 'dropped_after':
        this.#fail('connection_lost');
        break;
      case 'failing_after':
        this.#answer(502, 'bad gateway', 'failed');
        break;
      case 'page_after':
        this.#answer(200, PAGE, 'failed');
        break;
      case 'too_large':
        this.#answerTooLarge(status, body);
        break;
      case 'truncated':
        this.#answer(status, text.slice(0, text.length / 2), status === 200 ? 'lost' : 'refused');
        break;
      default:
        if (this.#fault === 'stopped_after') this.#stop();
        this.#answer(status, text, status === 200 ? 'answered' : 'refused');
    }
  }

  #answer(status: number, body: string, end: Call['end']): void {
    this.#toSender(this.#p.chance.between(1, 400), () => {
      this.#end(end);
      if (end === 'answered') this.#p.onAnswer();
      const headers: Record<string, string> = status === 429 ? { 'retry-after': '2' } : {};
      this.#waiting.resolve({ status, headers, body: SecretValue.fromText(body), sentAtMs: this.#sentAtMs });
    });
  }

  /** Where another refresh token came, it counts as an answer: it must be kept. */
  #answerTooLarge(status: number, body: Readonly<Record<string, unknown>>): void {
    const isKept = body['refresh_token'] !== undefined;
    const end = status !== 200 ? 'refused' : isKept ? 'answered' : 'failed';
    const large = status === 200 ? { ...body, access_token: 'x'.repeat(LIMITS.valueMaxBytes + 1) } : body;
    this.#answer(status, JSON.stringify(large), end);
  }

  #fail(reason: EgressReason, delayMs = 1): void {
    this.#toSender(delayMs, () => {
      this.#end('lost');
      this.#waiting.reject(new EgressFailure(reason));
    });
  }

  /** Only a sender that lives, runs and still waits hears of it. */
  #toSender(delayMs: number, tell: () => void): void {
    this.#p.agenda.add(
      delayMs,
      () => {
        if (!this.#life.dead && !this.#over) tell();
      },
      this.#actor,
    );
  }

  #end(end: Call['end']): void {
    this.#over = true;
    if (this.#call !== undefined) this.#call.end = end;
  }

  #stop(): void {
    const { agenda, chance, ledger, sql, onStopped } = this.#p;
    ledger.doubt(sql(), this.#name);
    // Half of them wake while the other may still be at it.
    this.#actor.stoppedUntilMs = agenda.ranMs + LEASE_SURELY_LAPSED_MS + chance.between(1, chance.pick([15_000, 90_000]));
    onStopped(this.#life);
  }
}

function refreshTokenOf(request: EgressRequest): string {
  const { body } = request;
  const text = body instanceof SecretValue ? body.reveal((bytes) => new TextDecoder().decode(bytes)) : '';
  return new URLSearchParams(text).get('refresh_token') ?? '';
}

function familyIdOf(refreshToken: string): number {
  return Number(refreshToken.split('-')[1]);
}
