// A TCP proxy on loopback that ends a connection at a chosen write of the client: what a crash between two statements looks like to a server.
// Drivers write each statement at once, so that a chunk is a statement or a part of a login.
import { connect, createServer, type Server, type Socket } from 'node:net';

export type CutPlace = 'before the server gets it' | 'after the server answered it';

export class CuttingProxy {
  readonly #target: number;
  readonly #server: Server;
  readonly #open = new Set<Socket>();
  #cut: { at: number; place: CutPlace } | undefined;
  #writes = 0;
  connections = 0;

  constructor(targetPort: number) {
    this.#target = targetPort;
    this.#server = createServer((client) => this.#serve(client));
  }

  async listen(): Promise<this> {
    await new Promise<void>((done) => this.#server.listen(0, '127.0.0.1', done));
    return this;
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  /** Ends the connection of the n-th write from now on, counted from 1. */
  cutAt(n: number, place: CutPlace): void {
    this.#writes = 0;
    this.#cut = { at: n, place };
  }

  /** Stops cutting. True if a connection was cut. */
  heal(): boolean {
    const wasCut = this.#cut !== undefined && this.#writes >= this.#cut.at;
    this.#cut = undefined;
    return wasCut;
  }

  async close(): Promise<void> {
    for (const socket of this.#open) socket.destroy();
    await new Promise<void>((done) => this.#server.close(() => done()));
  }

  #serve(client: Socket): void {
    this.connections++;
    const server = connect(this.#target, '127.0.0.1');
    const end = () => {
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) {
      this.#open.add(socket);
      socket.on('error', end).on('close', () => {
        this.#open.delete(socket);
        end();
      });
    }
    let isLast = false;
    client.on('data', (chunk) => {
      const cut = this.#cut;
      this.#writes++;
      const isHit = cut !== undefined && this.#writes === cut.at;
      if (isHit && cut.place === 'before the server gets it') return end();
      isLast ||= isHit;
      server.write(chunk);
    });
    server.on('data', (chunk) => (isLast ? end() : client.write(chunk)));
  }
}
