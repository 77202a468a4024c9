// A provider on loopback with keys in the form of SendGrid, reached as a sandbox. Every value is made up.
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Keys by id, in the form of SendGrid: POST /v3/api_keys answers the key once. */
export class SendgridServer {
  readonly keys = new Map([['k1', { secret: 'SG.k1.made-up', name: 'by a person' }]]);
  /** Requests so far. */
  calls = 0;
  /** Answers every request that changes keys with this status. */
  refuses: number | undefined;
  /** Refuses new keys to the key with this id. */
  refusesKeyOf: string | undefined;
  #server: Server | undefined;
  #made = 1;

  async start(): Promise<string> {
    const server = createServer((request, response) => {
      let body = '';
      request.on('data', (chunk) => {
        body += String(chunk);
      });
      request.on('end', () => {
        const [status, answer] = this.#answer(request.method ?? '', request.url ?? '', request.headers.authorization ?? '', body);
        response.writeHead(status, { 'content-type': 'application/json' });
        response.end(answer === undefined ? undefined : JSON.stringify(answer));
      });
    });
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  stop(): void {
    this.#server?.close();
    this.#server?.closeAllConnections();
  }

  works(secret: string): boolean {
    return [...this.keys.values()].some((key) => key.secret === secret);
  }

  #answer(method: string, url: string, authorization: string, body: string): [number, unknown?] {
    this.calls += 1;
    const path = url.replace('/api.sendgrid.com/v3', '');
    const id = /^\/api_keys\/(\w+)$/.exec(path)?.[1];
    if (!this.works(authorization.replace('Bearer ', ''))) return [401, { errors: [{ message: 'authorization required' }] }];
    if (path === '/scopes') return [200, { scopes: ['mail.send'] }];
    if (this.refuses !== undefined && method !== 'GET') return [this.refuses, { errors: [{ message: 'access forbidden' }] }];
    const isRefused = this.refusesKeyOf !== undefined && authorization.includes(`SG.${this.refusesKeyOf}.`);
    if (method === 'POST' && isRefused) return [403, { errors: [{ message: 'access forbidden' }] }];
    if (method === 'POST') return [201, this.#mint((JSON.parse(body) as { name: string }).name)];
    if (method === 'DELETE') return [this.keys.delete(id ?? '') ? 204 : 404];
    const items = [...this.keys].map(([api_key_id, { name }]) => ({ api_key_id, name, scopes: ['mail.send'] }));
    if (id === undefined) return [200, { result: items }];
    return [this.keys.has(id) ? 200 : 404, { result: items.filter(({ api_key_id }) => api_key_id === id) }];
  }

  #mint(name: string) {
    this.#made += 1;
    const id = `k${this.#made}`;
    const secret = `SG.${id}.made-up-${this.#made}`;
    this.keys.set(id, { secret, name });
    return { api_key: secret, api_key_id: id, name };
  }
}
