// A connection to a Redis server: one command, one reply, in RESP 2. Our own, because a rotation needs five commands and no client library.
// It must never put an argument or a reply into an error.
import { connect, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import { LIMITS } from '../../base/limits.ts';
import { StepFailed } from './step-failed.ts';

/** An error reply; only its first word, such as `NOPERM`, is kept. */
export class RespError {
  readonly code: string;

  constructor(line: string) {
    this.code = /^[A-Z]{1,32}/.exec(line)?.[0] ?? 'ERR';
  }
}

export type Reply = string | number | null | RespError | readonly Reply[];

export class RespConnection {
  readonly #socket: Socket;
  #received = Buffer.alloc(0);
  #waiting: { done(reply: Reply): void; fail(error: Error): void } | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setTimeout(LIMITS.driverStatementTimeoutMs, () => socket.destroy());
    socket.on('data', (chunk) => this.#receive(chunk));
    socket.on('error', () => {});
    socket.on('close', () => this.#waiting?.fail(StepFailed.lost('connection_lost')));
  }

  /** @throws StepFailed not_sent */
  static open(address: string, port: number, tls: ConnectionOptions | false): Promise<RespConnection> {
    return new Promise((done, reject) => {
      const socket = tls === false ? connect(port, address) : connectTls({ ...tls, host: address, port });
      const fail = (cause: string) => {
        socket.destroy();
        reject(StepFailed.notSent(cause));
      };
      const timer = setTimeout(() => fail('connect_timeout'), LIMITS.driverConnectTimeoutMs);
      let isConnected = false;
      socket.on('connect', () => {
        isConnected = true;
      });
      socket.once('close', () => fail(isConnected ? 'tls_failed' : 'connect_failed')).on('error', () => {});
      socket.once(tls === false ? 'connect' : 'secureConnect', () => {
        clearTimeout(timer);
        socket.removeAllListeners('close');
        done(new RespConnection(socket));
      });
      socket.once('close', () => clearTimeout(timer));
    });
  }

  /** @throws StepFailed lost | odd */
  command(...words: readonly string[]): Promise<Reply> {
    const parts = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
    return new Promise((done, fail) => {
      if (this.#socket.destroyed) return fail(StepFailed.lost('connection_lost'));
      this.#waiting = { done, fail };
      this.#socket.write(`*${words.length}\r\n${parts.join('')}`);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(chunk: Buffer): void {
    this.#received = Buffer.concat([this.#received, chunk]);
    const waiting = this.#waiting;
    try {
      if (this.#received.byteLength > LIMITS.providerAnswerMaxBytes) throw StepFailed.odd('answer_too_large');
      const read = readReply(this.#received, 0);
      if (read === undefined) return;
      if (waiting === undefined || read.end !== this.#received.byteLength) throw StepFailed.odd('answer_not_resp');
      this.#received = Buffer.alloc(0);
      this.#waiting = undefined;
      waiting.done(read.reply);
    } catch (error) {
      waiting?.fail(error as Error);
      this.#waiting = undefined;
      this.#socket.destroy();
    }
  }
}

/** Undefined: the reply is not complete. */
function readReply(bytes: Buffer, start: number): { readonly reply: Reply; readonly end: number } | undefined {
  const lineEnd = bytes.indexOf('\r\n', start);
  if (lineEnd < 0) return undefined;
  const line = bytes.toString('utf8', start + 1, lineEnd);
  const next = lineEnd + 2;
  switch (String.fromCharCode(bytes[start] ?? 0)) {
    case '+':
      return { reply: line, end: next };
    case '-':
      return { reply: new RespError(line), end: next };
    case ':':
      return { reply: Number(line), end: next };
    case '$':
      return readBulk(bytes, next, Number(line));
    case '*':
      return readArray(bytes, next, Number(line));
    default:
      throw StepFailed.odd('answer_not_resp');
  }
}

function readBulk(bytes: Buffer, start: number, size: number) {
  if (size === -1) return { reply: null, end: start };
  if (!Number.isSafeInteger(size) || size < 0) throw StepFailed.odd('answer_not_resp');
  if (bytes.byteLength < start + size + 2) return undefined;
  return { reply: bytes.toString('utf8', start, start + size), end: start + size + 2 };
}

function readArray(bytes: Buffer, start: number, count: number) {
  if (count === -1) return { reply: null, end: start };
  if (!Number.isSafeInteger(count) || count < 0) throw StepFailed.odd('answer_not_resp');
  const replies: Reply[] = [];
  let end = start;
  for (let index = 0; index < count; index++) {
    const read = readReply(bytes, end);
    if (read === undefined) return undefined;
    replies.push(read.reply);
    end = read.end;
  }
  return { reply: replies, end };
}
